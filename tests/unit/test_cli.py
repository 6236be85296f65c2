"""The front: what it lists, what it refuses, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from harness import catalogue, cli
from harness.doctor.findings import Finding
from harness.lab.folder import point_latest
from harness.pytest_plugin import agent_commands
from harness.spec.presets import PRESETS
from tests.unit.report.folders import carried, place, put

ROOT = Path(__file__).parents[2]

SCENARIOS = {
    "first.py": '''
async def test_one(lab):
    """The first story.

    And more of it.
    """
    lab.equal("ones", 1, 1)


async def test_two(lab):
    lab.equal("twos", 2, 2)


def helper(): ...
async def story(lab): ...
''',
    "second.py": '''
async def test_three(lab):
    """The third story."""
''',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three scenarios, as the current folder."""
    (tmp_path / "scenarios").mkdir()
    for name, text in SCENARIOS.items():
        (tmp_path / "scenarios" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


REFUSED = {
    "an agent without a command": (["--agent", "alice"], "--agent: 'alice' is not NAME=COMMAND; write for example --agent bob="),
    "an agent without a name": (["--agent", "=python"], "--agent: '=python' is not NAME=COMMAND"),
    "an agent with nothing": (["--agent", "alice= "], "--agent: 'alice= ' is not NAME=COMMAND"),
    "a seed that is no number": (["--seed", "lucky"], "argument --seed: invalid int value: 'lucky'"),
    "no executor": (["--impair", "tc"], "argument --impair: invalid choice: 'tc'"),
    "no translator": (["--translate", "iptables"], "argument --translate: invalid choice: 'iptables'"),
    "no repeats": (["--repeat", "0"], "argument --repeat: '0': allowed is a whole number, 1 or more"),
    "no patience": (["--patience", "0"], "argument --patience: '0': allowed is more than 0 and less than 180 seconds"),
    "an unknown option": (["--impiar", "netem"], "unrecognized arguments: --impiar"),
}

EACH = """
import contextlib, io, json, os, sys
from pathlib import Path
from harness import catalogue, cli
for arguments in json.loads(sys.argv[1]):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.app(arguments)
        except SystemExit as end:
            code = end.code
    left = sorted(str(path) for path in Path("artifacts").rglob("report.json"))
    print(json.dumps([code, out.getvalue(), err.getvalue(), left]))
"""


@dataclass
class Done:
    """What came of one command line: ``reports`` are those in ./artifacts afterwards."""

    code: int
    out: str
    err: str
    reports: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Every command line of REFUSED, then a good one, one after another in one new interpreter: starting it is what takes time."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "scenarios").mkdir()
    for name, text in SCENARIOS.items():
        (folder / "scenarios" / name).write_text(text)
    lines = [["run", "one", *arguments] for arguments, _what in REFUSED.values()] + [["run", "one"]]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    whole = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(lines)], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    answers = [Done(*json.loads(line)) for line in whole.stdout.splitlines()]
    return dict(zip([*REFUSED, "good"], answers, strict=True))


@pytest.mark.usefixtures("folder")
def test_list_has_a_line_for_each_scenario() -> None:
    done = invoke("list")
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["first", "one", "The", "first", "story."],
        ["first", "two"],
        ["second", "three", "The", "third", "story."],
    ]


@pytest.mark.parametrize("name", ["nope", "", "test_one", "first.py", "scenarios/first.py", "One"])
@pytest.mark.usefixtures("folder")
def test_an_unknown_name_lists_the_known_ones_and_exits_2(name: str) -> None:
    done = invoke("run", name)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"there is no scenario {name!r}; known are the files first, second, and in them",
        "  first        one",
        "  first        two",
        "  second       three",
    ]


def test_without_any_scenario_it_says_so_and_exits_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("run", "migration")
    assert done.exit_code == 2
    assert "there is no scenario 'migration'" in done.stderr


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("first", ["scenarios/first.py"]),
        ("two", ["scenarios/first.py::test_two"]),
        ("two[on a rope]", ["scenarios/first.py::test_two[on a rope]"]),
        ("four", []),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_name_is_a_file_or_one_scenario_of_it_or_a_variant(name: str, chosen: list[str]) -> None:
    assert catalogue.select(name, catalogue.find(cli.SCENARIOS)) == chosen


def test_every_scenario_of_the_project_has_its_line() -> None:
    found = catalogue.find(ROOT / "scenarios")
    assert {scenario.file.stem for scenario in found} == {file.stem for file in (ROOT / "scenarios").glob("*.py")}
    assert all(scenario.story for scenario in found)
    assert len({scenario.name for scenario in found}) == len(found)


def test_a_run_is_a_pytest_run_with_its_exit_code(done: dict[str, Done]) -> None:
    good = done["good"]
    assert good.code == 0, good.out + good.err
    assert "1 passed" in good.out
    assert "PASS  one" in good.out
    assert len([path for path in good.reports if "latest" not in path]) == 1


@pytest.mark.parametrize(("case", "what"), [(case, what) for case, (_arguments, what) in REFUSED.items()], ids=REFUSED)
def test_a_bad_option_is_told_and_nothing_runs(done: dict[str, Done], case: str, what: str) -> None:
    assert done[case].code == 4, "pytest's code for a usage error"
    assert what in done[case].err
    assert done[case].reports == []


def test_the_command_of_an_agent_may_hold_anything() -> None:
    assert agent_commands(["bob=python -m x --y=1", "alice=a b"]) == {"bob": "python -m x --y=1", "alice": "a b"}


@pytest.mark.parametrize(("here", "needed", "code"), [("yes", True, 0), ("no", False, 0), ("no", True, 1), ("untried", True, 1)])
def test_doctor_fails_only_for_what_is_needed(monkeypatch: pytest.MonkeyPatch, here: str, needed: bool, code: int) -> None:
    found = [
        Finding("Python", "yes", True, "3.11", "runs"),
        Finding("TAP", here, needed, "no device", "the relay", "--device /dev/net/tun"),
    ]
    monkeypatch.setattr("harness.doctor.findings.examine", lambda: found)
    assert invoke("doctor").exit_code == code
    done = invoke("doctor", "--json")
    assert done.exit_code == code
    told = json.loads(done.stdout)
    assert [one["feature"] for one in told["findings"]] == ["Python", "TAP"]
    assert told["fit"] == (code == 0)


def test_presets_are_listed_and_told_in_full() -> None:
    listed = invoke("presets")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["preset", *PRESETS]
    told = invoke("presets", "leo")
    assert told.exit_code == 0
    assert PRESETS["leo"].measured in told.stdout
    unknown = invoke("presets", "marvellous")
    assert unknown.exit_code == 2
    assert "preset 'marvellous': it is not known; there are wifi-good" in unknown.stderr


def test_report_builds_what_it_can_and_names_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good, broken = put(Path("artifacts"), 1), place(Path("artifacts"), 2)
    point_latest(Path("artifacts"), "migration", broken)
    (old := place(Path("artifacts"), 3)).joinpath("report.json").write_text('{"schema": 1}')
    done = invoke("report", "artifacts/migration", "nowhere")
    assert done.exit_code == 1
    pages = [str(tmp_path / run / "report.html") for run in (good, broken)]
    assert done.stdout.split() == [*pages, str(tmp_path / "artifacts" / "index.html")]
    assert "the run did not end: it left no report.json" in (broken / "report.html").read_text()
    assert sorted(done.stderr.splitlines()) == sorted(
        [
            "nowhere: there is no such file or folder",
            f"{tmp_path / old}/report.json: its schema is 1; this version reads 2, 3 and 4",
        ]
    )


def test_report_opens_the_page_of_one_run_and_the_index_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    first = put(Path("artifacts"), 1)
    put(Path("artifacts"), 2)
    point_latest(Path("artifacts"), "migration", first)
    assert invoke("report", "artifacts/migration/latest", "--open").exit_code == 0
    assert invoke("report", "--open").exit_code == 0
    assert invoke("index", "--open").exit_code == 0
    index = (tmp_path / "artifacts" / "index.html").as_uri()
    assert opened == [(tmp_path / first / "report.html").as_uri(), index, index]


def test_without_a_browser_the_page_is_there_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    done = invoke("report", str(put(tmp_path, 1)), "--open")
    assert done.exit_code == 0
    assert "there is no browser here to open" in done.stderr


def test_index_of_no_folder_is_refused(tmp_path: Path) -> None:
    done = invoke("index", str(tmp_path / "nothing"))
    assert done.exit_code == 1
    assert "there is no such folder" in done.stderr


def test_compare_writes_one_page_and_names_what_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = put(Path("artifacts"), 1), put(Path("artifacts"), 2)
    done = invoke("compare", str(a), str(b / "report.json"))
    assert (done.exit_code, done.stdout) == (0, "artifacts/compare.html\n"), done.stderr
    assert (tmp_path / "artifacts" / "compare.html").is_file()
    assert invoke("compare", str(a), str(b), "--output", "mine.html").stdout == "mine.html\n"
    for wrong, why in (
        (["nowhere", str(b)], "there is no such file"),
        ([str(a), "artifacts"], "there are 2 runs in it, and one is wanted"),
    ):
        done = invoke("compare", *wrong)
        assert (done.exit_code, done.stdout) == (1, "")
        assert why in done.stderr


@pytest.mark.long
def test_a_soak_is_in_the_list_of_all_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = invoke("soak", "one", "--runs", "1", "--jobs", "1")
    assert done.exit_code == 0, done.output
    (section,) = carried((folder / "artifacts" / "index.html").read_text(), "index")
    assert section["name"].startswith("soak/one-")
    assert [[run["state"] for run in test["runs"]] for test in section["tests"]] == [["PASS"]]
