"""How many examples a property is tried on: few in `make test`, all in `make unit-long`, where HARNESS_EXAMPLES is "all"."""

from __future__ import annotations

import os

QUICK = 4


def examples(all_of_them: int) -> int:
    """``all_of_them``, or a quarter of them."""
    return all_of_them if os.environ.get("HARNESS_EXAMPLES") == "all" else max(5, all_of_them // QUICK)
