"""A run with one of everything, for the tests of its report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from harness.media.figure import Figure, Gap
from harness.outcome import conclude
from harness.report.model import Report, report
from harness.units import Duration, Ratio, kbit, ms, percent, s
from harness.verdict import Fault, Receipt, Stall, Verdict, at_least, at_most, equal

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

RECEIPT = Receipt(
    fault="Alice leaves the house",
    kind="new 4-tuple",
    at=3_000_000_000,
    observed={"before": "10.0.0.2:4433", "after": "10.7.0.2:9999"},
    taken=True,
    source="conntrack",
)

GAP = Gap(Duration(512_000_000), 3_000_000_000, 3_532_000_000)

VERDICTS = [
    at_most("longest silence at bob", Figure(212.412345 * ms, "alice → bob audio"), 400 * ms),
    at_most("longest silence at alice", Figure(GAP.excess, "bob → alice audio", (GAP,)), 400 * ms, evidence=["media.jsonl"]),
    at_most("audio lost at bob", Figure(Ratio(33_333_333_333), "alice → bob audio", note="50 of 1500"), 3 * percent),
    equal("handshakes", 2, 1),
    at_least("video rate at bob", 310.5 * kbit, 300 * kbit),
    at_most("delay [red]p99[/red] :boom:", None, 150 * ms, note="not measured: nothing arrived"),
]


def made(verdicts: list[Verdict] = VERDICTS, **changes: Any) -> Report:
    """The report of a run with these verdicts."""
    outcome = conclude(verdicts or VERDICTS[:1], faults=["Alice leaves the house"], receipts=[RECEIPT])
    given = {name: changes.pop(name) for name in ("result", "blame", "reasons") if name in changes}
    fields: dict[str, Any] = {
        "scenario": "migration",
        "test": "scenarios/migration.py::test_call_survives_leaving_the_house",
        "receipts": (RECEIPT,),
        "faults": (
            Fault(name="Alice leaves the house", began=2_000_000_000, ended=3_100_000_000, what={"link": "alice/wifi", "loss": "60%"}),
        ),
        "stalls": (Stall(1_000, 2_000, "runner"),),
        "probe": ({"link": "alice/lte", "delay_ms": 40.2},),
        "seed": 7,
        "executor": "relay",
        "kernel": "6.1.0",
        "versions": {"harness": "0.1.0", "aioquic": "1.7.2"},
        "command": "harness run migration -k test_call_survives_leaving_the_house --seed 7 --impair relay --artifacts /somewhere/deep",
        "started": STARTED,
        "ended": STARTED + timedelta(seconds=12.5),
        "durations": {"build": 450 * ms, "call": 10 * s},
    }
    return msgspec.structs.replace(report(outcome, **fields | changes), **given)
