"""The verdicts over a long call, from figures made by hand: each can fail, and none is measured from too little."""

from __future__ import annotations

import mmap
import os
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import trio

from harness import rotation
from harness.excuse import excuse
from harness.lab.endurance import SHORT, Endurance, LegFigures, Pace, Silences
from harness.lab.footprint import Footprint, footprint, processes
from harness.lab.lab import FaultMark
from harness.lab.legs import Leg
from harness.media.figure import Figure, Gap, Moment
from harness.units import Count, Duration, ms, percent, s
from harness.verdict import Blame, Relation, Result, Stall, Verdict, judge

MS, S = 1_000_000, 1_000_000_000
LONG = Pace(3600 * s, 30 * s, 300 * s)
BOB = "alice → bob audio"
KIND = "rebind by wifi"


class Made(Endurance):
    """Endurance of whose call only the figures are there."""

    def __init__(self, folder: Path, pace: Pace = LONG) -> None:
        self.verdicts: list[Verdict] = []

        def at_most(name: str, value: Any, bound: Any, **detail: Any) -> None:
            self.verdicts.append(judge(name, Relation.AT_MOST, value, bound, **detail))

        outside = SimpleNamespace(outside_stalls=lambda: self.stalled, life_so_far=lambda: None)
        self.lab: Any = SimpleNamespace(folder=folder, at_most=at_most, **vars(outside))
        self.pace = pace
        self.kinds = ["start"]
        self.series, self.silences, self.samples = {}, {}, {}
        self._processes = {"runner": 1, "agent alice": 2}
        self.stalled: list[Stall] = []

    def stalls(self) -> list[Stall]:
        return self.stalled

    def legs(self, count: int = 120, change: Callable[[int], LegFigures | None] = lambda n: None) -> Self:
        for number in range(1, count + 1):
            self.take(change(number) or leg(number))
        return self

    def rebinds(self, count: int = 120, silence: Callable[[int], int] = lambda n: 40 * MS) -> Self:
        silences = self.silences[KIND, BOB] = Silences()
        for number in range(1, count + 1):
            self.kinds.append(KIND)
            silences.begin()
            start = number * 30 * S
            silences.take(
                [Gap(Duration(3 * MS), start, start + 3 * MS), Gap(Duration(silence(number)), start, start + silence(number))], str(number)
            )
        return self

    def holds(self, memory: Callable[[int], int] = lambda n: 25 << 20, count: int = 120, name: str = "agent alice", **more: Any) -> Self:
        descriptors = more.get("descriptors", lambda n: 18)
        for number in range(1, count + 1):
            self.hold(number * self.pace.rebind.ns, {name: Footprint(memory(number), descriptors(number))})
        return self

    def one(self, name: str) -> Verdict:
        (found,) = [verdict for verdict in self.verdicts if verdict.name == name]
        return found


def leg(number: int, *, lost: int = 2, delay: int = 20 * MS) -> LegFigures:
    return LegFigures(
        leg=number, began=number * 30 * S, ended=(number + 1) * 30 * S, direction=BOB, offered=1500, lost=lost, late=0, unsent=0,
        silences=[], delay_p50={"wifi → eth": delay}, delay_p99={"wifi → eth": delay},
    )  # fmt: skip


def test_the_longest_silence_is_the_worst_of_all_and_says_after_what(tmp_path: Path) -> None:
    made = Made(tmp_path).rebinds(silence=lambda n: 250 * MS if n == 50 else 40 * MS)
    made.longest_silence(KIND, 100 * ms)
    verdict = made.one(f"longest silence after a {KIND}")
    assert (verdict.result, str(verdict.value)) == (Result.FAIL, "250ms")
    assert verdict.note == "50; the median of 120 is 40ms"
    assert [gap.start for gap in verdict.gaps] == [50 * 30 * S]
    assert excuse(verdict, [Stall(50 * 30 * S, 50 * 30 * S + 200 * MS, "machine", "stolen")]).result is Result.INCONCLUSIVE


def test_a_silence_is_explained_by_the_stalls_of_its_own_ends(tmp_path: Path) -> None:
    made = Made(tmp_path).rebinds(silence=lambda n: 250 * MS if n == 50 else 40 * MS)
    made.silences[KIND, BOB].way = Figure(None, speaker="alice", listener="bob")
    made.longest_silence(KIND, 100 * ms)
    (verdict,) = made.verdicts
    stalled = {
        who: excuse(verdict, [Stall(50 * 30 * S, 50 * 30 * S + 200 * MS, who, "stopped")]).result for who in ("agent bob", "agent carol")
    }
    assert stalled == {"agent bob": Result.INCONCLUSIVE, "agent carol": Result.FAIL}


def test_stalls_that_explain_the_worst_leave_the_next(tmp_path: Path) -> None:
    made = Made(tmp_path).rebinds(silence=lambda n: {50: 250, 80: 180}.get(n, 40) * MS)
    made.longest_silence(KIND, 100 * ms)
    left = excuse(made.verdicts[0], [Stall(50 * 30 * S, 50 * 30 * S + 200 * MS, "machine", "stolen")])
    assert (left.result, str(left.value)) == (Result.FAIL, "180ms")


def test_of_silences_that_nobody_would_note_the_worst_is_kept(tmp_path: Path) -> None:
    made = Made(tmp_path).rebinds(silence=lambda n: (20 + n % 7) * MS)
    (gap,) = made.silences[KIND, BOB].gaps
    assert gap.excess.ns == 26 * MS
    made.longest_silence(KIND, 100 * ms)
    assert made.verdicts[0].where == gap


def test_a_kind_of_fault_that_never_was_is_not_measured(tmp_path: Path) -> None:
    made = Made(tmp_path).rebinds()
    made.longest_silence("migration to lte", 100 * ms)
    assert made.one("longest silence after a migration to lte").result is Result.INCONCLUSIVE


def missed(at: int, count: int, length: int = 100 * MS) -> Figure:
    """So many frames unheard from ``at`` (ns) on, in a silence of ``length``."""
    return Figure(
        Count(count),
        BOB,
        gaps=(Gap(Duration(length), at, at + length),),
        moments=tuple(Moment(at + n * 20 * MS) for n in range(count)),
        interval=20 * MS,
        speaker="alice",
        listener="bob",
    )


def with_misses(tmp_path: Path, counts: dict[int, int]) -> Made:
    made = Made(tmp_path)
    silences = made.silences[KIND, BOB] = Silences()
    for number in range(1, 121):
        silences.begin()
        silences.miss(missed(number * 30 * S, counts.get(number, 1)))
    return made


def unheard(made: Made, stalls: Sequence[Stall] = ()) -> Verdict:
    made.stalled = list(stalls)
    made.unheard(KIND, 2)
    return excuse(made.verdicts[-1], made.stalled)


def test_the_most_frames_unheard_after_one_fault_are_judged(tmp_path: Path) -> None:
    assert unheard(with_misses(tmp_path, {})).result is Result.PASS
    worst = unheard(with_misses(tmp_path, {30: 3, 50: 5}))
    assert (worst.result, str(worst.value), worst.moments[0].at) == (Result.FAIL, "5", 50 * 30 * S)


def test_frames_that_stalls_explain_leave_those_after_the_next_fault(tmp_path: Path) -> None:
    stopped = [Stall(50 * 30 * S, 50 * 30 * S + 90 * MS, "agent bob", "stopped")]
    alone = unheard(with_misses(tmp_path, {50: 5}), stopped)
    assert (alone.result, alone.blame) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT)
    left = unheard(with_misses(tmp_path, {30: 3, 50: 5}), stopped)
    assert (left.result, str(left.value)) == (Result.FAIL, "3")


def test_frames_unheard_after_one_fault_in_two_legs_count_together(tmp_path: Path) -> None:
    made = with_misses(tmp_path, {})
    made.silences[KIND, BOB].miss(missed(120 * 30 * S + S, 2))
    found = unheard(made)
    assert (found.result, str(found.value), len(found.moments)) == (Result.FAIL, "3", 3)


def test_of_many_faults_few_figures_are_kept(tmp_path: Path) -> None:
    kept = with_misses(tmp_path, {n: n for n in range(20, 40)}).silences[KIND, BOB].most_missed
    assert sorted(place + 1 for place in kept) == [33, 34, 35, 36, 37, 38, 39, 120], "the worst, and the newest, which may grow"


def test_a_fault_after_a_leg_s_end_is_the_next_leg_s(tmp_path: Path) -> None:
    """A late machine leaves a turn no time: until the leg's end nothing can have been silent after its fault."""
    made = Made(tmp_path)
    ends, edges = iter((2 * S, 4 * S)), []

    async def end_leg() -> Leg:
        return Leg(1, 0, next(ends), {BOB: Any})  # type: ignore[dict-item]

    made._judge = lambda leg, heard, of: edges.append(of)  # type: ignore[method-assign]
    made._legs = SimpleNamespace(end_leg=end_leg)  # type: ignore[assignment]
    made._processes, made._newest, made.call = {}, "start", SimpleNamespace(closed=None, opened=0)  # type: ignore[assignment]
    made._faults = [("rebind", FaultMark("rebind 1", S)), ("rebind", FaultMark("rebind 2", 2 * S))]
    trio.run(made._leg)
    trio.run(made._leg)
    assert edges == [[("start", "start", 0), ("rebind", "rebind 1", S)], [("rebind", "rebind 1", 0), ("rebind", "rebind 2", 2 * S)]]


def drifted(made: Made) -> list[str]:
    made.drifts(delay=2 * ms, silence=20 * ms, lost=2)
    return [verdict.name for verdict in made.verdicts if verdict.result is not Result.PASS]


def test_what_stays_as_it_is_does_not_drift(tmp_path: Path) -> None:
    made = Made(tmp_path).legs(change=lambda n: leg(n, lost=60, delay=90 * MS) if n == 101 else None)
    made.rebinds(silence=lambda n: (900 if n == 110 else 40) * MS)
    assert drifted(made) == []
    assert len(made.verdicts) == 3


def test_what_creeps_is_a_drift(tmp_path: Path) -> None:
    assert drifted(Made(tmp_path).rebinds().legs(change=lambda n: leg(n, delay=20 * MS + n * 30_000))) == [
        "drift of the median delay, wifi → eth"
    ]
    assert drifted(Made(tmp_path).rebinds().legs(change=lambda n: leg(n, lost=2 + n // 20))) == ["drift of the packets lost in a leg"]
    assert drifted(Made(tmp_path).legs().rebinds(silence=lambda n: 40 * MS + n * 300_000)) == [f"drift of the silence after a {KIND}"]


def test_what_gets_better_is_no_drift(tmp_path: Path) -> None:
    made = Made(tmp_path).legs(change=lambda n: leg(n, lost=20 - n // 10)).rebinds(silence=lambda n: 80 * MS - n * 300_000)
    assert drifted(made) == []


def stall(at: int, length: int) -> Stall:
    return Stall(at, at + length, "agent bob")


def test_a_machine_that_is_busier_at_the_end_is_no_drift(tmp_path: Path) -> None:
    """Of each silence, and each leg, in which an agent stalled nothing is thought; what creeps besides is found all the same."""

    def made(creeps: int) -> Made:
        busy = {n for n in range(61, 121) if n % 5}
        made = Made(tmp_path).rebinds(silence=lambda n: (140 if n in busy else 40) * MS + n * creeps)
        made.legs(change=lambda n: leg(n, lost=9 if n in busy else 2))
        made.stalled = [one for n in busy for one in (stall(n * 30 * S + 2 * MS, 100 * MS), stall(n * 30 * S + 20 * S, 200 * MS))]
        return made

    steady = made(0)
    assert drifted(steady) == []
    assert (
        steady.one(f"drift of the silence after a {KIND}").note
        == "40ms in the first quarter of 72, 40ms in the last; 48 in which agents stalled are left out"
    )
    assert drifted(made(300_000)) == [f"drift of the silence after a {KIND}"]


def test_where_agents_stalled_most_of_the_time_no_drift_is_told(tmp_path: Path) -> None:
    made = Made(tmp_path).legs().rebinds()
    made.stalled = [stall(n * 30 * S - 20 * MS, 300 * MS) for n in range(63)]
    found = {"drift of the packets lost in a leg", f"drift of the silence after a {KIND}"}
    assert set(drifted(made)) == found
    assert {(one.result, one.blame) for one in made.verdicts if one.name in found} == {(Result.INCONCLUSIVE, Blame.ENVIRONMENT)}


def test_stalls_that_are_shorter_than_the_bound_leave_a_silence_in(tmp_path: Path) -> None:
    def made(creeps: int, length: int) -> Made:
        made = Made(tmp_path).legs().rebinds(silence=lambda n: 40 * MS + n * creeps)
        made.stalled = [stall(n * 30 * S + 2 * MS, length) for n in range(121)]
        return made

    steady = made(0, 19 * MS)
    assert drifted(steady) == []
    assert steady.one(f"drift of the silence after a {KIND}").note == "40ms in the first quarter of 120, 40ms in the last"
    for length, result in ((19 * MS, Result.FAIL), (20 * MS, Result.INCONCLUSIVE)):
        creeping = made(300_000, length)
        assert drifted(creeping) == [f"drift of the silence after a {KIND}"]
        assert creeping.one(f"drift of the silence after a {KIND}").result is result


def test_of_a_few_legs_no_drift_is_told(tmp_path: Path) -> None:
    made = Made(tmp_path, SHORT).legs(6).rebinds(6)
    assert drifted(made) == []
    assert made.verdicts == []


def flat(made: Made) -> dict[str, Verdict]:
    made.flat(share=2 * percent, agents_kib=512, others_kib=3072)
    return {verdict.name: verdict for verdict in made.verdicts}


def test_what_does_not_grow_is_flat(tmp_path: Path) -> None:
    found = flat(Made(tmp_path).holds().holds(name="runner"))
    assert {verdict.result for verdict in found.values()} == {Result.PASS}
    assert len(found) == 4


def test_what_grows_before_the_warm_up_is_over_is_no_growth(tmp_path: Path) -> None:
    made = Made(tmp_path).holds(lambda n: (10 << 20) + min(n, 20) * (1 << 20))
    assert flat(made)["memory growth, agent alice"].result is Result.PASS


def test_a_leak_of_a_kib_a_second_is_found_in_an_hour(tmp_path: Path) -> None:
    verdict = flat(Made(tmp_path).holds(lambda n: (25 << 20) + n * 30 * 1024))["memory growth, agent alice"]
    assert (verdict.result, verdict.blame) == (Result.FAIL, Blame.PRODUCT)
    assert verdict.note == "26245 KiB, then 29155"


def test_the_harness_is_held_to_the_same_and_blamed_for_itself(tmp_path: Path) -> None:
    made = Made(tmp_path).holds().holds(lambda n: (60 << 20) + n * 60 * 1024, name="runner", descriptors=lambda n: 30 + n // 100)
    found = flat(made)
    assert (found["memory growth, runner"].result, found["memory growth, runner"].blame) == (Result.FAIL, Blame.HARNESS)
    assert (found["descriptors more, runner"].result, found["descriptors more, runner"].blame) == (Result.FAIL, Blame.HARNESS)
    assert found["memory growth, agent alice"].result is Result.PASS


def test_in_a_short_call_it_is_kib(tmp_path: Path) -> None:
    made = Made(tmp_path, SHORT).holds(lambda n: (25 << 20) + n * (1 << 20), 6, descriptors=lambda n: 18 + n // 5)
    found = flat(made.holds(count=6, name="runner"))
    assert found["KiB of memory grown, agent alice"].result is Result.FAIL
    assert found["descriptors more, agent alice"].result is Result.FAIL
    assert found["KiB of memory grown, runner"].result is Result.PASS


def test_a_process_that_could_not_be_looked_at_is_not_measured(tmp_path: Path) -> None:
    assert flat(Made(tmp_path).holds(name="runner"))["memory growth, agent alice"].result is Result.INCONCLUSIVE


def test_nothing_but_numbers_is_kept_of_a_leg(tmp_path: Path) -> None:
    def size() -> int:
        tracemalloc.start()
        made = Made(tmp_path).legs(400).rebinds(400).holds(count=400)
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert made.kinds
        return used

    assert size() < 400 * 200


def test_files_are_bounded_with_all_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rotation.VARIABLE, "1")
    (tmp_path / "capture").mkdir()
    for name in ("a.eth.pcapng", "a.eth.2.pcapng", "a.eth.3.pcapng"):
        (tmp_path / "capture" / name).write_bytes(bytes(300_000))
    (tmp_path / "timeline.jsonl").write_bytes(bytes(5_000_000))
    made = Made(tmp_path)
    made.bounded()
    verdict = made.one("KiB of the largest file, all its parts")
    assert (verdict.result, verdict.note) == (Result.PASS, "a.eth.pcapng; all 2 files take 5 MiB")
    (tmp_path / "capture" / "a.eth.4.pcapng").write_bytes(bytes(300_000))
    made.verdicts.clear()
    made.bounded()
    assert made.verdicts[0].result is Result.FAIL


def test_a_process_is_measured_from_outside() -> None:
    before = footprint(os.getpid())
    # Fresh pages: an allocator may hand out what the process has had before.
    kept = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept.write(b"\x01" * len(kept))
    file = os.open("/dev/null", os.O_RDONLY)
    after_ = footprint(os.getpid())
    os.close(file)
    assert after_.memory - before.memory >= 7 << 20
    assert after_.descriptors == before.descriptors + 1
    kept.close()
    assert processes({})["runner"] == os.getpid()
