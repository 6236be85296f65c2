"""``python -m tests.variants``: every healthy variant over rebinding, migration and call_flow; with ``--all`` over all other scenarios.

Exit code 1 when one came to anything but PASS, those aside that this machine has spoiled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.report.model import Report
from tests.cheats.campaign import BY_COMMIT, Campaign, Done, Order, commit, written
from tests.cheats.kinds import has_video, plain
from tests.variants.table import BY_NAME, FIRST, VARIANTS, Variant

FOLDER = Path("artifacts/variants")
PAGE = Path("docs/reliability.md")
NAMED = 2
"""Variants that a commit names."""


def scenarios_of(nodeids: tuple[str, ...], rest: bool) -> list[str]:
    """Of ``FIRST`` each test once, with its first parameters; of the ``rest`` all, without those that run for hours."""
    names = [nodeid.removeprefix("scenarios/") for nodeid in nodeids]
    if rest:
        return [name for name in names if not name.startswith((*FIRST, "endurance.py"))]
    return list({plain(name): name for name in reversed(names) if name.startswith(FIRST)}.values())[::-1]


def orders_of(variant: Variant, scenarios: list[str]) -> list[Order]:
    """Its runs in ``scenarios``."""
    return [
        Order(variant.name, name, options=variant.options(), environment=variant.environment())
        for name in scenarios
        if plain(name) not in variant.unfit and not (variant.sound_only and has_video(name))
    ]


def named_by(commit: str) -> list[Variant]:
    """The two variants that a commit's hash names."""
    at = int(commit[:8], 16)
    return [VARIANTS[(at + number * len(VARIANTS) // NAMED) % len(VARIANTS)] for number in range(NAMED)]


def judged(order: Order, report: Report) -> tuple[str, str]:
    """See ``campaign.Judge``."""
    return BY_NAME[order.name].came_out(report), report.reasons[0] if report.reasons else ""


def main(
    only: Annotated[str, typer.Option(help="one variant alone; commit: the two that the commit's hash names")] = "",
    rest: Annotated[bool, typer.Option("--all", help="the other scenarios instead")] = False,
    fresh: Annotated[bool, typer.Option(help="forget what is done")] = False,
    listed: Annotated[bool, typer.Option("--list", help="list the runs, run nothing")] = False,
    write: Annotated[bool, typer.Option(help=f"write the table in {PAGE}")] = False,
) -> None:
    """Run, tell, and exit with 1 when a run came out wrong."""
    from tests.controls.test_controls import CONTROLS  # collects the scenarios

    now = commit()
    chosen = named_by(now) if only == BY_COMMIT else [one for one in VARIANTS if only in ("", one.name)]
    if only == BY_COMMIT:
        print(f"variants by commit {now[:8]}: {', '.join(one.name for one in chosen)}")
    scenarios = scenarios_of(tuple(dict.fromkeys(control.scenario for control in CONTROLS.controls)), rest)
    orders = [order for variant in chosen for order in orders_of(variant, scenarios)]
    if listed:
        for order in orders:
            print(order.key)
        raise typer.Exit
    campaign = Campaign(orders, judged, FOLDER, state=now[:12], fresh=fresh)
    found = campaign.run()
    wrong = [one for one in found if one.wrong]
    spoiled = sum(one.result == "INCONCLUSIVE" and not one.wrong for one in found)
    print(f"{len(found)} runs: {len(found) - len(wrong) - spoiled} PASS, {spoiled} spoiled by this machine, {len(wrong)} WRONG")
    for one in wrong:
        print(f"  WRONG  {one.key}: {one.wrong}; {one.told}")
    if write and not only:
        written(PAGE, "variants", table(campaign.done))
    raise typer.Exit(code=1 if wrong else 0)


def table(done: dict[str, Done]) -> list[str]:
    """The rows of the page's table: one for each variant."""
    lines = ["| variant | what it is | runs | PASS | INCONCLUSIVE, blame environment | anything else |", "|---|---|---|---|---|---|"]
    for variant in VARIANTS:
        mine = [one for key, one in done.items() if key.startswith(f"{variant.name} ")]
        passed, wrong = sum(one.result == "PASS" for one in mine), sum(bool(one.wrong) for one in mine)
        lines.append(f"| `{variant.name}` | {variant.what} | {len(mine)} | {passed} | {len(mine) - passed - wrong} | {wrong} |")
    return lines


if __name__ == "__main__":
    typer.run(main)
