"""``python -m tests.killed --deaths 200 --seed 1``: kill runs at random moments on a host of their own, and look at what remains.

Prints a line per death and at the end a table.  Exit code 1: something remained that should not have, or an ordinary run after it did not
pass; 2: it was asked wrongly; 77: a host of its own cannot be made here.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.killed import deaths, little_host, series, victims

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.killed", description=__doc__)
    parser.add_argument("--deaths", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="only the kinds whose name holds this (may be given several times)")
    parser.add_argument("--phase", default="", choices=("", *victims.PHASES[1:]), help="strike right after this phase has begun")
    parser.add_argument("--part", default="1/1", help="1/2: every second death, 2/2: the others; several parts may run at once")
    parser.add_argument("--keep", type=Path, help="a folder for the logs of deaths that left something")
    parser.add_argument("--batch", type=int, default=10, help="deaths between two ordinary runs")
    parser.add_argument("--length", type=float, default=0.0, help="s that a run takes, as far as moments go (default: measured first)")
    parser.add_argument("--table", type=Path, nargs="+", help="only print the table of these deaths.jsonl, which --keep's folder has")
    told = parser.parse_args()
    if told.table:
        print(series.table([series.DEATH.decode(line) for path in told.table for line in path.read_bytes().splitlines()]))
        return 0
    if lack := little_host.lacking():
        print(lack, file=sys.stderr)
        return little_host.CANNOT
    kinds = tuple(kind for kind in deaths.KINDS if not told.only or any(part in kind.name for part in told.only))
    if not kinds:
        names = ", ".join(kind.name for kind in deaths.KINDS)
        print(f"--only {told.only}: no kind's name holds that; there are: {names}", file=sys.stderr)
        return 2
    keep = told.keep.resolve() if told.keep else None
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    shown = [ROOT, Path(sys.prefix), Path(sys.base_prefix), *([keep] if keep else [])]

    part, _, of = told.part.partition("/")

    def chosen(length: float) -> list[deaths.Plan]:
        return deaths.plans(told.deaths, told.seed, kinds, length, told.phase)[int(part) - 1 :: int(of)]

    def inside() -> int:
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            return series.Series(Path(folder), chosen, told.batch, keep, told.length).run()

    return little_host.on(inside, shown)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
