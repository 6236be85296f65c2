"""A run whose agents, captures, logs and names are all written by somebody who wants the page to run script."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from harness.report import model, page
from harness.report.story import Connection, Flow, Lane, Line, Mark, Node, Signal, Sound, Span, Wire
from harness.units import ms
from harness.verdict import Fault, Receipt, at_most
from tests.browser.chromium import chromium
from tests.browser.pages import SECOND, Sheet, opened, settle, story, write
from tests.unit.report.runs import made

EVIL = [
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 2">',
    "</script><script>window.pwned = 3</script>",
    "<svg onload=window.pwned=4>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.pwned=5",
    "\u202etxet desrever\u2066",
    "\x1b[2J\x00\x08\u009b",
    "--><!--",
    "__proto__",
]
"""Names, texts and log lines."""
IMAGE = EVIL[1]
ZERO = 1_000_000_000
TIMES = {"asked": ZERO, "opened": ZERO, "deadline": 1}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as it:
        yield it


def line(at: int, source: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"at": ZERO + at * 1_000_000, "source": source, "kind": kind, **fields}


def lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in values))


def hostile_run(folder: Path) -> Path:
    """A run's folder with such names everywhere."""
    evil = {name: name for name in EVIL}
    receipt = Receipt(fault=IMAGE, kind=EVIL[0], at=ZERO, observed=evil, taken=True, source=EVIL[2])
    report = made(
        [at_most(EVIL[2], 20 * ms, 10 * ms, direction=IMAGE, note=EVIL[0])],
        scenario=EVIL[3],
        test=EVIL[0],
        command=EVIL[2],
        kernel=EVIL[1],
        versions=evil,
        sabotage=IMAGE,
        receipts=(receipt,),
        faults=(Fault(name=EVIL[0], began=ZERO, ended=ZERO + SECOND),),
        probe=({"links": {IMAGE: {"asked": {"a_to_b": evil}, "built": {"a_to_b": evil}, "measured": {"a_to_b": evil}}}, "reach": [evil]},),
        quality=evil,
    )
    model.write(report, folder / "report.json")
    events = [line(0, "lab", "began"), line(1, IMAGE, "agent", text=EVIL[0])]
    for n, name in enumerate(EVIL):
        call = {"event": "state_changed", "call": name, "old": name, "new": name}
        events += [
            line(n, name, name, text=name),
            line(n, name, "request", message={"op": name, "id": n, name: name}),
            line(n, name, "answer", message={"id": n, "error": {"kind": name, "message": name}}),
            line(n, name, "event", text=name, message=call),
            line(n, name, "event", message={"event": "path", "kind": name, "path": name, "remote": name}),
            line(n, name, "mapping", mapping={"inside": name, "outside": name, name: name}),
            line(n, name, "link", link=name, up={name: True}),
            line(n, name, "ruling", text=name, impairment={name: name}),
        ]
    lines(folder / "timeline.jsonl", events)
    call = {
        "call": EVIL[0],
        "caller": IMAGE,
        "callee": EVIL[2],
        "flows": EVIL,
        "asked": ZERO,
        "opened": ZERO,
        "closed": None,
        "deadline": 1,
    }
    lines(folder / "calls.jsonl", [call])
    (folder / "topology.json").write_text(json.dumps({"name": EVIL[0], "nodes": EVIL, "links": EVIL}))
    said = [{"at": ZERO, "came": None, "speaker": name, "listener": IMAGE, "layer": name, "text": name, "detail": name} for name in EVIL]
    lines(folder / "signals.jsonl", [*said, {"notes": EVIL}])
    (folder / "agents").mkdir()
    (folder / "agents" / f"{EVIL[6]}.log").write_text("\n".join(EVIL))
    (folder / "agents" / "eve.log").write_bytes(b"<script>" * 1_500_000 + b"\n" + bytes(range(256)) * 20 + b"\n" + IMAGE.encode())
    (folder / "agents" / '"><img src=x onerror="window.pwned = 6">.log').write_text(IMAGE)
    heard = [
        {
            "listener": IMAGE,
            "speaker": EVIL[0],
            "call": name,
            "flow": name,
            "starts_ns": ZERO,
            "duration_ns": 5,
            "note": name,
            "files": {"ogg": "../../etc/passwd", "spectrogram": "evil.svg", "film": "keys.log"},
        }
        for name in EVIL
    ]
    (folder / "heard.json").write_text(json.dumps(heard))
    (folder / "evil.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned = 7'/>")
    return page.write(folder)


ATTRIBUTES = "() => [...document.querySelectorAll('*')].flatMap(it => [...it.attributes].map(a => [a.name, a.value.slice(0, 20)]))"


def harmless(sheet: Sheet) -> None:
    """Nothing has run, nothing was asked for, nothing became markup."""
    assert sheet.trouble == []
    assert sheet.page.evaluate("() => window.pwned") is None
    assert sheet.page.evaluate("() => document.documentElement.dataset.broken") is None
    assert sheet.page.evaluate("() => document.scripts.length") == len(page.SCRIPTS) + 1
    made_up = (
        "() => [...document.querySelectorAll('*')].flatMap(it => [...it.attributes].map(a => a.name)).filter(it => it.startsWith('on'))"
    )
    assert sheet.page.evaluate(made_up) == []
    sources = (
        "() => [...document.querySelectorAll('[src], [href]')].map(it => it.src ?? it.href).filter(it => !String(it).startsWith('data:'))"
    )
    assert sheet.page.evaluate(sources) == []


def exercise(sheet: Sheet) -> None:
    """Move over everything, and click whatever can be clicked."""
    for at in (0, 1, 500, None):
        sheet.page.evaluate("at => page.axis.setCursor(at)", at)
        settle(sheet.page)
    for css in (".seq-message text", ".log-row"):
        if sheet.page.locator(css).count():
            sheet.page.locator(css).first.scroll_into_view_if_needed()
            settle(sheet.page)  # what comes into sight catches up first
        for n in range(min(12, sheet.page.locator(css).count())):
            sheet.page.locator(css).nth(n).click(force=True)
    sheet.page.evaluate("() => page.axis.setRange(0, 2000)")
    settle(sheet.page)


def test_a_hostile_run_is_text(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, hostile_run(tmp_path)) as sheet:
        exercise(sheet)
        harmless(sheet)
        text = sheet.page.locator("body").inner_text()
        for name in EVIL[:6]:
            assert name in text
        assert all(char not in text for char in "\x1b\x00\x08\u009b\u202e\u2066")
        assert "eve.log: " in text and "bytes in its middle are left out" in text


def test_a_hostile_story_is_text(browser: Browser, tmp_path: Path) -> None:
    """Past all that the readers of artifacts refuse: the page's scripts believe nothing either."""
    evil = EVIL[:6] + EVIL[8:]
    nodes = [
        Node(name=name, kind="nat" if n % 2 else "host", ports={"x": evil, name: [name]}, nat={name: name}) for n, name in enumerate(evil)
    ]
    ruled = {way: [(0, evil[0]), (5, evil[1])] for way in ("a_to_b", "b_to_a")}
    wires = [Wire(name=one, a=f"{one}/x", b=f"{other}/x", ruled=ruled, downs={"a": [[0, 9]], "b": []}) for one, other in pairwise(evil)]
    span, mark = [Span(since=0, until=SECOND, kind=name, text=name, detail=name) for name in evil], [Mark(at=5, kind=evil[0], text=evil[1])]
    told = story(
        title=evil[0],
        peers=evil,
        nodes=nodes,
        wires=wires,
        lanes=[
            Lane(group=group, name=name, spans=span, marks=mark)
            for group in ("state", "path", "fault", "nat", "link", "stall")
            for name in evil
        ],
        flows=[
            Flow(
                call=evil[0],
                speaker=name,
                listener=evil[1],
                flow=name,
                opened=0,
                closed=SECOND,
                limits=[[0, 200_000]],
                ways=[[name, None]],
                offered=[0, 20_000],
                left=[5, 5],
                came=[9, -1],
                waited=[0, -1],
                fate=[0, 1, 2, 1],
                size=[10, 10],
                way=[0, 2],
                unsent={name: 1},
                silences=[],
                seconds=[],
                codec=name,
                frozen=[],
                standstills=[],
            )
            for name in evil
        ],
        connections=[
            Connection(
                peer=name,
                role=name,
                odcid=name,
                rtt_at=[1],
                rtt=[1],
                smoothed=[1],
                cwnd_at=[1],
                cwnd=[1],
                in_flight_at=[1],
                in_flight=[1],
                lost_at=[1],
            )
            for name in evil
        ],
        signals=[Signal(at=1, came=None, speaker=name, listener=evil[0], layer=evil[0], text=name, detail=name) for name in evil],
        lines=[Line(at=1, source=name, kind=name, text=name) for name in evil],
        sounds=[
            Sound(
                speaker=name,
                listener=name,
                flow=name,
                since=0,
                length=5,
                audio="javascript:window.pwned=8",
                picture="http://192.0.2.1/x.png",
                film="data:text/html,<script>window.pwned=9</script>",
            )
            for name in evil
        ],
        unread=evil,
        notes={"signals": evil, "lines": evil, "sounds": evil},
    )
    with opened(browser, write(told, tmp_path)) as sheet:
        exercise(sheet)
        harmless(sheet)


def test_a_torn_or_mixed_up_folder_still_makes_a_page(browser: Browser, tmp_path: Path) -> None:
    hostile_run(tmp_path)
    for name in ("timeline.jsonl", "calls.jsonl", "signals.jsonl", "topology.json", "heard.json"):
        (tmp_path / name).write_bytes(b'\xff\xfe{"at": ["\n[]\n{}\n"torn')
    shutil.rmtree(tmp_path / "agents")
    with opened(browser, page.write(tmp_path)) as sheet:
        harmless(sheet)
        assert "could not be read: topology.json" in sheet.page.locator("header").inner_text()
