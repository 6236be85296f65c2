"""Two or more real endpoints in memory: a virtual clock, one-way delays, loss, several paths a host, NATs that rebind.

A host has paths, each with the public address that its NAT shows.  A datagram is delivered to whoever has its destination now; a rebind
changes a public address, and with it kills the old one.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, TypeVar

from harness.call.capabilities import MediaConstraints
from harness.call.config import EndpointConfig
from harness.call.errors import CallNotFound
from harness.call.events import Address, Event, MediaExpired, MediaReceived, PathEvent, Transmit, VideoAdapted
from harness.call.session import Endpoint
from harness.rtp.packet import RtpPacket
from harness.spec.link import Impairment
from harness.wire.shaper import Drop, Shaper

from .conftest import Identity

MS = 1_000_000
S = 1_000_000_000
E = TypeVar("E", bound=Event)


class Path:
    def __init__(self, name: str, ip: str, port: int, delay: int) -> None:
        self.name, self.ip, self.port, self.delay = name, ip, port, delay
        self.up = True
        self.links: tuple[Shaper[bytes], Shaper[bytes]] | None = None
        self.loss = 0.0
        self.drop: Callable[[bytes, bool], bool] = lambda data, outward: False

    def impair(self, impairment: Impairment, now: int, *, inward: Impairment | None = None) -> None:
        """A link with a rate, a queue, jitter …, out and in (``inward``: in alone, where it differs), in front of ``delay``."""
        both = (impairment, impairment if inward is None else inward)
        if self.links is None:
            self.links = (Shaper(both[0], random.Random(1)), Shaper(both[1], random.Random(2)))
        for link, asked in zip(self.links, both, strict=True):
            link.change(asked, now)

    def cross(self, outward: bool, data: bytes, now: int) -> int | None:
        """When a packet that enters now leaves; None when it is dropped."""
        if self.links is None:
            return now + self.delay
        link = self.links[not outward]
        departure = link.push(data, len(data) + 28, now)
        link.release(now)
        return None if isinstance(departure, Drop) else departure + self.delay


class Host:
    def __init__(self, name: str, endpoint: Endpoint, paths: list[Path]) -> None:
        self.name, self.endpoint = name, endpoint
        self.paths = {path.name: path for path in paths}
        self.log: list[Event] = []
        self.sent: list[tuple[int, Transmit]] = []
        self.media_sent: dict[int, int] = {}
        self.sequence = itertools.count()
        self.offered: dict[int, int] = {}

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.log if isinstance(event, kind)]

    def path_kinds(self) -> list[str]:
        return [event.kind for event in self.all(PathEvent)]

    def heard(self, since: int = 0) -> list[MediaReceived]:
        return [event for event in self.all(MediaReceived) if event.arrived >= since]

    def expired(self) -> list[int]:
        return [event.token for event in self.all(MediaExpired)]


class World:
    def __init__(self, identity: Identity, seed: int = 1) -> None:
        self.identity = identity
        self.now = 1_000 * S
        self.hosts: dict[str, Host] = {}
        self.random = random.Random(seed)
        self._flight: list[tuple[int, int, Host, Address, bytes]] = []
        self._order = itertools.count()
        self._sources: list[dict[str, Any]] = []

    def host(
        self,
        name: str,
        *paths: Path,
        kind: type[Endpoint] = Endpoint,
        qlog: Any = None,
        keylog: Any = None,
        **settings: Any,
    ) -> Host:
        config = EndpointConfig(
            **{
                "name": name,
                "ca": self.identity.ca,
                "certificate": self.identity.certificate,
                "key": self.identity.key,
                "server_name": "peer.test",
                **settings,
            }
        )
        endpoint = kind(config, rng=random.Random(f"{name}"), qlog=qlog, keylog=keylog)
        host = self.hosts[name] = Host(name, endpoint, list(paths) or [Path("eth", f"10.0.0.{len(self.hosts) + 1}", 4433, 20 * MS)])
        return host

    def address(self, host: Host, over: str, via: str) -> Address:
        """``host``'s public address on its path ``via``, as seen over the caller's path ``over``."""
        path = host.paths[via]
        return Address(over, path.ip, path.port)

    def flush(self) -> None:
        for host in self.hosts.values():
            for transmit in host.endpoint.transmit(self.now):
                host.sent.append((self.now, transmit))
                for token in transmit.media:
                    host.media_sent[token] = self.now
                self._carry(host, transmit)
            happened = host.endpoint.events()
            host.log += happened
            for event in happened:
                if isinstance(event, VideoAdapted):
                    self._adapt(host, event)

    def _adapt(self, host: Host, decided: VideoAdapted) -> None:
        for source in self._sources:
            if source["host"] is host and source["call"] == decided.call and source["flow"] == "video":
                source["stopped"] = decided.kbps == 0
                if decided.kbps:
                    source["every"] = max(source["asked"], source["size"] * 8_000_000 // decided.kbps)

    def _carry(self, host: Host, transmit: Transmit) -> None:
        mine = host.paths[transmit.address.path]
        wanted = (transmit.address.ip, transmit.address.port)
        for other in self.hosts.values():
            for theirs in other.paths.values():
                if (theirs.ip, theirs.port) == wanted and other is not host:
                    if not (mine.up and theirs.up) or mine.drop(transmit.data, True) or theirs.drop(transmit.data, False):
                        return
                    if self.random.random() < 1 - (1 - mine.loss) * (1 - theirs.loss):
                        return
                    source = Address(theirs.name, mine.ip, mine.port)
                    half_way = mine.cross(True, transmit.data, self.now)
                    there = None if half_way is None else theirs.cross(False, transmit.data, half_way)
                    if there is not None:
                        heapq.heappush(self._flight, (there, next(self._order), other, source, transmit.data))
                    return

    def talk(
        self,
        host: Host,
        call: str,
        *,
        flow: str = "audio",
        size: int = 80,
        every: int = 20 * MS,
        life: int = 200 * MS,
        mode: str = "datagram",
    ) -> None:
        """From now on ``host`` offers an RTP packet every ``every`` ns."""
        self._sources.append(
            {
                "host": host,
                "call": call,
                "flow": flow,
                "size": size,
                "every": every,
                "next": self.now,
                "life": life,
                "mode": mode,
                "index": 0,
                "asked": every,
                "stopped": False,
            }
        )

    def hush(self, host: Host, flow: str | None = None) -> None:
        self._sources = [s for s in self._sources if s["host"] is not host or flow not in (None, s["flow"])]

    def _offer(self, source: dict[str, Any]) -> None:
        host: Host = source["host"]
        if source["stopped"]:
            source["next"] += source["every"]
            return
        index = source["index"]
        packet = RtpPacket(
            payload_type=96,
            sequence=index & 0xFFFF,
            timestamp=(self.now * (48_000 if source["flow"] == "audio" else 90_000) // S) & 0xFFFFFFFF,
            ssrc={"audio": 1, "video": 2, "screen": 3, "data": 4}[source["flow"]],
            payload=self.now.to_bytes(8, "big") + bytes(source["size"] - 8),
            marker=source["flow"] != "audio",
        )
        if state_of(host, source["call"]) != "Connected":
            self._sources.remove(source)
            return
        token = host.endpoint.send_rtp(
            source["call"], source["flow"], packet.encode(), now=self.now, expires=self.now + source["life"], mode=source["mode"]
        )
        host.offered[token] = self.now
        source["index"] += 1
        source["next"] += source["every"]

    def run(self, length: int, until: Callable[[], bool] | None = None) -> bool:
        """Let ``length`` ns pass, or less when ``until`` becomes true (then True)."""
        end = self.now + length
        self.flush()
        while True:
            if until is not None and until():
                return True
            times = [end]
            if self._flight:
                times.append(self._flight[0][0])
            times += [source["next"] for source in self._sources]
            times += [at for host in self.hosts.values() if (at := host.endpoint.timer()) is not None]
            step = max(self.now, min(times))
            if step >= end:
                self.now = end
                return False
            self.now = step
            while self._flight and self._flight[0][0] <= self.now:
                _, _, host, source, data = heapq.heappop(self._flight)
                host.endpoint.receive(data, source, now=self.now, arrived=self.now)
                self.flush()
            for stream in list(self._sources):
                if stream["next"] <= self.now:
                    self._offer(stream)
            for host in self.hosts.values():
                at = host.endpoint.timer()
                if at is not None and at <= self.now:
                    host.endpoint.handle_timer(self.now)
            self.flush()


def payload_time(event: MediaReceived) -> int:
    """When the source offered the packet."""
    return int.from_bytes(event.packet[12:20], "big")


def connect(
    world: World, alice: Host, bob: Host, constraints: MediaConstraints | None = None, *, over: str = "eth", via: str = "eth"
) -> str:
    """A connected call from alice to bob (who answers by himself)."""
    call = alice.endpoint.initiate(world.address(bob, over, via), constraints or MediaConstraints.video_call(), now=world.now)
    assert world.run(3 * S, until=lambda: state_of(alice, call) == state_of(bob, call) == "Connected")
    return call


def state_of(host: Host, call: str) -> str | None:
    """The call's state there, or None when it is not in the table."""
    try:
        return host.endpoint.stats(call).state.value
    except CallNotFound:
        return None
