"""docs/accuracy.md from what the conformance suite measured: ``python -m tests.accuracy RELAY.json NETEM.json`` (see `make accuracy`)."""

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


def place(where: dict[str, Any]) -> str:
    """On what machine it was measured."""
    how = ", emulated by qemu with a clock that counts instructions (`make test-vm`)" if where["emulated"] else ""
    processors = f"{where['processors']} processor{'s' * (where['processors'] != 1)}"
    return f"Linux {where['kernel']}, {processors}, Python {where['python']}{how}"


def main() -> None:
    """Write the page."""
    runs = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    Path("docs/accuracy.md").write_text(page(runs))


if __name__ == "__main__":
    main()
