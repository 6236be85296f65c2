"""What scenarios there are and what each tells of itself, read from their source without importing it; docs/scenarios.md is made from it.

A scenario is ``async def test_*`` in ``scenarios/*.py``.  Its docstring is its entry: the story in one sentence, then a paragraph for each
of ``LABELS``, then, where it needs more of a machine than others, ``Needs``.  What the code itself says (networks, variants, verdicts with
their bounds, controls) is taken from the code, so that the two cannot differ.
"""

from __future__ import annotations

import ast
import contextlib
import operator
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import units
from harness.errors import SpecError
from harness.report.paragraphs import flow, paragraphs
from harness.report.text import amount

LABELS = ("Field story", "Fault", "Bounds", "Control")
OPTIONAL = ("Needs",)
_SEEN = re.compile(r"\b(video|screen|picture)\b|freez")
_HEARD = re.compile(r"silence|unheard|heard|\blost\b|first (fresh )?audio|played past")
"""Verdicts on what is seen, and on what is heard, by their names; the first that fits counts."""
_SIGNS = {"at_most": "≤", "at_least": "≥", "equal": "=", "same": "=", "refused": "="}
"""By what a scenario calls to judge; the third argument is what the second is held against."""


_AFTER = {"longest_silence": "longest silence after a {}", "unheard": "audio unheard after a {}"}
"""What a long call is judged by after each kind of fault (``lab.endurance``), which the first argument names."""


@dataclass(frozen=True)
class Judged:
    """A verdict as the source has it: its name, its relation's sign and its bound, f-strings and expressions as they are written.

    ``value``: what the bound comes to, where constants of the file or of a topology alone decide it.
    """

    name: str
    sign: str
    bound: str
    value: str | None = None


@dataclass(frozen=True)
class Caught:
    """A negative control as the source has it."""

    agent: str
    sabotage: str
    caught_by: str


@dataclass(frozen=True)
class Scenario:
    """A test of a scenario file: ``name`` is without ``test_``, ``node`` its syntax tree, ``module`` that of its file."""

    file: Path
    name: str
    node: ast.AsyncFunctionDef
    module: ast.Module

    @property
    def nodeid(self) -> str:
        """What pytest calls it."""
        return f"{self.file}::test_{self.name}"

    @property
    def story(self) -> str:
        """The first line of its docstring."""
        return (ast.get_docstring(self.node) or "").partition("\n")[0]

    @cached_property
    def paragraphs(self) -> dict[str, str]:
        """Label → text of its docstring, "" for the story.  SpecError that names what is missing, or a label that is not known."""
        found = paragraphs(ast.get_docstring(self.node) or "")
        where = f"{self.file.name}, {self.name}"
        for label in LABELS:
            if not found.get(label):
                raise SpecError(where, f"its docstring has no {label!r}; needed are {', '.join(LABELS)}")
        for label in found.keys() - {"", *LABELS, *OPTIONAL}:
            raise SpecError(where, f"its docstring has {label!r}; allowed are {', '.join((*LABELS, *OPTIONAL))}")
        return found

    def networks(self, known: Collection[str]) -> list[str]:
        """Which of the ``known`` topology functions it calls, in order of the source."""
        calls = (node for function in self._functions() for node in ast.walk(function) if isinstance(node, ast.Call))
        return [name for name in dict.fromkeys(_called_name(call) for call in calls) if name in known]

    @property
    def verdicts(self) -> list[Judged]:
        """Its own verdicts, in order of the source."""
        found = [
            Judged(_text(call.args[0]), _SIGNS[kind], _text(call.args[2]), self._value(call.args[2]))
            for kind in _SIGNS
            for call in self.calls(kind)
            if len(call.args) >= 3
        ]
        found += [
            Judged(told.format(_text(call.args[0])), "≤", _text(call.args[1]), self._value(call.args[1]))
            for kind, told in _AFTER.items()
            for call in self.calls(kind)
            if len(call.args) == 2 and isinstance(call.args[0], ast.JoinedStr)
        ]
        return [one for one in dict.fromkeys(found) if self.has_video or not _SEEN.search(one.name)]

    @property
    def has_video(self) -> bool:
        """Whether a call of it has a picture."""
        words = (
            word for function in self._functions() for node in ast.walk(function) if isinstance(node, ast.Call) for word in node.keywords
        )
        return any(word.arg in ("video", "screen") and not _is_false(word.value) for word in words)

    @property
    def controls(self) -> list[Caught]:
        """Its controls: of its decorator, and of its parameters."""
        calls = (n for d in self.node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Call) and _called_name(n) == "control")
        found = []
        for call in calls:
            caught_by = next(word.value for word in call.keywords if word.arg == "caught_by")
            found.append(Caught(_text(call.args[0]), _text(call.args[1]), _text(caught_by)))
        return list(dict.fromkeys(found))

    @property
    def needs(self) -> list[str]:
        """What it needs of its agents, of its decorator and of its parameters: ``hold (alice, bob)``, ``redial`` for all agents."""
        calls = (n for d in self.node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Call) and _called_name(n) == "needs")
        found = []
        for call in calls:
            of = next((ast.literal_eval(word.value) for word in call.keywords if word.arg == "of"), ())
            whose = of if isinstance(of, str) else ", ".join(of)
            found += [f"{_text(name)} ({whose})" if whose else _text(name) for name in call.args]
        return list(dict.fromkeys(found))

    @property
    def variants(self) -> list[str]:
        """The ids of its parameter sets."""
        nodes = [n for d in self.node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Call)]
        words = [word for call in nodes for word in call.keywords]
        ids = [e for word in words if word.arg == "ids" and isinstance(word.value, ast.List) for e in word.value.elts]
        return [_text(one) for one in (*ids, *(word.value for word in words if word.arg == "id"))]

    @cached_property
    def _constants(self) -> dict[str, Any]:
        """The units, and the constants of its file and of the topologies from which it takes some."""
        known: dict[str, Any] = dict(vars(units))
        for node in self.module.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("topologies."):
                drawn = self.file.parents[1] / f"{(node.module or '').replace('.', '/')}.py"
                theirs = _assigned(ast.parse(drawn.read_text()), dict(vars(units))) if drawn.exists() else {}
                known |= {alias.asname or alias.name: theirs[alias.name] for alias in node.names if alias.name in theirs}
        return _assigned(self.module, known)

    def _value(self, bound: ast.AST) -> str | None:
        try:
            value = _evaluate(bound, self._constants)
        except LookupError:
            return None
        return amount(value) if isinstance(value, units.Quantity) else str(value)

    def calls(self, method: str) -> Iterator[ast.Call]:
        """Calls of ``….method(…)`` in it and in the functions of its module that it calls."""
        for function in self._functions():
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
                    yield node

    def _functions(self) -> list[ast.AST]:
        local = {n.name: n for n in self.module.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        found: list[ast.AST] = [self.node]
        for function in found:
            named = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
            found += [local[name] for name in sorted(named & local.keys()) if local[name] not in found]
        return found


def find(folder: Path) -> list[Scenario]:
    """Every scenario in ``folder``, in order of file and place."""
    found = []
    for file in sorted(folder.glob("*.py")):
        module = ast.parse(file.read_text(), str(file))
        nodes = [node for node in module.body if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")]
        found += [Scenario(file, node.name.removeprefix("test_"), node, module) for node in nodes]
    return found


def select(name: str, scenarios: list[Scenario]) -> list[str]:
    """The pytest arguments for ``name``: a file's stem, a scenario's name, or one ``name[variant]``; empty when there is no such."""
    if name in {scenario.file.stem for scenario in scenarios}:
        return [str(next(scenario.file for scenario in scenarios if scenario.file.stem == name))]
    plain, bracket, variant = name.partition("[")
    return [f"{scenario.nodeid}{bracket}{variant}" for scenario in scenarios if scenario.name == plain]


def drawings(folder: Path) -> dict[str, str]:
    """Topology function → its module's docstring, for every public function of ``folder``'s modules that returns a Topology."""
    found = {}
    for file in sorted(folder.glob("*.py")):
        module = ast.parse(file.read_text(), str(file))
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.returns is not None and ast.unparse(node.returns) == "Topology":
                found[node.name] = ast.get_docstring(module) or ""
    return found


def page(scenarios: list[Scenario], networks: dict[str, str]) -> str:
    """docs/scenarios.md.  SpecError for a docstring that lacks a paragraph, or a scenario without a network that somebody has drawn."""
    lines = [_HEAD]
    file = None
    for scenario in scenarios:
        if scenario.file != file:
            file = scenario.file
            lines.append(f"## {file.stem}\n\n{flow(ast.get_docstring(scenario.module) or '')}\n")
        lines.append(_entry(scenario, networks))
    lines.append(_claims(scenarios))
    lines.append("## The networks\n")
    used = sorted({name for scenario in scenarios for name in scenario.networks(networks)})
    lines += [f"### {name}\n\n{_fenced(networks[name])}\n" for name in used]
    return "\n".join(lines)


def _claims(scenarios: list[Scenario]) -> str:
    """A table of what judges that somebody is heard and seen, and what else is judged."""
    rows = ["## What is claimed, and what judges it\n", "| scenario | heard | seen | besides |", "|---|---|---|---|"]
    for scenario in scenarios:
        told: dict[str, list[str]] = {"heard": [], "seen": [], "besides": []}
        for name in dict.fromkeys(re.sub(r"\{suffix\}", "", one.name) for one in scenario.verdicts):
            of_any = scenario.has_video and re.search(r"\{(flow|what|other)\}", name) and _HEARD.search(name)
            where = [column for column, words in (("seen", _SEEN), ("heard", _HEARD)) if words.search(name)][:1] or ["besides"]
            for column in dict.fromkeys([*where, *(["seen"] if of_any else [])]):
                told[column].append(name)
        rows.append(f"| [{scenario.name}](#{scenario.name}) | {' | '.join(_cell(', '.join(told[column])) for column in told)} |")
    return "\n".join(rows) + "\n"


def _entry(scenario: Scenario, networks: dict[str, str]) -> str:
    told = scenario.paragraphs
    built = ", ".join(f"[{name}](#{name})" for name in scenario.networks(networks))
    if not built:
        raise SpecError(f"{scenario.file.name}, {scenario.name}", "it builds no network that a module of topologies draws")
    parts = [f"### {scenario.name}", told[""], f"**Network.** {built}."]
    if scenario.variants:
        parts.append(f"**Variants.** {', '.join(scenario.variants)}.")
    parts += [f"**{label}.** {told[label]}" for label in ("Field story", "Fault", "Bounds")]
    judged = ["| verdict | bound |", "|---|---|", *(f"| {_cell(v.name)} | {_bound(v)} |" for v in scenario.verdicts)]
    parts += ["\n".join(judged), f"**Control.** {told['Control']}"]
    caught = [f"| {_cell(c.agent)} runs {_code(c.sabotage)} | {_cell(c.caught_by)} |" for c in scenario.controls]
    parts.append("\n".join(["| sabotage | caught by |", "|---|---|", *dict.fromkeys(caught)]))
    of_agents = f" Of its agents: {', '.join(scenario.needs)}." if scenario.needs else ""
    parts.append(f"**Needs.** {told.get('Needs', _USUAL)}{of_agents}")
    return "\n\n".join(parts) + "\n"


_HEAD = """# Scenarios

Made from the scenarios' own docstrings and code by `make docs`; a test checks that it is up to date. `make scenario NAME=…` takes a
section's name or a scenario's. Names in `{}` are filled in by the run. The lab's own waits, such as "audio heard for 2s at bob", are
judged in every scenario beside the verdicts listed here.
"""
_USUAL = "What every scenario needs (docs/platforms.md)."


def _fenced(docstring: str) -> str:
    """A topology's docstring with its literal block fenced for Markdown."""
    before, mark, rest = docstring.partition("::\n")
    if not mark:
        return docstring
    lines = rest.strip("\n").splitlines()
    end = next((i for i, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))
    drawing = "\n".join(line[4:] for line in lines[:end]).rstrip()
    return f"{before.strip()}\n\n```\n{drawing}\n```\n\n{chr(10).join(lines[end:]).strip()}".strip()


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _called_name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _called_name(node.func)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def _text(node: ast.AST) -> str:
    """A string as it reads, with the placeholders of an f-string; any other expression as it is written."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else f"{{{ast.unparse(p.value)}}}" for p in node.values)  # type: ignore[attr-defined, misc]
    return ast.unparse(node)


def _assigned(module: ast.Module, known: dict[str, Any]) -> dict[str, Any]:
    """``known`` and the constants that ``module`` makes of it."""
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with contextlib.suppress(LookupError):
                known[node.targets[0].id] = _evaluate(node.value, known)
    return known


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def _evaluate(node: ast.AST, known: dict[str, Any]) -> Any:
    """What an expression of numbers, units and known constants comes to; LookupError for any other."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_evaluate(node.left, known), _evaluate(node.right, known))
    raise LookupError(ast.unparse(node))


def _bound(judged: Judged) -> str:
    """The bound as a figure, with the expression where it names what it is made of; as the expression alone where only a run can tell."""
    if judged.value is None:
        return f"{judged.sign} {_code(judged.bound)}"
    made_of = f" ({_code(judged.bound)})" if re.search("[A-Z]", judged.bound) else ""
    return f"{judged.sign} {judged.value}{made_of}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`"
