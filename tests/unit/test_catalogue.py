"""What is read from a scenario's source, and what docs/scenarios.md says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import catalogue
from harness.catalogue import Caught, Judged
from harness.errors import SpecError

SCENARIO = '''
"""A file about storms."""

GUST = 30 * ms
CALM = GUST + 2 * GUST / 3

@control("bob", "deaf", caught_by="silence", silent=True)
@pytest.mark.parametrize("wind", [1, 2], ids=["breeze", "gale"])
async def test_storm(lab, wind):
    """A storm takes the mast.

    Field story: it happens,
    now and then.
    Fault: the link goes down.
    Bounds: one round trip | and a bit.
    Control: a callee that hears nothing.
    """
    net = await lab.build(two_homes(delay=10 * ms))
    judge(lab)
    lab.equal(f"handshakes of {wind}", 1, 1)


def judge(lab):
    lab.at_most("silence", heard, ROUND_TRIP | MORE)
    lab.at_least("calm", heard, CALM)


def unrelated(lab):
    lab.at_most("nothing", 0, 0)
'''
ROOT = Path(__file__).parents[2]
DRAWING = {"two_homes": "Two homes.\n\n::\n\n    a ── b\n\n    c\n\nAnd a word more."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weather.py").write_text(SCENARIO)
    return tmp_path


def test_everything_is_read_from_the_source(folder: Path) -> None:
    (storm,) = catalogue.find(folder)
    assert (storm.name, storm.story) == ("storm", "A storm takes the mast.")
    assert storm.nodeid.endswith("weather.py::test_storm")
    assert storm.paragraphs["Field story"] == "It happens,\nnow and then."
    assert storm.networks({"two_homes", "office"}) == ["two_homes"]
    assert storm.variants == ["breeze", "gale"]
    assert storm.verdicts == [
        Judged("silence", "≤", "ROUND_TRIP | MORE"),
        Judged("calm", "≥", "CALM", "50 ms"),
        Judged("handshakes of {wind}", "=", "1", "1"),
    ]
    assert storm.controls == [Caught("bob", "deaf", "silence")]


def test_what_is_claimed_is_told_beside_what_judges_it(folder: Path) -> None:
    row = "| [storm](#storm) | silence |  | calm, handshakes of {wind} |"
    assert row in catalogue.page(catalogue.find(folder), DRAWING)


def test_a_verdict_on_the_picture_is_a_scenarios_where_it_has_one(tmp_path: Path) -> None:
    source = SCENARIO.replace('lab.at_least("calm"', 'lab.at_most("longest {flow} freeze"')
    (tmp_path / "weather.py").write_text(source)
    (deaf,) = catalogue.find(tmp_path)
    assert "longest {flow} freeze" not in {one.name for one in deaf.verdicts}
    (tmp_path / "weather.py").write_text(source.replace("judge(lab)\n    lab", "judge(lab, video=True)\n    lab"))
    (sighted,) = catalogue.find(tmp_path)
    assert "longest {flow} freeze" in {one.name for one in sighted.verdicts}
    assert "| [storm](#storm) | silence | longest {flow} freeze | handshakes of {wind} |" in catalogue.page([sighted], DRAWING)


def test_a_control_of_one_variant_is_found(tmp_path: Path) -> None:
    variant = 'pytest.param(3, id="hurricane", marks=control("alice", "mute", caught_by="hush"))'
    (tmp_path / "weather.py").write_text(SCENARIO.replace('[1, 2], ids=["breeze", "gale"]', f"[{variant}]"))
    (storm,) = catalogue.find(tmp_path)
    assert storm.variants == ["hurricane"]
    assert Caught("alice", "mute", "hush") in storm.controls


def test_the_page_has_all_of_it(folder: Path) -> None:
    page = catalogue.page(catalogue.find(folder), DRAWING)
    assert "## weather\n\nA file about storms.\n" in page
    assert "### storm\n\nA storm takes the mast.\n\n**Network.** [two_homes](#two_homes).\n\n**Variants.** breeze, gale." in page
    assert "| silence | ≤ `ROUND_TRIP \\| MORE` |" in page
    assert "| calm | ≥ 50 ms (`CALM`) |" in page
    assert "| bob runs `deaf` | silence |" in page
    assert "**Needs.** What every scenario needs" in page
    assert "### two_homes\n\nTwo homes.\n\n```\na ── b\n\nc\n```\n\nAnd a word more." in page


@pytest.mark.parametrize("label", catalogue.LABELS)
def test_a_missing_paragraph_is_named(folder: Path, label: str) -> None:
    text = SCENARIO.replace(f"    {label}: ", "    ")
    (folder / "weather.py").write_text(text)
    with pytest.raises(SpecError, match=f"weather.py, storm: its docstring has no '{label}'"):
        catalogue.page(catalogue.find(folder), DRAWING)


def test_an_unknown_paragraph_is_named(folder: Path) -> None:
    (folder / "weather.py").write_text(SCENARIO.replace("    Control: ", "    Remedy: reef.\n    Control: "))
    with pytest.raises(SpecError, match="its docstring has 'Remedy'; allowed are Field story, Fault, Bounds, Control, Needs"):
        catalogue.page(catalogue.find(folder), DRAWING)


def test_a_network_that_nobody_has_drawn_is_named(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"weather\.py, storm: it builds no network that a module of topologies draws"):
        catalogue.page(catalogue.find(folder), {})


MISSION = {
    "loopback": "rtp_data_path multiple_packets bidirectional large_packet concurrent_streams setup",
    "call_flow": "lifecycle capability_signalling media_streams bidirectional_media cleanup",
    "multi_peer": "simultaneous_calls call_waiting call_switching peer_leaves peer_crashes concurrent_media isolation",
    "errors": "dial_timeout midcall_timeout capability_mismatch exhaustion degradation",
    "operations": "invalid_transitions unknown_call",
    "migration": "wifi_to_cellular cellular_to_wifi make_before_break break_before_make during_handshake double_handover",
    "rebinding": "rebind_port rebind_address rebind_during_validation rebind_while_muted rebind_behind_cgnat rebind_every_second",
    "reconnect": "outage_short outage_long network_change_new_address redial_after_loss callee_moves",
}
"""The flows that the project exists for, by the names that people ask for them; more may stand beside them."""


def test_every_flow_of_the_mission_is_a_scenario() -> None:
    found = {(scenario.file.stem, scenario.name) for scenario in catalogue.find(ROOT / "scenarios")}
    wanted = {(file, name) for file, names in MISSION.items() for name in names.split()}
    assert not wanted - found
    assert "lost_path_response" in {name for _, name in found}


def test_the_document_is_what_the_scenarios_say() -> None:
    page = catalogue.page(catalogue.find(ROOT / "scenarios"), catalogue.drawings(ROOT / "topologies"))
    assert (ROOT / "docs" / "scenarios.md").read_text() == page, "`make docs` writes it anew"
