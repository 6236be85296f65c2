"""Runs scenarios as tests, by pytest's public hooks only.

A scenario is ``async def test_*(lab)``.  Each gets a Lab and a deadline and runs under trio; what it comes to (verdicts, receipts, errors)
is concluded in one place and written to ``report.json``.  PASS passes; FAIL, ERROR, NOT RUN and INCONCLUSIVE do not, each in its own word.

With ``--conclusive`` a run that came to INCONCLUSIVE through this machine (blame environment) is followed by one over another seed, beside
which no other goes on.  All of them are kept, counted and shown; a FAIL is never followed by anything.
"""

from __future__ import annotations

import signal

from harness import endings
from harness.parent import die_with_parent

if endings.is_worker():  # before all else is imported, which on a busy machine takes seconds
    die_with_parent(signal.SIGKILL)

import inspect
import os
import platform
import shlex
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from harness import mistakes, pages, rotation, variants
from harness.errors import CapabilityLacking, HarnessError, SpecError
from harness.fabric.base import IMPAIR_CHOICES, TRANSLATE_CHOICES
from harness.lab import Lab, demands
from harness.lab.control import Controls
from harness.lab.endurance import HOURS, Pace
from harness.lab.folder import plain
from harness.lab.lab import Orders
from harness.lab.stalls import notable
from harness.media import kinds
from harness.onlookers import columns, onlooker, prepare
from harness.outcome import conclude
from harness.report import junit, model, text
from harness.report.printable import printable
from harness.telling import Telling, Told, attach, attached, near
from harness.turns import turn
from harness.units import Duration
from harness.verdict import Blame, Result

DEADLINE_S = 180
FURTHER = 2
FURTHER_SEEDS = 1000
"""How far apart the seeds of ``--conclusive`` are: no other run of a repetition has them."""
_OUTCOME = pytest.StashKey[list[Told]]()


class NotPassed(Exception):  # noqa: N818 - what it says
    """A run that did not come to PASS; its text is the first reason."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a run, declared here and nowhere else."""
    group = parser.getgroup("harness", "QUIC call scenarios")
    group.addoption("--seed", type=int, default=1, help="seed of every random choice (default 1)")
    group.addoption("--artifacts", type=Path, default=Path("artifacts"), help="where runs are kept (default ./artifacts)")
    group.addoption("--impair", choices=IMPAIR_CHOICES, default="auto", help="who impairs links (default auto)")
    group.addoption(
        "--translate", choices=TRANSLATE_CHOICES, default="auto", help="who translates at NATs: auto, nft or userspace (default auto)"
    )
    group.addoption(
        "--agent", action="append", default=[], metavar="NAME=COMMAND", help="the command of agent NAME (default: the reference agent)"
    )
    group.addoption(
        "--media",
        choices=kinds.KINDS,
        default="synthetic",
        help="what agents send: numbered packets, Opus speech, or VP8 video too; real media leave what was heard and seen",
    )
    group.addoption("--repeat", type=_at_least_one, default=1, metavar="N", help="run each scenario N times, over the seeds from --seed on")
    group.addoption(
        "--controls-to", type=Path, metavar="FILE", help="write the negative controls of what was collected as JSON, run nothing"
    )
    group.addoption(
        "--conclusive",
        action="store_true",
        help="follow a run that this machine spoiled by another seed's, alone, twice at most; fail if over 5 %% of all runs were spoiled",
    )
    group.addoption(
        "--confine",
        choices=("yes", "no"),
        default="yes",
        help="no: agents may do on this machine what the harness may (docs/protocol.md tells what they may otherwise; default yes)",
    )
    group.addoption(
        "--allow-not-run",
        type=_capabilities,
        default=frozenset(),
        metavar="CAPABILITIES",
        help="hold,redial: a scenario that is NOT RUN because an agent lacks nothing but these is skipped instead (default: none)",
    )
    group.addoption(
        "--sealed", action="store_true", help="agents may leave no keys: silence and loss are then judged by sizes and times of datagrams"
    )
    group.addoption("--patience", type=_seconds, default="5", metavar="S", help="seconds granted to a wait for media (default 5)")
    group.addoption(
        "--endurance",
        type=_pace,
        metavar="LENGTH[,REBIND[,MOVE]]",
        help="how long the scenario endurance is, and how often it rebinds and moves: 2h is 2h,30s,5m (default: its short form)",
    )
    group.addoption(
        "--keep",
        type=_mib,
        metavar="MIB",
        help="how much is kept of each file that grows with a run's length: its beginning, and the newest (default 64)",
    )
    group.addoption("--story", action="store_true", help="tell the timeline while it happens, and the verdict table of every run")


def _seconds(value: str) -> Duration:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < DEADLINE_S:
        raise ArgumentTypeError(f"{value!r}: allowed is more than 0 and less than {DEADLINE_S} seconds")
    return Duration(round(seconds * 1e9))


def _capabilities(value: str) -> frozenset[str]:
    try:
        return demands.allowed_to_lack(value)
    except SpecError as error:
        raise ArgumentTypeError(error.what) from None


def _pace(value: str) -> Pace:
    lengths = [_length(one) for one in value.split(",")]
    if len(lengths) > 3:
        raise ArgumentTypeError(f"{value!r}: allowed are a length, how often to rebind and how often to move, for example 2h,30s,5m")
    pace = Pace(*lengths, *HOURS[len(lengths) :])
    if not pace.length.ns >= pace.rebind.ns or not pace.move.ns >= pace.rebind.ns:
        raise ArgumentTypeError(
            f"{value!r}: it rebinds every {pace.rebind}, which may not be longer than the whole or than between two moves"
        )
    return pace


def _length(value: str) -> Duration:
    units = {"h": 3600, "m": 60, "s": 1}
    number, unit = value[:-1], value[-1:]
    if not number.isdecimal() or unit not in units or not 2 <= int(number) * units[unit] <= 24 * 3600:
        raise ArgumentTypeError(f"{value!r}: allowed is a whole number and h, m or s, from 2s to 24h")
    return Duration(int(number) * units[unit] * 10**9)


def _mib(value: str) -> str:
    try:
        rotation.part_size(value)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return value


def _at_least_one(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ArgumentTypeError(f"{value!r}: allowed is a whole number, 1 or more")
    return int(value)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options that pytest cannot check, and make the mark of ``harness.lab.control`` known."""
    config.addinivalue_line("markers", "alone: a scenario whose own agents keep a core busy: with --conclusive no run is beside it")
    config.addinivalue_line("markers", "long: a scenario that `make stories` leaves to `make stories-long`")
    config.addinivalue_line("markers", "control(agent, sabotage, caught_by, also): the broken stack that a scenario must catch")
    if (keep := config.getoption("--keep")) is not None:
        os.environ[rotation.VARIABLE] = keep  # agents and captures inherit it
    config.addinivalue_line("markers", "needs(capabilities, of): what agents must offer, else the scenario is NOT RUN")
    config.addinivalue_line("markers", "takes(options): options of single scenarios that this one takes")
    if config.getoption("--repeat") > 1:
        variants.ask_for_all(config)
    chosen = config.getoption("--media")
    if chosen != "synthetic" and (lacking := kinds.lacking()):
        raise pytest.UsageError(f"--media={chosen}: {lacking}")
    try:
        agent_commands(config.getoption("--agent"))
    except SpecError as error:
        raise pytest.UsageError(str(error)) from None
    if not hasattr(config, "workerinput"):  # a parallel worker's standard output is its line to the session, which tells for all
        config.pluginmanager.register(Telling(config, os.environ), "harness-telling")
        prepare(config)
    else:
        endings.end_with(config.workerinput["harness_session"])
    config.pluginmanager.register(pages.Pages(Path(config.getoption("--artifacts")).resolve()), "harness-pages")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a parallel worker whose it is."""
    node.workerinput["harness_session"] = os.getpid()


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt() -> None:
    """Ctrl-C has ended the session; what is left to do is done, unless it comes again."""
    endings.next_ends_at_once()


def pytest_unconfigure() -> None:
    """The session is over: what comes after it in this process has Ctrl-C as it was."""
    endings.as_ever()


def agent_commands(options: list[str]) -> dict[str, str]:
    """``NAME=COMMAND`` each; SpecError names the one that is not."""
    commands: dict[str, str] = {}
    for option in options:
        name, equals, command = option.partition("=")
        if not equals or not name or not command.strip():
            raise SpecError("--agent", f'{option!r} is not NAME=COMMAND; write for example --agent bob="python -m my_agent"')
        if name in commands:
            raise SpecError("--agent", f"{name!r} is given twice, as {commands[name]!r} and as {command!r}; give it once")
        commands[name] = command
    return commands


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``--repeat N``: N items of every scenario, a folder each."""
    repeat = metafunc.config.getoption("--repeat")
    if "lab" in metafunc.fixturenames and repeat > 1:
        metafunc.parametrize("lab", range(repeat), indirect=True, ids=[f"run{n + 1}" for n in range(repeat)])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``--repeat``: only the variants asked for; ``--controls-to``: tell the controls, and leave nothing to run."""
    variants.leave_out_others(config, items)
    file: Path | None = config.getoption("--controls-to")
    if file is not None:
        file.write_bytes(msgspec.json.encode(Controls.of(items)))
        items.clear()


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """A Lab for this test, not yet open."""
    return _lab(request.config, request.node, request.config.getoption("--seed") + getattr(request, "param", 0))


def _lab(config: pytest.Config, node: pytest.Function, seed: int) -> Lab:
    orders = Orders(
        artifacts=Path(config.getoption("--artifacts")).resolve(),
        seed=seed,
        impair=config.getoption("--impair"),
        translate=config.getoption("--translate"),
        agents=agent_commands(config.getoption("--agent")),
        patience=config.getoption("--patience"),
        media=config.getoption("--media"),
        endurance=config.getoption("--endurance"),
        confine=config.getoption("--confine") == "yes",
        sealed=config.getoption("--sealed"),
    )
    scenario, test = node.path.stem, node.name.removeprefix("test_")
    view = onlooker(config, f"{test}, seed {seed}", orders.artifacts / plain(scenario) / plain(test))
    lab = Lab(scenario, test, orders, view, _command(config, node, seed))
    lab.needs = demands.needed(node.iter_markers("needs"))
    return lab


def _command(config: pytest.Config, node: pytest.Function, seed: int) -> str:
    """What repeats this run; a repetition's own number is not part of it."""
    variant = variants.variant_of(node)
    test = f"{node.originalname}[{variant}]" if variant else node.originalname
    executors = [(option, config.getoption(option)) for option in ("--impair", "--translate")]
    extra = [f"{option}={chosen}" for option, chosen in executors if chosen != "auto"]
    if (media := config.getoption("--media")) != "synthetic":
        extra.append(f"--media={media}")
    if (pace := config.getoption("--endurance")) is not None:
        extra.append("--endurance=" + ",".join(f"{one.ns // 10**9}s" for one in pace))
    if (keep := config.getoption("--keep")) is not None:
        extra.append(f"--keep={keep}")
    if config.getoption("--confine") == "no":
        extra.append("--confine=no")
    if config.getoption("--sealed"):
        extra.append("--sealed")
    extra += [f"--agent={shlex.quote(command)}" for command in config.getoption("--agent")]
    return " ".join(["harness run", shlex.quote(test.removeprefix("test_")), f"--seed={seed}", *extra])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a scenario to its conclusion; other tests are not ours."""
    run_lab = pyfuncitem.funcargs.get("lab")
    if not isinstance(run_lab, Lab) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames if hasattr(pyfuncitem, "_fixtureinfo") else inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    told = pyfuncitem.stash[_OUTCOME] = []
    config = pyfuncitem.config
    given = ["endurance"] if config.getoption("--endurance") is not None else []
    taken = [option for mark in pyfuncitem.iter_markers("takes") for option in mark.kwargs["options"]]
    wrong = mistakes.found(pyfuncitem.obj, run_lab.orders.agents, given, taken)
    conclusive, follow = pyfuncitem.config.getoption("--conclusive"), True
    alone = pyfuncitem.get_closest_marker("alone") is not None
    while follow:
        with turn(alone=alone or bool(told)) if conclusive else nullcontext():
            report = run(run_lab, pyfuncitem.obj, arguments, wrong)
        told.append(Told(report.result.value, _table(report, columns(pyfuncitem.config)), str(run_lab.folder)))
        follow = conclusive and report.blame is Blame.ENVIRONMENT and len(told) <= FURTHER
        prefix = f"followed_{len(told)}." if follow else ""
        pyfuncitem.user_properties += junit.properties(report, near(run_lab.folder, Path.cwd()), prefix)
        if follow:
            run_lab = arguments["lab"] = _lab(pyfuncitem.config, pyfuncitem, run_lab.orders.seed + FURTHER_SEEDS)
    if report.result is Result.NOT_RUN and run_lab.lacking and run_lab.lacking <= config.getoption("--allow-not-run"):
        pytest.skip(f"NOT RUN, which --allow-not-run allows: {report.reasons[0]}")
    if report.result is not Result.PASS:
        raise NotPassed(printable(f"{report.result} (blame: {report.blame}): {report.reasons[0]}"))
    return True


def _table(report: model.Report, width: int | None) -> str:
    out = StringIO()
    text.show(report, out, width=width)
    return out.getvalue()


def run(lab_: Lab, scenario: Callable[..., Any], arguments: dict[str, Any], wrong: Sequence[SpecError] = ()) -> model.Report:
    """Run ``scenario`` in ``lab_``, conclude, and write ``report.json`` and its page; never raises for what the run did.

    ``wrong``: mistakes that are known already; if there are any nothing is run.
    """
    started = datetime.now(UTC)
    errors: list[BaseException] = [*wrong]
    endurance = lab_.orders.endurance
    # What a long call left is read when it is over, which takes a share of its length.
    within = DEADLINE_S + (endurance.length.s * 1.5 if endurance is not None else 0.0)

    async def whole() -> None:
        with endings.second_ends_at_once(), trio.move_on_after(within) as deadline:
            async with lab_.open():
                try:
                    await scenario(**arguments)
                except KeyboardInterrupt:
                    endings.next_ends_at_once()
                    lab_.timeline.note("lab", "interrupted", "Ctrl-C: the run is ended; once more ends it at once", aloud=True)
                    raise
        if deadline.cancelled_caught:
            raise HarnessError(f"the scenario did not end within {within:g} s")

    try:
        if not wrong:
            trio.run(whole)
            errors += [mistakes.not_there(name, lab_.peers) for name in lab_.orders.agents if name not in lab_.peers]
    except BaseExceptionGroup as group:
        errors += _leaves(group)
        if any(isinstance(error, KeyboardInterrupt) for error in errors):
            endings.next_ends_at_once()
            raise KeyboardInterrupt from None
    except Exception as error:
        errors.append(error)
    finally:
        lab_.close()
    lab_.lacking = frozenset(name for error in errors if isinstance(error, CapabilityLacking) for name in error.lacking)
    errors = [error for error in errors if not lab_.followed(error)]
    faults, receipts = [mark.name for mark in lab_.faults], tuple(lab_.receipts)
    try:
        outcome = conclude(
            lab_.verdicts,
            faults=faults,
            receipts=receipts,
            stalls=lab_.stalls,
            errors=[*lab_.crashes, *errors, *lab_.evidence.errors],
            unfit=lab_.unfit,
            life=lab_.life,
            voids=lab_.voids() if errors or lab_.verdicts or lab_.crashes else (),
            scenario=lab_.test,
        )
    except SpecError as error:
        outcome = conclude([], errors=[error])
    report = model.report(
        outcome,
        scenario=lab_.scenario,
        test=lab_.test,
        receipts=receipts,
        faults=tuple(lab_.fault_records()),
        stalls=tuple(sorted(notable(lab_.stalls), key=lambda stall: stall.start)),
        probe=lab_.measured,
        quality=lab_.evidence.quality,
        seed=lab_.orders.seed,
        executor=lab_.network.executor if lab_.network is not None else "none",
        kernel=platform.release(),
        versions=_versions(),
        command=lab_.command,
        sabotage=os.environ.get("HARNESS_SABOTAGE"),
        started=started,
        ended=datetime.now(UTC),
        durations=lab_.durations,
        artifacts=tuple(sorted(str(p.relative_to(lab_.folder)) for p in lab_.folder.rglob("*") if p.is_file())),
        story=inspect.cleandoc(scenario.__doc__ or ""),
        stacks=lab_.stacks,
    )
    try:
        pages.write(lab_.folder, report)
    except OSError as error:
        report = _unwritten(report, f"report.json cannot be written to {lab_.folder}: {error.strerror}")
    return report


def _unwritten(report: model.Report, why: str) -> model.Report:
    """The report of a run of which nothing can be shown afterwards: a PASS no more."""
    passed = report.result is Result.PASS
    result, blame = (Result.INCONCLUSIVE, Blame.ENVIRONMENT) if passed else (report.result, report.blame)
    return msgspec.structs.replace(report, result=result, blame=blame, reasons=(*report.reasons, why))


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _versions() -> dict[str, str]:
    named = {name: metadata.version(name) for name in ("aioquic", "trio", "pyroute2", "pytest")}
    return {"harness": metadata.version("quic-call-harness"), "python": platform.python_version(), **named}


# -- telling -------------------------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Put the runs' results and tables on pytest's own report, which also travels from a parallel worker."""
    report = yield
    told = item.stash.get(_OUTCOME, None)
    if told and report.when == "call":
        attach(report, told)
        if call.excinfo is not None and isinstance(call.excinfo.value, NotPassed):
            report.longrepr = f"{call.excinfo.value}\n\n{told[-1].table}"
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> Any:
    """ERROR, NOT RUN and INCONCLUSIVE have their own words; none of them is a pass."""
    told = attached(report)
    return _WORDS.get(told[-1].result) if told and report.failed else None


_WORDS = {
    str(Result.ERROR): ("error", "E", ("ERROR", {"red": True})),
    str(Result.NOT_RUN): ("not run", "N", ("NOT RUN", {"red": True})),
    str(Result.INCONCLUSIVE): ("inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})),
}
