"""``python -m tests.judge``: judge runs by tshark's fields alone, and compare with what the harness says of them.

With run folders (or folders above runs) as arguments these are judged; without any, a dozen scenarios and controls are run and judged
(``--all``: every one).  Exit code 1 when a figure differs beyond the limits, with a sentence for each; 2 when a run could not be judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from tests.judge import compare, runs, tshark
from tests.judge.clock import ClockError
from tests.judge.judged import judge


class Session:
    """The rows so far, and what could not be judged."""

    def __init__(self) -> None:
        self.rows: list[compare.Row] = []
        self.failed: list[str] = []
        self._lock = Lock()

    def take(self, folder: Path, control: str = "") -> None:
        """Judge one run and print its row."""
        try:
            row = compare.compare(judge(folder), compare.told(folder), control)
        except (tshark.TsharkError, ClockError, OSError, KeyError, ValueError) as error:
            with self._lock:
                self.failed.append(f"{folder}: {type(error).__name__}: {error}")
                print(f"NOT JUDGED  {self.failed[-1]}", flush=True)
            return
        with self._lock:
            self.rows.append(row)
            print(f"{'DIFFERS' if row.differences else 'same':<8} {text(row)}", flush=True)
            for sentence in row.differences:
                print(f"         {sentence}", flush=True)

    def ran(self, order: runs.Order, folders: Sequence[Path], printed: str) -> None:
        """Judge what one order left."""
        if not folders:
            with self._lock:
                self.failed.append(f"{order.name} {order.sabotage}: left no report: {printed[-300:]}")
                print(f"NOT JUDGED  {self.failed[-1]}", flush=True)
        for folder in folders:
            self.take(folder, f"{order.agent}: {order.sabotage}" if order.sabotage else "")


def text(row: compare.Row) -> str:
    """A row in a line."""
    broken = f" ({row.control})" if row.control else ""
    said = "–" if row.silence[0] is None else f"{row.silence[0]:.3f}"
    late = "–" if row.late[0] is None else str(row.late[0])
    handshakes = " ".join(f"{','.join(map(str, counts)) or '–'}" for counts in row.handshakes)
    figures = (
        f"silence {said} {row.silence[1]:.3f} ms, lost {row.lost[0]} {row.lost[1]}, late {late} {row.late[1]}, handshakes {handshakes}"
    )
    socket = f", by the socket {row.socket[0]} {row.socket[1]:.3f} ms" if row.socket is not None else ""
    return (
        f"{row.run}{broken}: {row.packets} packets, {figures}, {row.paths[1]} paths{socket}; times differ by {row.worst_ms:.3f} ms at most"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, tell, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.judge", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="run folders, or folders above runs; none: make runs and judge them")
    parser.add_argument("--all", action="store_true", help="run every scenario and every control")
    parser.add_argument("--figures", type=Path, help="write the rows there as JSON, for tests/accuracy.py")
    given = parser.parse_args(arguments)
    session = Session()
    try:
        machine = tshark.version()
        if given.folders:
            for folder in sorted({path.parent.resolve() for above in given.folders for path in above.rglob("report.json")}):
                session.take(folder)
        else:
            orders = runs.all_orders() if given.all else runs.FEW
            with tempfile.TemporaryDirectory(prefix="judge-runs-") as scratch:
                runs.make(orders, Path(scratch), session.ran)
    except (tshark.TsharkError, runs.RunError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.figures is not None:
        given.figures.parent.mkdir(parents=True, exist_ok=True)
        rows = [row.plain() for row in sorted(session.rows, key=lambda row: (row.run, row.control))]
        given.figures.write_text(json.dumps({"tshark": machine, "rows": rows}, indent=1) + "\n")
    differing = sum(bool(row.differences) for row in session.rows)
    print(f"{len(session.rows)} runs judged by {machine}: {differing} differ, {len(session.failed)} could not be judged")
    if session.failed or not session.rows:
        return 2
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
