"""The law of the house, enforced over the syntax tree of every module: who may import whom, and what no module may do.

* The pure rooms (spec, wire, rtp, call, media) reach for no event loop, process, socket, thread or clock, take their randomness as a
  ``random.Random`` from outside, and import no other room, except that wire may use spec, and call and media may use rtp.
* fabric knows no call and agent knows no fabric; only lab, report and the modules at the top see both.
* Nothing under harness imports scenarios, topologies, tests or benchmarks, nor scapy, which is GPL-2.0-only.
* Private attributes of aioquic are touched in ``harness/call/quic.py`` alone.
* The independent judge, tests/judge, imports nothing but the standard library and itself.
* No command is built as a shell string, and nothing is killed by name.
* A scenario never sleeps; a test never sleeps for a bare number of seconds (0, which only yields, is no wait).

Imports under ``if TYPE_CHECKING``, inside functions and through ``import_module`` count like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
TREES = ("harness", "topologies", "scenarios", "tests", "benchmarks")

PURE = ("spec", "wire", "rtp", "call", "media")
ALWAYS = {"units", "errors", "nesting"}
ROOMS: dict[str, set[str]] = {
    "units": set(),
    "errors": set(),
    "nesting": set(),
    "timer": set(),
    "stamps": set(),
    "rotation": set(),
    "syscalls": set(),
    "parent": {"syscalls"},
    "whole": set(),
    "turns": set(),
    "spec": ALWAYS,
    "wire": ALWAYS | {"spec"},
    "rtp": ALWAYS,
    "call": ALWAYS | {"rtp"},
    "media": ALWAYS | {"rtp"},
    "fabric": ALWAYS | {"spec", "wire", "timer", "stamps", "rotation", "parent", "whole", "syscalls"},
    "doctor": {"errors", "fabric"},
    "agent": ALWAYS | {"spec", "rtp", "call", "media", "timer", "stamps", "rotation"},
    "verdict": ALWAYS | {"media"},
    "excuse": ALWAYS | {"media", "verdict"},
    "outcome": ALWAYS | {"media", "verdict", "excuse"},
    "report": ALWAYS | {"spec", "media", "verdict", "excuse", "outcome", "rotation", "whole", "turns"},
}
"""What each room may import beside itself.  A room that is not named here may import everything."""

IMPURE = {"trio", "subprocess", "socket", "asyncio", "anyio", "select", "selectors", "threading", "multiprocessing", "signal", "time"}
FORBIDDEN_UNDER_HARNESS = {"scapy", "scenarios", "topologies", "tests", "benchmarks"}
AIOQUIC_INSIDE = PurePosixPath("harness/call/quic.py")
SHELLS = {"sh", "bash", "dash", "/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"}
NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_field_defaults", "_make"}  # public in spite of the underscore
KILLERS = {"pkill", "killall", "killall5", "skill", "fuser"}
SHELL_CALLS = {
    *(("os", name) for name in ("system", "popen")),
    *(("subprocess", name) for name in ("getoutput", "getstatusoutput")),
    ("asyncio", "create_subprocess_shell"),
}

Found = Iterator[tuple[int, str]]


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for tree in TREES for path in (ROOT / tree).rglob("*.py"))


def violations(path: PurePosixPath, source: str) -> list[str]:
    """What the module ``path`` (relative to the repository) with this ``source`` does against the law: "path:line: what", in order."""
    tree = ast.parse(source, str(path))
    found = {item for check in CHECKS for item in check(path, tree)}
    return [f"{path}:{line}: {what}" for line, what in sorted(found)]


def room_of(path: PurePosixPath) -> str | None:
    """``fabric`` for harness/fabric/nft.py, ``cli`` for harness/cli.py, None outside harness."""
    if path.parts[0] != "harness":
        return None
    return path.parts[1].removesuffix(".py")


def imports(path: PurePosixPath, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that is imported; a name imported from a package counts as a module of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.parts[: len(path.parts) - node.level]) if node.level else ""
            base = ".".join(filter(None, (package, node.module)))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func)[-1:] in (("import_module",), ("__import__",)) and node.args:
            name = node.args[0]
            known = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield node.lineno, str(name.value) if known else ""  # type: ignore[attr-defined]


def check_rooms(path: PurePosixPath, tree: ast.AST) -> Found:
    room = room_of(path)
    if room is None:
        return
    for line, name in imports(path, tree):
        top, _, rest = name.partition(".")
        if not top:
            yield line, "imports a module whose name is not written there, so nothing can say whether it may"
        elif top in FORBIDDEN_UNDER_HARNESS:
            yield line, f"nothing under harness imports {top}"
        elif top == "harness" and room in ROOMS:
            other = rest.partition(".")[0]
            if other and other != "__version__" and other != room and other not in ROOMS[room]:
                allowed = ", ".join(sorted(ROOMS[room])) or "no other room"
                yield line, f"{room} imports {other}; it may import {allowed}"
        elif top in IMPURE and room in PURE:
            yield line, f"{room} is pure and imports {top}"


def check_randomness(path: PurePosixPath, tree: ast.AST) -> Found:
    if room_of(path) not in PURE:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _name(node.func))[:1] == ("random",) and name[1:] != ("Random",):
            yield node.lineno, f"calls {'.'.join(name)}: a pure room takes its random.Random from outside"


def check_aioquic(path: PurePosixPath, tree: ast.AST) -> Found:
    """Private names of aioquic, on anything; and in modules that have to do with it, private attributes of any other object."""
    if room_of(path) is None or path == AIOQUIC_INSIDE:
        return
    names = [name for _line, name in imports(path, tree)]
    near = room_of(path) == "call" or any(name.startswith("aioquic") for name in names)
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)} | {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for line, name in imports(path, tree):
        if name.startswith("aioquic") and any(_private(part) for part in name.split(".")):
            yield line, f"imports {name}, private to aioquic; only {AIOQUIC_INSIDE} may"
    if not near:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _private(node.attr):
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not mine or (node.attr in aioquic_privates() and node.attr not in own):
                yield node.lineno, f"touches {ast.unparse(node)}; private attributes of aioquic are for {AIOQUIC_INSIDE} alone"
        elif isinstance(node, ast.Call) and _name(node.func) in (("getattr",), ("setattr",), ("hasattr",), ("delattr",)):
            texts = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if any(_private(text) for text in texts):
                yield node.lineno, f"touches {texts[0]}; private attributes of aioquic are for {AIOQUIC_INSIDE} alone"


def check_judge(path: PurePosixPath, tree: ast.AST) -> Found:
    if path.parts[:2] != ("tests", "judge"):
        return
    for line, name in imports(path, tree):
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("tests.judge"):
            yield line, f"the judge is independent and imports {name}"


def check_shell(path: PurePosixPath, tree: ast.AST) -> Found:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func)
            if name[-2:] in SHELL_CALLS:
                yield node.lineno, f"calls {'.'.join(name)}: no command is ever a shell string"
            if any(keyword.arg == "shell" and not _is(keyword.value, False) for keyword in node.keywords):
                yield node.lineno, "passes shell=: no command is ever a shell string"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (node.module, alias.name) in SHELL_CALLS:
                    yield node.lineno, f"imports {node.module}.{alias.name}: no command is ever a shell string"
        elif isinstance(node, ast.List | ast.Tuple) and node.elts:
            words = [e.value if isinstance(e, ast.Constant) else None for e in node.elts]
            if words[0] in SHELLS and "-c" in words:
                yield node.lineno, f"runs {words[0]} -c: no command is ever a shell string"
            if isinstance(words[0], str) and words[0].rpartition("/")[2] in KILLERS:
                yield node.lineno, f"runs {words[0]}: nothing is killed by name"


def check_sleep(path: PurePosixPath, tree: ast.AST) -> Found:
    if path.parts[0] not in ("scenarios", "tests"):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not _name(node.func)[-1:] or not _name(node.func)[-1].startswith("sleep"):
            continue
        if path.parts[0] == "scenarios":
            yield node.lineno, "sleeps: a scenario waits for a condition of the call"
        elif node.args and _number(node.args[0]) not in (None, 0):
            yield node.lineno, f"sleeps for the bare number {ast.unparse(node.args[0])}: wait for a condition"


CHECKS: tuple[Callable[[PurePosixPath, ast.AST], Found], ...] = (
    check_rooms,
    check_randomness,
    check_aioquic,
    check_judge,
    check_shell,
    check_sleep,
)


def _name(node: ast.AST) -> tuple[str, ...]:
    """("os", "system") for ``os.system``; empty when it is not a plain dotted name."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        head = _name(node.value)
        return (*head, node.attr) if head else (node.attr,)
    return ()


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in NAMED_TUPLES


def _is(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _number(node: ast.AST) -> float | None:
    """The value of an expression of literal numbers, None for any other: ``0.1 * 3`` is as bare as ``0.3``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if all(isinstance(n, ast.BinOp | ast.UnaryOp | ast.Constant | ast.operator | ast.unaryop) for n in ast.walk(node)):
        return float("nan")
    return None


@cache
def aioquic_privates() -> frozenset[str]:
    """Every private attribute name in aioquic's own source."""
    spec = find_spec("aioquic")
    assert spec is not None
    assert spec.origin is not None
    found = set()
    for file in Path(spec.origin).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and _private(node.attr):
                found.add(node.attr)
    return frozenset(found)


# -- the tests ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", modules(), ids=str)
def test_module_keeps_the_law(path: Path) -> None:
    assert violations(PurePosixPath(path), (ROOT / path).read_text()) == []


def test_every_room_is_looked_at() -> None:
    seen = {room_of(PurePosixPath(path)) for path in modules()} - {None, "__init__"}
    others = {"lab", "catalogue", "mistakes", "variants", "soak", "cli", "pages", "pytest_plugin", "telling", "onlookers", "endings"}
    assert seen >= set(ROOMS) | others
    assert seen <= set(ROOMS) | others, "a new room: give it its place in ROOMS"


PLANTED = [
    ("harness/spec/a.py", "import trio", "spec is pure and imports trio"),
    ("harness/wire/a.py", "import subprocess as s", "wire is pure and imports subprocess"),
    ("harness/rtp/a.py", "from socket import AF_INET", "rtp is pure and imports socket"),
    ("harness/call/a.py", "def f():\n    import trio.socket", "call is pure and imports trio"),
    ("harness/media/a.py", "from time import monotonic", "media is pure and imports time"),
    ("harness/media/a.py", "import random\nrandom.seed(1)", "calls random.seed"),
    ("harness/wire/a.py", "import random\nrandom.random()", "calls random.random"),
    ("harness/spec/a.py", "from harness.wire import shaper", "spec imports wire"),
    ("harness/wire/a.py", "from harness.rtp.packet import Packet", "wire imports rtp"),
    ("harness/wire/a.py", "from ..rtp import packet", "wire imports rtp"),
    ("harness/rtp/a.py", "from harness import media", "rtp imports media"),
    ("harness/call/a.py", "from harness.media import silence", "call imports media"),
    ("harness/call/a.py", "from harness.spec.link import Impairment", "call imports spec"),
    ("harness/media/a.py", "from harness.verdict import Verdict", "media imports verdict"),
    ("harness/units.py", "from harness.spec import link", "units imports spec"),
    ("harness/fabric/a.py", "from harness.call.session import Endpoint", "fabric imports call"),
    ("harness/fabric/a.py", "import harness.agent.messages", "fabric imports agent"),
    ("harness/fabric/a.py", "from harness.lab import Lab", "fabric imports lab"),
    (
        "harness/fabric/a.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from harness.call.session import Endpoint",
        "fabric imports call",
    ),
    ("harness/fabric/a.py", "from importlib import import_module\nimport_module('harness.agent.remote')", "fabric imports agent"),
    ("harness/fabric/a.py", "import importlib\nimportlib.import_module(name)", "a module whose name is not written there"),
    ("harness/agent/a.py", "from harness.fabric.network import Network", "agent imports fabric"),
    ("harness/agent/a.py", "from harness.lab import Lab", "agent imports lab"),
    ("harness/lab/a.py", "from topologies.two_homes import two_homes", "nothing under harness imports topologies"),
    ("harness/cli.py", "import scenarios.migration", "nothing under harness imports scenarios"),
    ("harness/pytest_plugin.py", "__import__('scenarios')", "nothing under harness imports scenarios"),
    ("harness/fabric/a.py", "from scapy.all import IP", "nothing under harness imports scapy"),
    ("harness/fabric/a.py", "import subprocess\nsubprocess.run('ip link', shell=True)", "passes shell="),
    ("tests/unit/a.py", "import subprocess\nsubprocess.Popen(c, shell=wanted)", "passes shell="),
    ("scenarios/a.py", "import os\nos.system('ip link')", "calls os.system"),
    ("harness/lab/a.py", "import os\nos.popen('ip link').read()", "calls os.popen"),
    ("harness/lab/a.py", "from os import system", "imports os.system"),
    ("tests/a.py", "import subprocess\nsubprocess.getoutput('ip link')", "calls subprocess.getoutput"),
    ("harness/fabric/a.py", "argv = ['sh', '-c', text]", "runs sh -c"),
    ("harness/fabric/a.py", "run(('/bin/bash', '-e', '-c', text))", "runs /bin/bash -c"),
    ("harness/fabric/a.py", "run(['/usr/bin/pkill', '-f', 'agent'])", "nothing is killed by name"),
    ("tests/a.py", "run(['killall', 'ping'])", "nothing is killed by name"),
    ("scenarios/a.py", "import trio\nasync def f():\n    await trio.sleep(SETTLE)", "a scenario waits for a condition"),
    ("scenarios/a.py", "from trio import sleep_until\nsleep_until(5)", "a scenario waits for a condition"),
    ("tests/a.py", "import time\ntime.sleep(0.3)", "sleeps for the bare number 0.3"),
    ("tests/a.py", "from trio import sleep\nasync def f():\n    await sleep(3 * 0.1)", "sleeps for the bare number 3 * 0.1"),
    ("tests/judge/a.py", "from harness.media.figure import Gap", "the judge is independent and imports harness.media.figure.Gap"),
    ("tests/judge/a.py", "import aioquic.buffer", "the judge is independent and imports aioquic.buffer"),
    ("tests/judge/a.py", "from tests.unit.report.runs import made", "the judge is independent and imports tests.unit.report.runs.made"),
    ("harness/call/a.py", "def f(quic):\n    quic._loss = 1", "touches quic._loss"),
    ("harness/call/a.py", "class C:\n    def f(self):\n        return self.quic._loss._rtt_latest", "touches self.quic._loss"),
    ("harness/call/a.py", "def f(quic):\n    return getattr(quic, '_loss')", "touches _loss"),
    ("harness/agent/a.py", "from aioquic.quic.connection import QuicConnection\ndef f(q):\n    q._close_event", "touches q._close_event"),
    (
        "harness/agent/a.py",
        "from aioquic.quic.connection import QuicConnection\nclass Q(QuicConnection):\n    def f(self):\n        self._spaces.clear()",
        "touches self._spaces",
    ),
    ("harness/agent/a.py", "from aioquic._buffer import Buffer", "imports aioquic._buffer.Buffer, private to aioquic"),
]


@pytest.mark.parametrize(("path", "source", "what"), PLANTED)
def test_a_planted_violation_is_found(path: str, source: str, what: str) -> None:
    found = violations(PurePosixPath(path), source)
    assert len(found) >= 1
    assert what in found[0]
    assert found[0].startswith(f"{path}:")


ALLOWED = [
    ("harness/wire/a.py", "from random import Random\nfrom harness.spec.link import Impairment\nfrom harness.units import ms"),
    ("harness/call/a.py", "import random\nfrom harness.rtp import packet\ngenerator = random.Random(1)"),
    ("harness/call/a.py", "class C:\n    def __init__(self):\n        self._loss = 1\n    def f(self):\n        return self._loss"),
    ("harness/call/quic.py", "from aioquic._buffer import Buffer\ndef f(quic):\n    quic._loss = 1"),
    ("harness/fabric/a.py", "import socket, subprocess, time, trio\nfrom harness.spec.topology import Topology\nobject._private"),
    ("harness/lab/a.py", "from harness.fabric.network import Network\nfrom harness.agent.remote import RemoteAgent\nimport trio"),
    ("harness/fabric/a.py", "import subprocess\nsubprocess.run(['nft', 'list', 'ruleset'], shell=False)"),
    ("tests/a.py", "import trio\nasync def f():\n    await trio.sleep(0)\n    await trio.sleep(POLL)\n    await trio.sleep_forever()"),
    ("tests/a.py", "import scapy.all\nfrom harness.fabric import build\nfrom harness.call import session"),
    ("tests/judge/a.py", "import json, subprocess\nfrom tests.judge import silence\nfrom tests.judge.wire import varint"),
    ("tests/unit/judge/a.py", "from harness.media.figure import Gap\nfrom tests.judge import silence"),
    ("scenarios/a.py", "from topologies.two_homes import two_homes\nfrom harness.lab import Lab"),
    ("harness/fabric/a.py", 'WORDS = "never pkill nor sh -c"\nargv = [sys.executable, "-c", program]'),
]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_what_is_allowed_is_not_held_against_it(path: str, source: str) -> None:
    assert violations(PurePosixPath(path), source) == []


def test_the_labs_side_does_without_pyroute2() -> None:
    """Every session of pytest would wait for it; only the keeper and its children need it."""
    asked = "import sys, harness.pytest_plugin; print('pyroute2' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout == "False\n"
