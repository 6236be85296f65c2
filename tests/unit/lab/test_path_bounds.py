"""Bounds that follow from a path: its delay, its rates, probes and the amplification limit."""

from __future__ import annotations

import pytest

from harness.lab import path_bounds
from harness.lab.path_bounds import AUDIO, PROBE, Path, Way
from harness.lab.path_delay import PathDelays
from harness.media.figure import Figure
from harness.spec.topology import Topology
from harness.units import Duration, Rate, Ratio, kbit, ms, percent
from topologies.phone_two_radios import LTE_ROUND_TRIP, WIFI_ROUND_TRIP, phone_two_radios
from topologies.two_homes import ROUND_TRIP, two_homes


def path(topology: Topology, alice: str, bob: str = "bob/eth") -> Path:
    delays = PathDelays(topology)
    return Path(Way.of(delays.links(alice, bob, 0)), Way.of(delays.links(bob, alice, 0)))


WIFI, LTE = (path(phone_two_radios(), f"alice/{radio}") for radio in ("wifi", "lte"))
NARROW = path(two_homes(rate=200 * kbit), "alice/eth")


def test_a_path_is_what_the_topology_has() -> None:
    assert (WIFI.round_trip(), LTE.round_trip()) == (WIFI_ROUND_TRIP, LTE_ROUND_TRIP)
    assert NARROW.there.rates == NARROW.back.rates == (200 * kbit,)


def test_a_padded_probe_takes_its_time_on_a_narrow_line() -> None:
    assert NARROW.there.serialisation(PROBE) == 49.12 * ms
    assert path_bounds.validation(NARROW) == ROUND_TRIP + 2 * (49.12 * ms)
    assert path_bounds.validation(LTE) == LTE_ROUND_TRIP


def test_a_move_to_a_slower_path_is_longer_by_the_difference() -> None:
    assert path_bounds.moved(80 * ms, WIFI, LTE) == 95 * ms
    assert path_bounds.moved(80 * ms, LTE, WIFI) == 80 * ms


def test_the_slower_direction_decides() -> None:
    skew = Path(Way(5 * ms), Way(40 * ms))
    assert path_bounds.moved(80 * ms, Path(Way(5 * ms), Way(5 * ms)), skew) == 115 * ms
    assert skew.delay == 40 * ms


@pytest.mark.parametrize(
    ("first", "spent", "packets"),
    [
        pytest.param(29, 0, 1, id="a PING alone lets 87 bytes through"),
        pytest.param(29, 1200, 3, id="and less when 1200 are saved up for"),
        pytest.param(AUDIO, 3 * AUDIO, 1, id="the first packet's allowance is gone"),
        pytest.param(1200, 1200, 0, id="an expanded probe pays for its answer"),
    ],
)
def test_three_times_what_came_may_be_sent(first: int, spent: int, packets: int) -> None:
    assert path_bounds.further_datagrams(first, spent) == packets


def test_what_a_conforming_stack_was_seen_to_take_is_within_the_bounds() -> None:
    assert path_bounds.moved_over(LTE) == 240 * ms > 200.67 * ms
    assert path_bounds.rebound(path(two_homes(), "alice/eth")) == ROUND_TRIP + 60 * ms
    audio = NARROW.there.serialisation(AUDIO)
    assert path_bounds.rebound(NARROW) == ROUND_TRIP + 60 * ms + 2 * audio + 2 * (49.12 * ms)


def test_on_a_short_path_validation_is_over_before_enough_is_saved_up() -> None:
    near = Path(Way(5 * ms), Way(5 * ms))
    assert path_bounds.moved_over(near) == (10 + 5 + 10 + 20 + 5 + 20) * ms


@pytest.mark.parametrize(("silence", "frames"), [(0, 0), (1, 1), (20, 1), (21, 2), (100, 5)])
def test_as_many_frames_as_are_due_in_a_silence(silence: int, frames: int) -> None:
    assert path_bounds.frames_in(silence * ms) == frames


@pytest.mark.parametrize(
    ("packets", "loss", "most"),
    [(50, 2 * percent, 8), (1, 50 * percent, 1), (100, Ratio(0), 0), (0, 2 * percent, 0), (7, 100 * percent, 7)],
)
def test_chance_takes_no_more_than_that(packets: int, loss: Ratio, most: int) -> None:
    assert path_bounds.chance_losses(packets, loss) == most


def test_the_largest_frame_takes_what_the_slowest_link_needs() -> None:
    way = Way(20 * ms, (Rate(1_000_000), Rate(400_000)))
    assert path_bounds.picture(60 * ms, 4944, way) == 60 * ms + Duration((4944 + 5 * 28) * 8 * 2500)
    assert path_bounds.picture(60 * ms, 4944, Way(20 * ms)) == 60 * ms


def test_what_a_bound_demands_beyond_the_standard_is_said() -> None:
    assert path_bounds.beyond(Figure(1 * ms), "it is quick").note == "beyond RFC 9000: it is quick"
    assert path_bounds.beyond(Figure(1 * ms, note="never came back"), "it is quick").note == "never came back; beyond RFC 9000: it is quick"


def test_on_a_far_path_video_waits_for_the_rest_of_the_first_round_trip() -> None:
    assert path_bounds.restarted(LTE) == path_bounds.restarted(WIFI) == 0 * ms
    far = Path(Way(157.5 * ms), Way(157.5 * ms))
    assert path_bounds.restarted(far, 480 * kbit) == 315 * ms - 200 * ms
