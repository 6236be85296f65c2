"""Which folders are runs, what is read of them, and what is said of those that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.lab.folder import new_folder, point_latest
from harness.lab.timeline import Timeline, Unseen
from harness.report import history, model
from tests.unit.report.folders import place, put
from tests.unit.report.runs import made


def test_the_folders_that_the_lab_makes_are_runs(tmp_path: Path) -> None:
    made = [new_folder(tmp_path, "migration", "roams[ipv4-video]", seed) for seed in (1, 1, -3)]
    point_latest(tmp_path, "migration", made[0])
    assert history.folders(tmp_path) == sorted(made), "the link counts once"
    assert history.home(made[0]) == tmp_path
    assert [run.seed for run in history.read(tmp_path)].count(-3) == 1


def test_a_repetition_is_a_section_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, 1)
    repeated = put(tmp_path / "soak" / "migration-20260102-030405", 2)
    point_latest(repeated.parents[2], "migration", repeated)
    assert [run.section for run in history.read(tmp_path)] == ["soak/migration-20260102-030405", ""]
    assert history.home(repeated) == tmp_path


def test_the_newest_is_first_and_has_what_a_list_shows(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 5, seed=9)
    put(tmp_path, 3)
    runs = history.read(tmp_path)
    assert [run.began.minute for run in runs] == [9, 7, 5]
    glance = runs[0].glance
    assert glance is not None
    assert (glance.seed, glance.test, glance.verdicts[0].name, runs[0].scenario) == (9, "roams", "silence", "migration")


def text(**changes: object) -> str:
    return json.dumps(json.loads(model.encode(made())) | changes)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "broken off: it left no report.json"),
        ("", "cannot be read: report.json: Input data was truncated"),
        (text(schema=1), "cannot be read: report.json: its schema is 1; this version reads 2, 3 and 4"),
        (text(schema=99), "cannot be read: report.json: its schema is 99; this version reads 2, 3 and 4"),
        (text(seed="one"), "cannot be read: report.json: Expected `int`, got `str` - at `$.seed`"),
        (text(started="2026-01-02T03:04:05"), "cannot be read: report.json: started and ended need their offset from UTC"),
        (text(durations={}).replace("212412345", "9" * 400), "cannot be read: report.json: a duration of 2^63 or more"),
        ("[" * 10_000, "cannot be read: report.json:"),
        ("\udcff", "cannot be read: report.json:"),
    ],
)
def test_what_cannot_be_read_is_listed_and_says_why(tmp_path: Path, content: str | None, problem: str) -> None:
    folder = place(tmp_path, 1, seed=4)
    if content is not None:
        (folder / "report.json").write_text(content, errors="surrogateescape")
    (run,) = history.read(tmp_path)
    assert run.glance is None
    assert run.problem.startswith(problem)
    assert (run.seed, run.began.minute, run.test) == (4, 5, "roams")


def test_a_report_that_is_a_folder_cannot_be_read(tmp_path: Path) -> None:
    (place(tmp_path, 1) / "report.json").mkdir()
    assert history.read(tmp_path)[0].problem == "cannot be read: report.json: Is a directory"


def test_a_run_that_goes_on_is_not_broken_off(tmp_path: Path) -> None:
    folder = place(tmp_path, 1)
    timeline = Timeline(folder / "timeline.jsonl", Unseen())
    assert history.read(tmp_path)[0].problem == "still running"
    timeline.close()
    assert history.read(tmp_path)[0].problem == "broken off: it left no report.json"


def test_a_stamp_that_is_no_time_sorts_last(tmp_path: Path) -> None:
    put(tmp_path, 1)
    (tmp_path / "migration" / "roams" / "99999999-999999-seed1").mkdir()
    assert [run.glance is None for run in history.read(tmp_path)] == [False, True]


def test_a_run_has_many_names(tmp_path: Path) -> None:
    one, two = put(tmp_path, 1), put(tmp_path, 2)
    point_latest(tmp_path, "migration", two)
    for path in (two, two / "report.json", tmp_path / "migration" / "latest", tmp_path / "migration" / "latest" / "report.json"):
        assert history.named(path) == [two]
        assert history.one(path) == two
    for path in (tmp_path, tmp_path / "migration", one.parent):
        assert history.named(path) == [one, two]
        with pytest.raises(HarnessError, match=rf"there are 2 runs in it, and one is wanted; the newest is {two}"):
            history.one(path)
    copied = tmp_path / "elsewhere" / "the bad one"
    copied.parent.mkdir()
    two.rename(copied)
    assert history.named(copied) == [copied]
    assert history.home(copied) is None


def test_what_names_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no such file or folder"):
        history.named(tmp_path / "nothing")
    with pytest.raises(HarnessError, match="there is no run in it; give a run, artifacts/<scenario>/<test>/<run>"):
        history.named(tmp_path)
