"""The command: runs the benchmarks one after another, shows a table, writes artifacts/bench/….json.

Exit code: 0, also when a target is missed; with --strict 1 then; 1 when a benchmark broke.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from benchmarks import row

QUICK = ("star", "first_packet", "agent_cpu", "relay", "rebind", "pages")
LONG = ("overhead", "migration", "rebinding", "recovery")
ALL = QUICK + LONG


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the harness; see benchmarks/README.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all of them when none is named: {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help=f"fewer repetitions; without names only {', '.join(QUICK)} (2 minutes)")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--out", type=Path, default=Path("artifacts/bench"), help="folder of the JSON (default artifacts/bench)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in ALL]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}")
    rows: list[row.Row] = []
    broken = False
    for name in arguments.names or (QUICK if arguments.quick else ALL):
        began = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run(arguments.quick)
        except Exception as error:
            traceback.print_exc()
            rows.append(row.Row(name, "broken", None, note=f"{type(error).__name__}: {error}"))
            broken = True
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    row.show(rows)
    print(f"written to {row.write(rows, arguments.out, arguments.quick)}")
    missed = any(one.verdict == "missed" for one in rows)
    return int(broken or (arguments.strict and missed))


if __name__ == "__main__":
    sys.exit(main())
