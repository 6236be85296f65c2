"""A run in words: what broke, when, on which way and for how long; what was done to the network, and what became of each flow.

Made from the ``Story`` alone, so that it says nothing which the charts under it do not show.  Whatever is in it came from agents, captures
and names: the page shows it as text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

from harness.report.drawing import said
from harness.report.lanes import RULED, ruled, seen_by
from harness.report.model import Report
from harness.report.story import HEARD, LATE, LOST, NOT_TAKEN, Flow, Lane, Mark, Silence, Story, unrun
from harness.report.text import amount, bound
from harness.units import Duration, many
from harness.verdict import Fault, Receipt, Result, Verdict

SILENT = 20_000
"""µs from which a silence is told, as on the page's charts."""
_SILENCES, _FEWEST = 24, 3
"""How many silences are told, shared among the flows, the longest of each; the rest of a flow are told as one."""
_MOMENTS, _OBSERVED, _WAYS = 3, 3, 6
"""How many are told of what a verdict counts, of what a receipt observed, and of the ways that a flow took."""
_PLACES = 12
"""At how many what the network dropped is told."""
_OFTEN = 4
"""How many times the same words are told before they are told once."""
_TOGETHER = 2_000
"""µs within which an agent tells of the same thing in two ways."""
_EVENTS = 40
"""Of what agents told."""
HAPPENED = ("fault", "silence", "still", "event")
"""The kinds of sentences that stand in order of time."""
_TOLD = {
    "hold",
    "adapt",
    "trouble",
    "end",
    "migrated",
    "peer_moved",
    "reclaimed",
    "suspected",
    "disconnected",
    "redialling",
    "redialled",
    "failed",
}
"""Kinds of marks on the agents' and the paths' lanes that are worth a sentence."""


class Sentence(NamedTuple):
    """``since`` and ``until``: what it is about, None: the whole run.  ``at``: its place among the others.  Times are µs since zero.

    ``kind``: "FAIL", "INCONCLUSIVE", "fault", "silence", "still", "event", "calm" or "all", for its looks.
    """

    at: int | None
    since: int | None
    until: int | None
    kind: str
    text: str


def account(story: Story, report: Report) -> list[Sentence]:
    """What broke first, then what happened in order of time, and at last each flow in all."""
    flows = [_Track(flow, which_call(story, flow)) for flow in story.flows]
    share = max(_FEWEST, _SILENCES // max(1, len(flows)))
    happened = sorted(chain(_faults(story, report), *(flow.silences(share) for flow in flows), _events(story)), key=lambda one: one.at or 0)
    calm = [] if any(one.kind in ("fault", "silence", "still") for one in happened) else [_calm(story)]
    return [*_broken(story, report, flows), *calm, *happened, *_in_all(flows), *_dropped(story)]


# -- what broke ----------------------------------------------------------------------------------------------------------------------------


def _broken(story: Story, report: Report, flows: Sequence[_Track]) -> Iterator[Sentence]:
    for verdict in report.verdicts:
        if verdict.result is Result.PASS:
            continue
        about = f" ({verdict.direction})" if verdict.direction else ""
        parts = [f"{verdict.name}{about}: {amount(verdict.value)}, wanted {bound(verdict)}"]
        since, until = _stretch(story, verdict)
        if verdict.where is not None and since is not None and until is not None:
            end = "to the end of what was judged" if not verdict.where.recovered else f"to {_at(until)}"
            counts_from = max(since, until - verdict.where.excess.ns // 1000)  # before that nothing was due
            parts.append(f"from {_at(since)} {end}{_after(story, report.faults, counts_from)}")
            parts += [flow.ways_around(since, until, verdict.where.recovered) for flow in flows if is_of(flow.flow, verdict)]
        elif verdict.moments and since is not None:
            told = [f"{_at(story.since_zero(one.at))} {one.text}".rstrip() for one in verdict.moments[:_MOMENTS]]
            more = len(verdict.moments) + verdict.more - len(told)
            parts.append(", ".join([*told, *([f"and {more} more"] if more else [])]) + _after(story, report.faults, since))
        if not all(piece in parts[-1] for piece in verdict.note.split("; ")):
            parts.append(verdict.note)
        yield Sentence(since, since, until, str(verdict.result), "; ".join(parts))


def _stretch(story: Story, verdict: Verdict) -> tuple[int | None, int | None]:
    if verdict.where is not None:
        return story.since_zero(verdict.where.start), story.since_zero(verdict.where.end)
    if verdict.moments:
        return story.since_zero(verdict.moments[0].at), story.since_zero(verdict.moments[-1].at)
    return None, None


def is_of(flow: Flow, verdict: Verdict) -> bool:
    """Whether a verdict is about a flow; older reports do not tell of which call."""
    return verdict.direction == direction(flow) and verdict.call in ("", flow.call)


def _after(story: Story, faults: Iterable[Fault], at: int) -> str:
    """How long after the newest fault before it began, or was over."""
    before = [fault for fault in faults if story.since_zero(fault.began) <= at]
    if not before:
        return ""
    newest = before[-1]
    if newest.ended is not None and story.since_zero(newest.ended) <= at:
        return f", {_length(at - story.since_zero(newest.ended))} after “{newest.name}” was over"
    return f", {_length(at - story.since_zero(newest.began))} after “{newest.name}” began"


# -- what was done -------------------------------------------------------------------------------------------------------------------------


def _faults(story: Story, report: Report) -> Iterator[Sentence]:
    """Each fault with the receipts that it had, and what was seen of no fault's."""
    seen: list[list[str]] = [[] for _ in report.faults]
    for receipt in report.receipts:
        alike = [n for n, fault in enumerate(report.faults) if fault.name == receipt.fault]
        if alike:  # of faults of one name the newest that had begun
            seen[max((n for n in alike if report.faults[n].began <= receipt.at), default=alike[0])].append(_receipt(receipt))
        else:
            at = story.since_zero(receipt.at)
            yield Sentence(at, at, at, "fault", f"⚡ {receipt.fault}. {_receipt(receipt)}")
    for fault, receipts in zip(report.faults, seen, strict=True):
        since = story.since_zero(fault.began)
        until = story.until if fault.ended is None else story.since_zero(fault.ended)
        told = "; ".join(dict.fromkeys(receipts)) or "NOBODY saw that it took effect"
        yield Sentence(since, since, until, "fault", f"⚡ {fault.name}. {told}")


def _receipt(receipt: Receipt) -> str:
    seen = receipt.observed
    if seen.keys() >= RULED:
        change = ruled(seen)
    elif {"before", "after"} <= seen.keys():
        change = f"{said(seen['before'])} → {said(seen['after'])}"
    elif receipt.kind == "link":  # by interface: "up after … → down after …"
        change = ", ".join(f"{name} {said(value).rpartition('→')[2].strip().partition(' ')[0]}" for name, value in seen.items())
    else:
        change = ", ".join(f"{name} {said(value)}" for name, value in list(seen.items())[:_OBSERVED])
    return f"{' '.join(filter(None, (receipt.kind, change)))}, {seen_by(receipt)}"


def _events(story: Story) -> Iterator[Sentence]:
    """What the agents told of their calls, their paths and what they chose to send; what was told often, once."""
    found: dict[str, list[int]] = {}
    for lane in story.lanes:
        for mark, text in _worth_telling(story, lane):
            found.setdefault(text, []).append(mark.at)
    told = []
    for text, moments in found.items():
        first, last = min(moments), max(moments)
        if len(moments) < _OFTEN:
            told += [Sentence(at, at, at, "event", text) for at in moments]
        else:
            told.append(Sentence(first, first, last, "event", f"{text}, {len(moments)} times until {_at(last)}"))
    told.sort(key=lambda one: one.at or 0)
    yield from told[:_EVENTS]
    if rest := told[_EVENTS:]:
        at, until = rest[0].at, max(one.until or 0 for one in rest)
        yield Sentence(at, at, until, "event", f"{len(rest)} more of what agents told, until {_at(until)}: in the lanes below")


def _worth_telling(story: Story, lane: Lane) -> Iterator[tuple[Mark, str]]:
    if lane.group == "state":
        acts = _endings(story, lane)
        for mark in lane.marks:
            if mark.kind in ("Failed", "Rejected") and not any(abs(at - mark.at) <= _TOGETHER for at in acts):
                yield mark, f"{lane.name}: the call is {mark.kind}"
    elif lane.group in ("act", "path"):
        partners, counted = _partners(story, lane.name), dict[str, tuple[Mark, str]]()
        for mark in lane.marks:
            if mark.kind not in _TOLD or mark.text == "call ended: ended":
                continue
            text, _, count = mark.text.rpartition(", ")
            if count.endswith(" so far"):
                counted[text] = mark, f"{lane.name}: {mark.text}"  # of a count that grows the last
            else:
                yield mark, f"{lane.name}{partners.get(mark.detail, '')}: {mark.text}"
        yield from counted.values()


def _endings(story: Story, state: Lane) -> list[int]:
    """When the agent of a lane of states said why a call ended: its state in the same moment says nothing more."""
    peer = state.name.partition(", call ")[0]
    acts = (lane for lane in story.lanes if lane.group == "act" and lane.name == peer)
    return [mark.at for lane in acts for mark in lane.marks if mark.kind in ("trouble", "end")]


def _partners(story: Story, peer: str) -> dict[str, str]:
    """By the detail of a mark of ``peer`` that names a call: with whom it was; nothing for one that talked with nobody else."""
    mine = [flow for flow in story.flows if peer in (flow.speaker, flow.listener)]
    others = {f"call {flow.call}": flow.speaker if flow.listener == peer else flow.listener for flow in mine}
    return {call: f" (call with {other})" for call, other in others.items()} if len(set(others.values())) > 1 else {}


def _calm(story: Story) -> Sentence:
    packets = sum(len(flow.offered) for flow in story.flows)
    media = (
        f"in {packets} packets of {many(len(story.flows), 'flow')} nobody was silent for {_length(SILENT)}"
        if packets
        else "no media was sent"
    )
    return Sentence(None, None, None, "calm", f"Nothing was done to the network while this ran, and {media}.")


def _in_all(flows: Sequence[_Track]) -> Iterator[Sentence]:
    """What became of each flow: those that were heard whole by one way in one sentence."""
    yield from (Sentence(None, None, None, "all", flow.in_all()) for flow in flows if not flow.whole)
    if whole := [f"{flow.name} ({many(len(flow.offered), 'packet')} by {flow.only_way()})" for flow in flows if flow.whole]:
        yield Sentence(None, None, None, "all", f"Heard whole: {', '.join(whole)}")


def _dropped(story: Story) -> Iterator[Sentence]:
    """What the network says that it dropped: of media, and of whatever else was on the wire."""
    if story.dropped:
        total, *places = story.dropped
        more = [f"and at {len(places) - _PLACES} more places"] if len(places) > _PLACES else []
        yield Sentence(None, None, None, "all", f"The network in all: {total}. {'; '.join([*places[:_PLACES], *more])}".rstrip())


# -- flows ---------------------------------------------------------------------------------------------------------------------------------


class _Track:
    """The packets of a flow, by the time at which the listener took them."""

    def __init__(self, flow: Flow, which: str) -> None:
        self.flow = flow
        self.name = direction(flow) + which
        self.offered = list(accumulate(flow.offered))
        self.way = unrun(flow.way)
        self.fate = unrun(flow.fate)
        self.heard = sorted((n for n, fate in enumerate(self.fate) if fate == HEARD), key=self.taken)
        self.arrivals = [self.taken(n) for n in self.heard]

    def taken(self, n: int) -> int:
        """When the listener took packet ``n``, one that was heard."""
        return self.offered[n] + self.flow.came[n] + self.flow.waited[n]

    def _around(self, since: int, until: int) -> tuple[int | None, int | None]:
        """The packets last heard by ``since`` and first heard from ``until`` on; a µs of rounding is granted."""
        last, first = bisect_right(self.arrivals, since + 1) - 1, bisect_left(self.arrivals, until - 1)
        return (self.heard[last] if last >= 0 else None), (self.heard[first] if first < len(self.heard) else None)

    def ways_around(self, since: int, until: int, recovered: bool = True) -> str:
        """By which way the last was heard before a silence, and by which the first after it, and what became of those between.

        ``recovered``: whether that first one came while the call was judged.
        """
        before, after = self._around(since, until)
        parts = []
        if before is not None and after is not None and self.way[before] == self.way[after] and recovered:
            parts.append(f"before and after it by {self._way(self.way[before])}")
        else:
            parts += [f"last heard by {self._way(self.way[before])}"] if before is not None else ["nothing heard before"]
            when = "" if after is None or recovered else f" only at {_at(self.taken(after))}"
            parts += [f"heard again{when} by {self._way(self.way[after])}"] if after is not None else ["nothing heard again"]
        begin = before + 1 if before is not None else bisect_left(self.offered, since)
        end = after if after is not None else bisect_right(self.offered, until)
        return ", ".join([*parts, *self._unheard(range(begin, max(begin, end)))])

    def silences(self, most: int) -> Iterator[Sentence]:
        """Of audio the silences, of pictures the times without a new one: the ``most`` longest, and how many more."""
        flow = self.flow
        kind, what = ("silence", "silent") if flow.flow == "audio" else ("still", "without a new picture")
        found = [one for one in flow.silences if one.excess >= SILENT]
        if flow.flow != "audio":
            found = [Silence(since=since, until=until, excess=until - since, recovered=True) for since, until in flow.standstills]
        found.sort(key=lambda one: -one.excess)
        for one in found[:most]:
            end = f"until {_at(one.until)}" if one.recovered else "to the end"
            text = f"{self.name}: {what} for {_length(one.excess)} {end}; {self.ways_around(one.since, one.until, one.recovered)}"
            yield Sentence(one.until - one.excess, one.since, one.until, kind, text)
        if rest := found[most:]:
            since, until = min(one.since for one in rest), max(one.until for one in rest)
            lengths = f"{_length(rest[0].excess)} at most, {_length(sum(one.excess for one in rest))} in all"
            yield Sentence(until, since, until, kind, f"{self.name}: {len(rest)} more since {_at(since)}, {lengths}")

    @property
    def whole(self) -> bool:
        """Whether every packet was heard, all by one way."""
        return len(self.heard) == len(self.offered) and len({self.way[n] for n in self.heard}) == 1

    def in_all(self) -> str:
        """How many packets were heard, by which ways, and what became of the others."""
        count = len(self.offered)
        heard = f"all {count} packets heard" if len(self.heard) == count else f"{len(self.heard)} of {count} packets heard"
        return f"{self.name} in all: {', '.join([heard, *self._unheard(range(count))])}. {self._by()}".rstrip()

    def only_way(self) -> str:
        """Of a flow that was heard whole the way."""
        return self._way(self.way[self.heard[0]])

    def _by(self) -> str:
        """The ways that its packets were heard by, one after the other: from when each was taken, back to an old one too."""
        turns: list[tuple[int, int]] = []
        for n in sorted(self.heard):  # as they were due: on two ways at once they pass each other
            if not turns or turns[-1][0] != self.way[n]:
                turns.append((self.way[n], self.taken(n)))
        told = [f"{self._way(way)} from {_at(at)}" for way, at in turns[:_WAYS]]
        more = f", and {len(turns) - _WAYS} more changes" if len(turns) > _WAYS else ""
        return f"By {', '.join(told)}{more}" if told else ""

    def _unheard(self, packets: Iterable[int]) -> list[str]:
        """What became of those of ``packets`` that were not heard, in words."""
        fates = Counter[str]()
        for n in packets:
            if self.fate[n] == LOST:
                fates[f"lost by {self._way(self.way[n])}"] += 1
            elif self.fate[n] == NOT_TAKEN:
                fates[f"came to {self.flow.listener}'s host and not taken"] += 1
            elif self.fate[n] != HEARD:
                fates["late" if self.fate[n] == LATE else "never sent"] += 1
        return [f"{count} {fate}" for fate, count in fates.items()]

    def _way(self, number: int) -> str:
        mine, theirs = self.flow.ways[number]
        return f"{self.flow.speaker}/{mine or '?'}" + (f" → {self.flow.listener}/{theirs}" if theirs is not None else "")


def direction(flow: Flow) -> str:
    """As verdicts name it."""
    return f"{flow.speaker} → {flow.listener} {flow.flow}"


def which_call(story: Story, flow: Flow) -> str:
    """Which call it is, where the same two talk in several; the charts' ``callName`` says the same."""
    calls = list(dict.fromkeys(one.call for one in story.flows if {one.speaker, one.listener} == {flow.speaker, flow.listener}))
    return f" (call {calls.index(flow.call) + 1})" if len(calls) > 1 else ""


# -- words ---------------------------------------------------------------------------------------------------------------------------------


def _at(us: int) -> str:
    return f"{us / 1e6:.3f} s"


def _length(us: int) -> str:
    return amount(Duration(us * 1000))
