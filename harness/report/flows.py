"""The flows of a page: every packet of every direction, with its silences, scores and freezes by the same code that the verdicts use.

``media.jsonl`` has them as the captures show them.  A run that ended before that was written has the agents' own records, which are then
joined here: what is shown so is what agents say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import PurePath

import msgspec
from msgspec import UNSET

from harness.media import record_join, records
from harness.media.delivery import was_late, was_not_taken
from harness.media.measures import Heard
from harness.media.records import Arrival, MediaLine, MediaPacket
from harness.media.schedule import FOREVER, pace_of
from harness.report.artifacts import Artifacts
from harness.report.clock import SPAN, Clock
from harness.report.story import HEARD, LATE, LOST, NOT_TAKEN, UNSENT, Flow, Second, Silence, delta, runs
from harness.units import Duration

STANDSTILL = 100_000_000
"""Nanoseconds without a new picture from which on a page shows it."""
_LARGEST = 0xFFFF
_STEP = 1000
"""µs by which a path's own delay must change to be shown: its bytes on a slow line change it by less, or from packet to packet."""
"""Bytes of an RTP packet, which a UDP datagram carries."""


class CallLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``calls.jsonl``: who called whom for what.  Times in ns; ``opened`` is 0 when nothing was ever to be heard.

    ``closed``: None when the run ended before the call did.  ``deadline``: by how much (ns) a packet may be late and still be played.
    ``free``: by direction ("alice → bob audio"), when the lab's schedule owed nothing (ns); those of old runs have none.
    """

    call: str
    caller: str
    callee: str
    flows: list[str]
    asked: int
    opened: int
    closed: int | None
    deadline: int
    free: dict[str, list[tuple[int, int]]] = {}


def read(artifacts: Artifacts, since_zero: Clock, until: int) -> list[Flow]:
    """The flows in the order of their calls, audio first.  ``since_zero``: ns to µs since zero.  ``until``: ns, when the run ended."""
    return [_flow(lines, one, call, since_zero) for lines, one, call in heard(artifacts, since_zero, until)]


def heard(artifacts: Artifacts, since_zero: Clock, until: int) -> Iterator[tuple[list[MediaLine], Heard, CallLine | None]]:
    """Each flow as it was heard, with its lines and its call, in the order of their calls, audio first; arguments as of ``read``."""

    def call_fit(call: CallLine) -> str:
        inside = since_zero.inside(call.asked, call.opened or None, call.closed) and 0 <= call.deadline <= SPAN
        if not inside:
            return f"its times are not of this run: asked at {call.asked}, opened at {call.opened}, closed at {call.closed}"
        ends = [end for free in call.free.values() for both in free for end in both if abs(end) != FOREVER]
        return "" if since_zero.inside(*ends) else "the times at which nothing was due are not of this run"

    def line_fit(line: MediaLine) -> str:
        taken = None if line.taken is UNSET else line.taken
        if not since_zero.inside(line.offered, line.sent, line.arrived, taken):
            return f"its times are not of this run: due at {line.offered}, sent at {line.sent}, arrived at {line.arrived}, taken at {taken}"
        if not 0 <= line.delay <= SPAN:
            return f"a delay of {line.delay} ns is no path's"
        return "" if 0 <= line.size <= _LARGEST else f"size {line.size} is no packet's"

    calls = list(artifacts.lines("calls.jsonl", CallLine, fit=call_fit))
    known = {call.call: call for call in calls}
    lines = list(artifacts.lines("media.jsonl", MediaLine, fit=line_fit)) or list(_joined(artifacts, calls, since_zero))
    order = {call.call: number for number, call in enumerate(calls)}

    def key(line: MediaLine) -> tuple[int, bool, str, str, str, str]:
        return order.get(line.call, len(order)), line.flow != "audio", line.flow, line.sender, line.receiver, line.call

    for _, group in groupby(sorted(lines, key=key), key):
        flow = list(group)  # sorting is stable: in the order in which they were due
        call = known.get(flow[0].call)
        yield flow, _heard(flow, call, until), call


def _heard(lines: Sequence[MediaLine], call: CallLine | None, until: int) -> Heard:
    first = lines[0]
    opened = call.opened if call is not None and call.opened else first.offered
    closed = (call.closed if call is not None else None) or until
    name = f"{first.sender} → {first.receiver} {first.flow}"
    pace = pace_of(first.flow)
    free = call.free.get(name) if call is not None else None
    if free is None:
        free = _pauses([line.offered for line in lines], pace.interval)
    deadline = None if call is None else Duration(call.deadline)
    packets = [_packet(line) for line in lines]
    return Heard(packets, name, opened, max(opened, closed), deadline, pace=pace, free=free, speaker=first.sender, listener=first.receiver)


def _flow(lines: Sequence[MediaLine], heard: Heard, call: CallLine | None, since_zero: Clock) -> Flow:
    first = lines[0]
    deadline = None if call is None else call.deadline
    ways: dict[tuple[str | None, str | None], int] = {}
    unsent: dict[str, int] = {}
    for line in lines:
        if line.sent is None:
            why = line.unsent or "unknown"
            unsent[why] = unsent.get(why, 0) + 1
    audio = first.flow == "audio"
    video = None if audio else heard.video()
    scored = heard.quality() if audio else []
    return Flow(
        call=first.call,
        speaker=first.sender,
        listener=first.receiver,
        flow=first.flow,
        opened=since_zero(heard.opened),
        closed=since_zero(heard.closed),
        limits=_limits(lines, deadline, since_zero),
        way=runs([ways.setdefault((line.path, line.came_by), len(ways)) for line in lines]),
        ways=[list(way) for way in ways],
        offered=delta([since_zero(line.offered) for line in lines]),
        left=[-1 if line.sent is None else max(0, line.sent - line.offered) // 1000 for line in lines],
        came=[-1 if line.arrived is None else max(0, line.arrived - line.offered) // 1000 for line in lines],
        waited=[_waited(packet) for packet in heard.packets],
        fate=runs([_fate(packet, deadline) for packet in heard.packets]),
        size=[line.size for line in lines],
        unsent=unsent,
        silences=[
            Silence(since=since_zero(gap.start), until=since_zero(gap.end), excess=gap.excess.ns // 1000, recovered=gap.recovered)
            for gap in heard.longest_gap().gaps
            if gap.excess.ns >= 1000
        ],
        seconds=[
            Second(
                since=since_zero(one.start),
                until=since_zero(one.end),
                r=round(one.r, 2),
                mos=round(one.mos, 3),
                offered=one.offered,
                unheard=one.unheard,
            )
            for one in sorted(scored, key=lambda one: one.start)
        ],
        codec=scored[0].codec if scored else "",
        frozen=[[since_zero(gap.start), since_zero(gap.end)] for gap in video.freezes] if video else [],
        standstills=[[since_zero(gap.start), since_zero(gap.end)] for gap in video.intervals if gap.excess.ns >= STANDSTILL]
        if video
        else [],
    )


def _waited(packet: MediaPacket) -> int:
    if packet.arrived is None or packet.taken is None:
        return -1
    return max(0, packet.taken - packet.arrived) // 1000


def _fate(packet: MediaPacket, deadline: int | None) -> int:
    """By the code that counts for the verdicts."""
    if not packet.arrivals:
        return UNSENT if packet.sent is None else LOST
    if was_not_taken(packet):
        return NOT_TAKEN
    return LATE if was_late(packet, deadline) else HEARD


def _limits(lines: Sequence[MediaLine], deadline: int | None, since_zero: Clock) -> list[list[int]]:
    """From when on a packet is late how long (µs) after it was due: the deadline and its path's own delay."""
    found: list[list[int]] = []
    if deadline is not None:
        for line in lines:
            limit = (deadline + line.delay) // 1000
            if not found or abs(limit - found[-1][1]) >= _STEP:
                found.append([since_zero(line.offered), limit])
    return found


def _packet(line: MediaLine) -> MediaPacket:
    """The line as the measures take it; what they do not look at is left empty."""
    arrivals = () if line.arrived is None else (Arrival(line.arrived, line.came_by or "", "", 0),)
    return MediaPacket(
        call=line.call,
        flow=line.flow,
        ssrc=line.ssrc,
        seq=line.seq,
        index=line.index,
        rtp=line.frame,
        pt=0,
        frame=line.frame,
        marker=line.marker,
        size=line.size,
        offered=line.offered,
        sent=line.sent,
        path=line.path,
        remote=None,
        udp=None,
        mode="datagram",
        unsent=line.unsent,
        arrivals=arrivals,
        taken=line.arrived if line.taken is UNSET else line.taken,
        delay=line.delay,
    )


def _pauses(places: Sequence[int], interval: int) -> list[tuple[int, int]]:
    """When nothing was owed, told by the places alone: wherever two of them are further apart than a frame and a half."""
    ordered = sorted(places)
    between = [(before + interval, after) for before, after in pairwise(ordered) if after - before > interval * 3 // 2]
    return [(-FOREVER, ordered[0]), *between, (ordered[-1] + interval, FOREVER)]


def _joined(artifacts: Artifacts, calls: Sequence[CallLine], clock: Clock) -> Iterator[MediaLine]:
    """Both directions of every call from the agents' own records, of a run that was not audited."""
    peers = dict.fromkeys(name for call in calls for name in (call.caller, call.callee))
    of = {name: list(_records(artifacts, name, clock)) for name in peers}
    for call in calls:
        for speaker, listener in ((call.caller, call.callee), (call.callee, call.caller)):
            sent = [one for one in of[speaker] if isinstance(one, records.SentRecord) and one.call == call.call]
            came = [one for one in of[listener] if isinstance(one, records.ArrivedRecord) and one.call == call.call]
            for packet in record_join.join(sent, came, sender_killed=True).packets:
                yield msgspec.json.decode(records.media_line(packet, sender=speaker, receiver=listener), type=MediaLine)


def _records(artifacts: Artifacts, name: str, clock: Clock) -> Iterator[records.Record]:
    """What can be read of one agent's records."""

    def fit(record: records.Record) -> str:
        times = (record.offered, record.sent, record.done) if isinstance(record, records.SentRecord) else (record.arrived,)
        if not clock.inside(*times):
            return f"its times {times} are not of this run"
        return "" if record.size <= _LARGEST else f"size {record.size} is no packet's"

    if not name.isprintable() or PurePath(name).name != name:
        artifacts.unread.append(f"calls.jsonl: {name!r:.40} is no peer's name")
        return
    yield from artifacts.lines(f"{name}.media.jsonl", records.Record, fit=fit)  # type: ignore[arg-type]  # a union is no type
