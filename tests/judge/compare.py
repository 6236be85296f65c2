"""The harness's figures of a run beside the judge's: what differs beyond the limits, one sentence each, and a row for the table.

All that is known of the harness's files (report.json, media.jsonl) is in ``told``; where those change, it changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.judge.judged import Call, Direction, Run, flows, lines
from tests.judge.route import TIME, quantity

MS = 1_000_000
LIMIT = 1 * MS
"""Nanoseconds by which a time may differ."""
SCHEDULE = 4
"""The schema of report.json from which on silence is against the lab's schedule; earlier ones forgive what the source left out."""
SAMPLE = 5 * MS
"""What one sample of a socket's queue is wide: how exact ``taken`` is."""
SHOWN = 3
"""So many differences of packets are named for a flow; the sentence says how many there are."""

AT_HOST, TAKEN = "longest_gap_at_host", "longest_gap"
"""Under which names the harness's quality figures have the longest silence by arrivals at the host, where it says it, and by taking."""

FlowKey = tuple[str, str, str, str]
"""(call, speaker, listener, flow)"""


@dataclass(frozen=True, slots=True)
class Packet:
    """One line of media.jsonl of a packet that left: times in ns, None where it says none; ``left``, ``came``: names of interfaces."""

    departed: int | None
    arrived: int | None
    taken: int | None
    left: str
    came: str


@dataclass(frozen=True, slots=True)
class Silence:
    """One verdict about silence: its value, and when the gap ended that it is about, ns."""

    name: str
    value: int
    end: int


@dataclass(frozen=True)
class Told:
    """What the harness says of a run.

    ``packets``: by flow, then by (SSRC, sequence number).  ``quality``: by direction ("alice → bob audio"), the whole call's figures.
    ``handshakes``: what each verdict of that name counts, and of which call ("" where it does not say).  ``moves``: (before, after, when)
    of each receipt of a new 4-tuple.
    """

    schema: int
    result: str
    scenario: str
    packets: dict[FlowKey, dict[tuple[int, int], Packet]]
    quality: dict[str, dict[str, Any]]
    silences: dict[tuple[str, str], list[Silence]]
    handshakes: list[tuple[str, int]]
    moves: list[tuple[str, str, int]]

    @property
    def by_schedule(self) -> bool:
        """Whether silence, lateness and departures are by the lab's schedule and the captures, as the judge's are."""
        return self.schema >= SCHEDULE


def told(folder: Path) -> Told:
    """What the harness wrote of the run at ``folder``."""
    report = json.loads((folder / "report.json").read_text())
    packets: dict[FlowKey, dict[tuple[int, int], Packet]] = {}
    for line in lines(folder / "media.jsonl"):
        departed = line.get("departed", line.get("sent"))
        if departed is not None:
            key = line["call"], line["from"], line["to"], line["flow"]
            exact = departed if "departed" in line or report["schema"] >= SCHEDULE else None
            came = line.get("came_by") or ""
            found = Packet(exact, line["arrived"], line.get("taken"), line["path"] or "", came)
            packets.setdefault(key, {})[line["ssrc"], line["seq"]] = found
    silences: dict[tuple[str, str], list[Silence]] = {}
    handshakes = []
    for verdict in report["verdicts"]:
        value, where, call = verdict["value"], verdict.get("where"), verdict.get("call", "")
        if "silence" in verdict["name"] and value is not None and value["kind"] == "duration" and where is not None:
            silences.setdefault((call, verdict["direction"]), []).append(Silence(verdict["name"], value["count"], where["end"]))
        elif verdict["name"] == "QUIC handshakes" and value is not None:
            handshakes.append((call, value["count"]))
    moves = [
        (receipt["observed"]["before"], receipt["observed"]["after"], receipt["at"])
        for receipt in report["receipts"]
        if receipt["kind"] == "new 4-tuple" and receipt["taken"]
    ]
    quality = {name: one for name, one in report["quality"].items() if " → " in name}
    scenario = f"{report['scenario']}: {report['test']}"
    return Told(report["schema"], report["result"], scenario, packets, quality, silences, handshakes, moves)


@dataclass
class Row:
    """A row of the table: (harness, judge) of each figure; times in ms, None where the harness says none.

    ``control``: the sabotage, "" without one.  ``silence``: of the most silent flow, at the hosts' interfaces.  ``socket``:
    the longest silence as the harness saw the listener take packets (harness, judge by the same times), where that differs from arrivals.
    ``paths``: how many moves the harness has receipts of, and how many 4-tuples carried the calls at their callees' hosts.
    """

    run: str
    control: str
    packets: int = 0
    silence: tuple[float | None, float] = (None, 0.0)
    socket: tuple[float | None, float] | None = None
    lost: tuple[int, int] = (0, 0)
    late: tuple[int | None, int] = (None, 0)
    handshakes: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    paths: tuple[int, int] = (0, 0)
    worst_ms: float = 0.0
    differences: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def compare(run: Run, harness: Told, control: str = "") -> Row:
    """The row of a run, with a sentence for each figure that differs beyond the limits."""
    row = Row(harness.scenario, control)
    for call, direction in flows(run):
        _packets(row, direction, harness)
        _counts(row, call, direction, harness)
        _silence(row, call, direction, harness)
    _handshakes(row, run, harness)
    _paths(row, run, harness)
    return row


def _handshakes(row: Row, run: Run, harness: Told) -> None:
    """Each verdict against the count of its call; of one that names no call, against those of all."""
    counts = {call.id: len(call.handshakes) for call in run.calls}
    row.handshakes = [count for _, count in harness.handshakes], list(counts.values())
    for call, said in harness.handshakes:
        mine = [counts[call]] if call in counts else row.handshakes[1]
        if mine and said not in mine:
            row.differences.append(f"handshakes: the harness counts {said}, the judge {' and '.join(map(str, mine))}")


def _packets(row: Row, direction: Direction, harness: Told) -> None:
    """Each packet by itself: the same ones left and arrived, at the same times, by the same interfaces."""
    theirs = harness.packets.get((direction.call, direction.speaker, direction.listener, direction.name), {})
    mine = {packet.key: packet for packet in direction.packets}
    row.packets += len(mine)
    wrong: list[str] = []
    wrong += [f"packet {key} left by the judge alone" for key in mine.keys() - theirs.keys()]
    # Before schema 4 "sent" is the agent's word: an interface that goes down swallows such a packet before any capture sees it.
    gone = {key for key in theirs.keys() - mine.keys() if harness.by_schedule or theirs[key].arrived is not None}
    wrong += [f"packet {key} left by the harness alone" for key in gone]
    for key in mine.keys() & theirs.keys():
        ours, other = mine[key], theirs[key]
        if (ours.arrived is None) != (other.arrived is None):
            wrong.append(f"packet {key} arrived by the {'judge' if other.arrived is None else 'harness'} alone")
        for what, one, two in (("departed", ours.departed, other.departed), ("arrived", ours.arrived, other.arrived)):
            if one is not None and two is not None:
                row.worst_ms = max(row.worst_ms, abs(one - two) / MS)
                if abs(one - two) > LIMIT:
                    wrong.append(f"packet {key} {what} {(two - one) / MS:+.3f} ms by the harness")
        if other.taken is not None and ours.arrived is not None and other.taken < ours.arrived - LIMIT:
            wrong.append(f"packet {key} was taken {(ours.arrived - other.taken) / MS:.3f} ms before it arrived")
        for what, interface, name in (("left", ours.left, other.left), ("came", ours.came, other.came)):
            if interface and name and interface.partition("/")[2] != name:
                wrong.append(f"packet {key} {what} by {interface}, the harness says {name}")
    if direction.strays:
        wrong.append(f"{direction.strays} packets came to {direction.listener} that never left {direction.speaker}")
    if wrong:
        row.differences.append(f"{direction}: {len(wrong)} differences of packets: {'; '.join(sorted(wrong)[:SHOWN])}")
    lost = sum(packet.arrived is None for packet in mine.values())
    row.lost = row.lost[0] + sum(packet.arrived is None for packet in theirs.values()), row.lost[1] + lost


def _counts(row: Row, call: Call, direction: Direction, harness: Told) -> None:
    """Late packets, by the lateness of each in the schedule when the listener took it."""
    late = direction.fates(call.opened, call.closed, _socket(direction, harness))[1]
    said = harness.quality.get(str(direction), {}).get("late")
    row.late = row.late[0], row.late[1] + late
    if not harness.by_schedule or said is None:
        return
    row.late = (row.late[0] or 0) + int(said), row.late[1]
    if int(said) != late:
        row.differences.append(f"{direction}: the harness counts {said} late packets, the judge {late}")


def _silence(row: Row, call: Call, direction: Direction, harness: Told) -> None:
    """The longest silence of the call, and each verdict's."""
    flow = direction.flow()
    mine = flow.longest(call.opened, call.closed).excess
    if not harness.by_schedule:
        if mine / MS >= row.silence[1]:
            row.silence = None, mine / MS
        return
    taken = _socket(direction, harness)
    theirs = _said(direction, harness, AT_HOST if taken else TAKEN)
    if mine / MS >= row.silence[1]:
        row.silence = None if theirs is None else theirs / MS, mine / MS
    _same(row, f"{direction}: the longest silence", theirs, mine)
    if taken:
        flow = direction.flow(taken)
        seen, by_socket = _said(direction, harness, TAKEN), flow.longest(call.opened, call.closed).excess
        if row.socket is None or by_socket / MS >= row.socket[1]:
            row.socket = None if seen is None else seen / MS, by_socket / MS
        _same(row, f"{direction}: the longest silence by the socket", seen, by_socket)
    gaps = flow.gaps(0, 1 << 62)
    for one in harness.silences.get((call.id, str(direction)), []):
        near = [gap.excess for gap in [*gaps, *flow.gaps(one.end, one.end)] if abs(gap.end - one.end) <= LIMIT]
        closest = min(near, key=lambda excess: abs(excess - one.value), default=0)
        if abs(closest - one.value) > LIMIT:
            said = f"“{one.name}” is {one.value / MS:.3f} ms by the harness"
            row.differences.append(f"{direction}: {said}, and the gap that ends then {closest / MS:.3f} ms by the judge")


def _said(direction: Direction, harness: Told, name: str) -> int | None:
    said = harness.quality.get(str(direction), {}).get(name)
    return None if said is None else quantity(said, TIME)


def _same(row: Row, what: str, theirs: int | None, mine: int) -> None:
    """Hold one duration against the other (ns)."""
    if theirs is not None:
        row.worst_ms = max(row.worst_ms, abs(theirs - mine) / MS)
        if abs(theirs - mine) > LIMIT:
            row.differences.append(f"{what} is {theirs / MS:.3f} ms by the harness, {mine / MS:.3f} ms by the judge")


def _socket(direction: Direction, harness: Told) -> Mapping[tuple[int, int], int]:
    """When the listener took each packet, as the harness saw its socket; empty where that is when they arrived."""
    theirs = harness.packets.get((direction.call, direction.speaker, direction.listener, direction.name), {})
    taken = {key: one.taken for key, one in theirs.items() if one.taken is not None}
    later = any(one.taken is not None and one.arrived is not None and one.taken - one.arrived > LIMIT for one in theirs.values())
    return taken if later else {}


def socket_line(run: Run, harness: Told) -> Iterator[tuple[str, int, int]]:
    """What only the socket shows: (direction, longest silence by arrivals, the same by what the listener took, ns) of each flow.

    The second is exact to ``SAMPLE``; a listener that was stopped for t ms shows there, and not in the first.
    """
    for call, direction in flows(run):
        theirs = harness.packets.get((direction.call, direction.speaker, direction.listener, direction.name), {})
        taken = {key: one.taken for key, one in theirs.items() if one.taken is not None}
        arrived, seen = (flow.longest(call.opened, call.closed).excess for flow in (direction.flow(), direction.flow(taken)))
        yield str(direction), arrived, seen


def _paths(row: Row, run: Run, harness: Told) -> None:
    """Each move that the harness has a receipt of is one from a 4-tuple to another at the callee's host, at that time."""
    known = {path.source for call in run.calls for path in call.paths}
    row.paths = len(harness.moves), sum(path.of_call > 0 for call in run.calls for path in call.paths)
    for before, after, at in harness.moves:
        missing = [end for end in (before, after) if end not in known]
        if missing:
            row.differences.append(f"paths: the harness saw {' and '.join(missing)} at the callee's host, the judge did not")
        elif not any(abs(time - at) <= LIMIT for call in run.calls for time in call.first_of_runs(after)):
            row.differences.append(
                f"paths: the harness says that {after} followed {before} at {at}, the judge saw no first packet of it then"
            )
