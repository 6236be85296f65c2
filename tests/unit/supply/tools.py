"""The tools of .ci and .docker, which are no part of a package, as modules."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]


def load(path: str) -> ModuleType:
    """The module in the file ``path`` of the checkout."""
    name = "tool_" + Path(path).stem
    spec = spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    sys.path.insert(0, str((ROOT / path).parent))  # they import each other, as programs do
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module
