"""The names that scenarios use: each is the figure it says, or says why it is none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from harness.media.figure import Moment, Overdue
from harness.media.measures import Heard
from harness.media.records import MediaPacket
from harness.units import Count, ms, percent, s
from tests.unit.media.flows import MS, S, again, audio


def heard(packets: list[MediaPacket], **changes: Any) -> Heard:
    return Heard(**{"packets": packets, "direction": "alice → bob audio", "opened": 0, "closed": 10 * S, "deadline": 150 * ms} | changes)


FAULTY = audio(500, lost=range(100, 110), expired=[120], delay=lambda index: 160 * MS if index == 300 else 30 * MS)
FAULTY[400] = again(FAULTY[400], 9 * S)


def test_every_figure_of_a_flow_with_known_faults() -> None:
    bob = heard(FAULTY)
    assert bob.longest_gap().value == 200 * ms
    assert len(bob.longest_gap().gaps) == 3
    assert bob.loss().value == 2.4 * percent
    assert bob.loss().note == "10 lost, 1 late, 1 never sent, of 500"
    assert bob.network_loss().note == "10 of 499"
    assert [figure.value for figure in (bob.lost(), bob.late(), bob.expired(), bob.duplicates(), bob.reordered(), bob.arrived())] == [
        Count(10),
        Count(1),
        Count(1),
        Count(1),
        Count(1),
        Count(489),
    ]
    assert bob.recovery(after=100 * 20 * MS).value == 230 * ms
    assert bob.interruption(at=100 * 20 * MS).value == 200 * ms
    assert bob.longest_pause_of_source().value == 20 * ms
    assert bob.delay_p50().value == 29.99 * ms
    assert bob.quality()[0].start == 2 * S
    assert bob.losses().longest is not None
    assert bob.longest_gap().direction == "alice → bob audio"


def test_a_figure_tells_which_of_its_packets_delay_alone_can_have_cost() -> None:
    bob = heard(FAULTY)
    late = Overdue("late", 300 * 20 * MS, 300 * 20 * MS + 160 * MS, 10 * ms)
    given_up = Overdue("given up", 120 * 20 * MS, 120 * 20 * MS + 150 * MS)
    assert bob.late().overdue == (late,)
    assert bob.expired().overdue == (given_up,)
    assert (bob.loss().overdue, bob.loss().of) == ((late, given_up), 500)
    assert bob.reordered().overdue == (Overdue("overtaken", 300 * 20 * MS + 10_000, 300 * 20 * MS + 160 * MS),)
    assert bob.lost().overdue == bob.duplicates().overdue == bob.network_loss().overdue == ()


def test_what_is_counted_is_told_packet_by_packet() -> None:
    bob = heard(FAULTY)
    assert bob.lost().moments == tuple(Moment(index * 20 * MS, "lost by wifi") for index in range(100, 110))
    assert bob.network_loss().moments == bob.lost().moments
    assert bob.late().moments == (Moment(300 * 20 * MS, "late: came after 160ms by wifi → eth"),)
    assert bob.expired().moments == (Moment(120 * 20 * MS, "never sent: expired"),)
    assert bob.duplicates().moments == (Moment(400 * 20 * MS, "came 2 times by wifi → eth"),)
    assert [one.at for one in bob.loss().moments] == [one.at for one in (*bob.lost().moments, *bob.expired().moments, *bob.late().moments)]
    assert bob.reordered().moments == (Moment(300 * 20 * MS + 10_000, "came 159.99ms later, overtaken"),)
    assert bob.lost(since=105 * 20 * MS).moments[0].at == 105 * 20 * MS
    assert len(heard(audio(500, lost=range(100, 300))).lost().moments) == 200
    assert bob.lost().call == bob.longest_gap().call == "c1"


def test_gaps_of_what_a_stack_may_stop_are_marked() -> None:
    pictures = [structs.replace(packet, flow="video") for packet in FAULTY]
    for bob, yields in (heard(FAULTY), False), (heard(pictures), True):
        assert {bob.longest_gap().yields, bob.interruption(at=4 * S).yields, bob.recovery(after=4 * S).yields} == {yields}


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
    assert nobody.interruption(at=4 * S).value == 6 * s
    assert nobody.recovery(after=4 * S).value == 6 * s
    assert nobody.recovery(after=4 * S).note == "never came back"
    assert nobody.longest_pause_of_source().value == 10 * s
    assert nobody.longest_standstill().value == 10 * s
    unmeasured = [
        nobody.loss(),
        nobody.network_loss(),
        nobody.lost(),
        nobody.late(),
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
