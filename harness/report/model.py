"""report.json: everything that a run came to, in one versioned file.

* ``schema`` is 4: 3 had no ``stacks``, no results ERROR and NOT RUN and no blame author (what these now say was INCONCLUSIVE); 2 had no
  ``story`` either, and verdicts no ``moments``, ``more`` and ``call``.  Both are read as if what they lack were empty.  A reader refuses
  any other number by name instead of guessing; a field that is added, removed or changes its meaning makes it 5.  Unknown fields are
  refused too: they are a typing error or another schema.
* A quantity is ``{"kind": "duration", "count": 212400000, "unit": "ns", "text": "212.4ms"}``: ``count`` is exact and is what is read back,
  ``text`` is for people.  Kinds and units: duration ns, rate bit, ratio 1e-12, count packets.
* Instants inside the run are nanoseconds of CLOCK_MONOTONIC; ``started`` and ``ended`` are wall-clock times with their offset.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness import whole
from harness.errors import HarnessError
from harness.nesting import too_deep
from harness.outcome import Outcome
from harness.report.printable import json
from harness.units import Count, Duration, Quantity, Rate, Ratio
from harness.verdict import Blame, Fault, Receipt, Relation, Result, Stack, Stall, Verdict

FILE = "report.json"
SCHEMA = 4
READ = (2, 3, SCHEMA)
"""What can be read."""


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of one test.

    ``scenario``: the module ("migration").  ``test``: the pytest node id.  ``sabotage``: the negative control's name, None in an
    ordinary run.  ``executor``: "netem" or "relay".  ``kernel``: uname -r.  ``versions``: of the harness, Python, aioquic and each agent.
    ``command``: what repeats this run, seed and all.  ``durations``: of its parts (build, probe, call, judge …).  ``probe``: what the
    built network measured.  ``quality``: figures to read that nothing was gated on (worst seconds, delays), by direction; and what an
    attacker sent and the stacks noticed of it (``report/hostile.py``).
    ``artifacts``: files in the run's folder.  ``story``: the scenario's own account of itself, its docstring.  ``stacks``: what ran, one
    for each agent that said hello.
    """

    schema: int = SCHEMA
    scenario: str
    test: str
    result: Result
    blame: Blame | None
    reasons: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    faults: tuple[Fault, ...] = ()
    stalls: tuple[Stall, ...] = ()
    probe: tuple[dict[str, Any], ...] = ()
    quality: dict[str, Any] = {}
    seed: int
    executor: str
    kernel: str
    versions: dict[str, str] = {}
    command: str
    sabotage: str | None = None
    started: datetime
    ended: datetime
    durations: dict[str, Duration] = {}
    artifacts: tuple[str, ...] = ()
    story: str = ""
    stacks: tuple[Stack, ...] = ()

    def __post_init__(self) -> None:
        if self.started.tzinfo is None or self.ended.tzinfo is None:
            raise ValueError("started and ended need their offset from UTC")
        if (self.result is Result.PASS) != (self.blame is None):
            raise ValueError(f"result {self.result} with blame {self.blame}: a PASS has none, and everything else has one")

    @property
    def took(self) -> Duration:
        """From ``started`` to ``ended``, by the wall clock."""
        return Duration(round((self.ended - self.started).total_seconds() * 1e9))


def report(outcome: Outcome, **rest: Any) -> Report:
    """The report of a run that came to ``outcome``; ``rest``: the other fields of ``Report``."""
    return Report(result=outcome.result, blame=outcome.blame, reasons=outcome.reasons, verdicts=outcome.verdicts, **rest)


class _Amount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity in JSON."""

    kind: str
    count: int
    unit: str
    text: str


_KINDS: dict[str, tuple[type[Quantity], str]] = {
    "duration": (Duration, "ns"),
    "rate": (Rate, "bit"),
    "ratio": (Ratio, "1e-12"),
    "count": (Count, "packets"),
}
_MOST = 2**63
"""292 years in ns."""
_NAMES = {kind: name for name, (kind, _) in _KINDS.items()}


def _to_json(value: Any) -> Any:
    if isinstance(value, Quantity):
        name = _NAMES[type(value)]
        return _Amount(name, value.count, _KINDS[name][1], str(value))
    raise NotImplementedError(f"{type(value).__name__} has no place in a report")


def _from_json(kind: type, value: Any) -> Any:
    if issubclass(kind, Quantity):
        try:
            amount = msgspec.convert(value, _Amount)
        except msgspec.ValidationError as error:
            raise ValueError(f"{value!r} is no quantity: {error}") from None
        if abs(amount.count) >= _MOST:
            raise ValueError(f"a {amount.kind} of 2^63 or more is none that a run can measure")
        known, unit = _KINDS.get(amount.kind, (None, ""))
        if known is None or not issubclass(known, kind) or unit != amount.unit:
            raise ValueError(
                f"{amount.kind} in {amount.unit} is not one of {', '.join(f'{name} in {of}' for name, (_, of) in _KINDS.items())}"
            )
        return known(amount.count)
    raise NotImplementedError(f"{kind} has no place in a report")


def encode(of: Report) -> bytes:
    """The report as indented JSON with a newline at its end."""
    return msgspec.json.format(json(of, _to_json), indent=2) + b"\n"


class _Versioned(msgspec.Struct):
    schema: int


class Judged(msgspec.Struct, frozen=True):
    """Of a verdict what a list of runs shows; fields as in ``Verdict``."""

    name: str
    relation: Relation
    value: Quantity | None
    bound: Quantity
    result: Result
    direction: str = ""


class Glance(msgspec.Struct, frozen=True):
    """Of a report what a list of runs shows, read without the rest of it; fields as in ``Report``."""

    test: str
    result: Result
    blame: Blame | None
    seed: int
    executor: str
    command: str
    started: datetime
    ended: datetime
    sabotage: str | None = None
    reasons: tuple[str, ...] = ()
    verdicts: tuple[Judged, ...] = ()

    def __post_init__(self) -> None:
        if self.started.tzinfo is None or self.ended.tzinfo is None:
            raise ValueError("started and ended need their offset from UTC")


def decode(text: bytes | str, where: str = "report") -> Report:
    """The report in ``text``; HarnessError naming ``where`` when it is of another schema or is no report."""
    return _decode(text, where, Report)


def glance(text: bytes | str, where: str = "report") -> Glance:
    """What a list of runs shows of the report in ``text``; HarnessError as in ``decode``."""
    return _decode(text, where, Glance)


T = TypeVar("T")


def _decode(text: bytes | str, where: str, kind: type[T]) -> T:
    if deep := too_deep(text):
        raise HarnessError(f"{where}: {deep}")
    try:
        schema = msgspec.json.decode(text, type=_Versioned).schema
        if schema not in READ:
            raise HarnessError(f"{where}: its schema is {schema}; this version reads {', '.join(map(str, READ[:-1]))} and {READ[-1]}")
        return msgspec.json.decode(text, type=kind, dec_hook=_from_json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HarnessError(f"{where}: {error}") from None


def write(of: Report, path: Path) -> None:
    """Write ``path`` whole or not at all: a reader never sees half a report."""
    whole.write(path, encode(of))


def read(path: Path) -> Report:
    """The report at ``path``; HarnessError as in ``decode``."""
    return decode(path.read_bytes(), str(path))
