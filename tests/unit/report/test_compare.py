"""Two runs beside each other: what is joined, what is told as a difference, and what is refused."""

from __future__ import annotations

import html
import re
from pathlib import Path

import msgspec
import pytest

from harness.errors import HarnessError
from harness.media.figure import Figure, Gap
from harness.report import compare
from harness.report.story import Node, Story, Wire
from harness.units import Duration, ms, percent
from harness.verdict import Verdict, at_least, at_most, equal
from tests.unit.report.folders import carried, put
from tests.unit.report.runs import made

GAP = Gap(Duration(90_000_000), 5_000_000_000, 5_090_000_000)


def story(**fields: object) -> Story:
    return Story(zero=4_000_000_000, until=9_000_000, title="", report={}, peers=[], **fields)  # type: ignore[arg-type]


def joined(a: list[Verdict], b: list[Verdict]) -> list[tuple[str, str, str, str, bool]]:
    rows = compare.verdicts(story(), made(a), story(), made(b))
    return [(row["name"], row["a"]["value"], row["b"]["value"], row["change"], row["differs"]) for row in rows]


def test_figures_are_joined_and_what_differs_is_marked() -> None:
    a = [at_most("silence", 250 * ms, 80 * ms), at_most("lost", 1 * percent, 3 * percent), equal("handshakes", 1, 1)]
    b = [equal("handshakes", 1, 1), at_most("silence", 50 * ms, 80 * ms), at_most("lost", 2 * percent, 3 * percent)]
    assert joined(a, b) == [
        ("silence", "250 ms", "50 ms", "−200 ms", True),
        ("lost", "1 %", "2 %", "+1 %", False),
        ("handshakes", "1", "1", "0", False),
    ]


def test_what_only_one_has_or_could_measure_is_shown_too() -> None:
    a = [at_most("silence", None, 80 * ms), at_most("twice", 1 * ms, 9 * ms), at_most("twice", 2 * ms, 9 * ms)]
    b = [at_most("silence", 50 * ms, 80 * ms), at_most("twice", 3 * ms, 9 * ms), at_least("new", 5, 1)]
    assert joined(a, b) == [
        ("silence", "–", "50 ms", "", True),
        ("twice", "1 ms", "3 ms", "+2 ms", False),
        ("twice", "2 ms", "not judged", "", True),
        ("new", "not judged", "5", "", True),
    ]


def test_bounds_that_differ_are_both_shown_and_places_are_each_run_s_own() -> None:
    early, late = story(), msgspec.structs.replace(story(), zero=4_500_000_000)
    a, b = ([at_most("silence", Figure(GAP.excess, "", (GAP,)), bound)] for bound in (80 * ms, 100 * ms))
    (row,) = compare.verdicts(early, made(a), late, made(b))
    assert row["bound"] == "≤ 80 ms | ≤ 100 ms"
    assert (row["a"]["since"], row["a"]["until"]) == (1_000_000, 1_090_000)
    assert (row["b"]["since"], row["b"]["until"]) == (500_000, 590_000)


def test_differences_of_what_was_told_and_of_the_network() -> None:
    nat = Node(name="home", kind="nat", ports={"wan": ["203.0.113.2"]}, nat={"mapping": "endpoint-independent"})
    wire = Wire(name="l", a="home/wan", b="net/a", ruled={"a_to_b": [(0, "delay 5ms")], "b_to_a": [(0, "clear")]}, downs={"a": [], "b": []})
    a = story(nodes=[nat], wires=[wire])
    other = msgspec.structs.replace(nat, ports={"wan": ["203.0.113.9"]}, nat={"mapping": "address-dependent"})
    b = story(nodes=[other, Node(name="extra", kind="host", ports={})], wires=[])
    changes = {"seed": 8, "command": "harness run x --seed=8", "versions": {"harness": "0.1.0", "aioquic": "1.8.0"}}
    assert compare.differences(a, made(), b, made(**changes)) == [
        ("command", made().command, "harness run x --seed=8"),
        ("seed", "7", "8"),
        ("version of aioquic", "1.7.2", "1.8.0"),
        ("home/wan", "203.0.113.2", "203.0.113.9"),
        ("home: NAT mapping", "endpoint-independent", "address-dependent"),
        ("link home/wan → net/a", "delay 5ms", "–"),
        ("link net/a → home/wan", "clear", "–"),
        ("extra", "–", "host"),
    ]
    assert compare.differences(a, made(), a, made()) == []


def test_one_page_holds_both_runs(tmp_path: Path) -> None:
    a, b = put(tmp_path, 1, [at_most("silence", 250 * ms, 80 * ms)], seed=1), put(tmp_path, 2, seed=2)
    text = compare.write(a, b, tmp_path / "compare.html").read_text()
    assert [carried(text, f"story-{side}")["report"]["seed"] for side in "ab"] == [1, 2]
    assert re.search(r'<tr class="differs"><td>silence</td>', text)
    assert compare.write(a, b, tmp_path / "compare.html").read_text() == text, "the same runs make the same page"


HOSTILE = "</script><script>alert(1)</script>\x1b<img src=x onerror=alert(1)>\"'"


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    changes = {"executor": HOSTILE, "command": HOSTILE, "sabotage": HOSTILE, "versions": {HOSTILE: HOSTILE}, "kernel": HOSTILE}
    a = put(tmp_path, 1, [at_most(HOSTILE, 250 * ms, 80 * ms, direction=HOSTILE, note=HOSTILE)], test=HOSTILE, **changes)
    text = compare.write(a, put(tmp_path, 2), tmp_path / "compare.html").read_text()
    assert "\x1b" not in text
    assert "<img" not in text
    assert text.count("<script") == 2 + len(compare.SCRIPTS)
    assert html.escape("</script>") in text


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run, bare = put(tmp_path, 1), tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(HarnessError, match=r"bare: there is no report\.json in it"):
        compare.write(run, bare, tmp_path / "compare.html")
    with pytest.raises(HarnessError, match="it is a folder; name a file"):
        compare.write(run, run, bare)
    with pytest.raises(HarnessError, match="there is no folder"):
        compare.write(run, run, bare / "deeper" / "compare.html")
    assert not (tmp_path / "compare.html").exists()
