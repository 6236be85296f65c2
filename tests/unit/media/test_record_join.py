"""Agents' own records joined, for the page of a run that broke off: no arrival is believed that no sent packet explains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.media.record_join import join
from harness.media.records import ArrivedRecord
from tests.unit.media.test_records import MS, into, out


def test_join_gives_each_packet_its_arrivals_and_index() -> None:
    joined = join(
        [out(0, 0), out(1, 20 * MS), out(2, 40 * MS, sent=None, done=None)], [into(1, 60 * MS), into(0, 30 * MS), into(0, 31 * MS)]
    )
    assert [packet.index for packet in joined.packets] == [0, 1, 2]
    assert [[arrival.at for arrival in packet.arrivals] for packet in joined.packets] == [[30 * MS, 31 * MS], [60 * MS], []]
    assert joined.packets[0].arrivals[0].remote == "10.0.0.1:5555"
    assert joined.packets[2].arrived is None
    assert [(packet.taken, packet.delay) for packet in joined.packets] == [(30 * MS, 0), (60 * MS, 0), (None, 0)], "agents know no more"
    assert joined.strays == []


def test_join_unwraps_sequence_numbers() -> None:
    """metrics.md §1: base 65530, one wrap, highest 9 is extended 65545, 16 expected."""
    sequence = [*range(65530, 65536), *range(10)]
    joined = join([out(seq, number * 20 * MS) for number, seq in enumerate(sequence)], [])
    indices = [packet.index for packet in joined.packets]
    assert indices[0] == 65530
    assert indices[-1] == 65545
    assert indices[-1] - indices[0] + 1 == 16


def test_a_number_that_steps_back_is_no_wrap() -> None:
    joined = join([out(5, 0), out(4, 20 * MS), out(65535, 40 * MS), out(6, 60 * MS)], [])
    assert [packet.index for packet in joined.packets] == [5, 4, -1, 6]


def test_a_packet_is_matched_with_the_latest_of_its_number_sent_by_then() -> None:
    first, second = out(5, 0), out(5, 65536 * 20 * MS, rtp=4800)
    joined = join([first, second], [into(5, second.offered + 30 * MS, rtp=4800), into(5, 30 * MS)])
    assert [packet.arrived for packet in joined.packets] == [30 * MS, second.offered + 30 * MS]


@pytest.mark.parametrize(
    ("arrival", "says"),
    [
        (into(9, 30 * MS), "no packet with this number was ever sent"),
        (into(0, 30 * MS, ssrc=8), "no packet with this number was ever sent"),
        (into(0, 100 * MS - 600_000), "before any packet with this number was sent"),
        (into(1, 200 * MS), "no packet with this number was ever sent"),  # it expired in the stack
        (into(0, 130 * MS, size=91), "size 92 became 91"),
        (into(0, 130 * MS, call="c2"), "call 'c1' became 'c2'"),
        (into(0, 130 * MS, flow="video"), "flow 'audio' became 'video'"),
        (into(0, 130 * MS, rtp=1), "rtp 0 became 1"),
        (into(0, 130 * MS, pt=96), "pt 111 became 96"),
        (into(0, 130 * MS, frame=44), "frame 0 became 44"),
        (into(0, 130 * MS, call="c2", crc=1), "call 'c1' became 'c2'"),
    ],
)
def test_an_arrival_that_nothing_sent_explains_is_evidence_against_the_agent(arrival: ArrivedRecord, says: str) -> None:
    joined = join([out(0, 100 * MS), out(1, 120 * MS, sent=None, done=None)], [arrival])
    assert [stray.record for stray in joined.strays] == [arrival]
    assert says in joined.strays[0].why
    assert all(not packet.arrivals for packet in joined.packets)


def test_a_copy_with_other_bytes_is_no_arrival_and_is_counted() -> None:
    joined = join([out(0, 0), out(1, 20 * MS)], [into(0, 30 * MS, crc=99), into(1, 50 * MS), into(1, 51 * MS, crc=99, size=91, frame=None)])
    assert [(packet.arrived, packet.corrupted) for packet in joined.packets] == [(None, 1), (50 * MS, 1)]
    assert joined.strays == []


def test_packets_offered_at_once_are_in_the_order_of_their_numbers_whichever_left_first() -> None:
    """A video frame's packets are offered together, and a record is written as its packet leaves."""
    joined = join([out(0, 0), out(65535, 0), out(1, 0)], [])
    assert [packet.index for packet in joined.packets] == [-1, 0, 1]


def test_half_a_millisecond_of_clock_conversion_is_no_accusation() -> None:
    assert join([out(0, 100 * MS)], [into(0, 100 * MS - 400_000)]).strays == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_every_arrival_is_either_a_copy_or_a_stray(copies: list[int]) -> None:
    sent = [out(seq, seq * 20 * MS) for seq in range(len(copies))]
    arrivals = [into(seq, seq * 20 * MS + 30 * MS + copy) for seq, count in enumerate(copies) for copy in range(count)]
    joined = join(sent, [*arrivals, into(999, 0)])
    assert [len(packet.arrivals) for packet in joined.packets] == copies
    assert len(joined.strays) == 1


def test_what_a_killed_sender_had_no_time_to_write_of_is_no_stray_and_an_invention_is() -> None:
    sent = [out(0, 0), out(1, 20 * MS)]
    unwritten, invented = into(2, 70 * MS), into(7, 15 * MS)
    assert [stray.record for stray in join(sent, [into(0, 30 * MS), invented, unwritten]).strays] == [invented, unwritten]
    assert [stray.record for stray in join(sent, [into(0, 30 * MS), invented, unwritten], sender_killed=True).strays] == [invented]
    assert join([], [unwritten], sender_killed=True).strays == []
