"""The names that scenarios use: each is the figure it says, or says why it is none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from harness.media.figure import Moment, Overdue
from harness.media.measures import Heard
from harness.media.records import MediaPacket
from harness.media.schedule import FOREVER, VIDEO
from harness.media.silence import TakenFrame
from harness.units import Count, Duration, ms, ns, percent, s
from tests.unit.media.flows import MS, S, again, audio, packet

OWN = 30 * MS
"""The path's own delay: a packet that takes it is not late at all."""
ALWAYS_OWED = [(-FOREVER, 0)]
"""The free time of a flow that is owed from 0 on."""


def heard(packets: list[MediaPacket], **changes: Any) -> Heard:
    fields: dict[str, Any] = {"direction": "alice → bob audio", "opened": 0, "closed": 10 * S, "deadline": 150 * ms, "free": ALWAYS_OWED}
    return Heard(**{"packets": packets} | fields | changes)


FAULTY = audio(500, lost=range(100, 110), expired=[120], delay=lambda index: OWN + (160 * MS if index == 300 else 0), own=OWN)
FAULTY[400] = again(FAULTY[400], 9 * S)


def test_every_figure_of_a_flow_with_known_faults() -> None:
    bob = heard(FAULTY, speaker="alice", listener="bob")
    assert bob.longest_gap().value == 200 * ms
    assert [(gap.start, gap.end) for gap in bob.longest_gap().gaps] == [
        (99 * 20 * MS + OWN, 110 * 20 * MS + OWN),
        (119 * 20 * MS + OWN, 121 * 20 * MS + OWN),
        (299 * 20 * MS + OWN, 301 * 20 * MS + OWN),
    ]
    assert bob.loss().value == 2.4 * percent
    assert bob.loss().note == "10 lost, 1 late, 1 never sent, of 500"
    assert bob.unheard().value == Count(12)
    assert bob.unheard().note == "10 lost, 1 late, 1 never sent, of 492", "150 ms before the end, and the path's own delay, all is decided"
    assert bob.network_loss().note == "10 of 499"
    assert [figure.value for figure in (bob.lost(), bob.late(), bob.expired(), bob.duplicates(), bob.reordered(), bob.arrived())] == [
        Count(10),
        Count(1),
        Count(1),
        Count(1),
        Count(1),
        Count(489),
    ]
    assert bob.not_taken().value == Count(0)
    assert bob.recovery(after=100 * 20 * MS).value == 230 * ms
    assert bob.longest_gap(since=100 * 20 * MS, until=111 * 20 * MS + OWN).value == 200 * ms
    assert bob.delay_p50().value == 29.99 * ms
    assert bob.quality()[0].start == 2 * S
    assert bob.losses().longest is not None
    figure = bob.longest_gap()
    assert (figure.direction, figure.speaker, figure.listener, figure.round_trip) == ("alice → bob audio", "alice", "bob", 2 * OWN)


def test_the_path_s_own_delay_makes_nothing_late() -> None:
    """The same 160 ms under way: late on a path of 0 ms, and in time on one of 30 ms."""
    for own, late in ((0, 500), (9 * MS, 500), (10 * MS, 0), (30 * MS, 0)):
        bob = heard(audio(500, delay=160 * MS, own=own), decided=10 * S)
        assert (bob.late().value, bob.unheard().value) == (Count(late), Count(late))


def test_a_flow_late_from_the_start_is_heard_all_the_same_for_silence_and_its_slip_is_silence() -> None:
    bob = heard(audio(500, delay=460 * MS, own=OWN), decided=10 * S)
    assert bob.longest_gap(until=10 * S).value == 430 * ms
    assert bob.unheard().value == Count(500)


def test_what_came_and_was_not_taken_is_a_fate_of_its_own() -> None:
    bob = heard(audio(500, lost=[5], untaken=range(200, 230), delay=OWN, own=OWN))
    assert bob.not_taken().value == Count(30)
    assert bob.not_taken().note == "of 500"
    assert bob.not_taken().moments[0] == Moment(200 * 20 * MS, "came to the listener's host by wifi → eth and was not taken")
    assert bob.lost().value == Count(1)
    assert bob.late().value == Count(0)
    assert bob.unheard().value == Count(31)
    assert bob.loss().note == "1 lost, 0 late, 0 never sent, 30 not taken, of 500"
    assert bob.unheard().note == "1 lost, 0 late, 0 never sent, 30 not taken, of 492"
    assert bob.loss().value == 6.2 * percent
    assert bob.arrived().value == Count(499)
    assert bob.longest_gap().value == 600 * ms
    assert bob.recovery(after=200 * 20 * MS).value == 630 * ms


def test_recovery_is_to_the_first_frame_due_since_then_and_says_when_there_is_none() -> None:
    bob = heard(audio(500, lost=range(100, 110), delay=OWN, own=OWN))
    assert bob.recovery(after=1 * S).value == 30 * ms
    found = bob.recovery(after=100 * 20 * MS + 1)
    assert found.value == 200 * ms + OWN * ns - 1 * ns
    assert (found.gaps[0].end, found.gaps[0].recovered, found.note) == (110 * 20 * MS + OWN, True, "")
    assert found.gaps[0].transit == OWN - 10_000
    never = heard(audio(100, delay=OWN, own=OWN)).recovery(after=2 * S)
    assert (never.value, never.note, never.gaps[0].recovered) == (8 * s, "never came back", False)


def test_one_overtaken_before_the_fault_is_no_recovery() -> None:
    """Frame 99 was due before the fault: what comes of it afterwards says nothing of the path after it."""
    packets = audio(500, lost=range(100, 110), delay=lambda index: OWN + (100 * MS if index == 99 else 0), own=OWN)
    assert heard(packets).recovery(after=100 * 20 * MS).value == 230 * ms


def test_a_source_that_pauses_is_silent() -> None:
    bob = heard(audio(490, pauses={250: 200 * MS}, delay=OWN, own=OWN))
    assert bob.longest_gap().value == 200 * ms
    (gap,) = bob.longest_gap().gaps
    assert (gap.start, gap.end) == (249 * 20 * MS + OWN, 260 * 20 * MS + OWN)


def test_a_source_that_was_asked_to_pause_is_not() -> None:
    packets = audio(490, pauses={250: 200 * MS}, delay=OWN, own=OWN)
    bob = heard(packets, free=[*ALWAYS_OWED, (5 * S, 5 * S + 200 * MS)])
    assert bob.longest_gap().value == 0 * ms
    late = heard(packets, free=[*ALWAYS_OWED, (5 * S, 5 * S + 120 * MS)])
    assert late.longest_gap().value == 80 * ms, "the source went on 80 ms after it was owed again"


def test_a_flow_that_nobody_asked_for_has_no_silence_to_measure() -> None:
    figure = heard([], free=None).longest_gap()
    assert (figure.value, figure.note) == (None, "not measured: the lab never asked for this flow")


def test_a_frame_of_several_packets_is_taken_with_its_last() -> None:
    """Video: three packets a frame.  A frame without its marker, or with one packet missing, is not heard."""
    packets = []
    for frame in range(150):
        for part in range(3):
            index, due = 3 * frame + part, VIDEO.after(frame)
            lost = (frame, part) in ((50, 1), (60, 2))
            arrived = None if lost else due + OWN + part * 4 * MS
            packets.append(packet(index, offered=due, arrived=arrived, frame=frame, marker=part == 2, rtp=3000 * frame, own=OWN))
    bob = heard(packets, pace=VIDEO, closed=VIDEO.after(150))
    assert len(bob.frames) == 148
    assert bob.frames[0] == TakenFrame(0, 10_000, OWN + 8 * MS, OWN + 8 * MS, OWN)
    assert [gap.excess.ns // MS for gap in bob.longest_gap().gaps] == [8, 33, 33], "the first frame's packets, and the two in part lost"
    assert bob.longest_gap().value == Duration(VIDEO.after(51) - VIDEO.after(49) - VIDEO.interval)
    assert bob.lost().value == Count(2)


def test_a_figure_tells_which_of_its_packets_delay_alone_can_have_cost() -> None:
    bob = heard(FAULTY)
    late = Overdue("late", 300 * 20 * MS, 300 * 20 * MS + 190 * MS, 10 * ms, 300 * 20 * MS + 10_000, 300 * 20 * MS + 190 * MS)
    given_up = Overdue("given up", 120 * 20 * MS, 120 * 20 * MS + 150 * MS)
    assert bob.late().overdue == (late,)
    assert bob.expired().overdue == (given_up,)
    assert (bob.loss().overdue, bob.loss().of) == ((late, given_up), 500)
    assert bob.unheard().overdue == (given_up, late)
    assert bob.reordered().overdue == (Overdue("overtaken", 300 * 20 * MS + 10_000, 300 * 20 * MS + 190 * MS),)
    assert bob.lost().overdue == bob.duplicates().overdue == bob.network_loss().overdue == bob.not_taken().overdue == ()


def test_what_is_counted_is_told_packet_by_packet() -> None:
    bob = heard(FAULTY)
    assert bob.lost().moments == tuple(Moment(index * 20 * MS, "lost by wifi") for index in range(100, 110))
    assert bob.network_loss().moments == bob.lost().moments
    assert bob.late().moments == (Moment(300 * 20 * MS, "late: taken 190ms after it was due, by wifi → eth"),)
    assert bob.expired().moments == (Moment(120 * 20 * MS, "never sent: expired"),)
    assert bob.duplicates().moments == (Moment(400 * 20 * MS, "came 2 times by wifi → eth"),)
    assert bob.unheard().moments == bob.loss().moments
    assert [one.at for one in bob.loss().moments] == [one.at for one in (*bob.lost().moments, *bob.expired().moments, *bob.late().moments)]
    assert bob.reordered().moments == (Moment(300 * 20 * MS + 10_000, "came 189.99ms later, overtaken"),)
    assert bob.lost(since=105 * 20 * MS).moments[0].at == 105 * 20 * MS
    assert len(heard(audio(500, lost=range(100, 300))).lost().moments) == 200
    assert bob.lost().call == bob.longest_gap().call == "c1"


def test_gaps_of_what_a_stack_may_stop_are_marked() -> None:
    pictures = [structs.replace(packet, flow="video") for packet in FAULTY]
    for bob, yields in (heard(FAULTY), False), (heard(pictures), True):
        assert {bob.longest_gap().yields, bob.recovery(after=4 * S).yields} == {yields}


def test_a_packet_that_was_refused_has_not_waited() -> None:
    refused = structs.replace(FAULTY[120], unsent="PacketTooLarge")
    assert heard([refused]).expired().value == Count(1)
    assert heard([refused]).expired().overdue == ()


def test_a_window_narrows_the_figure() -> None:
    bob = heard(FAULTY)
    assert bob.longest_gap(since=3 * S).value == 20 * ms
    assert bob.lost(until=1 * S).value == Count(0)


def test_nothing_at_all_is_never_0_where_0_is_good() -> None:
    nobody = heard([])
    assert nobody.longest_gap().value == 10 * s
    assert nobody.longest_gap().note == "to the end of the window"
    assert nobody.recovery(after=4 * S).value == 6 * s
    assert nobody.recovery(after=4 * S).note == "never came back"
    assert nobody.longest_standstill().value == 10 * s
    unmeasured = [
        nobody.loss(),
        nobody.network_loss(),
        nobody.lost(),
        nobody.late(),
        nobody.unheard(),
        nobody.not_taken(),
        nobody.expired(),
        nobody.duplicates(),
        nobody.reordered(),
        nobody.delay_p99(),
        nobody.delay_p50(),
        nobody.jitter(48_000),
        nobody.freezes(),
    ]
    for figure in unmeasured:
        assert figure.value is None
        assert figure.note.startswith("not measured: ")
    assert nobody.arrived().value == Count(0)


def test_a_window_without_length_measures_nothing() -> None:
    assert heard(FAULTY).longest_gap(since=10 * S).value is None
    assert heard([]).longest_gap(since=10 * S).value is None


def test_a_clock_step_voids_delay_and_jitter_only() -> None:
    bob = heard(FAULTY, clock_stepped=True)
    assert bob.delay_p99().value is None
    assert bob.delay() is None
    assert bob.jitter(48_000).value is None
    assert "0.5 ms" in bob.jitter(48_000).note
    assert bob.longest_gap().value == 200 * ms


def test_a_deadline_without_a_unit_is_refused() -> None:
    with pytest.raises(TypeError, match="deadline: 150 has no unit"):
        heard([], deadline=150)
    with pytest.raises(ValueError, match="ends 10000000001 ns before it begins"):
        heard([], opened=20 * S, closed=10 * S - 1)


def test_video_figures() -> None:
    flow = heard(audio(300, interval=33 * MS, lost=range(100, 120)))
    assert flow.freezes().value == Count(1)
    assert flow.freezes().note == "frozen for 693ms"
    assert flow.longest_standstill().value == 693 * ms
    assert flow.video().frames_rendered == 280
