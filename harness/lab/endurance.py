"""A call that goes on for hours: its turns, its figures leg by leg, what its processes hold, and the verdicts over all of it.

``legs.jsonl`` has two lines a leg for its directions (``LegFigures``) and one for what the processes held at its end.

Whether memory is flat is told in two forms.  From half an hour on: the median of the last two minutes' samples against that of the first
two after the warm-up of ten minutes, as a share.  A shorter call is still warming up, and a share of it says nothing: there it is KiB more
at the end than after a third of the call, against what a leak with every rebind would come to.  The same for descriptors, of which none
may be more in either form.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from harness.excuse import LONG as LONG_STALL
from harness.excuse import covered, excuse
from harness.lab.footprint import Footprint, footprint, processes
from harness.lab.legs import Leg
from harness.media import timing
from harness.media.figure import Figure, Gap
from harness.media.measures import Heard
from harness.media.records import MediaPacket
from harness.media.timing import DelaySummary
from harness.rotation import NEWEST, first, part_size
from harness.syscalls import give_back
from harness.units import Count, Duration, Ratio, ms, s
from harness.verdict import AGENT, Blame, Relation, Result, Stall, judge

if TYPE_CHECKING:
    from harness.lab.conversation import Call
    from harness.lab.lab import FaultMark, Lab

LONG = 1800 * s
WARM_UP = 600 * s
SAMPLES = 4
"""Legs whose median stands for the beginning and for the end, where there are enough."""
TELLING = 16
"""Legs of which a drift can be told: a quarter of them has a median that one stall does not move."""
NOTABLE = 50 * ms
"""Silences that are kept one by one: a judge who forgives one of them must see the next."""
SUSPECTS = 8
"""Faults of one kind whose unheard frames are kept one by one: a judge who forgives those after one must see those after the next."""
ENOUGH = 50
"""Packets by one way in one leg without which its delay is not told."""
_LONG_STALL = 5 * s
"""What a stall leaves behind is over by then."""
_AFTERMATH = 200 * ms
"""For how long after a stall, and its own length, what it has left behind is in the way."""
_DISTURBED = 200 * ms
"""Stalls in one leg that make it lose what others do not: a side that stalls sends what it owes at once, maybe to a port that is gone."""
_SLACK = 64 << 10
"""Bytes by which what is left of a file may be above what is kept: the last packet of each part, the samples of the clocks."""


class Pace(NamedTuple):
    """For how long a call goes on, how often its NAT rebinds, and how often it moves."""

    length: Duration
    rebind: Duration
    move: Duration


SHORT = Pace(12 * s, 2 * s, 4 * s)
HOURS = Pace(7200 * s, 30 * s, 300 * s)


class LegFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One leg in one direction: packets offered in it, and what became of those not heard; times in ns.

    ``silences``: the longest after each fault, by its name (the first is that of the leg before).  ``delay_p50``, ``delay_p99``: by the
    paths that packets left and came by.
    """

    leg: int
    began: int
    ended: int
    direction: str
    offered: int
    lost: int
    late: int
    unsent: int
    silences: list[tuple[str, int]]
    delay_p50: dict[str, int]
    delay_p99: dict[str, int]


class Silences:
    """The silences after all faults of one kind in one direction, a number each: of few gaps more is kept, or the runner would grow."""

    def __init__(self) -> None:
        self.longest = array("q")
        """After each fault: ns."""
        self.at = array("q")
        """When each of those began, ns; 0 where there was none."""
        self.missed = array("q")
        """How many frames were unheard after each fault."""
        self.most_missed: dict[int, Figure] = {}
        """The figures of the faults after which the most were, and of the newest, by their places in ``missed``."""
        self.gaps: list[Gap] = []
        """The notable ones, and the longest of all."""
        self.worst = ""
        """After which fault the longest was."""
        self.way = Figure(None)
        """Whose direction it is, and its round trip: the value is not kept."""

    def begin(self) -> None:
        """Another fault of this kind."""
        self.longest.append(0)
        self.at.append(0)
        self.missed.append(0)

    def miss(self, figure: Figure) -> None:
        """Frames unheard after the newest fault in one leg more; nothing where none were owed."""
        if not isinstance(figure.value, Count):
            return
        newest = len(self.missed) - 1
        self.missed[newest] += figure.value.count
        before = self.most_missed.get(newest)
        self.most_missed[newest] = figure if before is None else _together(before, figure)
        if len(self.most_missed) > SUSPECTS:
            del self.most_missed[min((place for place in self.most_missed if place != newest), key=lambda place: self.missed[place])]

    def take(self, found: Sequence[Gap], name: str) -> int:
        """Silences after the newest fault, whose name it is; how long the longest of them is, ns."""
        gap = max(found, key=lambda gap: gap.excess.ns, default=None)
        if gap is None:
            return 0
        if gap.excess.ns > max(self.longest):
            self.gaps = [one for one in self.gaps if one.excess.ns >= NOTABLE.ns] + [gap] * (gap.excess.ns < NOTABLE.ns)
            self.worst = name
        self.gaps += [one for one in found if one.excess.ns >= NOTABLE.ns]
        if gap.excess.ns > self.longest[-1]:
            self.longest[-1], self.at[-1] = gap.excess.ns, gap.start
        return gap.excess.ns

    def edges(self) -> Iterator[tuple[int, int]]:
        """From when to when each of ``longest`` was, ns."""
        return ((at, at + length) for at, length in zip(self.at, self.longest, strict=True))


class Series:
    """What is kept of all legs in one direction: packets ``offered`` in all; of each those ``lost``, its ends and median ``delay``, ns."""

    def __init__(self) -> None:
        self.offered = 0
        self.lost = array("q")
        self.began, self.ended = array("q"), array("q")
        self.delay: dict[str, array[int]] = {}

    def take(self, figures: LegFigures) -> None:
        """One more leg."""
        self.offered += figures.offered
        self.lost.append(figures.lost)
        self.began.append(figures.began)
        self.ended.append(figures.ended)
        for way, delay in figures.delay_p50.items():
            self.delay.setdefault(way, array("q")).append(delay)


class Samples:
    """What one process held: the first few samples after the warm-up, and the last few."""

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.all = 0
        """How many there were since it was warm (ns since the beginning)."""
        self.first: list[Footprint] = []
        self.last: deque[Footprint] = deque(maxlen=SAMPLES)

    def take(self, since: int, sample: Footprint) -> None:
        """One more, ``since`` ns after the first."""
        if since >= self.warm:
            self.all += 1
            self.last.append(sample)
            if len(self.first) < SAMPLES:
                self.first.append(sample)

    def compared(self) -> tuple[list[Footprint], list[Footprint]]:
        """As many from the beginning as from the end, none of them twice; none where there are not two."""
        count = min(SAMPLES, self.all // 2)
        return self.first[:count], list(self.last)[len(self.last) - count :]


@dataclass
class Turn:
    """The time from one rebind to the next.  ``moves``: in its middle the call moves."""

    number: int
    lab: Lab
    began: int
    length: Duration
    moves: bool
    faults: list[tuple[str, FaultMark]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def fault(self, kind: str) -> AsyncIterator[None]:
        """A fault of that kind; what follows it, until the next one, is judged with all others of its kind."""
        async with self.lab.fault(f"{kind}, turn {self.number}") as mark:
            self.faults.append((kind, mark))
            yield

    async def middle(self) -> None:
        """Wait for it."""
        await self._until(self.began + self.length.ns // 2)

    async def end(self) -> None:
        """Wait for it."""
        await self._until(self.began + self.length.ns)

    async def _until(self, at: int) -> None:
        await trio.sleep(max(0, at - self.lab.now()) / 1e9)


class Endurance:
    """Made once media flows; ``turns`` drives the call, ``end`` closes its last leg after the hang-up, the rest are verdicts."""

    def __init__(self, lab: Lab, call: Call) -> None:
        self.lab = lab
        self.call = call
        self.pace = lab.orders.endurance or SHORT
        self.kinds = ["start"]
        """Of all faults so far."""
        self.series: dict[str, Series] = {}
        self.silences: dict[tuple[str, str], Silences] = {}
        """By kind of fault and direction."""
        self.samples: dict[str, Samples] = {}
        self._newest = "start"
        self._faults: list[tuple[str, FaultMark]] = []
        self._legs = lab.evidence.legs(call)
        self._processes = processes({peer.name: peer.process for peer in lab.peers.values()})

    @property
    def long(self) -> bool:
        """Whether there is enough of the call to tell shares of memory and drifts of silence."""
        return self.pace.length.ns >= LONG.ns

    async def turns(self) -> AsyncIterator[Turn]:
        """The turns of the call, one after the other; at the end of each a leg is read and judged.  A call that broke has no more."""
        began = self.lab.now()
        length, every = self.pace.rebind, self.pace.move.ns
        for number in range(self.pace.length.ns // length.ns):
            middle = number * length.ns + length.ns // 2
            turn = Turn(number + 1, self.lab, began + number * length.ns, length, (middle + length.ns) // every > middle // every)
            yield turn
            await turn.end()
            self._faults += turn.faults
            if self.call.broken:
                return
            await self._leg()

    async def end(self) -> None:
        """Read and judge what is left of the call, and tell what was lost in it.

        How much a rebind costs is no bound: a side that stalls sends what it owes at once, and all of that to a port that is gone.
        """
        await self._leg()
        for direction, one in self.series.items():
            worst = max(one.lost)
            told = {"offered": one.offered, "lost": sum(one.lost), "legs": len(one.lost), "lost in the worst leg": worst}
            self.lab.evidence.quality[direction] = {**told, "worst leg": one.lost.index(worst) + 1}

    # -- figures -----------------------------------------------------------------------------------------------------------------------

    async def _leg(self) -> None:
        leg = await self._legs.end_leg()
        # A late machine leaves a turn no time, and its faults come after the end of the leg that is read in it: the next leg has them.
        faults = [(kind, mark) for kind, mark in self._faults if mark.began < leg.ended]
        self._faults = self._faults[len(faults) :]
        edges = [(self.kinds[-1], self._newest, leg.began), *((kind, mark.name, mark.began) for kind, mark in faults)]
        for heard in leg.heard.values():
            self._judge(leg, heard, edges)
        self.kinds += [kind for kind, _, _ in edges[1:]]
        self._newest = edges[-1][1]
        give_back()  # reading a leg leaves holes, the larger the busier the machine is: what is measured is what is held
        held = {}
        for name, pid in self._processes.items():
            with contextlib.suppress(OSError):
                held[name] = footprint(pid)
        if self.call.closed is None:
            self.hold(leg.ended - self.call.opened, held)
        self._write({"leg": leg.number, "at": leg.ended, "held": {name: one._asdict() for name, one in held.items()}})

    def hold(self, since: int, held: dict[str, Footprint]) -> None:
        """Take what the processes held ``since`` (ns) the call began."""
        for name, sample in held.items():
            self.samples.setdefault(name, Samples(min(WARM_UP.ns, self.pace.length.ns // 3))).take(since, sample)

    def _judge(self, leg: Leg, heard: Heard, edges: Sequence[tuple[str, str, int]]) -> None:
        """The figures of one direction; ``edges``: which fault, of which kind, is answerable from when on."""
        told = []
        for number, ((kind, name, since), until) in enumerate(zip(edges, [*(at for _, _, at in edges[1:]), leg.ended], strict=True)):
            silences = self.silences.setdefault((kind, heard.direction), Silences())
            if number or not silences.longest:
                silences.begin()
            silences.miss(heard.unheard(since, until) if until > since else Figure(None))
            figure = heard.longest_gap(since=since, until=until) if until > since else Figure(None)
            if figure.speaker:
                silences.way = Figure(None, speaker=figure.speaker, listener=figure.listener, round_trip=figure.round_trip)
            told.append((name, silences.take(figure.gaps, name)))
        counts, delays = heard.delivery(), _delays(heard)
        self.take(
            LegFigures(
                leg=leg.number,
                began=leg.began,
                ended=leg.ended,
                direction=heard.direction,
                offered=counts.offered,
                lost=counts.lost,
                late=counts.late,
                unsent=counts.expired,
                silences=told,
                delay_p50={way: one.p50.ns for way, one in delays.items()},
                delay_p99={way: one.p99.ns for way, one in delays.items()},
            )
        )

    def take(self, figures: LegFigures) -> None:
        """One more leg in one direction."""
        self.series.setdefault(figures.direction, Series()).take(figures)
        self._write(figures)

    def _write(self, line: object) -> None:
        with (self.lab.folder / "legs.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    # -- verdicts ----------------------------------------------------------------------------------------------------------------------

    def longest_silence(self, kind: str, bound: Duration) -> None:
        """Judge the longest silence after any fault of ``kind``, in either direction."""
        name = f"longest silence after a {kind}"
        found = {direction: one for (of, direction), one in self.silences.items() if of == kind}
        for direction, one in found.items():
            longest = Duration(max(one.longest))
            note = f"{one.worst or 'none'}; the median of {len(one.longest)} is {Duration(round(median(one.longest)))}"
            self.lab.at_most(name, replace(one.way, value=longest, direction=direction, gaps=tuple(one.gaps), note=note), bound)
        if not found:
            self.lab.at_most(name, Figure(None, note=f"not measured: there was no {kind}"), bound)

    def unheard(self, kind: str, bound: int) -> None:
        """Judge how many frames were unheard after any fault of ``kind``, in either direction: the most that stalls do not explain."""
        name = f"audio unheard after a {kind}"
        found = {direction: one for (of, direction), one in self.silences.items() if of == kind}
        stalls, life = self.lab.outside_stalls(), self.lab.life_so_far()
        for direction, one in found.items():
            worst = [one.most_missed[place] for place in sorted(one.most_missed, key=lambda place: -one.missed[place])]
            worst = worst or [Figure(Count(0), direction)]  # nothing was owed after any of them
            judged = ((figure, excuse(judge(name, Relation.AT_MOST, figure, bound), stalls, life)) for figure in worst)
            most = next((figure for figure, verdict in judged if verdict.result is Result.FAIL), worst[0])
            note = f"the most after one; the median of {len(one.missed)} is {round(median(one.missed))}"
            self.lab.at_most(name, replace(most, note=note), bound)
        if not found:
            self.lab.at_most(name, Figure(None, note=f"not measured: there was no {kind}"), bound)

    def drifts(self, *, delay: Duration, silence: Duration, lost: int) -> None:
        """Judge how far the medians of the last quarter of the call lie from those of the first; of ``TELLING`` legs and more.

        One-way delay by the paths at both ends; of a long call also by how much the silence after each kind of fault grew, and how many
        more packets were lost in a leg.  Of these two what happened while an agent stalled is left out, if that might come to the bound: a
        machine that is busier at the end than at the beginning is no drift, and shorter stalls move no median by more.
        """
        stalls = sorted(self.stalls(), key=lambda stall: stall.end)
        for direction, one in self.series.items():
            if len(one.lost) < TELLING:
                continue
            for way, values in sorted(one.delay.items()):
                early, late = _quarters(values)
                note = f"{Duration(round(early))} in the first quarter of {len(values)}, {Duration(round(late))} in the last"
                figure = Figure(Duration(round(abs(late - early))), direction, note=note)
                self.lab.at_most(f"drift of the median delay, {way}", figure, delay)
            if not self.long:
                continue
            for (kind, of), silences in self.silences.items():
                if of == direction and kind != "start":
                    quiet = _quiet(silences.longest, silences.edges(), stalls, silence.ns)
                    self._grown(f"drift of the silence after a {kind}", quiet, len(silences.longest), silence, direction)
            whole = len(one.lost) - 1  # the last leg is what was left
            quiet = _quiet(one.lost[:whole], zip(one.began, one.ended, strict=True), stalls, _DISTURBED.ns)
            self._grown("drift of the packets lost in a leg", quiet, whole, Count(lost), direction)

    def stalls(self) -> list[Stall]:
        """Those of agents and machine until now that are not short."""
        return [stall for stall in self.lab.outside_stalls() if stall.end - stall.start >= LONG_STALL]

    def _grown(self, name: str, values: Sequence[int], of: int, bound: Duration | Count, direction: str) -> None:
        if 2 * len(values) < of or len(values) < 2:
            note = f"not measured: agents stalled in {of - len(values)} of {of}"
            self.lab.at_most(name, Figure(None, direction, note=note), bound, blame=Blame.ENVIRONMENT)
            return
        early, late = (type(bound)(round(value)) for value in _quarters(values))
        without = f"; {of - len(values)} in which agents stalled are left out" if len(values) < of else ""
        note = f"{early} in the first quarter of {len(values)}, {late} in the last{without}"
        self.lab.at_most(name, Figure(type(bound)(max(0, late.count - early.count)), direction, note=note), bound)

    def flat(self, *, share: Ratio, agents_kib: int, others_kib: int) -> None:
        """Judge that no process holds more at the end than it did when it was warm: by ``share`` in a long call, else in KiB."""
        for name in self._processes:
            mine = name.startswith(AGENT)
            blame = Blame.PRODUCT if mine else Blame.HARNESS
            memory = f"memory growth, {name}" if self.long else f"KiB of memory grown, {name}"
            bound = share if self.long else Count(agents_kib if mine else others_kib)
            early, late = self.samples[name].compared() if name in self.samples else ([], [])
            if not early:
                self.lab.at_most(memory, Figure(None, note="not measured: it could not be looked at often enough"), bound, blame=blame)
                continue
            before, after = (round(median(one.memory for one in some)) for some in (early, late))
            grown = max(after - before, 0)
            value = Ratio(grown * 10**12 // before) if self.long else Count(grown >> 10)
            self.lab.at_most(memory, Figure(value, note=f"{before >> 10} KiB, then {after >> 10}", timeless=True), bound, blame=blame)
            opened = max(late[-1].descriptors - early[0].descriptors, 0)
            note = f"{early[0].descriptors}, then {late[-1].descriptors}"
            self.lab.at_most(f"descriptors more, {name}", Figure(Count(opened), note=note, timeless=True), 0, blame=blame)

    def bounded(self) -> None:
        """Judge that no file that grows with the call takes more than is kept of one, all its parts together.

        The timeline and ``legs.jsonl``, which grow by lines and not by packets, are counted in the sum that is told.
        """
        sizes: dict[Path, int] = {}
        for path in self.lab.folder.rglob("*"):
            if path.is_file():
                sizes[first(path)] = sizes.get(first(path), 0) + path.stat().st_size
        rotated = [path for path in sizes if path.suffix in (".pcapng", ".sqlog") or path.name.endswith("media.jsonl")]
        largest = max(rotated, key=lambda path: sizes[path])
        note = f"{largest.name}; all {len(sizes)} files take {sum(sizes.values()) >> 20} MiB"
        kept = (1 + NEWEST) * part_size() + _SLACK
        figure = Figure(Count(sizes[largest] >> 10), note=note, timeless=True)
        self.lab.at_most("KiB of the largest file, all its parts", figure, kept >> 10, blame=Blame.HARNESS)


def _quiet(values: Iterable[int], edges: Iterable[tuple[int, int]], stalls: Sequence[Stall], least: int) -> list[int]:
    """Those of ``values`` in whose time stalls of less than ``least`` ns together were in the way; ``stalls`` by their ends."""
    ends = [stall.end for stall in stalls]
    found = []
    for value, (since, until) in zip(values, edges, strict=False):
        near = stalls[bisect_left(ends, since - _LONG_STALL.ns) : bisect_right(ends, until + _LONG_STALL.ns)]
        in_the_way = (stall for stall in near if 2 * stall.end - stall.start + _AFTERMATH.ns > since)
        if covered(in_the_way, min(since, 0), until) < least:
            found.append(value)
    return found


def _together(one: Figure, other: Figure) -> Figure:
    """What two legs missed after one fault."""
    assert isinstance(one.value, Count) and isinstance(other.value, Count)
    return replace(
        other,
        value=Count(one.value.count + other.value.count),
        gaps=one.gaps + other.gaps,
        overdue=one.overdue + other.overdue,
        moments=one.moments + other.moments,
    )


def _quarters(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the first quarter and of the last."""
    count = max(1, len(values) // 4)
    return median(values[:count]), median(values[-count:])


def _delays(heard: Heard) -> dict[str, DelaySummary]:
    """The one-way delay by the paths that packets left and came by, of those by which there were enough; none when the clock stepped."""
    ways: dict[str, list[MediaPacket]] = {}
    for packet in heard.packets if not heard.clock_stepped else ():
        if packet.path and packet.arrivals:
            ways.setdefault(f"{packet.path} → {packet.arrivals[0].path}", []).append(packet)
    found = {way: timing.delay(packets, since=heard.opened, until=heard.closed) for way, packets in sorted(ways.items())}
    return {way: summary for way, summary in found.items() if summary is not None and summary.packets >= ENOUGH}
