"""What a run costs beside the call: wall time of ``harness run NAME`` less the scripted call.  Long: about 8 s a run.

The scripted call is from both sides being connected to both having hung up, as the run's timeline has it; everything else is overhead, the
handshake of the call included.  The parts, in order:

* *start*: Python, typer, pytest, imports, collection, until ``lab.build``
* *build*: the keeper's start and what it builds (its own part is in the note)
* *agents*: starting them, probing the network, captures, their introduction, until the caller dials
* *dial*: until both sides say that they are connected
* *finish*: from hung up to the end of the process: what the scenario asks after its call, agents' end, evidence, audit, report, pytest

Reported are medians; a part's median does not depend on the call's length, so two different scenarios are run in turns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from benchmarks.row import Row, median, spread
from benchmarks.runs import Command, harness_run

TARGET_S = 2.0
SCENARIOS = ("lifecycle", "break_before_make")


def run(quick: bool) -> Iterator[Row]:
    """5 runs of each scenario in turns; quick: 1."""
    parts: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in SCENARIOS}
    inside: dict[str, list[float]] = defaultdict(list)
    for _ in range(1 if quick else 5):
        for name in SCENARIOS:
            command = harness_run(name)
            for part, took in _parts(command).items():
                parts[name][part].append(took)
            inside[name].append(_line(command, "built")["built_ns"] / 1e9)
    for name in SCENARIOS:
        whole = parts[name].pop("overhead")
        yield Row("overhead", f"{name}: wall − scripted call", median(whole), "s", TARGET_S, n=len(whole), note=spread(whole, 2))
        for part, took in parts[name].items():
            note = spread(took, 2) + (f"; in the kernel {median(inside[name]):.2f} s" if part == "build" else "")
            yield Row("overhead", f"{name}: {part}", median(took), "s", n=len(took), note=note)


def _line(command: Command, kind: str) -> dict[str, int]:
    return next(line for line in command.runs[0].timeline if line["source"] == "lab" and line["kind"] == kind)


def _parts(command: Command) -> dict[str, float]:
    """Seconds by part."""
    run = command.runs[0]
    built = run.at("lab", "built")
    building = built - run.report["durations"]["build"]["count"]
    dialled = next(line["at"] for line in run.timeline if line["kind"] == "request" and line["message"]["op"] == "dial")
    connected, hung_up = run.at("lab", "call", "are connected"), run.at("lab", "call", "have hung up")
    marks = [command.began, building, built, dialled, connected, hung_up, command.ended]
    names = ("start", "build", "agents", "dial", "call", "finish")
    spans = {name: end - begin for name, (begin, end) in zip(names, pairwise(marks), strict=True)}
    call = spans.pop("call")
    return {"overhead": (command.ended - command.began - call) / 1e9} | {part: span / 1e9 for part, span in spans.items()}
