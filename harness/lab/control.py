"""Which broken stack a scenario must catch, said beside the scenario: a mark that tests/controls reads and docs/scenarios.md shows."""

from __future__ import annotations

import msgspec
import pytest

GOES_SILENT = (
    "audio heard for",
    "video heard for",
    "screen heard for",
    "audio first media",
    "video first media",
    "screen first media",
    "clean hang-up",
    "sources stop",
    "audio packets lost",
    "audio lost",
    "video lost",
    "audio unheard",
    "video unheard",
    "screen unheard",
    "longest silence",
    "longest audio silence",
    "longest video silence",
    "longest video freeze",
    "longest screen silence",
    "longest screen freeze",
    "first fresh",
)
"""What a call that went silent for good misses besides, in any scenario: the lab's own waits, losses, silences and frozen pictures."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """``agent`` runs ``sabotage`` in ``scenario`` (a pytest node id): ``caught_by`` must fail, besides only what begins as in ``also``."""

    scenario: str
    agent: str
    sabotage: str
    caught_by: str
    also: tuple[str, ...] = ()
    long: bool = False
    """Whether the scenario is one of those that ``make stories`` leaves out."""


def control(agent: str, sabotage: str, *, caught_by: str, silent: bool = False, also: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Names a scenario's negative control: with ``agent`` running ``sabotage`` it must be red on the verdict ``caught_by``.

    Other verdicts may be red too only if their names begin as one in ``also``, or, with ``silent``, if a call that went silent misses them.
    """
    return pytest.mark.control(agent=agent, sabotage=sabotage, caught_by=caught_by, also=(*also, *(GOES_SILENT if silent else ())))


class Controls(msgspec.Struct, frozen=True):
    """The controls of collected scenarios, one for each mark on each of them, and the scenarios that have none."""

    controls: tuple[Control, ...]
    without: tuple[str, ...]

    @classmethod
    def of(cls, items: list[pytest.Item]) -> Controls:
        """Read from pytest's items."""
        found = [
            Control(scenario=item.nodeid, long=item.get_closest_marker("long") is not None, **mark.kwargs)
            for item in items
            for mark in item.iter_markers("control")
        ]
        return cls(tuple(found), tuple(item.nodeid for item in items if item.get_closest_marker("control") is None))
