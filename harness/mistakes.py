"""Mistakes of the command line, found before a run builds anything: agents that it does not have, options that it does not take."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.catalogue import Scenario
from harness.errors import SpecError


def found(scenario: Callable[..., Any], commands: Mapping[str, str], options: Iterable[str], taken: Iterable[str]) -> list[SpecError]:
    """What is wrong with a run of ``scenario``: ``commands`` of ``--agent`` by name, and ``options`` given of which it takes ``taken``."""
    wrong = []
    names = agents(scenario)
    if names is not None:
        wrong = [not_there(name, names) for name in commands if name not in names]
    takes = sorted(taken)
    for option in options:
        if option not in takes:
            allowed = f"it takes {', '.join(f'--{one}' for one in takes)}" if takes else "it takes none but those of every scenario"
            wrong.append(SpecError(f"--{option}", f"this scenario does not take it; of the options of single scenarios {allowed}"))
    return wrong


def not_there(name: str, names: Iterable[str]) -> SpecError:
    """``--agent NAME`` where only ``names`` run."""
    return SpecError(f"--agent {name}", f"this run has no agent {name!r}; allowed are {', '.join(sorted(names)) or 'none'}")


def agents(scenario: Callable[..., Any]) -> frozenset[str] | None:
    """The names that ``scenario``, or a function of its module that it uses, gives to ``….agents(…)``; None where a run alone can tell."""
    try:
        file, function = inspect.getsourcefile(scenario), scenario.__name__
        module = _parsed(Path(file or ""))
    except (OSError, TypeError, SyntaxError):
        return None
    node = next((one for one in module.body if isinstance(one, ast.AsyncFunctionDef) and one.name == function), None)
    if node is None:
        return None
    calls = list(Scenario(Path(file or ""), function.removeprefix("test_"), node, module).calls("agents"))
    given = [argument for call in calls for argument in call.args]
    if not calls or not all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in given):
        return None
    return frozenset(one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())
