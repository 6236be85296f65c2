"""Measures one link of a built network against its spec: the least delay and the rate of each direction, and what size passes.

These are the conformance suite's instruments in short form: packets that carry when they were sent, kernel arrival stamps, and for the
rate a train whose spread on arrival is the rate's doing.  A stall of this machine only ever adds delay, so a delay is the least of several,
and what does not fit is measured on until it does or the time is up.  Shares (loss, duplicates, corruption) want thousands of packets: what
came of the few is told, and that the executor has them in force is read back from it (``built``).
"""

from __future__ import annotations

import errno
import struct
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from harness.fabric.base import DIRECTIONS, Direction, brief, impairment_of
from harness.fabric.vantage import receive, udp
from harness.spec.link import LEAST_SPREAD, Impairment
from harness.spec.topology import Link, Port, Router

if TYPE_CHECKING:
    from harness.fabric.build import Build

_SAMPLES = 5
_SLACK_NS = 2_000_000  # how much later than asked the fastest of the samples may be
_EARLY_NS = 200_000  # how much earlier: clocks of sender and kernel stamp are read apart
_TIME_LIMIT_S = 10.0
_PERIOD_NS = 2_000_000
_HEADERS = {4: 28, 6: 48}  # IP and UDP
_STAMP = struct.Struct("=cIq")  # kind, number, when it was sent (ns of CLOCK_REALTIME)
_SMALL = 16  # bytes of payload
_DELAY, _TRAIN, _LARGE = b"d", b"t", b"l"
_TRAIN_NS = 60_000_000  # what a train takes at the rate, about
_TRAIN_MOST, _TRAIN_LEAST = 60, 4  # packets
_TRAINS, _TRAINS_THAT_FIT = 10, 2  # at most, and at least: a stall or another's packet in between spoils one
_FASTEST_NS = 100_000  # below this time on the wire a train measures its sender
_RATE_SLACK = 0.05
_HOPELESS = 0.9  # share of loss above which nothing is measured


@dataclass
class _Way:
    """One direction under measurement: who asked for what, and what came."""

    asked: Impairment
    version: int
    sent: int = 0
    arrived: int = 0
    delays: list[int] = field(default_factory=list)
    trains: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    passed: int | None = None
    rates: list[float] = field(default_factory=list)

    def note(self, data: bytes, arrived: int) -> None:
        """A packet came."""
        if len(data) < _STAMP.size:
            return
        kind, number, sent = _STAMP.unpack_from(data)
        if kind == _DELAY:
            self.arrived += 1
            self.delays.append(arrived - sent)
        elif kind == _TRAIN:
            self.trains[number].append(arrived)
        elif kind == _LARGE:
            self.passed = len(data) + _HEADERS[self.version]

    @property
    def delay_fits(self) -> bool:
        return len(self.delays) >= _SAMPLES and min(self.delays) <= _fastest_allowed_ns(self.asked, self.version)

    @property
    def period_s(self) -> float:
        """How far apart packets are sent that shall not wait for each other."""
        jitter = self.asked.jitter.ns if self.asked.jitter is not None else 0
        return max(_PERIOD_NS, 2 * self.on_wire_ns(_SMALL), jitter) / 1e9

    @property
    def train(self) -> tuple[int, int] | None:
        """(packets, bytes of payload) of a train that shows the rate; None where none does: what overtakes spreads a train too."""
        if self.asked.rate is None or self.asked.reordering or self.asked.reorder is not None:
            return None
        size = 1000 if self.asked.rate.bits_per_second >= 1_000_000 else 200
        each = self.on_wire_ns(size)
        if each < _FASTEST_NS:
            return None
        waiting = self.asked.queue_time.ns if self.asked.queue_time is not None else _TRAIN_NS
        count = max(min(_TRAIN_NS, waiting) // each, 1) + 1
        count = min(max(count, _TRAIN_LEAST) if self.asked.queue_time is None else count, _TRAIN_MOST, self.asked.queue or _TRAIN_MOST)
        return (count, size) if count >= 2 else None

    def on_wire_ns(self, payload: int) -> int:
        """How long the rate takes for one packet; 0 when there is none."""
        return _on_wire_ns(self.asked, self.version, payload)

    def weigh(self, number: int, size: int) -> None:
        """Note the rate that train ``number`` shows."""
        stamps = sorted(self.trains.get(number, ()))
        if self.asked.jitter is not None:
            stamps = stamps[len(stamps) // 2 :]  # by then all wait for the rate, and nobody's own delay shows any more
        if len(stamps) >= 2 and stamps[-1] > stamps[0]:
            self.rates.append((len(stamps) - 1) * 8 * (size + _HEADERS[self.version]) * 1e9 / (stamps[-1] - stamps[0]))

    @property
    def rate_fits(self) -> bool:
        """Whether enough trains show the rate that was asked for; one may do so by an accident of this machine."""
        assert self.asked.rate is not None
        wanted = self.asked.rate.bits_per_second
        return sum(abs(rate - wanted) <= _RATE_SLACK * wanted for rate in self.rates) >= _TRAINS_THAT_FIT

    @property
    def rate(self) -> float | None:
        """In bits per second, the middle of what the trains show."""
        return sorted(self.rates)[len(self.rates) // 2] if self.rates else None

    @property
    def measured(self) -> dict[str, Any]:
        ordered = sorted(self.delays)
        return {
            "least_delay_ns": ordered[0] if ordered else None,
            "median_delay_ns": ordered[len(ordered) // 2] if ordered else None,
            "most_delay_ns": ordered[-1] if ordered else None,
            "sent": self.sent,
            "arrived": self.arrived,
            "rate_bps": None if self.rate is None else round(self.rate),
            "passed_bytes": self.passed,
        }


def _on_wire_ns(impairment: Impairment, version: int, payload: int) -> int:
    bits = 8 * (payload + _HEADERS[version])
    return bits * 1_000_000_000 // impairment.rate.bits_per_second if impairment.rate is not None else 0


def least_delay_ns(impairment: Impairment, version: int, payload: int) -> int:
    """The least delay that the spec allows a packet of ``payload`` bytes."""
    delay = impairment.delay.ns if impairment.delay is not None else 0
    spread = LEAST_SPREAD[impairment.distribution] * impairment.jitter.ns if impairment.jitter is not None else 0
    skips = impairment.reorder is not None and impairment.reorder.count > 0
    return (0 if skips else max(round(delay + spread), 0)) + _on_wire_ns(impairment, version, payload)


def _fastest_allowed_ns(impairment: Impairment, version: int) -> int:
    """Below this the fastest of the samples must be: with jitter below the middle, for which few samples do."""
    middle = 0 if impairment.jitter is None or impairment.delay is None else impairment.delay.ns
    return max(least_delay_ns(impairment, version, _SMALL), middle) + _SLACK_NS


def largest(link: Link, impairment: Impairment) -> int:
    """The largest IP packet, in bytes, that is to pass."""
    return min(link.mtu, impairment.mtu) if impairment.mtu is not None else link.mtu


async def probe_link(build: Build, link: Link, result: dict[str, Any]) -> None:
    """Put what was asked of ``link``, what was built and what is measured into ``result["links"]``, and what differs into ``"differs"``."""
    asked = {direction: impairment_of(link, direction).at_step(0) for direction in DIRECTIONS}
    told: dict[str, Any] = {
        "asked": {d: brief(impairment_of(link, d)) for d in DIRECTIONS},
        "built": build.in_force(link),
        "measured": None,
    }
    result["links"][link.name] = told
    if any(mean_loss(impairment) > _HOPELESS for impairment in asked.values()):
        return
    first, second, ways = _ends(build, link)
    version = 4 if first.v4 is not None else 6
    here_way, there_way = (_Way(asked[d], version) for d in ways)
    one, other = (build.source_on(port, version) for port in (first, second))
    if one is None or other is None:
        told["measured"] = f"nothing: {first.path} or {second.path} has no address to measure from"
        return
    async with udp(build, first.node, one) as here, udp(build, second.node, other) as there:
        await _measure(link, here, there, here_way, there_way)
    told["measured"] = {d: way.measured for d, way in zip(ways, (here_way, there_way), strict=True)}
    for direction, way in zip(ways, (here_way, there_way), strict=True):
        result["differs"] += [f"link {link.name}, {direction}: {text}" for text in _differences(link, way)]


def mean_loss(impairment: Impairment) -> float:
    """The share of packets that is to be lost in the long run."""
    alone = impairment.loss.fraction if impairment.loss is not None else 0.0
    burst = impairment.burst.mean_loss if impairment.burst is not None else 0.0
    return 1 - (1 - alone) * (1 - burst)


def _ends(build: Build, link: Link) -> tuple[Port, Port, tuple[Direction, Direction]]:
    """Who speaks first and who answers: a NAT's outside end speaks first, since it takes nothing unasked."""
    first, second = build.topology.port(link.a), build.topology.port(link.b)
    node = build.topology.node(second.node)
    if isinstance(node, Router) and node.nat is not None and node.nat.outside == second.name:
        return second, first, ("b_to_a", "a_to_b")
    return first, second, DIRECTIONS


async def _measure(link: Link, here: trio.socket.SocketType, there: trio.socket.SocketType, out: _Way, back: _Way) -> None:
    target = there.getsockname()[:2]
    source: list[Any] = []  # where packets from here seem to come from there, once one has come
    news = trio.Event()

    async def listen(end: trio.socket.SocketType, way: _Way) -> None:
        nonlocal news
        while True:
            data, arrived, came_from = await receive(end)
            if way is out:
                source[:] = [came_from]
                if data[:1] == _DELAY:
                    back.sent += 1
                    await _send(there, _DELAY, 0, _SMALL, came_from)
            way.note(data, arrived)
            news.set()
            news = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, there, out)
        nursery.start_soon(listen, here, back)
        with trio.move_on_after(_TIME_LIMIT_S):
            while not (out.delay_fits and back.delay_fits):
                out.sent += 1
                await _send(here, _DELAY, 0, _SMALL, target)
                await trio.sleep(max(out.period_s, back.period_s))
        if not source:
            nursery.cancel_scope.cancel()
            return
        for end, way, to in ((here, out, target), (there, back, source[0])):
            with trio.move_on_after(_TIME_LIMIT_S):
                size = largest(link, way.asked) - _HEADERS[way.version]
                while way.passed is None and await _send(end, _LARGE, 0, size, to):
                    with trio.move_on_after(0.25):
                        while way.passed is None:
                            await news.wait()
            if way.train is None:
                continue
            count, size = way.train
            for number in range(_TRAINS):
                for _ in range(count):
                    await _send(end, _TRAIN, number, size, to)
                with trio.move_on_after((count * way.on_wire_ns(size) + _late_ns(way)) / 1e9):
                    while len(way.trains[number]) < count:
                        await news.wait()
                way.weigh(number, size)
                if way.rate_fits:
                    break
        nursery.cancel_scope.cancel()


def _late_ns(way: _Way) -> int:
    """How long after the rate has done its part the last packet of a train may come."""
    delay = way.asked.delay.ns if way.asked.delay is not None else 0
    return delay + (4 * way.asked.jitter.ns if way.asked.jitter is not None else 0) + 50_000_000


async def _send(end: trio.socket.SocketType, kind: bytes, number: int, size: int, target: Any) -> bool:
    """Whether a packet of ``size`` bytes could be sent at all; False when the interface's own MTU is too small for it."""
    try:
        await end.sendto(_STAMP.pack(kind, number, time.time_ns()).ljust(size, b"\0"), target)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return False
    return True


def _differences(link: Link, way: _Way) -> list[str]:
    """In words, what is not as asked."""
    if not way.delays:
        return ["nothing arrives"]
    found = []
    wanted, got = least_delay_ns(way.asked, way.version, _SMALL), min(way.delays)
    if not wanted - _EARLY_NS <= got <= _fastest_allowed_ns(way.asked, way.version):
        found.append(f"asked {wanted / 1e6:.3f} ms of least delay, measured {got / 1e6:.3f} ms")
    if way.passed is None:
        found.append(f"no packet of its MTU, {largest(link, way.asked)} bytes, passes")
    if way.train is not None and not way.rate_fits:
        seen = "nothing" if way.rate is None else f"{way.rate / 1000:.1f} kbit/s"
        found.append(f"asked a rate of {way.asked.rate}, measured {seen}")
    return found
