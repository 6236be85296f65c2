"""How long a call is silent, and what it loses, when it migrates: 5 runs of scenarios/migration.py over IPv4.  Long: 30 s a run.

The figures are the scenarios' own verdicts, read from report.json: silence by the rules of harness/media (against what the sender really
sent), at each end, in every run.  The worst of all runs and directions stands against the scenario's bound; the median is to be read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from benchmarks.row import Row, median
from benchmarks.runs import harness_run


def run(quick: bool) -> Iterator[Row]:
    """5 runs, a seed each; quick: 1."""
    return verdicts("migration", 1 if quick else 5)


def verdicts(scenario: str, repetitions: int) -> Iterator[Row]:
    """A row for every verdict of the file ``scenario``, and one for how the runs ended."""
    command = harness_run(scenario, f"--repeat={repetitions}", "-k", "not ipv6")
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in command.runs:
        test = one.report["test"].partition("[")[0]
        for verdict in one.report["verdicts"]:
            found[test, verdict["name"]].append(verdict)
    for (test, name), some in found.items():
        values = [_plain(verdict["value"]) for verdict in some if verdict["value"] is not None]
        if not values:
            yield Row(scenario, f"{test}: {name}", None, note=some[0]["note"])
            continue
        unit = "ms" if some[0]["bound"]["kind"] == "duration" else ""
        worst, bound = max(values), _plain(some[0]["bound"])
        yield Row(scenario, f"{test}: {name}, worst", worst, unit, bound, n=len(values), note=f"median {median(values):.1f}")
    ended = Counter(one.report["result"] for one in command.runs)
    passed = ended["PASS"]
    words = ", ".join(f"{count} {result}" for result, count in ended.items())
    yield Row(scenario, "runs that passed", passed, "", len(command.runs), at_least=True, n=len(command.runs), note=words)


def _plain(value: dict[str, Any]) -> float:
    """Durations in ms, counts as they are."""
    return value["count"] / 1e6 if value["kind"] == "duration" else value["count"]
