"""What the peer's packets say of the queue on their way here."""

from __future__ import annotations

import pytest

from harness.call.inbound import InboundDelay
from harness.rtp.packet import AUDIO_CLOCK, RtpPacket

from .world import MS, S

FRAME = 20 * MS


class Audio:
    """A source of a packet every 20 ms from 100 s on; ``come`` has the next ones arrive, each so many ns after it was made."""

    def __init__(self, *, ssrc: int = 1, timestamp: int = 0) -> None:
        self.inbound = InboundDelay(AUDIO_CLOCK)
        self.made = 100 * S
        self.ssrc = ssrc
        self.timestamp = timestamp

    def come(self, *delays: int) -> None:
        for delay in delays:
            packet = RtpPacket(payload_type=96, sequence=0, timestamp=self.timestamp & 0xFFFF_FFFF, ssrc=self.ssrc)
            self.inbound.heard(packet, self.made + delay)
            self.arrived = self.made + delay
            self.made += FRAME
            self.timestamp += 960

    def excess(self, after: int = 0) -> float:
        """In ms, so many ns after the last arrival."""
        return self.inbound.excess(self.arrived + after) * 1000


def test_a_steady_way_has_no_excess() -> None:
    audio = Audio()
    audio.come(*[30 * MS] * 10)
    assert audio.excess() == pytest.approx(0, abs=1e-6)


def test_what_packets_take_longer_than_lately_is_excess() -> None:
    audio = Audio()
    audio.come(30 * MS, 30 * MS, 45 * MS, 90 * MS)
    assert audio.excess() == pytest.approx(60, abs=1e-6)
    audio.come(40 * MS)
    assert audio.excess() == pytest.approx(10, abs=1e-6)


def test_timestamps_may_wrap() -> None:
    audio = Audio(timestamp=0xFFFF_FFFF - 2000)
    audio.come(30 * MS, 30 * MS, 30 * MS, 50 * MS)
    assert audio.excess() == pytest.approx(20, abs=1e-6)


def test_a_packet_that_was_overtaken_says_nothing() -> None:
    audio = Audio()
    audio.come(30 * MS, 30 * MS)
    late = RtpPacket(payload_type=96, sequence=0, timestamp=0, ssrc=1)
    audio.inbound.heard(late, audio.arrived + 300 * MS)
    assert audio.excess() == pytest.approx(0, abs=1e-6)


def test_a_new_source_begins_anew() -> None:
    audio = Audio()
    audio.come(30 * MS, 90 * MS)
    audio.ssrc, audio.timestamp = 2, 77_000
    audio.come(90 * MS)
    assert audio.excess() == pytest.approx(0, abs=1e-6)


def test_what_is_overdue_counts_by_as_much_as_lately() -> None:
    audio = Audio()
    audio.come(30 * MS, 30 * MS)
    assert audio.excess(after=80 * MS) == pytest.approx(0, abs=1e-6), "packets have never been overdue"
    audio.come(100 * MS, 80 * MS)  # 90 ms after the packet before, that is 70 ms overdue
    assert audio.excess() == pytest.approx(50, abs=1e-6)
    assert audio.excess(after=40 * MS) == pytest.approx(70, abs=1e-6)
    assert audio.excess(after=300 * MS) == pytest.approx(120, abs=1e-6)


def test_after_half_a_second_of_nothing_nothing_is_known() -> None:
    audio = Audio()
    audio.come(30 * MS, 90 * MS)
    assert audio.excess(after=501 * MS) == 0
    assert InboundDelay(AUDIO_CLOCK).excess(5 * S) == InboundDelay(AUDIO_CLOCK).standing() == 0


def test_a_queue_that_stands_is_no_excess_any_more_after_two_seconds_but_is_known_for_longer() -> None:
    audio = Audio()
    audio.come(*[30 * MS] * 50, *[80 * MS] * 200)
    assert audio.excess() == pytest.approx(0, abs=1e-6)
    assert audio.inbound.standing() * 1000 == pytest.approx(50, abs=0.1)


def test_a_new_path_is_learned_anew() -> None:
    audio = Audio()
    audio.come(*[30 * MS] * 50)
    audio.inbound.forget()
    audio.come(80 * MS)
    assert audio.excess() == pytest.approx(0, abs=1e-6)
    assert audio.inbound.standing() == 0
