"""When video is halved, stopped, tried with padding and given back: the rules alone, then on a network that narrows and widens."""

from __future__ import annotations

import itertools
import random

import pytest

from harness.call.adaptation import Adaptation, CallQualityMetrics, Decision, Pressure, Word
from harness.call.events import MediaUpdated, QualityChanged, VideoAdapted
from harness.call.quality import STEP, Padding
from harness.call.reports import Outcome, Reporter
from harness.rtp.packet import RtpPacket, parse_rtp_untrusted
from harness.rtp.rtcp import ReceiverReport, ReportBlock, encode_compound
from harness.spec.link import Impairment
from harness.units import kbit

from .conftest import Identity
from .test_congestion import fates, two
from .world import MS, Host, S

GOOD = {"rtt_ms": 99.9, "packet_loss_percent": 0.9, "jitter_ms": 19.9, "bandwidth_kbps": 500.1}


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("rtt_ms", 99.9, "good"),
        ("rtt_ms", 100, "fair"),
        ("rtt_ms", 200, "fair"),
        ("rtt_ms", 200.1, "adapt"),
        ("packet_loss_percent", 1, "fair"),
        ("packet_loss_percent", 3, "fair"),
        ("packet_loss_percent", 3.1, "adapt"),
        ("jitter_ms", 20, "fair"),
        ("jitter_ms", 40, "fair"),
        ("jitter_ms", 40.1, "adapt"),
        ("bandwidth_kbps", 500, "fair"),
        ("bandwidth_kbps", 300, "fair"),
        ("bandwidth_kbps", 299.9, "adapt"),
    ],
)
def test_the_bounds_are_exclusive(field: str, value: float, word: Word) -> None:
    assert CallQualityMetrics(**{**GOOD, field: value}).word == word


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("queueing_ms", 74.9, "good"),
        ("queueing_ms", 75, "fair"),
        ("queueing_ms", 150, "fair"),
        ("queueing_ms", 150.1, "adapt"),
        ("packet_loss_percent", 1, "fair"),
        ("packet_loss_percent", 3, "fair"),
        ("packet_loss_percent", 3.1, "adapt"),
        ("jitter_ms", 20, "fair"),
        ("jitter_ms", 40.1, "adapt"),
        ("held_back_percent", 0.9, "good"),
        ("held_back_percent", 1, "fair"),
        ("held_back_percent", 10, "fair"),
        ("held_back_percent", 10.1, "adapt"),
    ],
)
def test_what_decides_about_video_is_on_the_way_that_it_takes(field: str, value: float, word: Word) -> None:
    easy = {"queueing_ms": 0.0, "packet_loss_percent": 0.9, "jitter_ms": 19.9, "held_back_percent": 0.0}
    assert Pressure(**{**easy, field: value}).word == word


class Windows:
    """An Adaptation with N = 3 and M = 5, fed words; video offers what it may."""

    def __init__(self) -> None:
        self.adaptation = Adaptation(3, 5)

    def __call__(self, words: str) -> list[int | None]:
        """One letter a window (g, f, a): what video may use after each."""
        found = []
        for letter in words:
            allowed = self.adaptation.kbps
            word: Word = {"g": "good", "f": "fair", "a": "adapt"}[letter]  # type: ignore[assignment]
            self.adaptation.window(word, 400 if allowed is None else allowed)
            found.append(self.adaptation.kbps)
        return found


def test_three_bad_windows_halve_and_three_more_stop() -> None:
    windows = Windows()
    assert windows("gaaa") == [None, None, None, 200]
    assert windows("aaaaa") == [200, 200, 0, 0, 0]


def test_only_bad_windows_in_a_row_count() -> None:
    assert Windows()("aafaagaa") == [None] * 8


def test_without_video_there_is_nothing_to_take() -> None:
    adaptation = Adaptation(3, 5)
    assert [adaptation.window("adapt", 0) for _ in range(9)] == [None] * 9


def test_five_good_windows_and_a_probe_of_two_give_it_back() -> None:
    windows = Windows()
    windows("aaaaaa")
    windows("gggg")
    assert windows.adaptation.probe_kbps == 0
    windows("g")
    assert windows.adaptation.probe_kbps == 400
    assert windows("gg") == [0, None]
    assert windows.adaptation.probe_kbps == 0


def test_half_a_video_is_made_up_by_half_the_padding() -> None:
    windows = Windows()
    windows("aaaggggg")
    assert windows.adaptation.probe_kbps == 200
    assert windows.adaptation.window("fair", 200) is None
    assert windows.adaptation.window("fair", 200) == Decision(400, "400 kbit/s of padding went through")


@pytest.mark.parametrize("fails", ["by a window", "by its delay"])
def test_a_failed_probe_doubles_the_patience(fails: str) -> None:
    windows = Windows()
    windows("aaaaaaggggg")
    assert windows.adaptation.probe_kbps
    if fails == "by a window":
        windows("a")
    else:
        assert windows.adaptation.probe_failed("late") == Decision(0, "the probe failed, late")
    assert windows("g" * 9) == [0] * 9
    assert not windows.adaptation.probe_kbps
    windows("g")
    assert windows.adaptation.probe_kbps


def test_a_return_that_does_not_last_doubles_the_patience_and_one_that_lasts_is_forgiven() -> None:
    windows = Windows()
    assert windows("aaaaaaggggggg")[-1] is None
    assert windows("gaaaaaa")[-1] == 0
    windows("g" * 9)
    assert not windows.adaptation.probe_kbps
    windows("g")
    assert windows.adaptation.probe_kbps
    windows("gg" + "g" * 10 + "aaaaaa" + "g" * 5)
    assert windows.adaptation.probe_kbps


def decided(host: Host) -> list[int]:
    """What video was allowed, change by change."""
    return [kbps for kbps, _ in itertools.groupby(event.kbps for event in host.all(VideoAdapted))]


@pytest.mark.long
def test_video_falls_in_steps_stays_away_and_returns_once(identity: Identity) -> None:
    world, alice, bob = two(identity)
    fall = world.now
    alice.paths["eth"].impair(Impairment(rate=150 * kbit, queue=50), fall)
    world.run(20 * S)
    for speaker, listener in ((alice, bob), (bob, alice)):
        first, *rest = decided(speaker)
        assert 180 <= first <= 220
        assert rest == [0], [(e.at / 1e9, e) for e in speaker.all(VideoAdapted)]
        last = speaker.all(VideoAdapted)[-1]
        assert last.why == "the probe failed, packets queue on the way"
        assert speaker.endpoint.stats(last.call).sent["padding"]
        stopped = next(event.at for event in speaker.all(VideoAdapted) if event.kbps == 0)
        assert not [e for e in listener.heard(stopped + 500 * MS) if e.flow == "video"]
        assert [(e.audio, e.video, e.by) for e in listener.all(MediaUpdated) if e.by == "peer"] == [(True, False, "peer")]
    lifted = world.now
    alice.paths["eth"].impair(Impairment(), lifted)
    world.run(25 * S)
    for speaker, listener in ((alice, bob), (bob, alice)):
        offered, played = fates(world, speaker, listener, "audio", fall)
        assert played >= 0.98 * offered
        assert len(decided(speaker)) == 3, [(e.at / 1e9, e.kbps, e.why) for e in speaker.all(VideoAdapted)]
        assert decided(speaker)[-1] >= 380
        assert [e.video for e in listener.all(MediaUpdated) if e.by == "peer"] == [False, True]
        assert [e for e in listener.heard(world.now - S) if e.flow == "video"]


@pytest.mark.long
def test_a_stack_that_may_not_adapt_does_not(identity: Identity) -> None:
    world, alice, _ = two(identity, adapt=False)
    alice.paths["eth"].impair(Impairment(rate=150 * kbit, queue=50), world.now)
    world.run(12 * S)
    assert decided(alice) == []
    assert {event.word for event in alice.all(QualityChanged)} >= {"adapt"}


@pytest.mark.long
def test_an_outage_says_nothing_about_video(identity: Identity) -> None:
    world, alice, bob = two(identity)
    alice.paths["eth"].up = False
    world.run(8 * S)
    alice.paths["eth"].up = True
    world.run(5 * S)
    assert decided(alice) == decided(bob) == []


@pytest.mark.long
def test_quality_is_told_once_a_second_and_is_good_on_a_good_path(identity: Identity) -> None:
    world, alice, _ = two(identity)
    since = world.now
    world.run(10 * S)
    told = [event for event in alice.all(QualityChanged) if event.at > since]
    assert len(told) == 10
    assert {event.word for event in told} == {"good"}
    assert all(20 <= event.rtt_ms <= 60 and event.packet_loss_percent == 0 for event in told)


@pytest.mark.long
def test_loss_is_that_of_the_window_as_the_peer_reports_it(identity: Identity) -> None:
    world, alice, _ = two(identity)
    alice.paths["eth"].drop = lambda data, outward: outward and world.random.random() < 0.1
    world.run(6 * S)
    lossy = [event.packet_loss_percent for event in alice.all(QualityChanged)][-4:]
    assert 5 < sum(lossy) / 4 < 15
    alice.paths["eth"].drop = lambda data, outward: False
    world.run(4 * S)
    assert alice.all(QualityChanged)[-1].packet_loss_percent == 0


def paid(padding: Padding, until: int, step: int = STEP) -> int:
    """Bytes of padding given out up to ``until``, asked every ``step``."""
    return sum(packet.padding for now in range(step, until + 1, step) for packet in padding.due(now))


def test_padding_swells_for_a_second_to_its_rate() -> None:
    padding = Padding(random.Random(1))
    assert padding.next is None
    padding.begin(400, 0)
    assert padding.next == STEP
    assert paid(padding, S // 2) == pytest.approx(50_000 / 8, abs=255)
    padding.begin(400, 0)
    assert paid(padding, S) == pytest.approx(50_000 / 2, abs=255)
    padding.begin(400, 0)
    assert paid(padding, 2 * S) == pytest.approx(50_000 * 1.5, abs=255)


def test_padding_that_was_late_does_not_catch_up_in_a_burst() -> None:
    padding = Padding(random.Random(1))
    padding.begin(400, 0)
    paid(padding, 2 * S)
    assert sum(packet.padding for packet in padding.due(2 * S + S // 2)) <= 50_000 * 2 * STEP / S + 255


def test_each_probe_is_a_source_of_its_own_without_payload_numbered_without_a_gap() -> None:
    padding = Padding(random.Random(1))
    sources = []
    for began in (0, 5 * S):
        padding.begin(400, began)
        packets = padding.due(began + S) + padding.due(began + S + STEP)
        assert [(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(packets)] == [1] * (len(packets) - 1)
        assert all(parse_rtp_untrusted(packet.encode()).payload == b"" for packet in packets)
        sources.append({packet.ssrc for packet in packets})
    assert [len(one) for one in sources] == [1, 1]
    assert sources[0] != sources[1]


def block(ssrc: int, highest: int, lost: int, jitter: int = 0) -> ReportBlock:
    return ReportBlock(ssrc=ssrc, fraction_lost=0, lost=lost, highest=highest, jitter=jitter)


def test_an_outcome_is_of_what_was_reported_since_the_last() -> None:
    reporter = Reporter(random.Random(1), None, 0)
    for ssrc, flow in ((7, "audio"), (8, "padding")):
        reporter.sent(flow, RtpPacket(payload_type=96, sequence=101, timestamp=0, ssrc=ssrc), 0)
    assert reporter.outcome() is None
    report = ReceiverReport(ssrc=1, blocks=(block(7, 150, 0, jitter=480), block(8, 150, 10, jitter=90)))
    reporter.heard_rtcp_untrusted(encode_compound([report]), 0)
    assert reporter.outcome() == Outcome(10.0, 10.0), "10 of 100; 480 ticks of 48 kHz are 10 ms"
    assert reporter.outcome() is None
    report = ReceiverReport(ssrc=1, blocks=(block(7, 250, 5), block(8, 150, 10, jitter=9000)))
    reporter.heard_rtcp_untrusted(encode_compound([report]), 0)
    assert reporter.outcome() == Outcome(5.0, 0.0), "a source of which nothing more was heard has no say"
