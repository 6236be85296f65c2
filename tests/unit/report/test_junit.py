from __future__ import annotations

import json
from pathlib import Path, PurePath
from xml.etree import ElementTree

import msgspec
import pytest

from harness.report.junit import properties, retype
from harness.units import Duration, Ratio, ms, percent
from harness.verdict import Result, at_most
from tests.unit.report.runs import RECEIPT, VERDICTS, made


def test_the_run_and_every_verdict_are_flat_pairs() -> None:
    pairs = properties(made())
    known = dict(pairs)
    assert known["harness.result"] == "FAIL"
    assert known["harness.blame"] == "product"
    assert known["harness.seed"] == "7"
    assert known["harness.executor"] == "relay"
    assert known["harness.command"].startswith("harness run migration")
    assert "harness.sabotage" not in known
    assert known["verdict.longest_silence_at_bob_alice_to_bob_audio.value_ms"] == "212.412345"
    assert known["verdict.longest_silence_at_bob_alice_to_bob_audio.bound_ms"] == "400"
    assert known["verdict.longest_silence_at_bob_alice_to_bob_audio.result"] == "PASS"
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.value_percent"] == "3.3333333333"
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.margin_percent"] == "-0.3333333333"
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.blame"] == "product"
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.relation"] == "at_most"
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.direction"] == "alice → bob audio"
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.note"] == "50 of 1500"
    assert known["verdict.handshakes.value"] == "2"
    assert known["verdict.video_rate_at_bob.value_kbit"] == "310.5"
    assert known["receipt.alice_leaves_the_house.new_4_tuple"] == "taken"
    assert known["receipt.alice_leaves_the_house.new_4_tuple.seen_by"] == "conntrack"
    assert json.loads(known["receipt.alice_leaves_the_house.new_4_tuple.observed"]) == RECEIPT.observed
    assert [value for name, value in pairs if name.startswith("harness.reason")] == list(made().reasons)
    assert "harness.page" not in known
    placed = dict(properties(made(), PurePath("artifacts/migration/x/7")))
    assert placed["harness.artifacts"] == "artifacts/migration/x/7"
    assert placed["harness.page"] == "artifacts/migration/x/7/report.html"


def test_what_was_not_measured_has_an_empty_value_not_0() -> None:
    known = dict(properties(made()))
    assert known["verdict.delay_red_p99_red_boom.value_ms"] == ""
    assert known["verdict.delay_red_p99_red_boom.result"] == "INCONCLUSIVE"


def test_a_pass_blames_nobody_and_a_control_names_itself() -> None:
    assert dict(properties(made(VERDICTS[:1])))["harness.blame"] == ""
    assert dict(properties(made(sabotage="never sends keepalive")))["harness.sabotage"] == "never sends keepalive"


@pytest.mark.parametrize("result", [Result.ERROR, Result.NOT_RUN])
def test_what_is_no_failure_becomes_an_error_of_its_own_type(tmp_path: Path, result: Result) -> None:
    path = tmp_path / "junit.xml"
    case = '<testcase name="{0}"><properties><property name="harness.result" value="{0}" /></properties>{1}</testcase>'
    failure = '<failure message="why">a &lt;table&gt;</failure>'
    cases = [case.format(result, failure), case.format("FAIL", failure), case.format("PASS", "")]
    path.write_text(f'<testsuites><testsuite errors="0" failures="2" tests="3">{"".join(cases)}</testsuite></testsuites>')
    retype(path)
    (suite,) = ElementTree.parse(path).getroot()
    assert (suite.get("errors"), suite.get("failures")) == ("1", "1")
    (error,) = suite.iter("error")
    assert (error.get("type"), error.get("message"), error.text) == (result, "why", "a <table>")
    assert len(list(suite.iter("failure"))) == 1


def test_whole_numbers_keep_their_zeros() -> None:
    known = dict(properties(made([at_most("silence", 100 * ms, 400 * ms), at_most("other", 0 * ms, 400 * ms)])))
    assert known["verdict.silence.value_ms"] == "100"
    assert known["verdict.other.value_ms"] == "0"


def test_names_that_flatten_to_one_overwrite_nothing() -> None:
    twins = [at_most(name, n * ms, 400 * ms) for n, name in enumerate(("silence", "Silence!", "silence 2", "SILENCE", "тишина", "静寂"))]
    pairs = properties(made(twins, receipts=(RECEIPT, RECEIPT)))
    known = dict(pairs)
    assert len(known) == len(pairs)
    told = {known[name]: known[name.replace(".name", ".value_ms")] for name in known if name.endswith(".name")}
    assert told == {"silence": "0", "Silence!": "1", "silence 2": "2", "SILENCE": "3", "тишина": "4", "静寂": "5"}
    assert known["verdict.silence.value_ms"] == "0", "the first keeps the name, so that a chart over time goes on"
    assert known["verdict.unnamed_2.name"] == "静寂"
    assert known["receipt.alice_leaves_the_house.new_4_tuple_2"] == "taken"


def test_no_figure_loses_a_digit() -> None:
    known = dict(properties(made([at_most("a", Duration(10**15 + 1), 1 * ms), at_most("b", Ratio(1), 3 * percent)])))
    assert known["verdict.a.value_ms"] == "1000000000.000001"
    assert known["verdict.b.value_percent"] == "0.0000000001"


HOSTILE = "\x00\x1b[2J<&>]]>\"'\ud800\ufffe\r\n--><property/>"


def test_hostile_text_stays_well_formed_xml_wherever_it_stands() -> None:
    receipt = msgspec.structs.replace(RECEIPT, fault=HOSTILE, kind=HOSTILE, source=HOSTILE, observed={HOSTILE: HOSTILE})
    verdict = at_most(HOSTILE, None, 1 * ms, note=HOSTILE, direction=HOSTILE)
    report = made([verdict], receipts=(receipt,), command=HOSTILE, kernel=HOSTILE, sabotage=HOSTILE)
    suite = ElementTree.Element("properties")
    pairs = properties(report, PurePath("a\x1b]0;b"), "followed_1.")
    for name, value in pairs:
        ElementTree.SubElement(suite, "property", name=name, value=value)
    back = ElementTree.fromstring(ElementTree.tostring(suite, encoding="utf-8"))
    assert [(one.get("name"), one.get("value")) for one in back] == pairs
    assert all(name.startswith("followed_1.") for name, _value in pairs)
    note = next(value for name, value in pairs if name.endswith(".note"))
    assert note == "\ufffd\ufffd[2J<&>]]>\"'\ufffd\ufffd\ufffd\n--><property/>"
