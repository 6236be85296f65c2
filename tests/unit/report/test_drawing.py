"""What ruled links when, and when their ends were down, from the timeline."""

from __future__ import annotations

from typing import Any

from harness.report import drawing
from topologies.both_mobile import both_mobile
from topologies.phone_two_radios import phone_two_radios

UNTIL = 9_000


def since_zero(ns: int) -> int:
    return ns // 1000


def link_event(at: int, up: bool) -> dict[str, Any]:
    ends = {"alice/wifi": up, "home/lan": up}
    return {"at": at, "source": "fabric", "kind": "link", "link": "alice/wifi–home/lan", "up": ends}


def receipt(at: int, words: str) -> dict[str, Any]:
    return {"at": at, "source": "fabric", "kind": "receipt", "receipt": {"kind": "link", "observed": {"alice/wifi": words}}}


def ruling(at: int, words: str) -> dict[str, Any]:
    return {"at": at, "source": "fabric", "kind": "ruling", "text": f"alice/wifi–home/lan a_to_b: {words}"}


def test_downs_from_the_lines_about_links() -> None:
    events = [link_event(0, True), link_event(2_000_000, False), link_event(5_000_000, True), link_event(7_000_000, False)]
    wire = drawing.wires(phone_two_radios(), events, since_zero, UNTIL)[0]
    assert wire.downs == {"a": [[2000, 5000], [7000, UNTIL]], "b": [[2000, 5000], [7000, UNTIL]]}


def test_downs_from_receipts_told_twice_are_one() -> None:
    events = [
        receipt(2_000_000, "up after 9 sent → down after 9 sent"),
        link_event(2_000_500, False),
        receipt(3_000_000, "down → up after"),
    ]
    wire = drawing.wires(phone_two_radios(), events, since_zero, UNTIL)[0]
    assert wire.downs["a"] == [[2000, 3000]]


def test_what_starts_down_is_down_from_the_beginning() -> None:
    wires = {wire.a: wire for wire in drawing.wires(both_mobile(), [], since_zero, UNTIL)}
    assert wires["bob/lte"].downs == {"a": [[0, UNTIL]], "b": [[0, UNTIL]]}
    assert wires["bob/wifi"].downs == {"a": [], "b": []}


def test_rulings_begin_with_what_was_built() -> None:
    events = [ruling(1_000_000, "delay 10ms"), ruling(4_000_000, "delay 10ms loss 60%"), ruling(5_000_000, "delay 10ms loss 60%")]
    wire = drawing.wires(phone_two_radios(), events, since_zero, UNTIL)[0]
    assert wire.ruled["a_to_b"] == [(0, "delay 10ms"), (4000, "delay 10ms loss 60%")]
    assert wire.ruled["b_to_a"] == [(0, "delay 10ms")]


def test_a_nat_in_words() -> None:
    office = next(node for node in drawing.nodes(phone_two_radios()) if node.name == "office")
    assert office.kind == "nat"
    assert office.nat == {
        "mapping": "endpoint-independent",
        "filtering": "address-and-port-dependent",
        "ports": "preserve",
        "IPv6": "translated as IPv4 is",
        "UDP 4433": "forwarded to bob 4433",
    }


def test_nonsense_in_the_timeline_is_no_state() -> None:
    nonsense: list[dict[str, Any]] = [
        {"at": 1, "source": "x", "kind": "link", "up": [1]},
        {"at": 1, "source": "x", "kind": "link", "up": {"alice/wifi": "no"}},
        {"at": 1, "source": "x", "kind": "receipt", "receipt": {"kind": "link", "observed": "?"}},
        {"at": 1, "source": "x", "kind": "ruling", "text": 5},
    ]
    wire = drawing.wires(phone_two_radios(), nonsense, since_zero, UNTIL)[0]
    assert wire.downs["a"] == [] and wire.ruled["a_to_b"] == [(0, "delay 10ms")]
