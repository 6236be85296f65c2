"""The drawing of every topology, the sequence of messages, and the logs, as a browser draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from harness.report.story import Lane, Line, Signal, Span
from harness.spec.link import Impairment
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import mbit, ms, percent
from tests.browser.chromium import chromium
from tests.browser.pages import SECOND, opened, settle, story, write
from topologies.both_mobile import both_mobile
from topologies.carrier_grade import carrier_grade
from topologies.five_homes import five_homes
from topologies.phone_three_radios import phone_three_radios
from topologies.phone_two_radios import phone_two_radios
from topologies.side_by_side import side_by_side
from topologies.two_homes import two_homes

MUCH = Impairment(delay=20 * ms, jitter=5 * ms, loss=3 * percent, rate=2 * mbit)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as it:
        yield it


def office() -> Topology:
    """Two at one office, who call a third at home."""
    nat = Nat(outside="wan", forwards=(PortForward(port=4433, host="alice", to_port=4433),))
    return Topology(
        "office",
        (Host("alice"), Host("dora"), Host("bob"), Router("office", nat), Router("internet"), Router("home", Nat(outside="wan"))),
        (
            Link("alice/eth", "office/a", "192.168.1.0/24", "fd00:1::/64", MUCH, MUCH),
            Link("dora/eth", "office/d", "192.168.2.0/24", "fd00:2::/64"),
            Link("office/wan", "internet/o", "203.0.113.0/28", "2001:db8:1::/64", MUCH, Impairment(delay=10 * ms)),
            Link("home/wan", "internet/h", "198.51.100.0/28", "2001:db8:2::/64"),
            Link("bob/eth", "home/lan", "192.168.3.0/24", "fd00:3::/64"),
        ),
    )


def two_carriers() -> Topology:
    """Two homes, each behind its carrier's NAT."""
    return Topology(
        "two_carriers",
        (
            Host("alice"),
            Host("bob"),
            *(Router(name, Nat(outside="wan")) for name in ("home_a", "carrier_a", "carrier_b", "home_b")),
            Router("internet"),
        ),
        (
            Link("alice/eth", "home_a/lan", "192.168.1.0/24", a_to_b=MUCH, b_to_a=MUCH),
            Link("home_a/wan", "carrier_a/ran", "100.64.0.0/28", a_to_b=MUCH, b_to_a=MUCH),
            Link("carrier_a/wan", "internet/a", "203.0.113.0/28"),
            Link("bob/eth", "home_b/lan", "192.168.1.0/24"),
            Link("home_b/wan", "carrier_b/ran", "100.64.0.0/28"),
            Link("carrier_b/wan", "internet/b", "198.51.100.0/28", a_to_b=MUCH, b_to_a=MUCH),
        ),
    )


TOPOLOGIES: dict[str, Callable[[], Topology]] = {
    "side_by_side": lambda: side_by_side(MUCH),
    "two_homes": lambda: two_homes(jitter=3 * ms, loss=2 * percent, rate=1 * mbit),
    "phone_two_radios": lambda: phone_two_radios(loss=2 * percent),
    "phone_three_radios": phone_three_radios,
    "both_mobile": both_mobile,
    "carrier_grade": carrier_grade,
    "five_homes": five_homes,
    "four_peers": lambda: five_homes("bob", "carol", "dave"),
    "office": office,
    "two_carriers": two_carriers,
}

BOXES = """() => {
  const all = (css) => [...document.querySelectorAll(css)];
  const box = (it, name) => { const r = it.getBoundingClientRect(); return [name, r.left, r.top, r.right, r.bottom]; };
  const leaves = (it, text) => {
    const r = it.querySelector('rect').getBoundingClientRect(), b = text.getBoundingClientRect();
    return b.left < r.left || b.right > r.right || b.top < r.top - 1 || b.bottom > r.bottom + 1;
  };
  return {
    nodes: all('svg.net .net-node').map(it => box(it.querySelector('rect'), it.dataset.node)),
    words: all('svg.net .net-link').filter(it => it.querySelector('.back')).map(it => box(it.querySelector('.back'), it.dataset.link)),
    outside: all('svg.net .net-node').flatMap(it =>
      [...it.querySelectorAll('text')].filter(text => leaves(it, text)).map(text => `${it.dataset.node}: ${text.textContent}`)),
  };
}"""
"""Every box and every link's words as [name, left, top, right, bottom], and the texts that leave their boxes."""


def overlapping(boxes: list[list[Any]]) -> list[tuple[str, str]]:
    return [
        (one[0], other[0])
        for one, other in combinations(boxes, 2)
        if one[1] < other[3] - 1 and other[1] < one[3] - 1 and one[2] < other[4] - 1 and other[2] < one[4] - 1
    ]


def mappings(topology: Topology) -> list[Lane]:
    lanes = []
    for router in topology.routers:
        if router.nat is not None:
            spans = [Span(since=0, until=9 * SECOND, kind=f"[2001:db8:ffff::{n}]:6241{n}", text="x") for n in range(3)]
            lanes.append(Lane(group="nat", name=f"{router.name}: [fd00:aaaa::2]:4433", spans=spans))
    for host in topology.hosts:
        lanes += [
            Lane(group="state", name=f"{host.name}, call {n}5b2cccc", spans=[Span(since=0, until=9 * SECOND, kind="Connecting")])
            for n in range(6)
        ]
    return lanes


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("busy", [False, True], ids=["at rest", "busy"])
def test_nothing_in_the_drawing_lies_on_anything_else(browser: Browser, tmp_path: Path, name: str, busy: bool) -> None:
    topology = TOPOLOGIES[name]()
    with opened(browser, write(story(topology, lanes=mappings(topology) if busy else []), tmp_path)) as (sheet, trouble):
        sheet.evaluate("() => page.axis.setCursor(5e6)")
        settle(sheet)
        drawn = sheet.evaluate(BOXES)
        assert len(drawn["nodes"]) == len(topology.nodes)
        assert overlapping(drawn["nodes"] + drawn["words"]) == []
        assert drawn["outside"] == []
        assert trouble == []


def test_hosts_stand_at_the_edges_and_the_caller_at_the_left(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, write(story(five_homes()), tmp_path)) as (sheet, _):
        left = {name: x for name, x, *_ in sheet.evaluate(BOXES)["nodes"]}
        right = {name: x for name, _, _, x, _ in sheet.evaluate(BOXES)["nodes"]}
        assert min(left, key=left.__getitem__) == "alice"
        assert max(right.values()) == max(right[name] for name in ("bob", "carol", "dave", "erin"))
        assert left["home_a"] < left["internet"] < left["home_b"]


def test_without_a_cursor_what_goes_on_to_the_end_is_shown(browser: Browser, tmp_path: Path) -> None:
    lane = Lane(group="state", name="alice", spans=[Span(since=0, until=10 * SECOND, kind="Connected")])
    told = story(two_homes(), lanes=[lane])
    told.wires[0].downs["a"].append([6 * SECOND, 10 * SECOND])
    with opened(browser, write(told, tmp_path)) as (sheet, _):
        text = sheet.locator("#network").inner_text()
        assert "Connected since 0.000 s" in text and "link down" in text


def test_the_state_is_the_one_at_the_cursor(browser: Browser, tmp_path: Path) -> None:
    told = story(two_homes())
    wire = told.wires[2]
    wire.ruled["a_to_b"].append((4 * SECOND, "delay 5ms loss 30%"))
    told.wires[0].downs["a"].append([6 * SECOND, 7 * SECOND])
    with opened(browser, write(told, tmp_path)) as (sheet, trouble):

        def at(moment: float | None) -> str:
            sheet.evaluate("at => page.axis.setCursor(at)", None if moment is None else moment * SECOND)
            settle(sheet)
            return sheet.locator("#network").inner_text()

        assert "loss 30%" not in at(3)
        assert "loss 30%, since 4.000 s (built: delay 5ms)" in at(5)
        assert sheet.locator("#network .wire.down").count() == 0
        assert "link down" in at(6.5) and "since 6.000 s (500 ms)" in at(6.5)
        assert sheet.locator("#network .wire.down").count() == 1
        assert "link down" not in at(7.5)
        assert "The state at 10.000 s, the end of what is shown" in at(None)
        assert trouble == []


def signal(at: float, came: float | None, text: str, speaker: str = "alice", layer: str = "quic") -> Signal:
    listener = "bob" if speaker == "alice" else "alice"
    return Signal(
        at=round(at * SECOND),
        came=None if came is None else round(came * SECOND),
        speaker=speaker,
        listener=listener,
        layer=layer,
        text=text,
        detail=f"the detail of {text}",
    )


ROWS = """() => [...document.querySelectorAll('#sequence svg.seq > g > g.seq-message text')]
  .map(it => [it.firstChild.data, +it.getAttribute('y')])"""
LINES = """() => [...document.querySelectorAll('#sequence g.seq-message path.line:not(.cross)')]
  .map(it => it.getAttribute('d').match(/-?[\\d.]+/g).map(Number))"""


def test_messages_stand_in_the_order_in_which_they_left(browser: Browser, tmp_path: Path) -> None:
    signals = [
        signal(1.0, 1.05, "first"),
        signal(1.01, 1.03, "second, overtakes"),
        signal(1.04, None, "third, lost", "bob"),
        signal(5.0, 5.1, "fourth", "bob", "call"),
    ]
    fault = Lane(group="fault", name="faults", spans=[Span(since=2 * SECOND, until=3 * SECOND, kind="fault", text="a tunnel")])
    with opened(browser, write(story(two_homes(), signals=signals, lanes=[fault]), tmp_path)) as (sheet, trouble):
        rows = sheet.evaluate(ROWS)
        assert [text for text, _ in rows] == ["first", "second, overtakes", "third, lost — never came", "fourth"]
        assert [y for _, y in rows] == sorted(y for _, y in rows)
        first, second, third, _ = sheet.evaluate(LINES)
        assert first[1] < second[1] < second[3] < third[1] < first[3]  # the second came before the third left, the first after that
        assert sheet.locator("#sequence g.seq-message.lost .cross").count() == 1
        assert sheet.locator("#sequence text.fault").all_text_contents() == ["fault: a tunnel", "fault over: a tunnel"]
        sheet.locator("#sequence text", has_text="fourth").first.click()
        settle(sheet)
        assert sheet.evaluate("() => page.axis.cursor") == 5 * SECOND
        assert "the detail of fourth" in sheet.locator(".seq-detail").inner_text()
        sheet.evaluate("() => page.axis.setRange(4e6, 6e6)")
        settle(sheet)
        assert [text for text, _ in sheet.evaluate(ROWS)] == ["fourth"]
        assert trouble == []


def test_ten_thousand_lines_are_filtered_and_only_those_in_sight_are_drawn(browser: Browser, tmp_path: Path) -> None:
    lines = [Line(at=n * 900, source="alice" if n % 2 else "bob", kind="note", text=f"line {n}") for n in range(11_000)]
    lines.append(Line(at=None, source="bob stderr", kind="log", text="when, nobody knows"))
    with opened(browser, write(story(two_homes(), lines=lines), tmp_path)) as (sheet, trouble):
        assert sheet.locator(".log-row").count() < 100
        assert "11001 of 11001 lines" in sheet.locator("#logs .scene-tools").inner_text()
        sheet.evaluate("() => page.axis.setRange(0, 0.9e6)")
        settle(sheet)
        assert "1002 of 11001 lines" in sheet.locator("#logs .scene-tools").inner_text()  # those of the range, and the one without a time
        sheet.get_by_role("searchbox").fill("LINE 77")
        settle(sheet)
        assert "19 of 11001 lines" in sheet.locator("#logs .scene-tools").inner_text()
        sheet.locator(".log-row", has_text="line 777").click()
        settle(sheet)
        assert sheet.evaluate("() => page.axis.cursor") == 777 * 900
        assert "line 777" in sheet.locator(".log-row.now").inner_text()
        assert trouble == []
