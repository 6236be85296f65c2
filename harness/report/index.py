"""``index.html``: every run under an artifacts folder on one page, and of each figure how it went from run to run.

Runs are grouped by section (every day's, each repetition's, the negative controls'), scenario and test; ``--repeat``'s own numbers do not
part them.  A figure is told over all runs that have it, oldest first, and ``drift`` looks at those that ran under the latest one's
circumstances: the same executor and the same options.  The page depends on the runs alone: written twice it is the same, byte for byte.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import msgspec

from harness import whole
from harness.report import drift, history
from harness.report.history import Run
from harness.report.keyed import Key, keyed
from harness.report.model import Glance, Judged
from harness.report.page import FILE as PAGE
from harness.report.page import pack, scripts, styles, template
from harness.report.text import amount
from harness.turns import locked
from harness.verdict import Result

FILE = "index.html"
STYLES = ("page.css", "index.css")
SCRIPTS = ("core.js", "index.js")
DAILY, CONTROLS = "", "negative controls"
_REPEATED = re.compile(r"-run\d+(?=-|$)")
_REPEATED_PARAMETER = re.compile(r"\[run\d+\]$|(?<=\[)run\d+-|-run\d+(?=[\]-])")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the list.  ``state``: its result, or why it has none.  ``under``: its executor and options.  ``href``: of its page.

    ``worst``: its smallest margin, in % of the bound; ``worst_of``: of which figure.
    """

    at: str
    state: str
    blame: str
    seed: int
    under: str
    reason: str
    href: str
    worst: float | None
    worst_of: str


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over the runs of its test, oldest first.  Each list has a place for every run; None: that run has no such figure.

    ``values`` are counts of the smallest unit; a run has the figure and could not measure it when ``bounds`` has a value and this has none.
    ``margins``: in % of the bound, where that means something.  ``drift``: a hint, or "".
    """

    name: str
    direction: str
    sign: str
    values: list[int | None]
    bounds: list[int | None]
    texts: list[str | None]
    bound_texts: list[str | None]
    results: list[str | None]
    margins: list[float | None]
    drift: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A test with its ``runs``, oldest first."""

    scenario: str
    test: str
    runs: list[Shown]
    trails: list[Trail]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Tests that are listed together."""

    name: str
    tests: list[Group]


def write(root: Path) -> Path:
    """Write the index of ``root`` and return its path.  Of several sessions that write at once the last one lists what all have left."""
    with locked(root):
        whole.write(root / FILE, render(history.read(root), root))
    return root / FILE


def render(runs: Sequence[Run], root: Path) -> str:
    """The page of these runs (newest first), whose addresses are relative to ``root``."""
    sections = tell(runs, root)
    return template("index.html").render(
        sections=sections,
        counts=_counts(runs),
        styles=styles(STYLES),
        scripts=scripts(SCRIPTS),
        data=pack(sections),
    )


def tell(runs: Sequence[Run], root: Path) -> list[Section]:
    """The runs (newest first) by section and test: every day's first, then repetitions, the newest first, then the controls."""
    found: dict[str, dict[tuple[str, str], list[Run]]] = {}
    for run in runs:
        key = (run.scenario, _REPEATED.sub("", run.test))
        found.setdefault(_section(run), {}).setdefault(key, []).append(run)
    return [
        Section(name=name, tests=[_tested(scenario, test, group[::-1], root) for (scenario, test), group in tests.items()])
        for name, tests in sorted(found.items(), key=lambda item: (item[0] != DAILY, item[0] == CONTROLS))
    ]


def _section(run: Run) -> str:
    return CONTROLS if run.glance is not None and run.glance.sabotage is not None else run.section


def _tested(scenario: str, test: str, runs: list[Run], root: Path) -> Group:
    named = next((run.glance.test for run in reversed(runs) if run.glance is not None), None)
    return Group(
        scenario=scenario,
        test=test if named is None else _REPEATED_PARAMETER.sub("", named),
        runs=[_shown(run, root) for run in runs],
        trails=_trails(runs),
    )


def _shown(run: Run, root: Path) -> Shown:
    glance = run.glance
    worst = _worst(glance.verdicts) if glance is not None else None
    return Shown(
        at=run.began.isoformat(timespec="seconds"),
        state=run.problem if glance is None else str(glance.result),
        blame=str(glance.blame or "") if glance is not None else "",
        seed=run.seed,
        under=circumstances(glance) if glance is not None else "",
        reason=glance.reasons[0] if glance is not None and glance.reasons else "",
        href=_href(run.folder, root),
        worst=worst[0] if worst else None,
        worst_of=worst[1] if worst else "",
    )


def _href(folder: Path, root: Path) -> str:
    name = next((name for name in (PAGE, "report.json") if (folder / name).is_file()), "")
    return quote("./" + str((folder.relative_to(root)) / name).encode(errors="surrogateescape").decode("latin-1"), encoding="latin-1")


def circumstances(of: Glance) -> str:
    """What beside the seed decided how a run went: the executor, the options that it was given, and the agent's sabotage."""
    try:
        words = shlex.split(of.command)
    except ValueError:
        words = [of.command]
    options = [word for word in words if word.startswith("--") and not word.startswith("--seed")]
    return " ".join([of.executor, *options, *([of.sabotage] if of.sabotage else [])])


def _margin(of: Judged) -> float | None:
    margin = drift.margin(of.relation, of.value, of.bound)
    return None if margin is None else round(margin, 2)


def _worst(verdicts: Iterable[Judged]) -> tuple[float, str] | None:
    found = [(margin, f"{one.name} {one.direction}".strip()) for one in verdicts if (margin := _margin(one)) is not None]
    return min(found, default=None)


def _trails(runs: Sequence[Run]) -> list[Trail]:
    by_run = [keyed(run.glance.verdicts) if run.glance is not None else {} for run in runs]
    keys = dict.fromkeys(key for figures in reversed(by_run) for key in figures)  # the latest run's first, in its order
    under = [circumstances(run.glance) if run.glance is not None else "" for run in runs]
    return [_trail(key, [figures.get(key) for figures in by_run], under) for key in keys]


def _trail(key: Key, judged: Sequence[Judged | None], under: Sequence[str]) -> Trail:
    margins = [None if one is None else _margin(one) for one in judged]
    latest = next((where for where, one in zip(reversed(under), reversed(judged), strict=True) if one is not None), "")
    alike = [margin for margin, where in zip(margins, under, strict=True) if margin is not None and where == latest]
    return Trail(
        name=key[0],
        direction=key[1],
        sign=key[2],
        values=[None if one is None or one.value is None else one.value.count for one in judged],
        bounds=[None if one is None else one.bound.count for one in judged],
        texts=[None if one is None else amount(one.value) for one in judged],
        bound_texts=[None if one is None else amount(one.bound) for one in judged],
        results=[None if one is None else str(one.result) for one in judged],
        margins=margins,
        drift=drift.hint(alike),
    )


def _counts(runs: Sequence[Run]) -> list[tuple[str, int]]:
    """How many runs came to what: PASS, FAIL and INCONCLUSIVE always, other ends where there are any."""
    words = [str(run.glance.result) if run.glance is not None else run.problem.partition(":")[0] for run in runs]
    known = [str(result) for result in (Result.PASS, Result.FAIL, Result.INCONCLUSIVE)]
    other = [word for word, _ in groupby(sorted(word for word in words if word not in known))]
    return [(word, words.count(word)) for word in [*known, *other]]
