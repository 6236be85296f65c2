"""What can be said of a call after one of its waits was missed: from then on its waits return at once, so nothing that begins there counts.

A silence of 7 ms in a call that was watched for no longer is no figure.  What began before, and what failed, stays as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from harness.media.figure import Figure
from harness.media.measures import Heard
from harness.units import Duration
from harness.verdict import Blame, Result, Verdict

WHY = "not measured: a wait of this call was missed before, and those after it return at once"
_BEGINNINGS = ("since", "after", "at")
"""The parameters by which a method of ``Heard`` is told where its window begins."""


def cut(heard: Heard, at: int) -> Heard:
    """``heard``, every figure of which is None with the reason where its window begins at ``at`` (ns) or later."""
    return cast(Heard, _Cut(heard, at))


class _Cut:
    def __init__(self, heard: Heard, at: int) -> None:
        self._heard = heard
        self._at = at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._heard, name)
        return self._checked(found) if inspect.ismethod(found) else found

    def _checked(self, measure: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **given: Any) -> Any:
            told = inspect.signature(measure).bind(*args, **given).arguments
            begins = [told[name] for name in _BEGINNINGS if told.get(name) is not None]
            figure = measure(*args, **given)
            if begins and begins[0] >= self._at and isinstance(figure, Figure):
                return Figure(None, figure.direction, note=WHY, call=figure.call)
            return figure

        return checked


def judged(one: Verdict, broken: Mapping[str, int]) -> Verdict:
    """``one``, as not measured where it is a PASS of what began after a wait was missed; ``broken``: when, ns, by call.

    A verdict that names its direction, or its call, is held against that call alone.  A bare time names neither, nor when it began: once a
    wait was missed it was taken of waits that did not wait.
    """
    if one.result is not Result.PASS or not broken or (one.call and one.call not in broken) or (one.direction and not one.call):
        return one
    at = broken[one.call] if one.call else min(broken.values())
    late = one.where.start >= at if one.where is not None else isinstance(one.value, Duration) and not one.call
    if not late:
        return one
    return msgspec.structs.replace(one, value=None, where=None, result=Result.INCONCLUSIVE, blame=Blame.HARNESS, note=WHY)
