"""The worked values of RFC 3550's statistics."""

from __future__ import annotations

import pytest

from harness.rtp.reception import Reception, fraction_lost
from harness.rtp.rtcp import LOST_MAX, LOST_MIN

MS = 1_000_000


def opus() -> Reception:
    return Reception(1, 48_000)


def test_extended_sequence_numbers_across_a_wrap() -> None:
    source = opus()
    for sequence in (65530, 65535, 0, 9):
        source.receive(sequence, 0, 0)
    assert source.extended_max == 65545
    assert source.expected == 16
    assert source.lost == 12


def test_fraction_lost() -> None:
    assert fraction_lost(50, 48) == 10
    assert fraction_lost(50, 50) == 0
    assert fraction_lost(50, 55) == 0
    assert fraction_lost(0, 0) == 0
    assert fraction_lost(50, 0) == 255


def test_fraction_lost_covers_the_interval_since_the_last_report() -> None:
    source = opus()
    for sequence in range(50):
        source.receive(sequence, 0, 0)
    assert source.report(0).fraction_lost == 0
    for sequence in range(50, 100):
        if sequence not in (60, 70):
            source.receive(sequence, 0, 0)
    report = source.report(0)
    assert (report.fraction_lost, report.lost) == (10, 2)
    assert source.report(0).fraction_lost == 0


def test_duplicates_make_loss_negative() -> None:
    source = opus()
    for sequence in (1, 2, 2, 2):
        source.receive(sequence, 0, 0)
    assert source.lost == -2
    assert source.report(0).fraction_lost == 0


def test_jitter_of_the_worked_example() -> None:
    source = opus()
    seen = []
    for index, arrival in enumerate((0, 20, 45, 60, 80)):
        source.receive(index, 960 * index, arrival * MS)
        seen.append(source.jitter)
    assert seen == pytest.approx([0, 0, 15, 29.0625, 27.2461], abs=1e-4)
    assert source.jitter / 48 == pytest.approx(0.5676, abs=1e-4)
    assert source.jitter_scaled == 436
    assert source.report(0).jitter == 27


def test_alternating_jitter_converges() -> None:
    source = opus()
    for index in range(400):
        source.receive(index, 960 * index, (20 * index + 5 * (index % 2)) * MS)
    assert source.jitter_ns / MS == pytest.approx(5.0, abs=0.01)


def test_jitter_survives_a_wrap_of_the_timestamp() -> None:
    source = opus()
    start = (1 << 32) - 960 * 3
    for index in range(10):
        source.receive(index, (start + 960 * index) % (1 << 32), 20 * index * MS)
    assert source.jitter == 0


def test_reordering_is_not_loss_and_a_restart_begins_anew() -> None:
    source = opus()
    for sequence in (10, 12, 11, 13):
        source.receive(sequence, 0, 0)
    assert (source.lost, source.expected) == (0, 4)
    source.receive(40_000, 0, 0)
    assert source.expected == 4
    source.receive(40_001, 0, 0)
    assert (source.expected, source.received) == (1, 1)


def test_a_late_packet_from_before_the_wrap() -> None:
    source = opus()
    for sequence in (65534, 1, 65535, 0, 2):
        source.receive(sequence, 0, 0)
    assert (source.extended_max, source.lost) == (65538, 0)


def test_clamped_to_24_bits() -> None:
    source = opus()
    source.receive(0, 0, 0)
    source._cycles = 1 << 30
    assert source.report(0).lost == LOST_MAX
    source._cycles = 0
    source.received = 1 << 30
    assert source.report(0).lost == LOST_MIN


def test_time_since_the_senders_report() -> None:
    source = opus()
    source.receive(0, 0, 0)
    assert (source.report(0).last_sr, source.report(0).delay_since_sr) == (0, 0)
    source.heard_sender_report(0x1122_3344_5566_7788, 1000 * MS)
    report = source.report(1500 * MS)
    assert (report.last_sr, report.delay_since_sr) == (0x3344_5566, 32768)
