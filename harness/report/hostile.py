"""What an attacker sent in a run, and what the stacks say that they noticed of it: a table beside the verdicts.

It stands in ``report.json`` under ``quality``, as ``KEY``: one entry an attacker.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from harness.errors import HarnessError
from harness.report.model import Report

KEY = "hostile datagrams"
HEADINGS = ("sent by", "at", "arrived", "noticed as", "datagrams")


class At(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Datagrams at one peer: how many ``arrived`` by the captures; how its stack counts them."""

    arrived: int
    discarded: dict[str, int] = {}
    answered: dict[str, int] = {}
    begun: int = 0
    reclaimed: int = 0


class Assault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What attacker ``by`` ``sent``, by kind, and what came of it ``at`` each peer that was watched."""

    by: str
    sent: dict[str, int]
    at: dict[str, At]


class Row(NamedTuple):
    """A line of the table, as text; what is the same as in the line before is left empty."""

    by: str
    at: str
    arrived: str
    noticed: str
    number: str


def assaults(report: Report) -> list[Assault]:
    """All of a run.  HarnessError when they are not of this shape."""
    try:
        return msgspec.convert(report.quality.get(KEY, []), list[Assault])
    except msgspec.ValidationError as error:
        raise HarnessError(f"quality, {KEY}: {error}") from None


def rows(report: Report) -> list[Row]:
    """The table; empty for a run without an attacker.  One line, which says so, for what is not of the shape that it should have."""
    try:
        found = assaults(report)
    except HarnessError as error:
        return [Row("", "", "", f"could not be read: {error}", "")]
    return [row for assault in found for row in _rows(assault)]


def _rows(assault: Assault) -> list[Row]:
    found = [Row(assault.by, "", "", f"sent: {kind}", str(count)) for kind, count in assault.sent.items()]
    for name, there in assault.at.items():
        noticed = [
            *there.discarded.items(),
            *((f"answered with {how}", count) for how, count in there.answered.items()),
            *((what, count) for what, count in (("new caller", there.begun), ("path taken back", there.reclaimed)) if count),
        ] or [("nothing", 0)]
        for place, (what, count) in enumerate(noticed):
            found.append(Row("", *((name, str(there.arrived)) if place == 0 else ("", "")), what, str(count)))
    return [row if place == 0 else row._replace(by="") for place, row in enumerate(found)]
