"""From whatever a run left to its story: nothing in a file can stop it, and what cannot be read is said."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.media.records import ArrivedRecord, MediaLine, SentRecord
from harness.report import flows, model, page
from harness.report.artifacts import Artifacts
from harness.report.clock import Clock
from harness.report.story import HEARD, LATE, LOST, NOT_TAKEN, UNSENT, Story, unrun
from harness.report.tell import tell
from tests.browser import long_run
from tests.examples import examples
from tests.unit.report.anything import ANYTHING, changed, places
from tests.unit.report.folders import carried
from tests.unit.report.runs import made

SIGNAL = {"at": long_run.ZERO + 10**9, "came": None, "speaker": "alice", "listener": "bob", "layer": "call", "text": "Offer"}
SEEN = {"at": long_run.ZERO + 10**9, "file": "alice.log", "size": 10}
RULING = {"at": long_run.ZERO, "source": "fabric", "kind": "ruling", "text": "alice/wifi–home/lan a_to_b: delay 20ms"}
LINK = {"at": long_run.ZERO + 10**9, "source": "fabric", "kind": "link", "link": "alice/wifi–home/lan", "up": {"alice/wifi": False}}
MAPPING = {"at": long_run.ZERO + 10**9, "source": "home", "kind": "mapping", "mapping": {"inside": "a:1", "outside": "b:2"}}
DROPPED = {"at": long_run.ZERO + 10**9, "source": "fabric", "kind": "dropped", "text": "2 packets dropped", "packets": 2}
FRAMES = {"time": (long_run.ZERO + 10**9) / 1e6, "name": "transport:packet_sent", "data": {"frames": [{"frame_type": "path_challenge"}]}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seconds that left everything."""
    folder = tmp_path_factory.mktemp("whole")
    long_run.write(folder, length=2)
    records = {name: (folder / f"{name}.media.jsonl").open("wb") for name in ("alice", "bob")}
    for line in media(folder):
        for record in both(line):
            end = line.sender if isinstance(record, SentRecord) else line.receiver
            records[end].write(msgspec.json.encode(record) + b"\n")
    for file in records.values():
        file.close()
    with (folder / "timeline.jsonl").open("ab") as file:
        for event in (RULING, LINK, MAPPING, DROPPED, {**MAPPING, "kind": "mapping gone", "at": MAPPING["at"] + 5}):
            file.write(msgspec.json.encode(event) + b"\n")
    (folder / "signals.jsonl").write_bytes(msgspec.json.encode(SIGNAL) + b'\n{"notes":["a note"]}\n')
    (folder / "agents").mkdir()
    (folder / "agents" / "alice.log").write_text("a line\nanother\n")
    (folder / "agents" / "times.jsonl").write_bytes(msgspec.json.encode(SEEN) + b"\n")
    with next((folder / "qlog").glob("alice*")).open("ab") as file:
        file.write(b"\x1e" + msgspec.json.encode(FRAMES) + b"\n")
    return folder


def media(folder: Path) -> list[MediaLine]:
    return list(Artifacts(folder).lines("media.jsonl", MediaLine))


def both(line: MediaLine) -> Iterator[SentRecord | ArrivedRecord]:
    """What its speaker and its listener wrote of a packet."""
    same = {name: getattr(line, name) for name in ("call", "flow", "ssrc", "seq", "frame", "marker", "size")}
    same |= {"rtp": line.frame * 960, "pt": 111, "crc": 7, "mode": "datagram"}
    left = line.sent is not None
    way = {"path": line.path, "remote": "10.0.0.1:1" if left else None, "udp": line.size if left else None, "unsent": line.unsent}
    yield SentRecord(**same, offered=line.offered, sent=line.sent, done=line.sent, **way)
    if line.arrived is not None and line.came_by is not None:
        yield ArrivedRecord(**same, arrived=line.arrived, udp=line.size, path=line.came_by, remote="10.0.0.2:2")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


# -- figures -------------------------------------------------------------------------------------------------------------------------------


def test_a_whole_run_has_nothing_unread(whole: Path) -> None:
    story = tell(whole)
    assert story.unread == []
    assert [flow.flow for flow in story.flows] == ["audio", "audio", "video", "video"]
    assert {lane.group for lane in story.lanes} >= {"state", "path", "fault", "nat"}
    assert story.signals
    assert story.dropped == ["2 packets dropped"]
    assert any(wire.downs["a"] for wire in story.wires)


def test_silences_are_the_verdicts_figures(whole: Path) -> None:
    story = tell(whole)
    judged = [one for one in model.read(whole / "report.json").verdicts if one.name == "longest silence"]
    assert len(judged) == 2
    for verdict in judged:
        (flow,) = [one for one in story.flows if f"{one.speaker} → {one.listener} {one.flow}" == verdict.direction]
        longest = max(flow.silences, key=lambda gap: gap.excess)
        assert verdict.value is not None
        assert verdict.where is not None
        assert longest.excess == verdict.value.count // 1000
        assert (longest.since, longest.until) == tuple((at - story.zero) // 1000 for at in (verdict.where.start, verdict.where.end))


def rewrite(folder: Path, **changes: Any) -> None:
    """Give every line of ``media.jsonl`` other values; one that is given UNSET is not there."""
    lines = [msgspec.structs.replace(line, **changes) for line in media(folder)]
    (folder / "media.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def forget_free(folder: Path) -> None:
    call = json.loads((folder / "calls.jsonl").read_text())
    del call["free"]
    (folder / "calls.jsonl").write_text(json.dumps(call) + "\n")


def test_a_run_that_was_not_audited_shows_the_same_flows_as_far_as_agents_know_them(folder: Path) -> None:
    """They know neither the path's own delay, nor when the kernel saw that they took a packet, nor what was due when."""
    rewrite(folder, taken=msgspec.UNSET, delay=0)
    forget_free(folder)
    audited = tell(folder)
    (folder / "media.jsonl").unlink()
    joined = tell(folder)
    assert joined.unread == []
    assert joined.flows == audited.flows


def test_a_folder_of_an_older_schema_has_its_page(folder: Path) -> None:
    """Its lines have neither ``taken`` nor ``delay``, its calls no ``free``: what came was taken, and a pause of the source is none."""
    rewrite(folder, taken=msgspec.UNSET, delay=0)
    forget_free(folder)
    assert b"taken" not in (folder / "media.jsonl").read_bytes()
    story = tell(folder)
    assert story.unread == []
    for flow in story.flows:
        assert NOT_TAKEN not in flow.fate[::2]
        assert flow.limits == [[flow.offered[0], long_run.DEADLINE // 1000]]
        assert [waited for waited, came in zip(flow.waited, flow.came, strict=True) if came >= 0 and waited] == []
    page.write(folder)


def test_the_page_counts_every_fate_as_the_verdicts_do(whole: Path) -> None:
    artifacts, zero = Artifacts(whole), Clock(long_run.ZERO)
    for (_, heard, _), flow in zip(flows.heard(artifacts, zero, long_run.ZERO + 10**10), tell(whole).flows, strict=True):
        counted = heard.delivery(since=0, until=2**62)
        fates = Counter(unrun(flow.fate))
        assert fates[LATE] == counted.late
        assert fates[LOST] == counted.lost > 0
        assert fates[NOT_TAKEN] == counted.not_taken
        assert fates[UNSENT] == counted.expired
        assert fates[HEARD] == counted.offered - counted.unheard
    assert sum(flow.fate[::2].count(NOT_TAKEN) for flow in tell(whole).flows if flow.flow == "video") > 0


def test_a_packet_is_late_by_its_own_path_s_delay(folder: Path) -> None:
    """The same way: late on a path of no delay, in time on one that takes 20 ms."""
    for delay, fate in ((0, LATE), (20 * 10**6, HEARD)):
        timed = []
        for line in media(folder):
            came = line.offered + 210 * 10**6
            timed.append(msgspec.structs.replace(line, sent=line.offered, arrived=came, taken=came, delay=delay))
        (folder / "media.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in timed))
        told = tell(folder).flows
        assert {value for flow in told for value in flow.fate[::2]} == {fate}
        assert {limit for flow in told for _, limit in flow.limits} == {200_000 + delay // 1000}


def test_a_peer_that_was_killed_leaves_what_it_wrote(folder: Path) -> None:
    """Its last line is torn, and a line in the middle is spoilt: the rest of it is shown, and so is all of the other's."""
    (folder / "media.jsonl").unlink()
    lines = (folder / "bob.media.jsonl").read_bytes().splitlines(keepends=True)
    spoilt = [*lines[:20], b"\x00garbage\n", *lines[20:200], lines[200][:-30]]
    (folder / "bob.media.jsonl").write_bytes(b"".join(spoilt))
    story = tell(folder)
    assert [one for one in story.unread if one.startswith("bob.media.jsonl, line 21: ")] == story.unread
    offered = {speaker: sum(len(flow.size) for flow in story.flows if flow.speaker == speaker) for speaker in story.peers}
    assert 0 < offered["bob"] < offered["alice"]


def test_an_arrival_never_looks_like_none_however_short_the_way(folder: Path) -> None:
    """Kernel stamps may lie before the sending by up to half a millisecond; -1 is for what never came."""
    early = {"arrived": -400_000, "taken": -400_000, "sent": -1}
    lines = [msgspec.structs.replace(line, **{name: line.offered + by for name, by in early.items()}) for line in media(folder)]
    (folder / "media.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    told = tell(folder).flows
    assert {came for flow in told for came in flow.came} == {0}
    assert {left for flow in told for left in flow.left} == {0}
    assert {waited for flow in told for waited in flow.waited} == {0}


# -- what is not there, or torn ------------------------------------------------------------------------------------------------------------

FILES = [
    "timeline.jsonl",
    "media.jsonl",
    "calls.jsonl",
    "topology.json",
    "signals.jsonl",
    "agents/alice.log",
    "agents/times.jsonl",
    "qlog/alice-0123456789abcdef-client.sqlog",
    "alice.media.jsonl",
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_may_be_missing_empty_torn_or_a_folder(folder: Path, name: str) -> None:
    path = folder / name
    data = path.read_bytes()
    for content in (data[: len(data) // 2], data[:1], b"", b"\xff\xfe\x00\n", b"null\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n"):
        path.write_bytes(content)
        page.write(folder)
    path.unlink()
    page.write(folder)
    path.mkdir()
    page.write(folder)


def test_a_run_that_failed_before_the_build_has_its_page(tmp_path: Path) -> None:
    model.write(made(), tmp_path / "report.json")
    story = tell(tmp_path)
    assert (story.flows, story.nodes, story.wires, story.unread) == ([], [], [], [])
    page.write(tmp_path)


def test_a_run_without_a_report_has_none(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"there is no report\.json in it"):
        page.write(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(HarnessError, match="truncated"):
        page.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("timeline.jsonl", {"at": "noon", "source": "a", "kind": "b"}, "it has no at, which is a whole number"),
        ("timeline.jsonl", {"at": 5, "source": None, "kind": "b"}, "it has no source, which is text"),
        ("timeline.jsonl", {"at": 10**30, "source": "a", "kind": "b"}, "1 events at times that are not of this run"),
        ("calls.jsonl", {"call": "x"}, "Object missing required field"),
        ("media.jsonl", "offered 2**62", "its times are not of this run"),
        ("media.jsonl", "size -1", "size -1 is no packet's"),
        ("media.jsonl", "taken 2**62", "its times are not of this run"),
        ("media.jsonl", "delay -1", "a delay of -1 ns is no path's"),
        ("calls.jsonl", "free {'a':[(0,2**61)]}", "the times at which nothing was due are not of this run"),
        ("qlog/alice-0123456789abcdef-client.sqlog", {"time": 1e300, "name": "recovery:x", "data": {}}, "time 1e+300 is not of this run"),
    ],
)
def test_what_cannot_be_shown_is_said(folder: Path, name: str, line: Any, said: str) -> None:
    if isinstance(line, str):
        field, _, value = line.partition(" ")
        line = {**json.loads((folder / name).read_bytes().splitlines()[0]), field: eval(value)}
    with (folder / name).open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
    unread = tell(folder).unread
    assert len(unread) == 1
    assert unread[0].startswith(name)
    assert said in unread[0]


def test_many_lines_that_cannot_be_read_are_counted(folder: Path) -> None:
    with (folder / "media.jsonl").open("ab") as file:
        file.write(b"nonsense\n" * 1000)
    unread = tell(folder).unread
    assert len(unread) == 4
    assert unread[-1] == "media.jsonl: 997 more lines that cannot be read"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b", "", "bob/../bob"])
def test_a_call_s_peers_are_names_and_no_paths(folder: Path, name: str) -> None:
    (folder / "media.jsonl").unlink()
    call = json.loads((folder / "calls.jsonl").read_text())
    (folder / "calls.jsonl").write_text(json.dumps({**call, "callee": name}) + "\n")
    story = tell(folder)
    assert not name or any("is no peer's name" in one for one in story.unread)


# -- anything at all -----------------------------------------------------------------------------------------------------------------------


def check(folder: Path) -> Story:
    """A story that a page can hold, byte for byte the same when told again."""
    story = tell(folder)
    html = page.render(story, model.read(folder / "report.json"))
    assert carried(html, "story")["until"] == story.until
    assert msgspec.json.encode(tell(folder)) == msgspec.json.encode(story)
    return story


MANY = settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith((".log", "alice.media.jsonl"))] + ["alice.media.jsonl"])
def test_no_line_of_json_stops_it(folder: Path, name: str) -> None:
    path = folder / name
    if name == "alice.media.jsonl":
        (folder / "media.jsonl").unlink()
    original = path.read_bytes()
    text = [line.strip(b"\x1e") for line in original.splitlines()]
    known = [json.loads(original)] if name.endswith(".json") else list({tuple(sorted(one)): one for one in map(json.loads, text)}.values())
    tail = [] if name.endswith(".json") else original.splitlines(keepends=True)[:40]

    @MANY
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        lines = []
        for _ in range(data.draw(st.integers(1, 3))):
            base = data.draw(st.sampled_from(known))
            line = changed(base, data.draw(st.sampled_from(list(places(base)))), data.draw(ANYTHING))
            lines.append(json.dumps(line).encode() + b"\n")
        path.write_bytes(b"".join([*tail, *lines]) if tail else lines[0])
        check(folder)

    tried()


@MANY
@given(st.data())
def test_no_evidence_in_a_report_stops_it(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """report.json is strict, but evidence, probe and quality are anything: they are shown, or the report is refused by name."""
    folder = tmp_path_factory.mktemp("report")
    report = json.loads((whole / "report.json").read_text())
    report |= {"quality": {"x": data.draw(ANYTHING)}, "probe": [{"links": data.draw(ANYTHING)}]}
    report["receipts"][0]["observed"] = {"x": data.draw(ANYTHING)}
    changed_ = changed(report, data.draw(st.sampled_from(list(places(report)))), data.draw(ANYTHING))
    (folder / "report.json").write_text(json.dumps(changed_))
    try:
        model.read(folder / "report.json")
    except HarnessError:
        with pytest.raises(HarnessError, match=r"report\.json"):
            tell(folder)
    else:
        check(folder)
