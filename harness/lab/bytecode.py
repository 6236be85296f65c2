"""The reference agent's modules, compiled before it starts: confined as it is, it cannot keep what it compiles."""

from __future__ import annotations

import contextlib
import importlib.util
import py_compile
import sys
from functools import cache
from pathlib import Path

import harness

_ROOMS = ("agent", "call", "media", "rtp")


@cache
def compile_ahead() -> None:
    """Compile what has changed since it was compiled last; once in the life of this process."""
    if sys.dont_write_bytecode:
        return
    root = Path(harness.__file__).parent
    for source in (*root.glob("*.py"), *(path for room in _ROOMS for path in (root / room).glob("*.py"))):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            with contextlib.suppress(OSError, py_compile.PyCompileError):  # it cannot be kept, or the agent will say what is wrong with it
                py_compile.compile(str(source), doraise=True)
