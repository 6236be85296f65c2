"""Inputs that ``make fuzz``, or looking for what it should find, has found: each broke its reader once."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aioquic.quic.crypto import CryptoContext

from harness.agent.lines import BadLine, decode_agent_line
from harness.errors import HarnessError, SpecError
from harness.fabric import conntrack, pcapng
from harness.fabric.ethernet import is_chatter
from harness.fabric.merged_capture import merge
from harness.lab.decrypted import Decrypted, Packet, Stream
from harness.lab.frames import Frame
from harness.lab.holds import on_hold
from harness.media.vp8 import Vp8Decoder
from harness.nesting import DEEPEST, too_deep
from harness.report import model
from harness.report.artifacts import Artifacts
from harness.report.keyed import keyed
from harness.report.sounds import read as read_sounds
from harness.report.tell import tell
from harness.spec.link import Impairment, validate_quantity
from harness.spec.rate_trace import mahimahi, rate_trace
from harness.spec.series import series
from harness.spec.topology import Host, Link, Topology
from harness.units import Duration, Rate, Ratio, s
from harness.verdict import at_most
from tests.fuzz.targets.captures import capture
from tests.fuzz.targets.stack import _Call
from tests.unit.lab.test_decrypted import udp
from tests.unit.lab.test_holds import Wire
from tests.unit.report.runs import made
from topologies.two_homes import two_homes

DEEP = b"[" * 900 + b"]" * 900


# -- JSON that is nested without end -------------------------------------------------------------------------------------------------------


def test_nesting_is_told_before_anything_is_decoded() -> None:
    assert too_deep(b"[" * DEEPEST + b"]" * DEEPEST) == ""
    assert too_deep(b"[" * DEEPEST + b"{") == f"it is nested deeper than {DEEPEST} levels, at byte {DEEPEST}"
    assert too_deep("[" * 500)
    assert too_deep(b"[]" * 1000) == "", "one after the other is not in each other"
    assert too_deep(b'"' + b"[" * 1000 + b'"') == "", "in a text they are no lists"
    assert too_deep(b'"\\"' + b"{" * 1000 + b'"') == ""
    assert too_deep(b'"' + b"[" * 1000), "a text without an end is none"


def test_an_agents_line_is_not_nested_deep() -> None:
    with pytest.raises(BadLine, match="not JSON that is read: it is nested deeper than 64 levels, at byte 76"):
        decode_agent_line(b'{"id":1,' + b'"ok":' + b"[" * 700 + b"]" * 700 + b"}")


def test_a_timeline_that_is_nested_deep_has_its_page(tmp_path: Path) -> None:
    model.write(made(), tmp_path / "report.json")
    began = msgspec.json.encode({"at": 1, "source": "lab", "kind": "began"})
    answer = b'{"at":2,"source":"a","kind":"answer","message":{"id":1,"ok":' + DEEP + b"}}"
    (tmp_path / "timeline.jsonl").write_bytes(began + b"\n" + answer + b"\n")
    assert tell(tmp_path).unread == ["timeline.jsonl, line 2: it is nested deeper than 64 levels, at byte 122"]
    (tmp_path / "deep.json").write_bytes(DEEP)
    artifacts = Artifacts(tmp_path)
    assert artifacts.json("deep.json") is None
    assert "deep.json: it is nested" in artifacts.unread[0]


def test_a_report_that_is_nested_deep_is_refused() -> None:
    text = model.encode(made()).replace(b'"delay_ms": 40.2', b'"delay_ms": ' + DEEP)
    with pytest.raises(HarnessError, match=r"here: it is nested deeper"):
        model.decode(text, "here")


# -- numbers without end -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["9" * 40 + "s", "9223372036854775808ns", "-9223372036854775808ns"])
def test_a_quantity_has_an_end(text: str) -> None:
    with pytest.raises(ValueError, match=r"is too much of a duration: allowed is below 2\^63 ns"):
        Duration.parse(text)


def test_a_quantity_of_a_thousand_digits_is_none() -> None:
    with pytest.raises(ValueError, match=r"'9999.* is not a rate: write a number with one of gbit") as caught:
        Rate.parse("9" * 5000 + "mbit")
    assert len(str(caught.value)) < 200
    assert Duration.parse("9223372036854775807ns").ns == 2**63 - 1


def test_an_impairment_has_no_quantity_that_a_float_does_not_hold() -> None:
    for kind, field in ((Duration, "delay"), (Ratio, "loss"), (Rate, "rate")):
        with pytest.raises(SpecError, match=rf"here, {field}: .*2\^63|here, {field}: .*more than"):
            validate_quantity(kind, kind(10**400), f"here, {field}")
    with pytest.raises(SpecError, match=r"here, loss: a ratio of 2\^63"):
        Impairment(loss=Ratio(10**400)).validate("here")
    text = (
        Topology("t", two_homes().nodes, two_homes().links)
        .to_json()
        .replace('"b": ', '"a_to_b": {"delay": "' + "9" * 400 + 's"}, "b": ', 1)
    )
    with pytest.raises(SpecError, match=r"topology JSON: '9999.* is not a duration"):
        Topology.from_json(text)


@pytest.mark.parametrize("cell", ["1e999999999", "1e-999999999", "9" * 5000, "1" + "0" * 70])
def test_a_cell_of_a_series_costs_no_more_than_its_length(cell: str) -> None:
    with pytest.raises(SpecError, match=r"the text, line 2, delay: '.* is not a number"):
        series(f"time_s,delay_ms\n0,{cell}\n1,2\n")


def test_a_cell_of_a_series_has_an_end() -> None:
    with pytest.raises(SpecError, match="the text, line 2, delay: 1e99 is too much of a duration"):
        series("time_s,delay_ms\n0,1e99\n1,2\n")


def test_a_time_of_a_trace_has_an_end() -> None:
    with pytest.raises(SpecError, match="the text, line 1: 99999999999999999999… ms has 5000 digits; allowed is up to 86400000"):
        mahimahi("9" * 5000 + "\n")


# -- files that are none -------------------------------------------------------------------------------------------------------------------


def test_a_csv_that_is_none_is_refused_where_it_is_none() -> None:
    with pytest.raises(SpecError, match="the text, line 2: it is no CSV: field larger than field limit"):
        series("time_s,delay_ms\n0," + "1" * 200_000 + "\n")


def test_a_recording_is_a_file_of_some_size_with_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="it is no file's name: embedded null byte"):
        mahimahi("a\0b")
    monkeypatch.setattr("harness.spec.rate_trace.LARGEST_FILE", 10)
    (tmp_path / "large").write_bytes(b"1\n" * 6)
    with pytest.raises(SpecError, match="which no recording is"):
        mahimahi(tmp_path / "large")


# -- counts without end --------------------------------------------------------------------------------------------------------------------


def test_a_topology_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = tuple(Host(f"h{n}") for n in range(1001))
    with pytest.raises(SpecError, match="topology large, nodes: there are 1001; allowed is up to 1000"):
        Topology("large", hosts, ())
    with pytest.raises(SpecError, match="topology large, links: there are 2001; allowed is up to 2000"):
        Topology("large", hosts[:2], (Link("h0/a", "h1/a", "10.0.0.0/24"),) * 2001)
    monkeypatch.setattr("harness.spec.topology.MOST_OPPORTUNITIES", 5)
    trace = rate_trace([1, 2, 3], "t")
    link = Link("h0/a", "h1/a", "10.0.0.0/24", a_to_b=Impairment(rate_trace=trace), b_to_a=Impairment(rate_trace=trace))
    with pytest.raises(SpecError, match="link h0/a–h1/a, rate_trace: with it the recorded rates have 6 opportunities; allowed is up to 5"):
        Topology("large", hosts[:2], (link,))


def test_verdicts_that_are_alike_are_counted_and_not_looked_for() -> None:
    verdicts = [at_most("silence", 1 * s, 2 * s)] * 3000
    report = made(verdicts)
    assert len(keyed(report.verdicts)) == 3000
    assert len(keyed(model.glance(model.encode(report)).verdicts)) == 3000


def test_a_stream_with_a_thousand_holes_is_put_together() -> None:
    stream, packet = Stream(), Packet(udp(b"", 1), "client", "c", 1, b"", ())
    for number in range(20_000, 0, -1):
        stream.add(packet, Frame("STREAM", {"stream": 0, "offset": 2 * number, "data": b"ab", "fin": False}))
    assert stream.data == b""
    stream.add(packet, Frame("STREAM", {"stream": 0, "offset": 0, "data": b"ab", "fin": False}))
    assert stream.data == b"ab" * 20_001


# -- captures, and what the kernel says ----------------------------------------------------------------------------------------------------


def _blocks(*blocks: bytes) -> bytes:
    return pcapng.section() + pcapng.interface("a/b", 100) + b"".join(blocks)


def _packet(interface: int, captured: int, data: bytes = bytes(60)) -> bytes:
    return pcapng.block(pcapng.PACKET, struct.pack("<IIIII", interface, 0, 0, captured, captured) + data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (_blocks(pcapng.block(pcapng.STATISTICS, b"")), "the statistics at byte .* have 4 bytes; their head alone has 12"),
        (_blocks(pcapng.block(pcapng.STATISTICS, bytes(4) + bytes(8))) + b"", ""),
        (_blocks(pcapng.block(pcapng.STATISTICS, b"\7\0\0\0" + bytes(8))), "the block at byte .* is of interface 7; there are 1"),
        (_blocks(pcapng.block(pcapng.PACKET, b"")), "the packet at byte .* has 4 bytes; its head alone has 20"),
        (_blocks(_packet(9, 60)), "the block at byte .* is of interface 9; there are 1"),
        (_blocks(_packet(0, 4000)), "the packet at byte .* says that it holds 4000 bytes; its block has 84"),
    ],
)
def test_a_block_that_holds_less_than_it_says_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    if what:
        with pytest.raises(HarnessError, match=what):
            list(pcapng.Reader(path))
    else:
        assert list(pcapng.Reader(path)) == []


def test_text_in_a_capture_may_be_none(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    comment = pcapng.option(1, b"\xff CLOCK_REALTIME - CLOCK_MONOTONIC = " + b"9" * 5000 + b" ns")
    path.write_bytes(_blocks(pcapng.block(pcapng.STATISTICS, bytes(12), comment)))
    reader = pcapng.Reader(path)
    assert reader.statistics[0].comment.startswith("\N{REPLACEMENT CHARACTER} CLOCK")
    assert reader.monotonic(5) is None, "an offset of 5000 digits is none"


def test_a_merged_capture_has_no_packet_that_says_that_it_is_longer(tmp_path: Path) -> None:
    good, bad, out = (tmp_path / name for name in ("good", "bad", "out"))
    capture(good, "a/b")
    bad.write_bytes(_blocks(_packet(0, 60), _packet(0, 4000)))
    merged = merge({"a/b": good, "c/d": bad}, out)
    assert "begins no block" in merged.cut["c/d"]
    assert len(list(pcapng.Reader(out))) == merged.packets


def test_an_empty_frame_is_the_links_own() -> None:
    assert is_chatter(b"")


@pytest.mark.parametrize(
    "data",
    [bytes(16), struct.pack("=IHHII", 16, 256, 0, 0, 0), struct.pack("=IHHII", 20, 256, 0, 0, 0) + b"\2\0\0\0", b"\xff" * 40],
)
def test_a_datagram_of_the_kernels_that_is_none_has_no_flows(data: bytes) -> None:
    assert list(conntrack.told(data)) == []


def test_a_flow_without_its_ends_is_none() -> None:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + b"".join(struct.pack("=HH", 4, kind | 0x8000) for kind in (1, 2))
    assert list(conntrack.told(struct.pack("=IHHII", 16 + len(body), 256, 0, 0, 0) + body)) == []


# -- media and calls -----------------------------------------------------------------------------------------------------------------------


def test_a_key_frame_of_another_size_is_not_decoded() -> None:
    assert Vp8Decoder().decode(b"\x10\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(40)) is None


@pytest.mark.parametrize("name", ["a\0.png", "x" * 300 + ".png", "", "..", "../a.png"])
def test_a_recording_with_a_name_that_no_file_has_is_left_out(tmp_path: Path, name: str) -> None:
    model.write(made(), tmp_path / "report.json")
    one = {"listener": "b", "speaker": "a", "call": "c", "flow": "audio", "starts_ns": 1, "duration_ns": 1, "files": {"ogg": name}}
    (tmp_path / "heard.json").write_bytes(msgspec.json.encode([one]))
    artifacts = Artifacts(tmp_path)
    sounds, notes = read_sounds(artifacts, lambda at: at, tell(tmp_path))
    assert sounds[0].audio == ""
    assert notes or artifacts.unread


@pytest.mark.parametrize("body", [b"{", DEEP, b"[]"])
def test_what_is_no_signalling_is_told_as_that(body: bytes) -> None:
    wire = Wire()
    fields: dict[str, Any] = {"stream": 0, "offset": 0, "data": (0x4000 | len(body)).to_bytes(2, "big") + body, "fin": False}
    wire.add(1, "client", Frame("STREAM", fields))
    with pytest.raises(HarnessError, match="a → b: what was said on connection c1 is no signalling"):
        on_hold(Decrypted(wire.packets, []), "X", 10, "a → b")


def test_a_peer_may_stop_the_signalling_stream(tmp_path: Path) -> None:
    for speaker, listener in (("alice", "bob"), ("bob", "alice")):
        call = _Call(tmp_path)
        assert isinstance(call.contexts[speaker], CryptoContext)
        call.say(speaker, b"\x05\0\x07")  # STOP_SENDING
        call.world.run(10**10)
        assert sum(call.hosts[listener].endpoint.inventory().values()) == 0
