"""What leaves the agents' hosts, read while the run lasts: a scenario waits for what happened, not for what an agent says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import trio

from harness.errors import BlamedError, HarnessError
from harness.fabric.capture import file_name
from harness.fabric.capture_tail import CaptureTail
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.lab.decrypted import Opener, Packet, has_short_header, read_keys
from harness.lab.frames import PROBING
from harness.lab.left import KEYS
from harness.units import Duration

if TYPE_CHECKING:
    from harness.lab.lab import Lab

_POLL_S = 0.02
_BEFORE = 1_000_000_000
"""What left longer (ns) before a wait is not opened: of a long call that would take longer than the wait."""


class Seen(NamedTuple):
    """A datagram with a short header that left ``peer``'s host, and the packet in it where a key opens it."""

    peer: str
    udp: UdpPacket
    packet: Packet | None

    @property
    def at(self) -> int:
        """When, ns."""
        return self.udp.monotonic or 0

    @property
    def moves(self) -> bool:
        """Whether it moves the connection to where it comes from: it has a frame that is not probing, or cannot be opened."""
        return self.packet is None or any(frame.name not in PROBING for frame in self.packet.frames)


class LiveWire:
    """Reads what has left the agents' hosts so far.  Each datagram is read and opened once."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._taps: dict[str, list[CaptureTail]] = {}
        self._opener = Opener()
        self._known: set[tuple[str, str]] = set()
        self._logged: list[int] = []
        self._since = 0
        self._seen: list[Seen] = []
        self._reading = trio.Lock()

    async def wait_for(self, what: Callable[[Seen], bool], *, since: int, within: Duration) -> Seen | None:
        """The first datagram that left at or after ``since`` (ns) of which ``what`` is true; None when none does so ``within`` the time.

        That is the time until it leaves.  How long it takes to read the captures, on a busy machine and in a long call, is no part of it.
        """
        until = self._lab.now() + within.ns
        place = 0
        self._since = since - _BEFORE
        self._seen = [one for one in self._seen if one.at >= since]
        while True:
            began = self._lab.now()
            await self._read()
            for one in self._seen[place:]:
                if since <= one.at <= until and what(one):
                    return one
            if began > until:
                return None
            place = len(self._seen)
            await trio.sleep(_POLL_S)

    async def _read(self) -> None:
        network = self._lab.network
        assert network is not None
        async with self._reading:
            await network.flush()
            await trio.to_thread.run_sync(self._take)

    def _take(self) -> None:
        fresh = sorted(self._fresh(), key=lambda one: one[1].time)
        self._learn()
        for peer, udp in fresh:
            if (udp.monotonic or 0) < self._since and udp.payload[:1] < b"\x80":
                continue
            packet = self._opener.open(udp)
            if packet is not None or has_short_header(udp):
                self._seen.append(Seen(peer, udp, packet))

    def _fresh(self) -> Iterator[tuple[str, UdpPacket]]:
        network = self._lab.network
        assert network is not None
        for peer in self._lab.peers:
            if peer not in self._taps:
                paths = [self._lab.folder / "capture" / file_name(port.path) for port in network.topology.ports(peer)]
                self._taps[peer] = [CaptureTail(path, newest=True) for path in paths]
            try:
                packets = list(udp_packets(chain.from_iterable(tap.fresh() for tap in self._taps[peer])))
            except HarnessError:  # between two waits of a long call parts came and went: what matters now is in the newest
                del self._taps[peer]
                continue
            yield from ((peer, udp) for udp in packets if udp.outgoing and udp.monotonic is not None)

    def _learn(self) -> None:
        """Take the keys that agents have logged since."""
        logs = [peer.folder / KEYS for peer in self._lab.peers.values()]
        try:
            sizes = [log.stat().st_size for log in logs if log.exists()]
            if sizes == self._logged:
                return
            self._logged = sizes
            log = self._lab.gather_keys()
            fresh = [one for one in read_keys(log) if (one.connection, one.sender) not in self._known] if log.exists() else []
        except (BlamedError, ValueError, OSError):  # what is wrong with a key log is said when the run is judged
            return
        self._known |= {(one.connection, one.sender) for one in fresh}
        self._opener.add(fresh)
