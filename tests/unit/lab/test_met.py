"""Which of the call's packets a fault met, counted in captures made by hand, and what is said of one that met none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.fabric.capture import file_name
from harness.fabric.pcapng import Writer
from harness.fabric.receipts import Touches
from harness.lab.met import BEFORE, Change, Met, Traffic, settle
from harness.spec.link import CLEAR
from harness.spec.topology import Host, Link, Router, Topology

S = 1_000_000_000
AHEAD = 1_789_000_000 * S
NETWORK = Topology(
    "t",
    (Host("alice"), Router("home"), Router("mast"), Host("bob")),
    (
        Link("alice/wifi", "home/lan", "10.0.1.0/24", a_to_b=CLEAR, b_to_a=CLEAR),
        Link("alice/lte", "mast/ran", "10.0.2.0/24", a_to_b=CLEAR, b_to_a=CLEAR),
        Link("home/wan", "bob/eth", "10.0.3.0/24", a_to_b=CLEAR, b_to_a=CLEAR),
    ),
)
HERS, HIS, STRANGERS = ("10.0.1.1", 5000), ("10.0.3.2", 4433), ("10.0.9.9", 4433)


def payload(number: int, size: int = 100) -> bytes:
    return number.to_bytes(4, "big").ljust(size, b"\x40")


class Wire:
    """Captures of all interfaces, to which packets are added in order of time, and the calls' packets among them."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self.folder = folder
        self.calls: set[bytes] = set()
        self._writers: dict[str, Writer] = {}
        for link in NETWORK.links:
            for interface in (link.a, link.b):
                file = files.enter_context((folder / file_name(interface)).open("wb", buffering=0))
                self._writers[interface] = Writer(file, [interface], 2048)
                self._writers[interface].statistics(0, AHEAD, received=0, dropped=0, written=0, offset=AHEAD)

    def pass_(self, at: int, data: bytes, *places: str, source: tuple[str, int] = HERS, of_call: bool = True) -> None:
        """``places``: ``alice/wifi out`` and the like."""
        if of_call:
            self.calls.add(data)
        addresses = b"".join(bytes(map(int, ip.split("."))) for ip in (source[0], HIS[0]))
        header = bytes(12) + b"\x08\x00" + b"\x45" + bytes(8) + b"\x11" + bytes(2) + addresses
        udp = source[1].to_bytes(2, "big") + HIS[1].to_bytes(2, "big") + (len(data) + 8).to_bytes(2, "big") + bytes(2)
        for place in places:
            interface, way = place.split()
            frame = header + udp + data
            self._writers[interface].packet(0, AHEAD + at, frame, len(frame), way == "out")

    def traffic(self, final: Mapping[str, Any] | None = None, until: int = 100 * S) -> Traffic:
        for writer in self._writers.values():
            writer.flush()
        return Traffic(NETWORK, self.folder, frozenset(self.calls), final or {}, until)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with ExitStack() as files:
        yield Wire(tmp_path, files)


def down(at: int, began: int = 0, link: Link = NETWORK.links[0], fault: int | None = 0) -> Change:
    return Change(at, Touches(f"link {link.name}", (link.a, link.b), before=True), fault, began or at)


def up(at: int, fault: int | None = 0) -> Change:
    link = NETWORK.links[0]
    return Change(at, Touches(f"link {link.name}", (link.a, link.b), restores=True), fault, at)


def impair(at: int, interface: str = "alice/wifi", **more: Any) -> Change:
    return Change(at, Touches(f"link {NETWORK.link(interface).name}", (interface,), "a_to_b", **more), 0, at)


BOTH = ("alice/wifi out", "home/lan in")


def test_a_link_that_dies_meets_what_passed_it_since_the_fault_began_or_just_before(wire: Wire) -> None:
    for number in range(10):
        wire.pass_(10 * S + number, payload(number), *BOTH)
    wire.pass_(10 * S + 20, b"a stranger's", *BOTH, of_call=False)
    traffic = wire.traffic()
    met = Met(10, {"alice/wifi out": 10, "home/lan in": 10})
    assert traffic.met(down(10 * S + BEFORE.ns), []) == met
    assert traffic.met(down(30 * S, began=9 * S), []) == met, "it was used when the fault began"
    assert traffic.met(down(30 * S), []) == Met(0, {}), "it had not been used for long"
    assert traffic.met(down(11 * S, link=NETWORK.links[1]), []) == Met(0, {}), "the call was never on that one"
    assert str(met) == "10 packets of the call (10 alice/wifi out, 10 home/lan in)"


def test_what_comes_to_a_router_before_a_dead_link_and_goes_nowhere_was_met_by_it(wire: Wire) -> None:
    wire.pass_(20 * S, payload(1), "home/lan in", "home/wan out")
    wire.pass_(30 * S, payload(2), "home/lan in")
    last = NETWORK.links[2]
    assert wire.traffic().met(down(25 * S, link=last), []) == Met(1, {"stopped at home": 1})
    assert wire.traffic().met(down(31 * S, link=last), []) == Met(0, {}), "nothing came that would have passed it"


def test_an_impairment_meets_what_enters_its_direction_until_it_is_changed_again(wire: Wire) -> None:
    for at in (10, 20, 30):
        wire.pass_(at * S, payload(at), *BOTH)
        wire.pass_(at * S + 1, payload(at + 1), "alice/wifi in")
    one, other = impair(15 * S), impair(25 * S)
    assert wire.traffic().met(one, [one, other]) == Met(1, {"alice/wifi out": 1})
    assert wire.traffic().met(other, [one, other]) == Met(1, {"alice/wifi out": 1})
    assert wire.traffic(until=28 * S).met(other, [one, other]) == Met(0, {}), "by then no call was judged any more"


def test_an_mtu_meets_what_is_larger(wire: Wire) -> None:
    wire.pass_(20 * S, payload(1, size=972), *BOTH)
    assert wire.traffic().met(impair(10 * S, above=1000), []) == Met(0, {}), "1,000 bytes of IP pass"
    assert wire.traffic().met(impair(10 * S, above=999), []).packets == 1


def test_a_nat_meets_the_flows_that_it_maps(wire: Wire) -> None:
    wire.pass_(20 * S, payload(1), "home/wan out", source=("10.0.3.1", 6000))

    def rebind(*endpoints: tuple[str, int]) -> Change:
        return Change(10 * S, Touches("NAT home", ("home/wan",), endpoints=frozenset(endpoints)), 0, 10 * S)

    assert wire.traffic().met(rebind(("10.0.3.1", 6000)), []).packets == 1
    assert wire.traffic().met(rebind(("10.0.3.1", 7000)), []).packets == 0, "another's flow"
    assert wire.traffic().met(rebind(), []).packets == 0, "none"


def test_where_netem_drops_before_the_capture_its_counter_tells(wire: Wire) -> None:
    rulings = [{"at": 0, "received": 0}, {"at": 10 * S, "received": 40}]
    name = NETWORK.links[0].name

    def final(delivered: int, dropped: int, **more: int) -> dict[str, Any]:
        last = {"delivered": delivered, "dropped": dropped, "in_flight": 1, **more}
        return {"rulings": {name: {"a_to_b": {"rulings": rulings}}}, "links": {name: {"a_to_b": last}}}

    assert wire.traffic(final(40, 29)).met(impair(10 * S), []) == Met(30, {"taken by netem at alice/wifi": 30})
    assert wire.traffic(final(39, 0)).met(impair(10 * S), []) == Met(0, {})
    assert wire.traffic(final(40, 29, received=70)).met(impair(10 * S), []) == Met(0, {}), "the relay stands behind the capture"


NONE, SOME = Met(0, {}), Met(7, {"alice/wifi out": 7})


def test_a_change_that_met_nothing_did_not_take() -> None:
    assert settle([down(1)], [SOME], frozenset()) == [""]
    assert settle([down(1)], [NONE], frozenset()) == ["it met none of the call's packets: none passed alice/wifi, home/lan"]
    assert settle([impair(1, above=900)], [NONE], frozenset()) == [
        "it met none of the call's packets: none larger than 900 bytes passed alice/wifi"
    ]
    assert settle([down(1, fault=None)], [NONE], frozenset()) == [""], "it is in no fault's block"


def test_each_change_of_a_fault_is_on_its_own() -> None:
    """Loss on a link that nobody uses is not proven by a rebind beside it."""
    other = down(1, link=NETWORK.links[1])
    assert settle([down(1), other], [SOME, NONE], frozenset()) == ["", "it met none of the call's packets: none passed alice/lte, mast/ran"]


def test_the_two_directions_of_a_link_are_one_change() -> None:
    back = Change(2, Touches(NETWORK.links[0].name, ("home/lan",), "b_to_a"), 0, 1)
    there = Change(1, Touches(NETWORK.links[0].name, ("alice/wifi",), "a_to_b"), 0, 1)
    assert settle([there, back], [SOME, NONE], frozenset()) == ["", ""]


def test_what_was_in_force_already_changes_nothing() -> None:
    why = "it asks for what was in force already: nothing was changed"
    assert settle([impair(1, changed=False)], [SOME], frozenset()) == [why]
    assert settle([impair(1, changed=False), impair(2)], [SOME, SOME], frozenset()) == ["", ""], "of both directions one was"


def test_what_is_put_back_need_not_meet_anything_unless_it_is_all_there_was() -> None:
    assert settle([down(1), up(2 * S)], [SOME, NONE], frozenset()) == ["", ""]
    assert settle([up(2 * S)], [NONE], frozenset()) == ["it met none of the call's packets: none passed alice/wifi, home/lan"]


def test_a_fault_beside_the_call_meets_none_of_its_packets() -> None:
    assert settle([down(1)], [NONE], frozenset({0})) == [""]
    assert settle([down(1)], [SOME], frozenset({0})) == ["it was to be beside the call, and met 7 packets of it"]
