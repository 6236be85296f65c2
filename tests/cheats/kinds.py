"""The kinds of claim that verdicts make, and which scenario makes which: read from the scenarios' source, without running any of them.

A name that is put together while a run goes on (an f-string) is a pattern here: what is not known before is ``*``.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal, get_args

ROOT = Path(__file__).resolve().parents[2]
Kind = Literal[
    "silence", "loss", "delay", "order", "payload", "handshakes", "path", "picture", "hold", "hang-up", "coming up", "states",
    "signalling", "refusal", "left behind", "reports", "defence", "growth",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

RULES: tuple[tuple[Kind, str], ...] = (
    ("growth", r"^drift of|memory|^KiB |^descriptors more|^MiB "),
    ("left behind", r"left behind at|left at|^descriptors opened by|^sockets (beside|missing)|calls that rang without"),
    ("defence", r"Mallory|hostile|^originals that|^paths that Bob took|^connections that Bob holds|Retry packets|^bye busy"),
    ("refusal", r"refused|refusal|was answered with|^operations on|^a taken port|^[\w*]+ while (\*|[CEo])"),
    ("states", r"^states at|^times Connected|departures from|^unmoved while|was told|ended at"),
    ("hold", r"\bhold|after the resume|\bresumes\b|^held$|, said by"),
    ("reports", r"reports? (of|on)|^flows that "),
    ("handshakes", r"^QUIC (handshakes?|connections)|^offers of this call|connected on the wire"),
    ("handshakes", r"^from the (first Initial|new port|answer) to the"),
    ("path", r"^time to move|new path|passed by|connection ids|migrates? to|migrated|(ports|addresses) that|NAT noticed"),
    ("path", r"moves to|validates the path|^\* at \*$|redialled|redialling|validating|peer_moved|suspected|disconnected|healthy"),
    ("hang-up", r"^clean hang-up|^sources stop|call over at|falls silent|^last packet to|silent for|^byes that"),
    ("signalling", r"signall|^wrong in|connection_ready|no key opens"),
    ("order", r"duplicated|reordered|heard twice|breaks in sequence"),
    ("payload", r"corrupted|payload type|full size|beyond those offered|sources of audio|SSRCs|DATAGRAM frames|streams that carried"),
    ("picture", r"\bvideo|^a probe fails|\bscreen|\bfreez|\bpicture"),
    ("silence", r"silence|silent at last|pause of"),
    ("coming up", r"starts at|^\* \* at \*$"),
    (
        "coming up",
        r"^connected at|^rings at|^ringing|first media|gives? up|waits$|gave up|given up|giving up|connected beyond",
    ),
    ("delay", r"first (fresh )?audio|heard again|past its deadline|\blate\b"),
    ("loss", r"\blost\b|never sent|heard|packets that reached|packets from|packets at|pushed out|on the wire while"),
)
"""The first that fits a name, or a pattern of names, says its kind."""


def kind_of(name: str) -> Kind | None:
    """What the verdict ``name`` (or a pattern of names) claims; None for one that no rule knows."""
    return next((kind for kind, pattern in RULES if re.search(pattern, name)), None)


JUDGES = frozenset(("at_most", "at_least", "equal", "same", "refused", "never", "miss", "judge"))
"""Methods whose first argument is a verdict's name."""
WAITS = frozenset(("_await", "path_event"))
"""Those whose argument ``doing`` is one, when what they wait for does not come; ``_await`` has it as its fourth."""
LAB = ("conversation.py", "peer.py", "endurance.py")
"""Modules of ``harness/lab`` that judge by themselves."""
STORIES: tuple[tuple[Kind, str], ...] = (("picture", r"the picture freezes"),)
"""What a story promises counts as a claim, whether or not a verdict makes it."""


FLOW = re.compile(r"^(longest (?:pause of )?|)\*(?= |$)")
"""Where a name has the flow."""
BY_CALLS: dict[str, Kind] = {
    **dict.fromkeys(("call", "calls", "hang_up"), "hang-up"),
    **dict.fromkeys(("migrate", "path_event"), "path"),
    **dict.fromkeys(("hold", "resume"), "hold"),
    "longest_silence": "silence",
    "unheard": "loss",
}
"""What the lab claims by itself where a scenario calls such a method."""


@dataclass
class Function:
    """A function: the names that it judges under, what it calls, and whether it asks for video; its docstring."""

    names: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    video: bool = False
    story: str = ""


def pattern(node: ast.expr, known: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The names that an expression can be; ``known``: what the variables can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [_part(one, known) for one in node.values]
        yield from map("".join, product(*parts))
    elif isinstance(node, ast.IfExp):
        yield from (*pattern(node.body, known), *pattern(node.orelse, known))
    elif isinstance(node, ast.BoolOp):
        for one in node.values:
            yield from pattern(one, known)
    elif isinstance(node, ast.Name):
        for one in known.get(node.id, []):
            yield from pattern(one, {name: values for name, values in known.items() if name != node.id})


def _part(node: ast.expr, known: dict[str, list[ast.expr]]) -> list[str]:
    """What a part of an f-string can be."""
    value = node.value if isinstance(node, ast.FormattedValue) else node
    return sorted(set(pattern(value, known))) or ["*"] if isinstance(value, ast.Name | ast.Constant) else ["*"]


def functions_of(tree: ast.Module) -> dict[str, Function]:
    """The functions of a module, by name; those inside others count to the outer ones."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    given: dict[str, dict[str, list[ast.expr]]] = defaultdict(lambda: defaultdict(list))
    parameters = {node.name: [one.arg for one in node.args.args if one.arg != "self"] for node in nodes}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and (called := _called(call)) in parameters:
            for name, value in zip(parameters[called], call.args, strict=False):
                given[called][name].append(value)
            for keyword in call.keywords:
                given[called][str(keyword.arg)].append(keyword.value)
    found: dict[str, Function] = defaultdict(Function)
    for node in nodes:
        known = defaultdict(list, {name: list(values) for name, values in given[node.name].items()})
        for part in ast.walk(node):
            if isinstance(part, ast.Assign) and len(part.targets) == 1 and isinstance(part.targets[0], ast.Name):
                known[part.targets[0].id].append(part.value)
        function = found[node.name]
        function.story += ast.get_docstring(node) or ""
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                function.calls.add(_called(part))
                function.video |= any(one.arg in ("video", "screen") and not _is_false(one.value) for one in part.keywords)
                for name in _named(part):
                    function.names |= set(pattern(name, known))
            elif isinstance(part, ast.Name):
                function.calls.add(part.id)  # handed to somebody who calls it
    return dict(found)


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def _named(call: ast.Call) -> Iterator[ast.expr]:
    """The arguments that name a verdict."""
    called = _called(call)
    if called in JUDGES and call.args and (called != "judge" or len(call.args) > 2):
        yield call.args[0]
    elif called in WAITS:
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "doing")
        yield from call.args[3:4] if called == "_await" else ()


@cache
def own_names() -> tuple[str, ...]:
    """The names under which the lab itself judges a call."""
    found: set[str] = set()
    for file in LAB:
        for function in functions_of(ast.parse((ROOT / "harness/lab" / file).read_text())).values():
            found |= function.names
    return tuple(sorted(found - {"*"}))


@cache
def verdicts() -> dict[str, frozenset[str]]:
    """By scenario ("migration.py::test_wifi_to_cellular"): the names under which it judges, itself or by what it calls in its module.

    Those on pictures are none of its own where its calls have no video.
    """
    names = {scenario: frozenset(name for one in reached for name in one.names) - {"*"} for scenario, reached in _reached().items()}
    return {
        scenario: its if has_video(scenario) else frozenset(name for name in its if kind_of(name) != "picture")
        for scenario, its in names.items()
    }


@cache
def _reached() -> dict[str, list[Function]]:
    """By scenario: its function, and those of its module that it comes to."""
    found: dict[str, list[Function]] = {}
    for file in sorted((ROOT / "scenarios").glob("*.py")):
        tree = ast.parse(file.read_text())
        functions = functions_of(tree)
        parametrized = _mentioned(tree)
        for name in functions:
            if name.startswith("test_"):
                reached, waiting = set(), [name, *parametrized.get(name, ())]
                while waiting:
                    one = waiting.pop()
                    if one in functions and one not in reached:
                        reached.add(one)
                        waiting += functions[one].calls
                found[f"{file.name}::{name}"] = [functions[one] for one in sorted(reached)]
    return found


def _mentioned(tree: ast.Module) -> dict[str, set[str]]:
    """By test: the names in its decorators, which can be functions that it is given, and in module tables that those are kept in."""
    tables = {
        target.id: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef):
            names = {part.id for decorator in node.decorator_list for part in ast.walk(decorator) if isinstance(part, ast.Name)}
            found[node.name] = names.union(*(tables.get(name, set()) for name in names))
    return found


def kinds_of(scenario: str) -> frozenset[Kind]:
    """The kinds of claim that ``scenario`` (a node id, its parameters do not matter) makes by its own verdicts, or by its story.

    Where it has video, a name with a gap can be that of a verdict on the picture.
    """
    name = plain(scenario)
    reached = _reached()[name]
    found = {kind_of(one) for one in verdicts()[name]}
    if has_video(scenario):
        found |= {kind_of(FLOW.sub(r"\1video", one)) for one in verdicts()[name]}
    found |= {kind for kind, words in STORIES for one in reached if re.search(words, one.story)}
    found |= {BY_CALLS[call] for one in reached for call in one.calls if call in BY_CALLS}
    return frozenset(kind for kind in found if kind is not None)


def has_video(scenario: str) -> bool:
    """Whether a call of ``scenario`` has video."""
    return any(one.video for one in _reached()[plain(scenario)])


def plain(scenario: str) -> str:
    """A node id as a key of ``verdicts``."""
    return scenario.removeprefix("scenarios/").partition("[")[0]
