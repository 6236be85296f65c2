"""``python -m tests.busy RUNS``: every scenario over and over while other processes take the machine away, then every sabotaged stack once.

Exit code 1 when a run came to FAIL, or a sabotaged stack to PASS, or to FAIL for what its scenario does not name.  INCONCLUSIVE is what
is expected of a machine like this, with blame environment; how many of them there are is told, and each that has another blame is listed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import trio
import typer

from harness.cli import PYTEST
from harness.lab.control import Control
from harness.report import model
from harness.verdict import Blame, Result
from tests.busy.load import crowd, theft
from tests.controls.test_controls import CONTROLS, ROOT, only_report, other_reasons, sabotaged

AT_ONCE = 2
CROWD = 6
RUN_S = 300
LIMIT_S = 3600
LOADS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    f"{CROWD} other processes want the processor": lambda: crowd(CROWD, LIMIT_S),
    "all cores gone for 150 to 500 ms, every 1.5 s": lambda: theft(1, LIMIT_S),
}


@dataclass(frozen=True)
class Order:
    """One run: a scenario's node id and a seed, and what it is the control of, if it is one."""

    scenario: str
    seed: int
    control: Control | None = None

    def __str__(self) -> str:
        broken = f", {self.control.agent} {self.control.sabotage}" if self.control is not None else ""
        return f"{self.scenario.partition('::test_')[2]} seed {self.seed}{broken}"


@dataclass
class Found:
    """What the runs under one load came to."""

    results: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    other_blame: list[str] = field(default_factory=list)

    def add(self, order: Order, report: model.Report | None, output: str) -> None:
        self.results[str(report.result if report is not None else "no report")] += 1
        wrong = _wrong(order.control, report)
        reason = report.reasons[0] if report is not None and report.reasons else output[-300:]
        if wrong:
            self.wrong.append(f"{order}: {wrong}: {reason}")
        elif report is not None and report.result is Result.INCONCLUSIVE and report.blame is not Blame.ENVIRONMENT:
            self.other_blame.append(f"{order}: blame {report.blame}: {reason}")

    def tell(self, load: str) -> None:
        print(f"{load}: {', '.join(f'{count} {result}' for result, count in sorted(self.results.items()))}")
        for line in self.wrong:
            print(f"  WRONG  {line}")
        for line in self.other_blame:
            print(f"  inconclusive for another reason  {line}")
        sys.stdout.flush()


def _wrong(control: Control | None, report: model.Report | None) -> str:
    """In what the run was wrong; "" when it was not."""
    if report is None:
        return "no report"
    if report.result is (Result.FAIL if control is None else Result.PASS):
        return str(report.result)
    others = other_reasons(report, control) if control is not None else []
    return f"red for {', '.join(others)}" if others else ""


async def once(order: Order) -> tuple[model.Report | None, str]:
    """Its report; None, and what it printed, when it left none."""
    with tempfile.TemporaryDirectory(prefix="busy-") as folder:
        argv = [sys.executable, "-m", "pytest", *PYTEST, "-q", order.scenario, f"--seed={order.seed}", f"--artifacts={folder}"]
        environment = dict(os.environ)
        if order.control is not None:
            argv += sabotaged(order.control.agent, order.control.sabotage)
            environment["HARNESS_SABOTAGE"] = order.control.sabotage
        done = None
        with trio.move_on_after(RUN_S):
            done = await trio.run_process(argv, cwd=ROOT, env=environment, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
        return only_report(Path(folder)), done.stdout.decode(errors="replace") if done is not None else f"ended after {RUN_S} s"


async def all_of(orders: Sequence[Order]) -> Found:
    """Run them, ``AT_ONCE`` at a time."""
    found, waiting = Found(), iter(orders)

    async def work() -> None:
        for order in waiting:
            found.add(order, *await once(order))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work)
    return found


def main(
    runs: Annotated[int, typer.Argument(help="runs of scenarios in all, half of them under each load", min=2)] = 200,
    sabotaged: Annotated[int, typer.Option(help="runs of sabotaged stacks in all; 0: none", min=0)] = len(CONTROLS.controls),
) -> None:
    """Run, tell, and exit with 1 when a verdict was wrong."""
    names = list(dict.fromkeys(control.scenario for control in CONTROLS.controls))
    healthy = [Order(name, 1 + count // len(names)) for count, name in enumerate(islice(cycle(names), runs))]
    broken = [Order(one.scenario, 1, one) for one in CONTROLS.controls]
    broken = broken[:: max(1, len(broken) // max(1, sabotaged))][:sabotaged]
    wrong = 0
    for number, (load, begin) in enumerate(LOADS.items()):
        try:
            with begin():
                for what, orders in ("scenarios", healthy[number :: len(LOADS)]), ("sabotaged stacks", broken[number :: len(LOADS)]):
                    began = time.monotonic()
                    found = trio.run(all_of, orders)
                    found.tell(f"{what}, {load}, {time.monotonic() - began:.0f} s")
                    wrong += len(found.wrong)
        except PermissionError:
            print(f"{load}: NOT TRIED: real-time priority may not be had here")
    raise typer.Exit(code=1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
