"""``python -m tests.vm COMMAND…``: run a command in the virtual machine; see the package's docstring."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.vm.machine import Order, run
from tests.vm.packages import Unfit

CHECKOUT = Path(__file__).resolve().parents[2]
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "CI")
UNFIT = 69  # EX_UNAVAILABLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="stop the command after so long, exit code 124 (default 3600)")
    parser.add_argument("--memory", default="1G")
    parser.add_argument("--write", type=Path, action="append", default=[], metavar="FOLDER", help="writable inside, beside the checkout")
    parser.add_argument("--env", action="append", default=[], metavar="NAME", help=f"a variable to pass on, beside {', '.join(KEPT)}")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    argv = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not argv:
        parser.error("which command?")
    environment = {name: os.environ[name] for name in (*KEPT, *asked.env) if name in os.environ}
    order = Order(
        argv=argv,
        folder=Path.cwd(),
        environment={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        writable=[CHECKOUT, *asked.write],
        seconds=asked.seconds,
        memory=asked.memory,
    )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return run(order)
    except Unfit as error:
        print(f"no virtual machine here: {error}", file=sys.stderr)
        return UNFIT
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
