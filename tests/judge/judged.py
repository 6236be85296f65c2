"""The judge's own figures of one run, from its folder: captures through tshark, keys, topology and timeline; no figure of the harness."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.judge import schedule, silence, tshark, wire
from tests.judge.clock import clock_of
from tests.judge.route import Network, network
from tests.judge.tshark import Frame

SOURCES = {"audio": silence.Source(48_000, 960)}
"""By flow; any other is video of 30 frames a second."""
VIDEO = silence.Source(90_000, 3_000)
HALF = 1 << 31


@dataclass(frozen=True, slots=True)
class Fate:
    """One RTP packet that left the speaker's host: ``departed`` and ``arrived`` (None: never) at the hosts' interfaces, ns.

    ``left``, ``came``: by which interface ("alice/wifi"; "" when it never came).  ``delay``: its path's own, ns.  ``timestamp``: RTP's,
    without wrap.  ``marker``: of a video frame the last packet has it.
    """

    ssrc: int
    sequence: int
    timestamp: int
    departed: int
    arrived: int | None
    left: str
    came: str
    delay: int
    marker: bool

    @property
    def key(self) -> tuple[int, int]:
        return self.ssrc, self.sequence


@dataclass(frozen=True, slots=True)
class FourTuple:
    """One 4-tuple at the callee's host: "ip port" of both ends, when the first and the last packet came by it (ns).

    ``packets``: how many came, and ``of_call`` how many of them were of a connection of the call.  ``resumed``: when a packet of it came
    behind one of another 4-tuple, the first one included.
    """

    source: str
    destination: str
    first: int
    last: int
    packets: int
    of_call: int
    resumed: tuple[int, ...]


@dataclass(frozen=True)
class Direction:
    """One flow of one call from ``speaker`` to ``listener``.  ``strays``: packets that came to the listener and never left the speaker."""

    call: str
    speaker: str
    listener: str
    name: str
    packets: tuple[Fate, ...]
    spans: tuple[silence.Span, ...]
    delay: int
    strays: int
    source: silence.Source

    def flow(self, taken: Mapping[tuple[int, int], int] | None = None) -> silence.Flow:
        """Its frames in their places, taken when they arrived, or later where ``taken`` (by SSRC and sequence number) says so."""
        later = taken or {}
        frames: dict[tuple[int, int], list[Fate]] = {}
        for packet in self.packets:
            frames.setdefault((packet.ssrc, packet.timestamp), []).append(packet)
        found = []
        for (ssrc, timestamp), parts in frames.items():
            whole = None
            ended = self.name == "audio" or any(part.marker for part in parts)
            if ended and all(part.arrived is not None for part in parts):
                whole = max(max(part.arrived or 0, later.get(part.key, 0)) for part in parts)
            last = max(parts, key=lambda part: part.departed)
            first = min(part.departed for part in parts)
            found.append(silence.Frame(last.departed, whole, ssrc, timestamp, last.delay, first))
        return silence.flow(found, self.spans, self.source, self.delay)

    def fates(self, since: int, until: int, taken: Mapping[tuple[int, int], int] | None = None) -> tuple[int, int]:
        """How many packets of frames due in the window were lost, and how many late (by more than P); ``taken`` as in ``flow``."""
        later = taken or {}
        parts: dict[tuple[int, int], list[Fate]] = {}
        for packet in self.packets:
            parts.setdefault((packet.ssrc, packet.timestamp), []).append(packet)
        flow = self.flow()
        lost = late = 0
        for one in flow.placed:
            if since <= one.place <= until:
                for packet in parts[one.frame.ssrc, one.frame.timestamp]:
                    lost += packet.arrived is None
                    came = None if packet.arrived is None else max(packet.arrived, later.get(packet.key, 0))
                    late += came is not None and came - one.place - packet.delay > flow.playout
        return lost, late

    def __str__(self) -> str:
        return f"{self.speaker} → {self.listener} {self.name}"


@dataclass(frozen=True)
class Call:
    """One call: ``handshakes``, the times (ns) at which its ClientHellos left; ``paths`` at the callee's host; its ``directions``."""

    id: str
    caller: str
    callee: str
    opened: int
    closed: int
    handshakes: tuple[int, ...]
    paths: tuple[FourTuple, ...]
    directions: tuple[Direction, ...]

    def first_of_runs(self, source: str) -> list[int]:
        """When a packet from ``source`` ("ip port") came to the callee's host behind one from elsewhere, ns."""
        return [at for path in self.paths if path.source == source for at in path.resumed]


@dataclass(frozen=True)
class Run:
    """What the judge found in a run; ``sealed``: packets of its calls that no key opened."""

    name: str
    calls: tuple[Call, ...]
    sealed: int


def lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file with one in each line, none when it is not there; a last line that is torn is left out."""
    found: list[dict[str, Any]] = []
    if not path.exists():
        return found
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def judge(folder: Path) -> Run:
    """The figures of the run at ``folder``; TsharkError and ClockError where its captures cannot be read."""
    timeline = lines(folder / "timeline.jsonl")
    built = network(json.loads((folder / "topology.json").read_text()), timeline)
    told = [one for one in lines(folder / "calls.jsonl") if one["opened"] and one["closed"] is not None]
    asked = schedule.requests(timeline)
    ids = [one["call"] for one in told]
    hosts = {host: _wire(folder, host, ids) for host in sorted({one[side] for one in told for side in ("caller", "callee")})}
    calls = tuple(_call(one, hosts, built, asked) for one in told)
    return Run(folder.name, calls, sum(one.sealed for one in hosts.values()))


def _wire(folder: Path, host: str, calls: Sequence[str]) -> wire.Wire:
    paths = tshark.captures(folder, host)
    clock = clock_of(paths)
    frames = [replace(frame, time=clock.monotonic(frame.time)) for frame in tshark.frames(paths, folder / "keys.log")]
    return wire.read(frames, calls)


def _call(told: dict[str, Any], hosts: Mapping[str, wire.Wire], built: Network, asked: Sequence[schedule.Request]) -> Call:
    caller, callee = told["caller"], told["callee"]
    directions = tuple(
        _direction(told["call"], speaker, listener, flow, hosts, built, asked)
        for speaker, listener in ((caller, callee), (callee, caller))
        for flow in told["flows"]
    )
    return Call(
        told["call"],
        caller,
        callee,
        told["opened"],
        told["closed"],
        tuple(handshakes(hosts[caller], hosts[callee], told["call"], told["asked"], told["closed"])),
        tuple(paths(hosts[callee], told["call"])),
        directions,
    )


def handshakes(caller: wire.Wire, callee: wire.Wire, call: str, since: int, until: int) -> list[int]:
    """When the ClientHellos left the caller's host that also came to the callee's, each once, however often its packets were sent.

    One whose connection is known to be of another call is left out.
    """
    came = {random for frame in callee.frames if not frame.outgoing for random in frame.client_hellos}
    began: dict[str, int] = {}
    for frame in caller.frames:
        if (
            frame.outgoing
            and since <= frame.time <= until
            and caller.calls.get(-1 if frame.connection is None else frame.connection, call) == call
        ):
            for random in frame.client_hellos:
                if random in came:
                    began.setdefault(random, frame.time)
    return sorted(began.values())


def paths(callee: wire.Wire, call: str) -> list[FourTuple]:
    """The 4-tuples by which UDP packets came to where the callee has ``call``, in the order of their first use."""
    mine = {number for number, of in callee.calls.items() if of == call}
    ends = {frame.destination for frame in callee.frames if not frame.outgoing and frame.connection in mine}
    found: dict[tuple[str, str], list[Frame]] = {}
    resumed: dict[tuple[str, str], list[int]] = {}
    before: tuple[str, str] | None = None
    for frame in callee.frames:
        if not frame.outgoing and frame.destination in ends:
            both = _shown(frame.source), _shown(frame.destination)
            found.setdefault(both, []).append(frame)
            if both != before:
                resumed.setdefault(both, []).append(frame.time)
            before = both
    return [
        FourTuple(
            *both,
            first=frames[0].time,
            last=frames[-1].time,
            packets=len(frames),
            of_call=sum(frame.opened and frame.connection in mine for frame in frames),
            resumed=tuple(resumed[both]),
        )
        for both, frames in found.items()
    ]


def _direction(
    call: str, speaker: str, listener: str, name: str, hosts: Mapping[str, wire.Wire], built: Network, asked: Sequence[schedule.Request]
) -> Direction:
    left = [one for one in hosts[speaker].packets if one.outgoing and one.call == call and one.flow == name]
    came = {(*one.key, one.timestamp): one for one in hosts[listener].packets if not one.outgoing and one.call == call and one.flow == name}
    usual = built.interfaces(listener)[0]
    stamps: dict[int, int] = {}
    fates = []
    for one in left:
        arrival = came.pop((*one.key, one.timestamp), None)
        stamps[one.ssrc] = unwrap(one.timestamp, stamps.get(one.ssrc, one.timestamp))
        usual = usual if arrival is None else arrival.interface
        delay = built.delay(one.interface, usual, one.at, one.size)
        arrived, by = (None, "") if arrival is None else (arrival.at, arrival.interface)
        fates.append(Fate(one.ssrc, one.sequence, stamps[one.ssrc], one.at, arrived, one.interface, by, delay, one.marker))
    spans = schedule.spans(asked, hosts[speaker].signals.get(call, []), call=call, speaker=speaker, flow=name)
    first = fates[0].delay if fates else built.delay(built.interfaces(speaker)[0], usual, 0, 0)
    return Direction(call, speaker, listener, name, tuple(fates), tuple(spans), first, len(came), SOURCES.get(name, VIDEO))


def unwrap(value: int, near: int) -> int:
    """The number that equals the 32-bit ``value`` modulo 2^32 and is nearest to ``near``."""
    step = (value - near) & 0xFFFF_FFFF
    return near + step - (1 << 32 if step >= HALF else 0)


def _shown(end: tuple[str, int]) -> str:
    return f"{end[0]} {end[1]}"


def flows(run: Run) -> Iterable[tuple[Call, Direction]]:
    """Every direction of every call."""
    return ((call, direction) for call in run.calls for direction in call.directions)
