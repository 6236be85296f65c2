from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.report.model import SCHEMA, decode, encode, read, write
from harness.units import Count, Duration, ms
from harness.verdict import Blame, Result, at_most
from tests.unit.report.runs import VERDICTS, made


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for report in (made(), made(VERDICTS[:1]), made(sabotage="redials instead of migrating")):
        write(report, path)
        assert read(path) == report
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_the_file_is_readable_by_machines_and_people() -> None:
    text = encode(made())
    assert text.endswith(b"}\n")
    tree = json.loads(text)
    assert tree["schema"] == SCHEMA == 3
    assert (tree["result"], tree["blame"]) == ("FAIL", "product")
    assert tree["verdicts"][0]["value"] == {"kind": "duration", "count": 212412345, "unit": "ns", "text": "212.412345ms"}
    assert tree["verdicts"][1]["gaps"] == [
        {
            "excess": {"kind": "duration", "count": 512000000, "unit": "ns", "text": "512ms"},
            "start": 3000000000,
            "end": 3532000000,
            "recovered": True,
            "transit": 0,
        }
    ]
    assert [verdict["value"] and verdict["value"]["kind"] for verdict in tree["verdicts"]] == [
        "duration",
        "duration",
        "ratio",
        "count",
        "rate",
        None,
    ]
    assert tree["verdicts"][5]["result"] == "INCONCLUSIVE"
    assert tree["started"] == "2026-01-02T03:04:05Z"
    wanted = "faults receipts stalls probe seed executor kernel versions command scenario test durations sabotage reasons"
    assert set(wanted.split()) <= set(tree)


def test_quantities_come_back_as_what_they_were() -> None:
    report = decode(encode(made()))
    assert report.verdicts[0].value == 212.412345 * ms
    assert isinstance(report.verdicts[3].value, Count)
    assert isinstance(report.durations["build"], Duration)
    assert (report.result, report.blame, report.took) == (Result.FAIL, Blame.PRODUCT, 12_500 * ms)


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(encode(made())) | fields).encode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (changed(schema=1), "its schema is 1; this version reads 2 and 3"),
        (changed(schema="2"), "schema"),
        (changed(unheard_of=1), "unheard_of"),
        (changed(result="GREEN"), "GREEN"),
        (changed(result="PASS"), "a PASS has none"),
        (changed(blame=None), "everything else has one"),
        (changed(started="2026-01-02T03:04:05"), "offset"),
        (changed(durations={"call": "10s"}), "'10s' is no quantity"),
        (changed(durations={"call": {"kind": "ratio", "count": 1, "unit": "1e-12", "text": ""}}), "ratio"),
        (changed(durations={"call": {"kind": "duration", "count": 1, "unit": "s", "text": ""}}), "duration in s"),
        (b"{}", "schema"),
        (b"not json", "malformed"),
    ],
)
def test_what_is_no_report_of_this_schema_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(HarnessError, match=r"runs/7/report\.json") as caught:
        decode(text, "runs/7/report.json")
    assert says in str(caught.value)


def test_a_report_of_the_schema_before_is_read_without_what_it_did_not_have() -> None:
    tree = json.loads(encode(made(story="Alice leaves.")))
    tree["schema"] = 2
    del tree["story"]
    for verdict in tree["verdicts"]:
        del verdict["moments"], verdict["call"]
    old = decode(json.dumps(tree))
    assert (old.schema, old.story) == (2, "")
    assert [one.moments for one in old.verdicts] == [()] * len(old.verdicts)


def test_an_unfinished_write_leaves_the_old_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(made(), path)
    with pytest.raises(NotImplementedError, match="object has no place in a report"):
        write(made(quality={"x": object()}), path)
    assert read(path) == made()


def test_a_name_that_no_utf8_can_say_costs_its_own_letters_and_not_the_report() -> None:
    told = decode(encode(made(artifacts=("agents/b\udcff.log",), quality={"\ud800": (float("nan"), 1)})))
    assert told.artifacts == ("agents/b?.log",)
    assert told.quality == {"?": [None, 1]}
    assert told.verdicts == made().verdicts


def test_a_verdict_s_own_blame_is_kept() -> None:
    report = made([at_most("stray packets", 3, 0, blame=Blame.AGENT)])
    assert (report.result, report.blame) == (Result.FAIL, Blame.AGENT)
    assert decode(encode(report)).verdicts[0].blame is Blame.AGENT
