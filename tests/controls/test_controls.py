"""Every scenario with the agent that it must catch: red, on the named verdict, with its faults proven, and for no other reason.

Which agent, and which verdict, each scenario says itself (``harness.lab.control``).
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from harness import pytest_plugin
from harness.cli import PYTEST, STRICT
from harness.lab.control import Control, Controls
from harness.lab.evidence import MOVED
from harness.lab.folder import plain
from harness.lab.paths import KIND
from harness.pytest_plugin import FURTHER, FURTHER_SEEDS
from harness.report import model
from harness.turns import turn
from harness.units import ms
from harness.verdict import Blame, Relation, Result, judge
from tests.unit.report.runs import made

ROOT = Path(__file__).resolve().parents[2]


def read_controls() -> Controls:
    """What the scenarios say, collected by pytest as for a run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "controls.json"
        argv = [
            sys.executable,
            "-m",
            "pytest",
            *PYTEST,
            "-q",
            *sorted(map(str, (ROOT / "scenarios").glob("*.py"))),
            f"--controls-to={file}",
        ]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert file.exists(), done.stdout + done.stderr
        return msgspec.json.decode(file.read_bytes(), type=Controls)


CONTROLS = read_controls()
PATIENCE = "--patience=1.5"
"""Seconds: media that a broken stack has silenced is not waited for longer than shows it."""


def sabotaged(agent: str, sabotage: str) -> list[str]:
    """The options of a run in which ``agent`` is broken so."""
    return [PATIENCE, f"--agent={agent}={sys.executable} -m tests.controls.sabotage {sabotage}"]


def only_report(folder: Path) -> model.Report | None:
    """That of the one run below ``folder``; None when there is not exactly one."""
    found = list(folder.rglob("report.json"))
    return model.read(found[0]) if len(found) == 1 else None


def _id(control: Control) -> str:
    return f"{control.scenario.removeprefix('scenarios/')}-{control.sabotage}"


def _run(control: Control, seed: int, folder: Path) -> tuple[int, model.Report, str]:
    """Run the scenario with the broken agent in this process: exit code, report, and what pytest printed."""
    argv = [*STRICT, "-q", control.scenario, f"--artifacts={folder}", f"--seed={seed}", *sabotaged(control.agent, control.sabotage)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = pytest.main(argv, plugins=[pytest_plugin])  # named by -p it would be too late for pytest to rewrite its asserts
    report = only_report(folder)
    assert report is not None, out.getvalue()
    return int(code), report, out.getvalue()


@contextlib.contextmanager
def _kept(folder: Path, name: str, *, always: bool) -> Iterator[None]:
    """Bring the runs in ``folder`` to where people look for runs when the block finds them wrong (or ``always``), and say where that is."""
    there = ROOT / "artifacts" / "controls" / plain(name)
    try:
        yield
    except AssertionError as wrong:
        wrong.add_note(f"its run: {_moved(folder, there)}")
        raise
    if always:
        _moved(folder, there)


def _moved(folder: Path, there: Path) -> Path:
    shutil.rmtree(there, ignore_errors=True)
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, there)
    return there


def other_reasons(report: model.Report, control: Control) -> list[str]:
    """The verdicts that failed besides, and that the scenario does not name for this control."""
    failed = [verdict.name for verdict in report.verdicts if verdict.result is Result.FAIL]
    return [name for name in failed if name != control.caught_by and not name.startswith(control.also)]


def _spoiled(report: model.Report, control: Control) -> bool:
    """Whether this machine, by its own stalls, kept the run, or the verdict that matters in it, from saying anything."""
    named = [verdict.blame for verdict in report.verdicts if verdict.name == control.caught_by and verdict.result is not Result.PASS]
    void = report.result is Result.INCONCLUSIVE and report.blame is Blame.ENVIRONMENT
    return void or (Blame.ENVIRONMENT in named and Blame.PRODUCT not in named)


FIRST = {control.scenario: control for control in reversed(CONTROLS.controls)}
"""By scenario; `make test` has these, and `make controls-long` the others and those of long scenarios."""


@pytest.mark.parametrize(
    "control",
    [
        pytest.param(one, id=_id(one), marks=() if one is FIRST[one.scenario] and not one.long else pytest.mark.long)
        for one in CONTROLS.controls
    ],
)
def test_control_is_red_for_its_reason(
    control: Control,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HARNESS_SABOTAGE", control.sabotage)
    with _kept(tmp_path / "runs", _id(control), always=pytestconfig.getoption("--keep-runs")):
        _judge(control, tmp_path / "runs", record_property)


def _judge(control: Control, folder: Path, record_property: Callable[[str, object], None]) -> None:
    for further in range(1 + FURTHER):  # as `--conclusive` does; each is told below
        with turn(alone=further > 0):
            code, report, printed = _run(control, 1 + further * FURTHER_SEEDS, folder / str(further))
        if not _spoiled(report, control):
            break
    failed = [verdict for verdict in report.verdicts if verdict.result is Result.FAIL]
    hits = [
        f"{verdict.name}: {verdict.value}, wanted {verdict.relation.sign} {verdict.bound}"
        for verdict in failed
        if verdict.name == control.caught_by
    ]
    told = f", after {further} inconclusive" if further else ""
    record_property(
        "control", [control.scenario, f"{control.agent}: {control.sabotage}", hits[0] + told if hits else f"MISSED {control.caught_by}"]
    )
    assert code == 1, printed
    assert report.result is Result.FAIL, printed
    assert hits, f"{control.caught_by!r} did not fail; what did: {[verdict.name for verdict in failed]}\n{printed}"
    others = other_reasons(report, control)
    assert not others, f"red for another reason too: {others}\n{printed}"
    # A move, and the path that a call takes, are the stack's own doing, and may be what it was broken in; everything else was done to it,
    # and must have been.
    unproven = {receipt.fault for receipt in report.receipts if not receipt.taken and receipt.kind not in (MOVED, KIND)}
    unproven -= _after_the_call(report)
    assert not unproven, f"a fault was not proven: {unproven}\n{printed}"
    assert report.sabotage == control.sabotage


def _came_to(result: Result, blame: Blame | None, named: Blame | None) -> model.Report:
    """A report of a run that came to ``result``, whose verdict "silence" is a PASS or, with a blame, a FAIL or INCONCLUSIVE."""
    silence = judge("silence", Relation.AT_MOST, 11 * ms, 10 * ms if named else 20 * ms)
    excused = Result.INCONCLUSIVE if named is Blame.ENVIRONMENT else silence.result
    verdicts = (msgspec.structs.replace(silence, result=excused, blame=named),)
    return msgspec.structs.replace(made(), result=result, blame=blame, verdicts=verdicts)


@pytest.mark.parametrize(
    ("report", "spoiled"),
    [
        pytest.param(_came_to(Result.FAIL, Blame.PRODUCT, Blame.PRODUCT), False, id="caught"),
        pytest.param(_came_to(Result.INCONCLUSIVE, Blame.ENVIRONMENT, Blame.PRODUCT), True, id="the fault was spoiled"),
        pytest.param(_came_to(Result.INCONCLUSIVE, Blame.HARNESS, Blame.PRODUCT), False, id="the harness failed"),
        pytest.param(
            _came_to(Result.FAIL, Blame.PRODUCT, Blame.ENVIRONMENT), True, id="red for another reason, stalls in the one that matters"
        ),
        pytest.param(_came_to(Result.INCONCLUSIVE, Blame.ENVIRONMENT, None), True, id="nothing seen on an unfit machine"),
        pytest.param(_came_to(Result.FAIL, Blame.PRODUCT, None), False, id="red for another reason"),
        pytest.param(_came_to(Result.PASS, None, None), False, id="missed"),
    ],
)
def test_what_this_machine_has_spoiled_is_followed(report: model.Report, spoiled: bool) -> None:
    control = Control(scenario="tale.py::test_hijack", agent="bob", sabotage="stays", caught_by="silence")
    assert _spoiled(report, control) is spoiled


@pytest.mark.parametrize(("wrong", "always", "there"), [(True, False, True), (False, False, False), (False, True, True)])
def test_a_control_that_went_wrong_leaves_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool, always: bool, there: bool
) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "runs" / "0").mkdir(parents=True)
    expected = pytest.raises(AssertionError) if wrong else contextlib.nullcontext()
    with expected as caught, _kept(tmp_path / "runs", "rebinding.py::test_it[ipv4]-deaf", always=always):
        assert not wrong
    kept = tmp_path / "artifacts" / "controls" / "rebinding.py-test_it-ipv4--deaf"
    assert (kept / "0").is_dir() is there
    if caught is not None:
        assert caught.value.__notes__ == [f"its run: {kept}"]


def test_every_scenario_has_a_control() -> None:
    assert CONTROLS.controls
    assert not CONTROLS.without


def _after_the_call(report: model.Report) -> set[str]:
    """The faults that began once a wait had been missed: the scenario runs to its end at once then, and they may meet no packet."""
    waits = [one for one in report.verdicts if one.result is Result.FAIL and one.relation is Relation.EQUAL and one.where is not None]
    given_up = min((one.where.end for one in waits if one.where is not None), default=None)
    return {fault.name for fault in report.faults if given_up is not None and fault.began >= given_up}
