"""A plugin for a session that is to crash: the timeline's line of number $HARNESS_TEST_CRASH_AT raises, wherever the harness then is."""

from __future__ import annotations

import itertools
import os
from typing import Any

from harness.lab.timeline import Timeline

_AT = int(os.environ["HARNESS_TEST_CRASH_AT"])
_written = itertools.count()
_note = Timeline.note


def _crashing(self: Timeline, *arguments: Any, **named: Any) -> None:
    if next(_written) == _AT:
        raise RuntimeError("a crash inside the harness, on purpose")
    _note(self, *arguments, **named)


Timeline.note = _crashing  # type: ignore[method-assign]
