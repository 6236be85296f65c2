"""docs/accuracy.md from what was measured (see `make accuracy`); each half is written by itself and leaves the other as it is.

``python -m tests.accuracy RELAY.json NETEM.json``: the links, by the conformance suite.
``python -m tests.accuracy --judge JUDGE.json``: the harness's figures beside those of the independent judge, by `make judge`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# How true the links are

Made by `make accuracy` from a real run; do not edit. Every figure is from `tests/conformance/test_links.py`: packets sent between two
namespaces across one link, their arrival stamped by the kernel, against the same path without an impairment. What is *allowed* is the
contract, and fails the suite when broken: a delay within 0.5 ms in the median and 3 ms at the 99th percentile, a rate within 2 %, and
shares and distributions within what chance breaks once in a thousand runs, or, where no seed repeats it (netem), once in a million over
more packets. Packets that met a recorded stall of the machine are left out of delays, and of nothing else.
`tests/conformance/test_differential.py` holds both executors against each other, distribution by distribution.

"""


PAGE = Path("docs/accuracy.md")
JUDGE = """
## An independent judge

Made by `make judge` from real runs; do not edit. `tests/judge` imports nothing of the harness and reads the same captures through tshark
([judge.md](judge.md)). Each cell has the harness's figure, then the judge's: the longest silence of the most silent flow, at the hosts'
interfaces; packets lost on the way and packets late, over all flows of the run; QUIC handshakes. *By the socket*: the longest silence where
the harness saw that the listener took packets later than they came. *Moves, 4-tuples*: the moves that the harness has receipts of, and the
4-tuples that carried the call at the callee's host by the judge. The last column is the largest difference of any time, each packet's
departure and arrival included. A dash: the harness gives no such figure, or none that is by the same definition.

"""


def page(runs: list[dict[str, Any]]) -> str:
    """The whole page; a run: ``{"where": …, "figures": […]}`` as ``--figures`` writes it."""
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    refused: list[str] = []
    measured: dict[str, dict[str, Any]] = {}
    for run in runs:
        for figure in run["figures"]:
            measured[figure["executor"]] = run["where"]
            if figure["value"] is None:
                refused += [figure["asked"]] if figure["asked"] not in refused else []
            else:
                rows.setdefault((figure["asked"], figure["figure"]), {})[figure["executor"]] = figure
    executors = [name for name in ("netem", "relay", "relay-packet") if name in measured]
    lines = [f"| asked | figure | {' | '.join(executors)} | allowed | packets |", f"|{'---|' * (len(executors) + 4)}"]
    for (asked, name), found in rows.items():
        cells = [number(found[executor]) if executor in found else "refused" for executor in executors]
        # A bound that follows from how many packets counted differs a little from one to the other: the tightest is shown.
        least, most = max(one["least"] for one in found.values()), min(one["most"] for one in found.values())
        unit = next(iter(found.values()))["unit"]
        bounds = f"{least:.4g}{unit}" if least == most else f"{least:.4g} to {most:.4g}{unit}"
        counts = sorted({one["count"] for one in found.values()})
        packets = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
        lines.append(f"| {asked} | {name} | {' | '.join(cells)} | {bounds} | {packets} |")
    places = [f"* **{name}**: {place(measured[name])}" for name in executors]
    left = f"\nnetem refuses by name, and `auto` gives to the relay: {', '.join(refused)}.\n" if refused else ""
    return HEAD + "\n".join([*places, "", *lines]) + "\n" + left


def number(figure: dict[str, Any]) -> str:
    """``20.031 ms``, and other units with four digits."""
    return f"{figure['value']:.3f} ms" if figure["unit"] == " ms" else f"{figure['value']:.4g}{figure['unit']}"


def judged(told: dict[str, Any]) -> str:
    """The judge's section; ``told``: as ``python -m tests.judge --figures`` writes it."""
    lines = ["| run | control | packets | silence, ms | by the socket, ms | lost | late | handshakes | moves, 4-tuples | differ by, ms |"]
    lines.append(f"|{'---|' * 10}")
    for row in told["rows"]:
        if row["packets"]:
            silence, socket = (" / ".join(map(milliseconds, row[name])) if row[name] else "" for name in ("silence", "socket"))
            lost, late, moves = (" / ".join("–" if one is None else str(one) for one in row[name]) for name in ("lost", "late", "paths"))
            handshakes = " / ".join(", ".join(map(str, counts)) or "–" for counts in row["handshakes"])
            cells = [row["run"], row["control"], row["packets"], silence, socket, lost, late, handshakes, moves, f"{row['worst_ms']:.3f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    differing = [f"* {row['run']} {row['control']}: {sentence}" for row in told["rows"] for sentence in row["differences"]]
    verdict = (
        "\n".join(["\nDifferences beyond 1 ms, 0 packets and 0 handshakes:\n", *differing]) if differing else "\nNothing differs by more."
    )
    return JUDGE + f"{told['tshark']}.\n\n" + "\n".join(lines) + "\n" + verdict + "\n"


def milliseconds(value: float | None) -> str:
    """``20.031``, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def place(where: dict[str, Any]) -> str:
    """On what machine it was measured."""
    how = ", emulated by qemu with a clock that counts instructions (`make test-vm`)" if where["emulated"] else ""
    processors = f"{where['processors']} processor{'s' * (where['processors'] != 1)}"
    return f"Linux {where['kernel']}, {processors}, Python {where['python']}{how}"


def main() -> None:
    """Write one half of the page."""
    links, heading, judge = (PAGE.read_text() if PAGE.exists() else "").partition(JUDGE.partition("\n\n")[0])
    if sys.argv[1] == "--judge":
        PAGE.write_text(links.rstrip("\n") + "\n" + judged(json.loads(Path(sys.argv[2]).read_text())))
    else:
        PAGE.write_text(page([json.loads(Path(name).read_text()) for name in sys.argv[1:]]) + heading + judge)


if __name__ == "__main__":
    main()
