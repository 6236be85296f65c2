from __future__ import annotations

from xml.etree import ElementTree

from harness.report.junit import properties
from harness.units import ms
from harness.verdict import at_most
from tests.unit.report.runs import VERDICTS, made


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
    assert known["verdict.audio_lost_at_bob_alice_to_bob_audio.value_percent"] == "3.333333"
    assert known["verdict.handshakes.value"] == "2"
    assert known["verdict.video_rate_at_bob.value_kbit"] == "310.5"
    assert known["receipt.alice_leaves_the_house.new_4_tuple"] == "taken"
    assert [value for name, value in pairs if name == "harness.reason"] == list(made().reasons)


def test_what_was_not_measured_has_an_empty_value_not_0() -> None:
    known = dict(properties(made()))
    assert known["verdict.delay_red_p99_red_boom.value_ms"] == ""
    assert known["verdict.delay_red_p99_red_boom.result"] == "INCONCLUSIVE"


def test_a_pass_blames_nobody_and_a_control_names_itself() -> None:
    assert dict(properties(made(VERDICTS[:1])))["harness.blame"] == ""
    assert dict(properties(made(sabotage="never sends keepalive")))["harness.sabotage"] == "never sends keepalive"


def test_whole_numbers_keep_their_zeros() -> None:
    known = dict(properties(made([at_most("silence", 100 * ms, 400 * ms), at_most("other", 0 * ms, 400 * ms)])))
    assert known["verdict.silence.value_ms"] == "100"
    assert known["verdict.other.value_ms"] == "0"


def test_garbage_from_an_agent_stays_well_formed_xml() -> None:
    for name, value in properties(made([at_most("bad", None, 1 * ms, note="\x00\x1b<&>")])):
        element = ElementTree.Element("property", name=name, value=value)
        assert ElementTree.fromstring(ElementTree.tostring(element)).get("name") == name
