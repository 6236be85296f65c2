"""``report.html``: a run on one page, in one file that asks the network for nothing.

The page is the template ``web/page.html`` with its styles and scripts inside, and the run's ``Story``, deflated and in base64: whatever is
in it can be no markup.  The verdict table and the account in words are plain HTML, escaped, and there without scripts.  The page's
Content-Security-Policy allows the scripts by their digests and no request at all, so that what escaped the escaping still could not run.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
from markupsafe import Markup

from harness import whole
from harness.report import broken_off, hostile, model
from harness.report.account import HAPPENED, account, is_of, which_call
from harness.report.paragraphs import paragraphs
from harness.report.printable import printable
from harness.report.story import Story
from harness.report.tell import tell
from harness.report.text import amount, bound, margin, stacks
from harness.verdict import Result, Verdict

FILE = "report.html"
ASSETS = Path(__file__).with_name("web")
STYLES = ("vendor/uPlot.min.css", "page.css", "charts.css", "scene.css")
SCRIPTS = (
    "vendor/uPlot.iife.min.js",
    *("core.js", "ways.js", "rows.js", "ruler.js", "delay.js", "quality.js", "sounds.js", "lanes.js"),
    *("net.js", "traffic.js", "sequence.js", "logs.js", "measured.js"),
)
"""In the order in which the page runs them; a panel's place on the page is its script's."""

_NUMBERS = {int, float}
_ORDER = {Result.FAIL: 0, Result.ERROR: 1, Result.NOT_RUN: 1, Result.INCONCLUSIVE: 1, Result.PASS: 2}
_LONG = 24
"""Verdicts above which those that passed are folded away until they are asked for; sentences of which the rest is."""


class Script(NamedTuple):
    """A script and the digest by which the page's policy allows it."""

    text: Markup
    digest: str


def write(folder: Path) -> Path:
    """Write the page of the run in ``folder``, whole or not at all, and return its path; HarnessError when the folder is no run's."""
    text = render(tell(folder), broken_off.report(folder))
    whole.write(folder / FILE, text)
    return folder / FILE


def render(story: Story, report: model.Report) -> str:
    """The page, as HTML."""
    return template("page.html").render(
        report=report,
        stacks=stacks(report),
        unread=story.unread,
        hostile_headings=hostile.HEADINGS,
        hostile=hostile.rows(report),
        verdicts=[_row(story, verdict) for verdict in sorted(report.verdicts, key=lambda one: _ORDER[one.result])],
        long=len(report.verdicts) > _LONG,
        passed=sum(verdict.result is Result.PASS for verdict in report.verdicts),
        account=_account(story, report),
        about=paragraphs(report.story),
        reasons=[one for one in report.reasons if not any(one.startswith(verdict.name) for verdict in report.verdicts)],
        started=report.started.isoformat(timespec="seconds"),
        took=amount(report.took),
        styles=styles(STYLES),
        scripts=scripts(SCRIPTS),
        story=pack(story),
    )


def pack(story: Any) -> Markup:
    """A struct deflated, in base64: nothing in it is markup, and no text in it has control characters or turns a line round."""
    return Markup(base64.b64encode(zlib.compress(msgspec.json.encode(_fit(msgspec.to_builtins(story))), 9)).decode())


def _fit(plain: Any) -> Any:
    """Plain data with every text in it made printable; the long series of numbers are left as they are."""
    if isinstance(plain, str):
        return plain if plain.isprintable() else printable(plain)
    if isinstance(plain, dict):
        return {_fit(name): _fit(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return plain if set(map(type, plain)) <= _NUMBERS else [_fit(value) for value in plain]
    return plain


def _account(story: Story, report: model.Report) -> list[dict[str, Any]]:
    """The sentences as rows; of what happened those beyond ``_LONG`` are folded away."""
    rows, happened = [], 0
    for sentence in account(story, report):
        happened += sentence.kind in HAPPENED
        rows.append(
            {
                "at": "" if sentence.at is None else f"{sentence.at / 1e6:.3f} s",
                "kind": sentence.kind,
                "text": sentence.text,
                "since": "" if sentence.since is None else sentence.since,
                "until": "" if sentence.until is None else sentence.until,
                "folded": sentence.kind in HAPPENED and happened > _LONG,
            }
        )
    return rows


def _row(story: Story, verdict: Verdict) -> dict[str, Any]:
    where = verdict.where
    flow = next((flow for flow in story.flows if verdict.call and is_of(flow, verdict)), None)
    return {
        "name": verdict.name,
        "direction": verdict.direction + (which_call(story, flow) if flow is not None else ""),
        "flow": verdict.direction,
        "call": verdict.call,
        "value": amount(verdict.value),
        "bound": bound(verdict),
        "margin": margin(verdict),
        "result": verdict.result,
        "blame": verdict.blame or "",
        "note": verdict.note,
        "since": "" if where is None else story.since_zero(where.start),
        "until": "" if where is None else story.since_zero(where.end),
    }


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
    )


def template(name: str) -> jinja2.Template:
    """A template of the page's folder; everything put into it is escaped, and control characters are replaced."""
    return _environment().get_template(name)


@cache
def styles(names: tuple[str, ...]) -> Markup:
    """The style sheets, one after the other."""
    return Markup("\n".join(_asset(name) for name in names))


@cache
def scripts(names: tuple[str, ...]) -> list[Script]:
    """The scripts, each with its digest."""
    found = []
    for name in names:
        text = _asset(name)
        if "</script" in text.lower():
            raise ValueError(f"{name} holds the end of a script element")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        found.append(Script(Markup(text), f"sha256-{digest}"))
    return found


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
