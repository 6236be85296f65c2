"""Make the runs that are to be judged, scenarios and controls, as other processes: nothing of the harness is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 2
LIMIT_S = 900
PATIENCE = "--patience=1.5"
"""Seconds for which media that a broken stack has silenced is waited for, as in `make controls`."""


@dataclass(frozen=True, slots=True)
class Order:
    """One run: the ``name`` of a scenario ("rebind_port[ipv4]"); of a control also the ``agent`` and its ``sabotage``."""

    name: str
    agent: str = ""
    sabotage: str = ""


FEW = (
    Order("bidirectional"),
    Order("concurrent_streams[stream]"),
    Order("rebind_port[ipv6]"),
    Order("rebind_while_muted"),
    Order("make_before_break"),
    Order("break_before_make"),
    Order("wifi_to_cellular"),
    Order("call_switching"),
    Order("outage_short"),
    Order("rebind_port[ipv4]", "bob", "never-follows"),
    Order("call_switching", "bob", "holds-in-name"),
    Order("break_before_make", "alice", "redials"),
)
"""What `make judge` runs by itself: datagrams and streams, both IP versions, moves, mutes, holds, an outage, and three controls."""


class RunError(RuntimeError):
    """A run that left no report, or a list of runs that could not be had."""


def all_orders() -> list[Order]:
    """Every scenario with all its variants, and every control; RunError when pytest does not list them."""
    argv = [_harness(), "list"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    names = [line.split()[1] for line in listed.stdout.splitlines() if line.strip()]
    if listed.returncode or not names:
        raise RunError(f"{' '.join(argv)}: {listed.stderr[-300:]}")
    return [*map(Order, names), *controls()]


def controls() -> list[Order]:
    """Every control that the scenarios name; RunError when pytest does not list them."""
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        file = Path(folder) / "controls.json"
        scenarios = sorted(map(str, (ROOT / "scenarios").glob("*.py")))
        argv = [sys.executable, "-m", "pytest", "-p", "harness.pytest_plugin", "-p", "no:hypothesispytest", "--rootdir=.", "-q"]
        done = subprocess.run([*argv, *scenarios, f"--controls-to={file}"], cwd=ROOT, capture_output=True, text=True, check=False)
        if not file.exists():
            raise RunError(f"pytest did not list the controls: {done.stdout[-300:]}{done.stderr[-300:]}")
        told = json.loads(file.read_text())["controls"]
    return [Order(one["scenario"].partition("::test_")[2], one["agent"], one["sabotage"]) for one in told]


def make(orders: Iterable[Order], folder: Path, done: Callable[[Order, list[Path], str], None]) -> None:
    """Run each order below ``folder``, two at a time; ``done`` gets its run folders and what it printed, in the threads that ran them."""

    def one(number: int, order: Order) -> None:
        below = folder / f"{number:03}"
        printed = _run(order, below)
        done(order, sorted(path.parent for path in below.rglob("report.json")), printed)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(one, number, order) for number, order in enumerate(orders)]:
            future.result()


def _run(order: Order, folder: Path) -> str:
    argv = [_harness(), "run", order.name, f"--artifacts={folder}"]
    environment = dict(os.environ)
    if order.sabotage:
        argv += [PATIENCE, f"--agent={order.agent}={sys.executable} -m tests.controls.sabotage {order.sabotage}"]
        environment["HARNESS_SABOTAGE"] = order.sabotage
    try:
        ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"ended after {LIMIT_S} s"
    return ran.stdout + ran.stderr


def _harness() -> str:
    """The program beside this Python."""
    return str(Path(sys.executable).parent / "harness")
