from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import AgentError
from harness.media.records import (
    Arrival,
    ArrivedRecord,
    MediaLine,
    MediaPacket,
    RecordWriter,
    SentRecord,
    decode,
    encode,
    media_line,
    read,
)

MS = 1_000_000


def out(seq: int, offered: int, **changes: Any) -> SentRecord:
    fields: dict[str, Any] = {
        "call": "c1",
        "flow": "audio",
        "ssrc": 7,
        "seq": seq,
        "rtp": 960 * seq,
        "pt": 111,
        "frame": seq,
        "marker": False,
        "size": 92,
        "crc": seq,
        "offered": offered,
        "sent": offered + 5,
        "done": offered + 9,
        "udp": 130,
        "path": "wifi",
        "remote": "10.0.0.2:4433",
        "mode": "datagram",
    }
    return SentRecord(**fields | changes)


def into(seq: int, arrived: int, **changes: Any) -> ArrivedRecord:
    fields: dict[str, Any] = {
        "call": "c1",
        "flow": "audio",
        "ssrc": 7,
        "seq": seq,
        "rtp": 960 * seq,
        "pt": 111,
        "frame": seq,
        "marker": False,
        "size": 92,
        "crc": seq,
        "arrived": arrived,
        "udp": 130,
        "path": "eth",
        "remote": "10.0.0.1:5555",
        "mode": "datagram",
    }
    return ArrivedRecord(**fields | changes)


def test_a_line_holds_the_contract_s_fields_in_order() -> None:
    line = encode(out(3, 100))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert " ".join(json.loads(line)) == "dir call flow ssrc seq rtp pt frame marker size crc offered sent done udp path remote mode unsent"
    assert " ".join(json.loads(encode(into(3, 100)))) == "dir call flow ssrc seq rtp pt frame marker size crc arrived udp path remote mode"
    assert json.loads(line)["dir"] == "out"


@given(st.integers(0, 0xFFFF), st.integers(0, 2**62), st.booleans(), st.sampled_from(["datagram", "stream"]))
def test_records_survive_the_line_form(seq: int, at: int, marker: bool, mode: Any) -> None:
    for record in (
        out(seq, at, marker=marker, mode=mode, rtp=1),
        out(seq, at, sent=None, done=None, udp=None),
        into(seq, at, rtp=2, frame=None),
    ):
        assert decode(encode(record)) == record


def test_the_writer_writes_each_line_in_one_write_and_the_reader_reads_them_back() -> None:
    pieces: list[bytes] = []

    class Pieces(io.BytesIO):
        def write(self, data: Any, /) -> int:
            pieces.append(bytes(data))
            return super().write(data)

    file = Pieces()
    writer = RecordWriter(file)
    records = [out(0, 0), into(0, 30 * MS), out(1, 20 * MS, sent=None, done=None)]
    for record in records:
        writer.write(record)
    writer.flush()
    assert pieces == [encode(record) for record in records]
    assert writer.written == 3
    file.seek(0)
    assert list(read(file, "alice")) == records


GOOD = encode(out(0, 0))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"{}\n", "missing required field `dir`"),
        (b"garbage\n", "malformed"),
        (b"\n", "data"),
        (b"\xff\xfe\n", "malformed"),
        (GOOD.replace(b'"seq":0', b'"seq":65536'), "$.seq"),
        (GOOD.replace(b'"seq":0', b'"seq":"0"'), "$.seq"),
        (GOOD.replace(b'"ssrc":7', b'"ssrc":4294967296'), "$.ssrc"),
        (GOOD.replace(b'"size":92', b'"size":-1'), "$.size"),
        (GOOD.replace(b'"dir":"out"', b'"dir":"sideways"'), "sideways"),
        (GOOD.replace(b'"call"', b'"extra":1,"call"'), "extra"),
        (GOOD.replace(b'"mode":"datagram"', b'"mode":"pigeon"'), "pigeon"),
        (GOOD.replace(b'"offered":0', b'"offered":6'), "1 ns before it was offered"),
        (GOOD.replace(b'"done":9', b'"done":4'), "done at 4"),
        (GOOD.replace(b'"unsent":null', b'"unsent":"held"'), "sent at 5 although held"),
        (GOOD[:-1], ""),
    ],
)
def test_a_bad_line_is_the_agent_s_fault_and_is_named_by_number(bad: bytes, says: str) -> None:
    lines = [GOOD, GOOD, bad]
    if bad == GOOD[:-1]:
        assert len(list(read(lines, "alice"))) == 3  # whole, only its newline is missing
        return
    with pytest.raises(AgentError, match="agent alice: media record, line 3: ") as caught:
        list(read(lines, "alice"))
    assert says in str(caught.value)
    assert caught.value.blame == "agent"


def test_only_an_agent_that_was_killed_may_leave_a_torn_last_line() -> None:
    torn = [GOOD, GOOD[:40]]
    with pytest.raises(AgentError, match="line 2"):
        list(read(torn, "alice"))
    assert len(list(read(torn, "alice", killed=True))) == 1
    with pytest.raises(AgentError, match="line 1"):
        list(read([b"{}\n", *torn], "alice", killed=True))


def test_text_lines_are_read_too() -> None:
    assert list(read(io.StringIO(GOOD.decode()), "alice")) == [out(0, 0)]


def packet(**changes: Any) -> MediaPacket:
    came = (Arrival(30 * MS, "eth", "10.0.0.1:5555", 130), Arrival(31 * MS, "eth", "10.0.0.1:5555", 130))
    fields = {name: getattr(out(0, 0), name) for name in ("call", "flow", "ssrc", "seq", "rtp", "pt", "frame", "marker", "size", "offered")}
    more = {"index": 0, "sent": 5, "path": "wifi", "remote": "10.0.0.2:4433", "udp": 130, "mode": "datagram", "arrivals": came}
    return MediaPacket(**fields | more | {"taken": 35 * MS, "delay": 20 * MS} | changes)


def test_the_artifact_line() -> None:
    line = json.loads(media_line(packet(), sender="alice", receiver="bob"))
    assert (line["from"], line["to"]) == ("alice", "bob")
    assert (line["arrived"], line["copies"], line["came_by"]) == (30 * MS, 2, "eth")
    assert (line["taken"], line["delay"]) == (35 * MS, 20 * MS)
    assert {"flow", "ssrc", "seq", "size", "offered", "sent", "path"} <= set(line)
    lost = json.loads(media_line(packet(arrivals=(), taken=None), sender="alice", receiver="bob"))
    assert (lost["arrived"], lost["copies"], lost["taken"]) == (None, 0, None)


def test_a_line_says_that_a_packet_was_not_taken_and_an_old_one_says_nothing_of_it() -> None:
    untaken = media_line(packet(taken=None), sender="alice", receiver="bob")
    assert msgspec.json.decode(untaken, type=MediaLine).taken is None
    old = {name: value for name, value in json.loads(untaken).items() if name not in ("taken", "delay")}
    read = msgspec.json.decode(json.dumps(old).encode(), type=MediaLine)
    assert (read.taken, read.delay) == (msgspec.UNSET, 0)


def test_a_packet_is_late_by_what_neither_the_schedule_nor_its_path_explains() -> None:
    assert packet().late == 15 * MS
    assert [packet().heard_by(deadline) for deadline in (15 * MS, 15 * MS - 1, None)] == [True, False, True]
    untaken = packet(taken=None)
    assert untaken.late is None
    assert not untaken.heard_by(None)
