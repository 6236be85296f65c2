"""A run in words: what broke first, then what happened in order of time, then each flow in all; nothing that the charts do not show."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.media.figure import Figure, Gap, Moment, counted
from harness.report.account import Sentence, account
from harness.report.story import HEARD, LATE, LOST, NOT_TAKEN, UNSENT, Flow, Lane, Mark, Silence, Story, delta, runs
from harness.units import Count, Duration, ms
from harness.verdict import Fault, Receipt, Verdict, at_most, equal
from tests.unit.report.runs import made

MS = 1000
ZERO = 5_000_000_000
FAULT = Fault(name="the door shuts", began=ZERO + 400_000_000, ended=ZERO + 600_000_000)
SEEN = {"before": "a 1", "after": "b 2"}
RECEIPT = Receipt(fault=FAULT.name, kind="new 4-tuple", at=ZERO + 450_000_000, observed=SEEN, taken=True, source="capture bob")


def flow(
    fates: list[str], *, call: str = "c1", moved: int | None = None, kind: str = "audio", silences: list[Silence] | None = None
) -> Flow:
    """A packet each 20 ms from 0 on, 10 ms on the way; by LTE from ``moved`` on.

    "." heard, "x" lost, "-" never sent, "l" late, "?" not taken, "w" taken 50 ms after it came.
    """
    way = [0 if moved is None or n < moved else 1 for n in range(len(fates))]
    return Flow(
        call=call,
        speaker="alice",
        listener="bob",
        flow=kind,
        opened=0,
        closed=2_000_000,
        limits=[[0, 210 * MS]],
        ways=[["wifi", "eth"], ["lte", "eth"]],
        offered=delta(range(0, 20 * MS * len(fates), 20 * MS)),
        left=[-1 if fate == "-" else 10 for fate in fates],
        came=[{".": 10 * MS, "?": 10 * MS, "w": 10 * MS, "l": 250 * MS}.get(fate, -1) for fate in fates],
        waited=[{".": 0, "l": 0, "w": 50 * MS}.get(fate, -1) for fate in fates],
        fate=runs([{"x": LOST, "-": UNSENT, "l": LATE, "?": NOT_TAKEN}.get(fate, HEARD) for fate in fates]),
        size=[100] * len(fates),
        way=runs(way),
        unsent={},
        silences=silences or [],
        seconds=[],
        codec="",
        frozen=[],
        standstills=[],
    )


def told(flows: list[Flow], verdicts: list[Verdict] | None = None, lanes: list[Lane] | None = None, **changes: Any) -> list[Sentence]:
    report = made(verdicts or [at_most("delay", 1 * ms, 2 * ms)], **{"faults": (), "receipts": (), **changes})
    return account(Story(zero=ZERO, until=2_000_000, title="t", report={}, peers=[], flows=flows, lanes=lanes or []), report)


HOLE = Silence(since=390 * MS, until=510 * MS, excess=100 * MS, recovered=True)
BROKEN = flow([*"." * 20, "x", "x", "-", "l", *"." * 20], moved=22, silences=[HOLE])


def test_a_silence_tells_when_how_long_by_which_ways_and_what_became_of_the_packets_in_it() -> None:
    (silence,) = [one for one in told([BROKEN]) if one.kind == "silence"]
    assert silence == Sentence(
        410 * MS,
        390 * MS,
        510 * MS,
        "silence",
        "alice → bob audio: silent for 100 ms until 0.510 s; last heard by alice/wifi → bob/eth, heard again by alice/lte → bob/eth, "
        "2 lost by alice/wifi → bob/eth, 1 never sent, 1 late",
    )


def test_a_silence_that_did_not_end_says_so() -> None:
    dead = flow([*"." * 20, *"x" * 10], silences=[Silence(since=390 * MS, until=2_000_000, excess=1_590 * MS, recovered=False)])
    (silence,) = [one for one in told([dead]) if one.kind == "silence"]
    assert "silent for 1.59 s to the end; last heard by alice/wifi → bob/eth, nothing heard again, 10 lost" in silence.text


def test_what_came_again_after_the_call_was_judged_is_told_with_its_time() -> None:
    late = flow([*"." * 20, *"x" * 10, "."], silences=[Silence(since=390 * MS, until=600 * MS, excess=190 * MS, recovered=False)])
    (silence,) = [one for one in told([late]) if one.kind == "silence"]
    assert "last heard by alice/wifi → bob/eth, heard again only at 0.610 s by alice/wifi → bob/eth, 10 lost" in silence.text


def test_what_a_verdict_counts_may_be_other_than_its_figure() -> None:
    packets = tuple(Moment(ZERO + n, "130 bytes") for n in range(50))
    (first, *_) = told([BROKEN], [equal("bytes sent", Figure(Count(6500), moments=packets), 0)])
    assert first.text == "bytes sent: 6500, wanted = 0; 0.000 s 130 bytes, 0.000 s 130 bytes, 0.000 s 130 bytes, and 47 more"


def test_every_flow_is_told_in_all_and_those_heard_whole_in_one_sentence() -> None:
    *_, first, second = told([BROKEN, flow([*"." * 10], kind="video"), flow([*"." * 5], kind="screen")])
    assert first.text == (
        "alice → bob audio in all: 40 of 44 packets heard, 2 lost by alice/wifi → bob/eth, 1 never sent, 1 late. "
        "By alice/wifi → bob/eth from 0.010 s, alice/lte → bob/eth from 0.490 s"
    )
    assert second.text == (
        "Heard whole: alice → bob video (10 packets by alice/wifi → bob/eth), alice → bob screen (5 packets by alice/wifi → bob/eth)"
    )


def test_what_came_and_was_not_taken_is_told_apart_from_what_was_lost() -> None:
    texts = [one.text for one in told([flow([*"." * 20, "x", "?", "?", *"." * 20], silences=[HOLE])])]
    assert "before and after it by alice/wifi → bob/eth, 1 lost by alice/wifi → bob/eth, 2 came to bob's host and not taken" in texts[0]
    assert texts[-1].startswith("alice → bob audio in all: 40 of 43 packets heard, 1 lost by alice/wifi → bob/eth, 2 came to bob's host")


def test_a_silence_ends_with_the_packet_that_was_taken_first_and_not_with_the_one_that_came_first() -> None:
    late = Silence(since=390 * MS, until=480 * MS, excess=70 * MS, recovered=True)
    (silence,) = [one for one in told([flow([*"." * 20, "x", "w", *"." * 5], moved=21, silences=[late])]) if one.kind == "silence"]
    assert "heard again by alice/lte → bob/eth, 1 lost by alice/wifi" in silence.text
    assert told([flow([*"." * 20, *"w" * 3], moved=20)])[-1].text.endswith(
        "alice/wifi → bob/eth from 0.010 s, alice/lte → bob/eth from 0.460 s"
    )


def test_a_flow_that_comes_back_to_its_old_way_tells_so() -> None:
    there = flow(["."] * 30)
    back = msgspec.structs.replace(there, way=runs([0] * 10 + [1] * 10 + [0] * 10))
    assert told([back])[-1].text.endswith(
        "By alice/wifi → bob/eth from 0.010 s, alice/lte → bob/eth from 0.210 s, alice/wifi → bob/eth from 0.410 s"
    )
    restless = msgspec.structs.replace(there, way=runs([n % 2 for n in range(30)]))
    assert told([restless])[-1].text.endswith("alice/lte → bob/eth from 0.110 s, and 24 more changes")


def test_of_two_calls_between_the_same_two_each_is_named() -> None:
    texts = [one.text for one in told([flow([".", "x"], call="c1"), flow(["x", "."], call="c2")])]
    assert [text.partition(" in all")[0] for text in texts[1:]] == ["alice → bob audio (call 1)", "alice → bob audio (call 2)"]


def test_a_fault_has_its_receipts_and_one_that_nobody_saw_says_so() -> None:
    seen, refuted = RECEIPT, Receipt(fault=FAULT.name, kind="link", at=ZERO, observed={}, taken=False, source="rtnetlink")
    other = Fault(name="nothing happens", began=ZERO + 900_000_000)
    faults = [one for one in told([BROKEN], faults=(FAULT, other), receipts=(seen, refuted)) if one.kind == "fault"]
    assert [(one.since, one.until) for one in faults] == [(400 * MS, 600 * MS), (900 * MS, 2_000_000)]
    assert faults[0].text == "⚡ the door shuts. new 4-tuple a 1 → b 2, seen by capture bob; link, NOT SEEN by rtnetlink"
    assert faults[1].text == "⚡ nothing happens. NOBODY saw that it took effect"


def test_an_impairment_tells_what_was_and_what_is() -> None:
    impaired = {"link": "a–b", "direction": "a_to_b", "was": "", "now": "loss 30%"}
    receipt = Receipt(fault="by itself", kind="impair", at=ZERO, observed=impaired, taken=True, source="relay")
    (fault,) = [one for one in told([BROKEN], receipts=(receipt,)) if one.kind == "fault"]
    assert fault.text == "⚡ by itself. impair a–b a to b: clear → loss 30%, seen by relay"


def test_what_broke_comes_first_with_its_stretch_its_way_and_the_fault_before_it() -> None:
    gap = Gap(Duration(100_000_000), ZERO + 390_000_000, ZERO + 510_000_000)
    missed = at_most("longest silence", Figure(gap.excess, "alice → bob audio", (gap,), call="c1"), 80 * ms)
    first, *rest = told([BROKEN], [missed], faults=(FAULT,), receipts=(RECEIPT,))
    assert (first.kind, first.since, first.until) == ("FAIL", 390 * MS, 510 * MS)
    assert first.text.startswith(
        "longest silence (alice → bob audio): 100 ms, wanted ≤ 80 ms; from 0.390 s to 0.510 s, 10 ms after “the door shuts” began; "
        "last heard by alice/wifi → bob/eth, heard again by alice/lte → bob/eth"
    )
    assert [one.kind for one in rest] == ["fault", "silence", "all"]


def test_what_a_verdict_counts_is_told_with_its_moments_and_how_many_more() -> None:
    seven = [Moment(ZERO + n * 100_000_000, f"Initial {n}") for n in range(7)]
    (first, *_) = told([BROKEN], [equal("QUIC handshakes", counted(seven), 1)])
    assert first.text == "QUIC handshakes: 7, wanted = 1; 0.000 s Initial 0, 0.100 s Initial 1, 0.200 s Initial 2, and 4 more"
    assert (first.since, first.until) == (0, 600 * MS)


def test_a_note_that_says_what_its_moments_say_is_not_told_twice() -> None:
    wrong = counted([Moment(ZERO, "hold: ok")], "hold: ok")
    assert told([], [equal("operations", wrong, 0)])[0].text == "operations: 1, wanted = 0; 0.000 s hold: ok"


def test_a_verdict_that_cannot_say_when_is_told_all_the_same() -> None:
    (first, *_) = told([], [equal("left behind", Figure(Count(1), note="a socket"), 0)])
    assert first == Sentence(None, None, None, "FAIL", "left behind: 1, wanted = 0; a socket")


def test_a_run_in_which_nothing_happened_says_that() -> None:
    assert [one.text for one in told([])] == ["Nothing was done to the network while this ran, and no media was sent."]
    calm = told([flow([*"..."])])[0]
    assert (calm.kind, calm.text) == (
        "calm",
        "Nothing was done to the network while this ran, and in 3 packets of 1 flow nobody was silent for 20 ms.",
    )


def test_what_the_network_dropped_comes_last() -> None:
    dropped = ["2 packets dropped, as 4 directions of links and NATs and 3 kernels count", "home/wan → internet/a: 2 lost by its loss"]
    report = made([at_most("delay", 1 * ms, 2 * ms)], faults=(), receipts=())

    def last_of(dropped: list[str]) -> str:
        story = Story(zero=ZERO, until=2_000_000, title="t", report={}, peers=[], flows=[flow(["."] * 9)], dropped=dropped)
        return account(story, report)[-1].text

    assert last_of([]).startswith("Heard whole")
    assert last_of(dropped[:1]) == f"The network in all: {dropped[0]}."
    assert last_of(dropped) == f"The network in all: {dropped[0]}. {dropped[1]}"
    assert last_of([dropped[0], *["here: 1 picked"] * 14]).endswith("here: 1 picked; and at 2 more places")


def test_short_silences_are_not_told_and_of_many_the_longest_are() -> None:
    many = [Silence(since=n * MS, until=(n + 30) * MS, excess=(20 + n) * MS, recovered=True) for n in range(30)]
    short = Silence(since=0, until=30 * MS, excess=19_999, recovered=True)
    silences = [one for one in told([flow([*"." * 20], silences=[short, *many])]) if one.kind == "silence"]
    assert len(silences) == 25
    assert [one.text for one in silences if "more" in one.text] == ["alice → bob audio: 6 more since 0.000 s, 25 ms at most, 135 ms in all"]


def test_what_agents_told_is_in_it_as_text_with_the_last_of_a_count_and_without_an_ordinary_end() -> None:
    lanes = [
        Lane(
            group="act",
            name="alice",
            marks=[
                Mark(at=1, kind="trouble", text="cannot send over wifi: EHOSTUNREACH, 1 so far"),
                Mark(at=2, kind="trouble", text="cannot send over wifi: EHOSTUNREACH, 2 so far"),
                Mark(at=3, kind="end", text="call ended: ended"),
                Mark(at=4, kind="ask", text="asked: dial"),
                Mark(at=5, kind="end", text="call ended: <b>"),
            ],
        ),
        Lane(group="state", name="bob", marks=[Mark(at=6, kind="Failed", text="Failed"), Mark(at=7, kind="Idle", text="Idle")]),
    ]
    assert [(one.at, one.text) for one in told([], lanes=lanes) if one.kind == "event"] == [
        (2, "alice: cannot send over wifi: EHOSTUNREACH, 2 so far"),
        (5, "alice: call ended: <b>"),
        (6, "bob: the call is Failed"),
    ]
    crowd = [Lane(group="act", name="a", marks=[Mark(at=n, kind="hold", text=f"{n}") for n in range(50)])]
    events = [one for one in told([], lanes=crowd) if one.kind == "event"]
    assert len(events) == 41
    assert events[-1].text == "10 more of what agents told, until 0.000 s: in the lanes below"


def test_what_is_told_often_is_told_once() -> None:
    marks = [Mark(at=n, kind="end", text="call ended: endpoint closed") for n in range(9)]
    (event,) = [one for one in told([], lanes=[Lane(group="act", name="bob", marks=marks)]) if one.kind == "event"]
    assert event == Sentence(0, 0, 8, "event", "bob: call ended: endpoint closed, 9 times until 0.000 s")


def test_a_failed_call_whose_agent_said_why_is_told_once_and_of_several_with_whom_it_was() -> None:
    other = flow(["."], call="c2")
    flows = [flow(["."], call="c1"), msgspec.structs.replace(other, speaker="carol", listener="alice")]
    lanes = [
        Lane(group="state", name="alice, call with carol", marks=[Mark(at=1000, kind="Failed", text="Failed")]),
        Lane(group="state", name="bob", marks=[Mark(at=9000, kind="Failed", text="Failed")]),
        Lane(group="act", name="alice", marks=[Mark(at=1500, kind="trouble", text="connection failed: busy", detail="call c2")]),
    ]
    assert [one.text for one in told(flows, lanes=lanes) if one.kind == "event"] == [
        "alice (call with carol): connection failed: busy",
        "bob: the call is Failed",
    ]


def test_what_was_observed_of_a_fault_of_another_kind_is_told_as_far_as_there_is_room() -> None:
    seen = {"sent": 900, "arrived at bob": 600, "arrived at alice": 300, "copy": 900}
    hostile = Receipt(fault="a flood", kind="hostile datagrams", at=ZERO, observed=seen, taken=True, source="capture mallory")
    down = {"alice/wifi": "up after 3 sent → down after 4 sent", "home/lan": "up after 3 sent → down after 4 sent"}
    link = Receipt(fault="a flood", kind="link", at=ZERO, observed=down, taken=True, source="rtnetlink")
    first, second = [one.text for one in told([], receipts=(hostile, link)) if one.kind == "fault"]
    assert first == "⚡ a flood. hostile datagrams sent 900, arrived at bob 600, arrived at alice 300, seen by capture mallory"
    assert second == "⚡ a flood. link alice/wifi down, home/lan down, seen by rtnetlink"


def test_of_faults_of_one_name_each_has_its_own_receipts() -> None:
    twice = [Fault(name="cut", began=ZERO + at * 1_000_000, ended=ZERO + (at + 50) * 1_000_000) for at in (100, 300)]
    receipts = [
        Receipt(fault="cut", kind=kind, at=ZERO + at * 1_000_000, observed={}, taken=True, source="x")
        for kind, at in (("a", 110), ("b", 310), ("b", 320))
    ]
    assert [one.text for one in told([], faults=tuple(twice), receipts=tuple(receipts)) if one.kind == "fault"] == [
        "⚡ cut. a, seen by x",
        "⚡ cut. b, seen by x",
    ]
