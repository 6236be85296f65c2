"""How long a call is silent when a NAT gives it a new port or address: 5 runs of scenarios/rebinding.py over IPv4.  Long: 45 s a run.

As in ``migration``: the scenarios' own verdicts, the worst of all runs and directions against the scenario's bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.migration import verdicts
from benchmarks.row import Row


def run(quick: bool) -> Iterator[Row]:
    """5 runs, a seed each; quick: 1."""
    return verdicts("rebinding", 1 if quick else 5)
