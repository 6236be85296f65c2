"""Repetition with a fake run: which seeds are given out, what counts, and how it is stopped.  No network is built here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from harness.errors import SpecError
from harness.report import model
from harness.report.progress import Counts
from harness.report.repetition import Tally
from harness.soak import Soak
from tests.unit.report.runs import made

RUN = """
import pathlib, sys
nodeid, seed, root = sys.argv[1], sys.argv[2].partition("=")[2], pathlib.Path(sys.argv[3].partition("=")[2])
if seed in {broken!r}:
    sys.exit("no such agent")
folder = root / "x" / nodeid.partition("::test_")[2] / f"20260101-000000-seed{{seed}}"
folder.mkdir(parents=True)
(folder / "report.json").write_bytes(pathlib.Path({reports!r}, seed if seed in {special!r} else "other").read_bytes())
"""


class Watcher:
    """Looks on: hands each line to ``say``, and keeps how far it had come after each run."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.seen: list[tuple[int, int, int]] = []

    def update(self, counts: Sequence[Counts]) -> None:
        self.seen.append((counts[0].passed, counts[0].failed, counts[0].inconclusive))


@pytest.fixture
def soak(tmp_path: Path) -> Callable[..., Soak]:
    """Makes a Soak of x.py::test_a whose runs all pass but the seeds that are named."""
    passed = made([v for v in made().verdicts if v.result == "PASS"])
    for name, report in {"other": passed, "fail": made(made().verdicts[1:2]), "unclear": made(made().verdicts[5:])}.items():
        model.write(report, tmp_path / name)

    def make(failing: str = "", unclear: str = "", broken: str = "", **rest: object) -> Soak:
        for seeds, name in ((failing, "fail"), (unclear, "unclear")):
            for seed in seeds.split():
                os.link(tmp_path / name, tmp_path / seed)
        special = [*failing.split(), *unclear.split()]
        text = RUN.format(broken=broken.split(), special=special, reports=str(tmp_path))
        settings = {"runs": 4, "jobs": 2, "first": 1, "folder": tmp_path / "soak", "command": [sys.executable, "-c", text], **rest}
        return Soak(["x.py::test_a"], **{"view": Watcher(lambda line: None), **settings})

    return make


def test_every_seed_is_run_once(soak: Callable[..., Soak], tmp_path: Path) -> None:
    (tally,) = trio.run(soak().run)
    assert (tally.passed, tally.runs) == (4, 4)
    seeds = sorted(folder.name.partition("-seed")[2] for folder in (tmp_path / "soak" / "x" / "a").iterdir())
    assert seeds == ["1", "2", "3", "4"]


def test_an_inconclusive_run_is_followed_by_another_seed(soak: Callable[..., Soak]) -> None:
    (tally,) = trio.run(soak(unclear="2").run)
    assert (tally.passed, tally.inconclusive) == (4, 1)


def test_a_failure_is_never_made_up_for(soak: Callable[..., Soak]) -> None:
    (tally,) = trio.run(soak(failing="3").run)
    assert (tally.passed, tally.failed, tally.runs) == (3, 1, 4)
    assert not tally.holds(4)


def test_too_many_inconclusive_runs_end_it(soak: Callable[..., Soak]) -> None:
    (tally,) = trio.run(soak(unclear="1 2 3 4 5 6").run)
    assert (tally.passed, tally.inconclusive) == (0, 6)


def test_a_run_without_a_report_is_broken_and_its_output_is_kept(soak: Callable[..., Soak], tmp_path: Path) -> None:
    (tally,) = trio.run(soak(broken="1").run)
    assert (tally.passed, tally.broken) == (4, 1)
    assert "no such agent" in (tmp_path / "soak" / "broken-a-seed1.log").read_text()


def test_until_fail_stops_at_the_first_failure(soak: Callable[..., Soak]) -> None:
    repeated = soak(failing="2", runs=50, jobs=1, until_fail=True)
    (tally,) = trio.run(repeated.run)
    assert (tally.passed, tally.failed, repeated.stopped) == (1, 1, "a FAIL")


def test_a_signal_stops_it_and_what_was_found_is_told(soak: Callable[..., Soak], tmp_path: Path) -> None:
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    repeated = soak(runs=100, jobs=1, view=Watcher(say))
    (tally,) = trio.run(repeated.run)
    assert repeated.stopped == "SIGTERM"
    assert 2 <= tally.passed <= 3  # what was running when the signal came is waited for
    assert msgspec.json.decode((tmp_path / "soak" / "soak.json").read_bytes())[0]["passed"] == tally.passed


@pytest.mark.parametrize(("name", "value"), [("runs", 0), ("jobs", -1)])
def test_nonsense_is_refused_by_name(soak: Callable[..., Soak], name: str, value: int) -> None:
    with pytest.raises(SpecError, match=f"--{name}: {value} is not enough; allowed is 1 or more"):
        soak(**{name: value})


def test_a_tally_names_its_test(soak: Callable[..., Soak]) -> None:
    tallies: list[Tally] = trio.run(soak(runs=1).run)
    assert [tally.test for tally in tallies] == ["a"]


def test_who_looks_on_is_told_how_far_it_has_come_after_each_run(soak: Callable[..., Soak]) -> None:
    told: list[str] = []
    watcher = Watcher(told.append)
    trio.run(soak(failing="2", unclear="3", broken="4", runs=3, jobs=1, view=watcher).run)
    assert watcher.seen == [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 2)]
    assert [line.split(",")[0] for line in told][:1] == ["   1  a seed 1: PASS"]
