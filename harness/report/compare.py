"""``compare.html``: two runs on one page and one axis, say the broken and the fixed: where they differ, and their charts over each other.

Figures are joined by name, direction and relation; those that are alike in these by their order.  What is aligned with what is chosen on
the page (``web/compare.js``); the charts are those of the runs' own pages, each built once for either run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import whole
from harness.errors import HarnessError
from harness.report import model, page
from harness.report.keyed import Key, keyed
from harness.report.model import Report
from harness.report.story import Node, Story, Wire
from harness.report.tell import tell
from harness.report.text import amount, bound, stacks
from harness.verdict import Verdict

FILE = "compare.html"
STYLES = (*page.STYLES, "compare.css")
SCRIPTS = (*page.SCRIPTS, "compare.js")


def write(first: Path, second: Path, output: Path) -> Path:
    """Write the comparison of two runs' folders to ``output``, whole or not at all; HarnessError when one of them is no run's."""
    told = []
    for folder in (first, second):
        story = tell(folder)
        told.append((story, model.read(folder / "report.json"), str(folder)))
    if output.is_dir():
        raise HarnessError(f"--output {output}: it is a folder; name a file")
    if not output.parent.is_dir():
        raise HarnessError(f"--output {output}: there is no folder {output.parent}")
    whole.write(output, render(told))
    return output


def render(told: list[tuple[Story, Report, str]]) -> str:
    """The page, as HTML: of two runs the story, the report, and where it is kept."""
    (a, report_a, _), (b, report_b, _) = told
    return page.template("compare.html").render(
        runs=[_run(side, *one) for side, one in zip("AB", told, strict=True)],
        verdicts=verdicts(a, report_a, b, report_b),
        differences=differences(a, report_a, b, report_b),
        styles=page.styles(STYLES),
        scripts=page.scripts(SCRIPTS),
        stories=[page.pack(a), page.pack(b)],
    )


def _run(side: str, story: Story, report: Report, folder: str) -> dict[str, Any]:
    return {"side": side, "report": report, "unread": story.unread, "folder": folder, "took": amount(report.took), "stacks": stacks(report)}


def verdicts(a: Story, report_a: Report, b: Story, report_b: Report) -> list[dict[str, Any]]:
    """The joined table: the first run's figures in their order, then those that only the second has."""
    left, right = keyed(report_a.verdicts), keyed(report_b.verdicts)
    return [_row(key, a, left.get(key), b, right.get(key)) for key in dict.fromkeys([*left, *right])]


def _row(key: Key, story_a: Story, a: Verdict | None, story_b: Story, b: Verdict | None) -> dict[str, Any]:
    bounds = list(dict.fromkeys(bound(one) for one in (a, b) if one is not None))
    return {
        "name": key[0],
        "direction": key[1],
        "bound": " | ".join(bounds),
        "a": _side(story_a, a),
        "b": _side(story_b, b),
        "change": _change(a, b),
        "differs": a is None or b is None or a.result is not b.result,
    }


def _side(story: Story, verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"value": "not judged", "result": "", "since": "", "until": ""}
    where = verdict.where
    return {
        "value": amount(verdict.value),
        "result": verdict.result,
        "since": "" if where is None else story.since_zero(where.start),
        "until": "" if where is None else story.since_zero(where.end),
    }


def _change(a: Verdict | None, b: Verdict | None) -> str:
    """The second value less the first; "" when there is no such thing."""
    if a is None or b is None or a.value is None or b.value is None or type(a.value) is not type(b.value):
        return ""
    change = b.value - a.value
    return f"+{amount(change)}" if change.count > 0 else amount(change).replace("-", "−") if change.count else "0"


def differences(a: Story, report_a: Report, b: Story, report_b: Report) -> list[tuple[str, str, str]]:
    """What the two runs were told, ran on and ran over, as far as it differs: (what, the first's, the second's)."""
    left, right = (dict(_facts(story, report)) for story, report in ((a, report_a), (b, report_b)))
    return [
        (what, left.get(what, "–"), right.get(what, "–"))
        for what in dict.fromkeys([*left, *right])
        if left.get(what, "–") != right.get(what, "–")
    ]


def _facts(story: Story, report: Report) -> Iterable[tuple[str, str]]:
    yield "test", f"{report.scenario}: {report.test}"
    yield "command", report.command
    yield "seed", str(report.seed)
    yield from ((f"stack of {stack.agent}", f"{stack.name} {stack.version}") for stack in report.stacks)
    yield "negative control", report.sabotage or "–"
    yield "executor", report.executor
    yield "kernel", report.kernel
    yield from ((f"version of {name}", version) for name, version in report.versions.items())
    yield "faults", "; ".join(fault.name for fault in report.faults) or "–"
    yield from (fact for node in story.nodes for fact in _node(node))
    yield from (fact for wire in story.wires for fact in _wire(wire))


def _node(node: Node) -> Iterable[tuple[str, str]]:
    yield f"{node.name}", node.kind
    yield from ((f"{node.name}/{port}", ", ".join(addresses)) for port, addresses in node.ports.items())
    yield from ((f"{node.name}: NAT {field}", value) for field, value in node.nat.items())


def _wire(wire: Wire) -> Iterable[tuple[str, str]]:
    for direction, (start, end) in (("a_to_b", (wire.a, wire.b)), ("b_to_a", (wire.b, wire.a))):
        yield f"link {start} → {end}", wire.ruled[direction][0][1] if wire.ruled.get(direction) else "–"
