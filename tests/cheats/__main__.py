"""``python -m tests.cheats``: every cheat in one scenario of each kind of claim that it breaks, and the eight worst in every scenario.

Exit code 1 when a run came to PASS, or to another result than the table wants.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from harness.report.model import Report
from tests.cheats.campaign import Campaign, Done, Order, commit, part_of, sliced, written
from tests.cheats.kinds import kinds_of
from tests.cheats.table import BY_NAME, CHEATS, Cheat, spared

FOLDER = Path("artifacts/cheats")
PAGE = Path("docs/reliability.md")


def orders_of(cheat: Cheat, scenarios: tuple[str, ...] = ()) -> list[Order]:
    """Its runs; ``scenarios``: node ids of all, where it is one of the worst."""
    where: dict[str, set[str]] = defaultdict(set)
    for kind, scenario in cheat.breaks.items():
        where[scenario].add(kind)
    for scenario in scenarios if cheat.worst else ():
        if not spared(cheat, scenario.removeprefix("scenarios/")):
            found = kinds_of(scenario) & set(cheat.breaks)
            where[scenario.removeprefix("scenarios/")] |= found
    return [
        Order(cheat.name, scenario, tuple(sorted(kinds)), tuple(cheat.options()), cheat.outside)
        for scenario, kinds in where.items()
        if kinds
    ]


def all_orders() -> list[Order]:
    """Every run of the whole campaign."""
    from tests.controls.test_controls import CONTROLS  # collects the scenarios

    scenarios = tuple(dict.fromkeys(control.scenario for control in CONTROLS.controls))
    return [order for cheat in CHEATS for order in orders_of(cheat, scenarios)]


def judged(order: Order, report: Report) -> tuple[str, str]:
    """See ``campaign.Judge``."""
    cheat = BY_NAME[order.name]
    return cheat.came_out(report), cheat.caught_by(report)


def main(
    part: Annotated[str, typer.Option(help="3/8, or commit: the eighth that the commit's hash names; nothing: all")] = "",
    only: Annotated[str, typer.Option(help="one cheat alone")] = "",
    fresh: Annotated[bool, typer.Option(help="forget what is done")] = False,
    listed: Annotated[bool, typer.Option("--list", help="list the runs, run nothing")] = False,
    write: Annotated[bool, typer.Option(help=f"write the table in {PAGE} when all is done")] = False,
) -> None:
    """Run, tell, and exit with 1 when a run came out wrong."""
    now = commit()
    orders = [order for order in all_orders() if not only or order.name == only]
    chosen = part_of(part, now) if part else None
    mine = sliced(orders, chosen)
    if chosen is not None:
        print(f"PART={chosen[0]}/{chosen[1]}: {len(mine)} of {len(orders)} runs")
    if listed:
        for order in mine:
            print(f"{order.key}  ({', '.join(order.why)})")
        raise typer.Exit
    campaign = Campaign(mine, judged, FOLDER, state=now[:12], fresh=fresh)
    found = campaign.run()
    wrong = [one for one in found if one.wrong]
    print(f"{len(found)} runs: {len(found) - len(wrong)} as they must, {len(wrong)} WRONG")
    for one in wrong:
        print(f"  WRONG  {one.key}: {one.wrong}; {one.told}")
    if write and not wrong and not only and chosen is None:
        written(PAGE, "cheats", table(orders, campaign.done))
    raise typer.Exit(code=1 if wrong else 0)


def table(orders: list[Order], done: dict[str, Done]) -> list[str]:
    """The rows of the page's table: one for each cheat."""
    lines = ["| row | stack | form | what it breaks | runs | results | caught by, for example |", "|---|---|---|---|---|---|---|"]
    for cheat in CHEATS:
        mine = [done[order.key] for order in orders if order.name == cheat.name and order.key in done]
        if mine:
            results = ", ".join(f"{sum(one.result == result for one in mine)} {result}" for result in sorted({one.result for one in mine}))
            form = "honest" if cheat.honest else "dishonest"
            told = mine[0].told.replace("|", "\\|")[:100]
            cells = (str(cheat.row), f"`{cheat.name}`: {cheat.what}", form, ", ".join(cheat.breaks), str(len(mine)), results, told)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    typer.run(main)
