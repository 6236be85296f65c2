"""Measured delay and loss over time, from CSV, as an impairment with a schedule.

::

    time_s,delay_ms,loss_%
    0,23.1,0
    0.5,24.9,0.2
    1.0,61.0,1.5

The first line names the columns: ``time`` and one or more of ``delay``, ``jitter``, ``loss``, each with its unit.  A column without a unit
needs one from the caller (``units={"delay": ms}``), or cells that have their own (``23.1ms``); no number goes without.
A row rules until the next one.  Times count from when the impairment comes into force.  Delays are one way.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import msgspec

from harness.errors import SpecError
from harness.spec.link import CLEAR, Impairment, Schedule, Step
from harness.spec.rate_trace import read_lines
from harness.units import MOST, Duration, Quantity, Ratio

COLUMNS: dict[str, type[Quantity]] = {"time": Duration, "delay": Duration, "jitter": Duration, "loss": Ratio}
_HEADER = re.compile(r"\s*([a-z]+)(?:[\s_]*[(\[]?\s*([a-zµ%]+)\s*[)\]]?)?\s*", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,2})?\s*", re.IGNORECASE)  # a longer exponent is a number of a million digits
_LONGEST_CELL = 60  # characters

Row = tuple[Duration, str, dict[str, Quantity]]
"""Its time, its place in words, and the fields that it sets."""


def series(
    *sources: Path | str,
    base: Impairment = CLEAR,
    every: Duration | None = None,
    units: Mapping[str, Quantity] | None = None,
) -> Impairment:
    """The impairment that follows the CSV files ``sources`` (a ``str`` with a newline is such a file's text).

    Files with different columns are merged: each value rules until the next of its own column.  ``base`` gives the other fields, and all
    of them before the first row.  ``every``: begin again after so long.  ``units``: what a number in a column that names no unit is times.

    Raises SpecError that names file, line, column, value and what is allowed.
    """
    if not sources:
        raise SpecError("series", "it was given no file")
    if base.schedule is not None:
        raise SpecError("series, base", "it has a schedule of its own; a series makes one")
    given = dict(units or {})
    for name, unit in given.items():
        if name not in COLUMNS or not isinstance(unit, COLUMNS[name]) or unit.count <= 0:
            allowed = ", ".join(f"{column}: a {kind.__name__.lower()}" for column, kind in COLUMNS.items())
            raise SpecError(f"series, units, {name}", f"{unit!r} is no unit for it; allowed are {allowed}")
    seen: dict[str, str] = {}
    rows: list[Row] = []
    for source in sources:
        found, name = _rows(source, given)
        for column in found[0][2]:
            if column in seen:
                raise SpecError(f"{name}, {column}", f"{seen[column]} has it too; each column comes from one file")
            seen[column] = name
        rows += found
    rows.sort(key=lambda row: row[0].ns)
    return _impairment(rows, base, every)


def _impairment(rows: list[Row], base: Impairment, every: Duration | None) -> Impairment:
    """``base`` as the rows change it, one after another; each state is validated where it comes to be."""
    start = current = ruling = base
    steps: list[Step] = []
    for n, (time, place, fields) in enumerate(rows):
        current = msgspec.structs.replace(current, **fields)
        if n + 1 < len(rows) and rows[n + 1][0] == time:
            continue  # another file has a row for the same moment
        current.validate(place)
        if time.ns == 0:
            start = current
        elif current != ruling:
            steps.append(Step(time, msgspec.structs.replace(current, rate_trace=None)))
        ruling = current
    last, place, _fields = rows[-1]
    if last.ns == 0:
        raise SpecError(place, "the series takes no time at all: its last row is at 0s")
    if not steps:
        return start
    whole = msgspec.structs.replace(start, schedule=Schedule(tuple(steps), every))
    whole.validate(place.partition(",")[0])
    return whole


def _rows(source: Path | str, units: Mapping[str, Quantity]) -> tuple[list[Row], str]:
    name, lines = read_lines(source)
    reader = csv.reader(lines)
    try:
        table = [(number, cells) for number, cells in enumerate(reader, 1) if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise SpecError(f"{name}, line {reader.line_num}", f"it is no CSV: {error}") from None
    if not table:
        raise SpecError(name, "it is empty; a series has a line that names its columns, and rows")
    columns = _columns(table[0][1], f"{name}, line {table[0][0]}", units)
    if len(table) == 1:
        raise SpecError(name, "it has no rows; a series has one or more")
    rows: list[Row] = []
    for number, cells in table[1:]:
        place = f"{name}, line {number}"
        if len(cells) != len(columns):
            raise SpecError(place, f"it has {len(cells)} cells, and there are {len(columns)} columns")
        fields = {column: _value(cell, column, unit, place) for (column, unit), cell in zip(columns, cells, strict=True)}
        time = fields.pop("time")
        assert isinstance(time, Duration)
        if rows and time <= rows[-1][0]:
            raise SpecError(f"{place}, time", f"{time} is not after the row before, at {rows[-1][0]}; times ascend")
        rows.append((time, place, fields))
    return rows, name


def _columns(header: list[str], place: str, units: Mapping[str, Quantity]) -> list[tuple[str, Quantity | None]]:
    """Name and unit of each column."""
    columns: list[tuple[str, Quantity | None]] = []
    for cell in header:
        match = _HEADER.fullmatch(cell)
        column = match[1].lower() if match else ""
        if match is None or column not in COLUMNS:
            known = ", ".join(f"{name}_{next(iter(kind.units))}" for name, kind in COLUMNS.items())
            raise SpecError(place, f"{cell!r} names no column; the first line names them with their units, for example {known}")
        if column in dict(columns):
            raise SpecError(place, f"there are two columns {column}")
        kind = COLUMNS[column]
        if match[2] is not None and match[2].lower() not in kind.units:
            raise SpecError(
                f"{place}, {column}", f"{match[2]!r} is no unit of a {kind.__name__.lower()}; allowed are {', '.join(kind.units)}"
            )
        columns.append((column, kind(kind.units[match[2].lower()]) if match[2] is not None else units.get(column)))
    names = [column for column, _ in columns]
    if "time" not in names or len(names) < 2:
        raise SpecError(place, f"it names {', '.join(names)}; a series has time and one or more of {', '.join([*COLUMNS][1:])}")
    return columns


def _value(cell: str, column: str, unit: Quantity | None, place: str) -> Quantity:
    kind = COLUMNS[column]
    where, named = f"{place}, {column}", f"{column}_{next(iter(kind.units))}"
    if len(cell) <= _LONGEST_CELL and _NUMBER.fullmatch(cell):
        if unit is None:
            raise SpecError(where, f"{cell.strip()} has no unit; name the column {named} or such, or give units={{{column!r}: …}}")
        value = kind(round(Fraction(cell.strip()) * unit.count))
    else:
        try:
            value = kind.parse(cell)
        except ValueError:
            raise SpecError(where, f"{cell!r:.60} is not a number") from None
    if abs(value.count) >= MOST:
        raise SpecError(where, f"{cell.strip()} is too much of a {kind.__name__.lower()}")
    if value.count < 0:
        raise SpecError(where, f"{value} is negative; allowed is 0 or more")
    if isinstance(value, Ratio) and value.fraction > 1:
        raise SpecError(where, f"{value} is more than everything; allowed is 0% to 100%")
    return value
