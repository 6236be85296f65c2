"""When a core is taken for gone: the arithmetic, with the kernel's figures given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.fabric import sampler_process
from harness.fabric.core_ticker import EVENT, CoreClock
from harness.fabric.sampler_process import PERIOD, Sampler, limited, throttled

MS = 1_000_000


class Clock(CoreClock):
    """Reads what the test says."""

    waited = stolen = 0

    def _read_own(self) -> int:
        return self.waited

    def _read_steal(self) -> int:
        return self.stolen


Make = Callable[..., Sampler]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def make(tmp_path: Path, pipe: tuple[int, int]) -> Iterator[Make]:
    made: list[Sampler] = []

    def begin(*, realtime: bool = True) -> Sampler:
        made.append(Sampler(tmp_path / "samples.log", [0, 1], realtime=realtime, events=pipe[0]))
        return made[-1]

    yield begin
    for sampler in made:
        sampler.end(0, 0.0)


@pytest.fixture
def sampler(make: Make) -> Sampler:
    return make()


def test_a_tick_in_time_is_none_of_its_business() -> None:
    assert Clock(0).look(0, 2 * MS) is None


def test_a_late_tick_tells_its_own_wait_and_what_was_stolen() -> None:
    clock = Clock(1)
    clock.waited, clock.stolen = 148 * MS, 140 * MS
    assert clock.look(10, 10 + 150 * MS) == (1, 10, 10 + 150 * MS, 148 * MS, 140 * MS)
    clock.waited, clock.stolen = 150 * MS, 150 * MS
    assert clock.look(10, 10 + 3 * MS) == (1, 10, 10 + 3 * MS, 2 * MS, 10 * MS), "since the last look"


def test_it_never_waits_for_longer_than_it_is_late() -> None:
    clock = Clock(0)
    clock.waited = 9 * MS  # small waits since it last looked
    assert clock.look(0, 4 * MS) == (0, 0, 4 * MS, 4 * MS, 0)


def test_small_waits_of_long_ago_do_not_count() -> None:
    clock = Clock(0)
    clock.waited, clock.stolen = 9 * MS, 10 * MS
    assert [clock.look(0, 0) for _ in range(200)] == [None] * 200
    assert clock.look(0, 4 * MS) == (0, 0, 4 * MS, 0, 0)


def written(sampler: Sampler, tmp_path: Path) -> list[str]:
    sampler.write()
    return (tmp_path / "samples.log").read_text().splitlines()[1:]


def test_theft_is_lateness_less_its_own_wait_from_3_ms_on(sampler: Sampler, tmp_path: Path) -> None:
    sampler.take_event(0, 0, 21 * MS, 19 * MS, 0)
    sampler.take_event(1, 0, 150 * MS, 10 * MS, 20 * MS)
    assert written(sampler, tmp_path) == [f"I 1 0 {140 * MS} {20 * MS} 0"], "a short wait of realtime is the relay's doing, or a test's"


def test_a_core_that_is_taken_just_when_its_ticker_has_woken(sampler: Sampler, tmp_path: Path) -> None:
    sampler.take_event(0, 0, 150 * MS, 148 * MS, 0)
    assert [line for line in written(sampler, tmp_path) if line[0] in "IM"] == [f"M 0 {2 * MS} {150 * MS}"]


def test_without_realtime_its_own_wait_is_the_machine_s(make: Make, tmp_path: Path) -> None:
    sampler = make(realtime=False)
    sampler.take_event(0, 0, 150 * MS, 148 * MS, 0)
    assert written(sampler, tmp_path) == [f"M 0 {2 * MS} {150 * MS}"]


def test_what_agents_used_of_that_core_meanwhile(sampler: Sampler, tmp_path: Path) -> None:
    sampler._busy += [(0, 5 * MS, 1, 4 * MS), (5 * MS, 10 * MS, 1, 2 * MS), (5 * MS, 10 * MS, 0, 5 * MS), (10 * MS, 15 * MS, 1, 5 * MS)]
    sampler.take_event(1, 4 * MS, 9 * MS, 0, 0)
    assert written(sampler, tmp_path) == [f"I 1 {4 * MS} {9 * MS} 0 {6 * MS}"]


def test_events_come_by_a_pipe(sampler: Sampler, pipe: tuple[int, int], tmp_path: Path) -> None:
    os.write(pipe[1], EVENT.pack(1, 0, 5 * MS, 0, 0) + EVENT.pack(1, 9 * MS, 19 * MS, 0, 10 * MS))
    for tick in range(20):
        sampler.tick(tick * PERIOD, tick * PERIOD)
    found = [line for line in written(sampler, tmp_path) if line[0] == "I"]
    assert found == [f"I 1 0 {5 * MS} 0 0", f"I 1 {9 * MS} {19 * MS} {10 * MS} 0"]


def test_its_own_lateness_is_told(sampler: Sampler, tmp_path: Path) -> None:
    sampler.tick(0, 10 * MS)
    sampler.tick(15 * MS, 25 * MS + 1)
    assert written(sampler, tmp_path) == [f"L {15 * MS} {25 * MS + 1}"]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"cpu.max": "max 100000"}, False),
        ({"cpu.max": "50000 100000"}, True),
        ({"cpu.cfs_quota_us": "-1"}, False),
        ({"cpu.cfs_quota_us": "50000"}, True),
        ({}, False),
    ],
)
def test_control_groups_with_a_limit(tmp_path: Path, files: dict[str, str], wanted: bool) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert limited(tmp_path) == wanted


@pytest.mark.parametrize(
    ("text", "ns"),
    [("usage_usec 9\nnr_throttled 2\nthrottled_usec 7\n", 7000), ("nr_periods 3\nthrottled_time 7\n", 7), ("usage_usec 9\n", 0)],
)
def test_throttling_of_both_versions(make: Make, tmp_path: Path, text: str, ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.stat").write_text(text)
    fd = os.open(tmp_path / "cpu.stat", os.O_RDONLY)
    assert throttled(fd) == ns
    monkeypatch.setattr(sampler_process, "throttle_files", lambda: [fd])
    sampler = make()
    (tmp_path / "cpu.stat").write_text(text.replace("7", "9"))
    start = sampler._last
    for tick in range(20):
        sampler.tick(start + tick * PERIOD, start + tick * PERIOD)
    os.close(fd)
    told = [line for line in written(sampler, tmp_path) if line[0] == "H"]
    assert told == ([f"H {start + 8 * PERIOD - ns * 2 // 7} {start + 8 * PERIOD}"] if ns else [])
