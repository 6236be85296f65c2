"""The judge's clock, its paths' own delays, and the schedule that requests make."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.judge import clock, route, schedule
from tests.judge.silence import MS, Span
from tests.judge.wire import Signal


def statistics(real: int, comment: bytes) -> bytes:
    option = struct.pack("<HH", 1, len(comment)) + comment + b"\0" * (-len(comment) % 4) + b"\0\0\0\0"
    body = struct.pack("<III", 0, real >> 32, real & 0xFFFFFFFF) + option
    return struct.pack("<II", 5, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def sample(real: int, offset: int) -> bytes:
    return statistics(real, b"CLOCK_REALTIME - CLOCK_MONOTONIC = %d ns" % offset)


def capture(folder: Path, *blocks: bytes) -> list[Path]:
    path = folder / "alice.eth.pcapng"
    path.write_bytes(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + b"".join(blocks))
    return [path]


def test_the_offset_between_samples_is_linear(tmp_path: Path) -> None:
    found = clock.clock_of(capture(tmp_path, sample(10_000, 1_000), statistics(11_000, b"another"), sample(20_000, 2_000)))
    assert [found.monotonic(real) for real in (5_000, 10_000, 15_000, 20_000, 30_000)] == [4_000, 9_000, 13_500, 18_000, 28_000]


def test_a_capture_whose_writer_was_killed(tmp_path: Path) -> None:
    found = clock.clock_of(capture(tmp_path, sample(10_000, 1_000), sample(20_000, 2_000)[:-5]))
    assert found.samples == ((10_000, 1_000),)


def test_a_capture_without_an_offset(tmp_path: Path) -> None:
    with pytest.raises(clock.ClockError, match="no statistics block"):
        clock.clock_of(capture(tmp_path))


def test_a_clock_that_was_set(tmp_path: Path) -> None:
    with pytest.raises(clock.ClockError, match=r"stepped by 0\.501 ms"):
        clock.clock_of(capture(tmp_path, sample(10_000, 0), sample(20_000, 501_000)))


TOPOLOGY = {
    "hosts": [{"name": "alice"}, {"name": "bob"}, {"name": "carol"}],
    "links": [
        {"a": "alice/wifi", "b": "home/lan"},
        {"a": "home/wan", "b": "net/home"},
        {"a": "alice/lte", "b": "carrier/ran"},
        {"a": "carrier/wan", "b": "net/carrier"},
        {"a": "net/office", "b": "bob/eth"},
        {"a": "carol/left", "b": "home/right"},
        {"a": "carol/right", "b": "net/left"},
    ],
}


def ruling(at: int, left: str, came: str, **impairment: str) -> dict[str, Any]:
    return {"kind": "ruling", "at": at, "from": left, "to": came, "impairment": impairment}


RULINGS = [
    {"kind": "event", "at": 1},
    ruling(200, "home/wan", "net/home", delay="300ms"),
    ruling(0, "home/wan", "net/home", delay="5ms", loss="1%"),
    ruling(0, "alice/lte", "carrier/ran", delay="1.5s", rate="1mbit"),
    ruling(0, "net/office", "bob/eth"),
]


def test_a_path_takes_what_ruled_its_links_when_the_packet_departed() -> None:
    net = route.network(TOPOLOGY, RULINGS)
    assert net.interfaces("alice") == ["alice/wifi", "alice/lte"]
    assert net.route("alice/wifi", "bob/eth") == [("alice/wifi", "home/lan"), ("home/wan", "net/home"), ("net/office", "bob/eth")]
    assert [net.delay("alice/wifi", "bob/eth", at, 100) for at in (0, 199, 200)] == [5 * MS, 5 * MS, 300 * MS]


def test_a_rate_counts_for_the_packets_own_bytes() -> None:
    assert route.network(TOPOLOGY, RULINGS).delay("alice/lte", "bob/eth", 0, 125) == 1501 * MS


def test_a_host_forwards_nothing() -> None:
    net = route.network({**TOPOLOGY, "links": TOPOLOGY["links"][:1] + TOPOLOGY["links"][4:]}, [])
    assert net.route("alice/wifi", "bob/eth") == []


@pytest.mark.parametrize("text", ["", "5", "ms", "5 parsecs", "5%"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        route.quantity(text, route.TIME)


def asked(at: int, agent: str, number: int, operation: str, flow: str = "", call: str = "c") -> dict[str, Any]:
    message = {"op": operation, "id": number, "call": call} | ({"flow": flow} if flow else {})
    return {"at": at, "source": agent, "kind": "request", "message": message}


def spans(lines: list[dict[str, Any]], *signals: tuple[int, bool, str], flow: str = "audio") -> list[Span]:
    told = [Signal(at, outgoing, {"type": kind}) for at, outgoing, kind in signals]
    return schedule.spans(schedule.requests(lines), told, call="c", speaker="alice", flow=flow)


START, STOP = asked(10, "alice", 1, "media_start", "audio"), asked(90, "alice", 2, "media_stop", "audio")


def test_media_is_owed_between_start_and_stop() -> None:
    others = [
        asked(20, "bob", 1, "media_stop", "audio"),
        asked(30, "alice", 9, "media_stop", "video"),
        asked(40, "alice", 8, "end", call="d"),
    ]
    assert spans([START, *others, STOP]) == [Span(10, 90)]
    assert spans([START]) == [Span(10)]
    assert spans([STOP]) == []


def test_a_refused_request_asks_for_nothing() -> None:
    refused = {"at": 95, "source": "alice", "kind": "answer", "message": {"id": 2, "error": {"kind": "InvalidState", "message": "no"}}}
    assert spans([START, STOP, refused]) == [Span(10)]


def test_holds_of_both_sides() -> None:
    lines = [START, asked(20, "alice", 3, "hold"), asked(40, "alice", 4, "resume"), STOP]
    assert spans(lines) == [Span(10, 20), Span(40, 90)]
    assert spans(lines, (30, False, "hold"), (60, False, "resume")) == [Span(10, 20), Span(60, 90)]
    assert spans([START, STOP], (30, True, "hold"), (60, True, "resume")) == [Span(10, 90)]  # its own words; its requests are not there


@pytest.mark.parametrize(
    ("line", "signal"),
    [
        (asked(50, "alice", 3, "end"), ()),
        (asked(50, "alice", 3, "fail"), ()),
        ({"at": 50, "kind": "receipt", "text": "alice is killed: seen by keeper", "receipt": {"kind": "process"}}, ()),
        (asked(80, "bob", 3, "end"), ((50, False, "bye"),)),
    ],
)
def test_a_call_that_is_over(line: dict[str, Any], signal: tuple[tuple[int, bool, str], ...]) -> None:
    assert spans([START, line, STOP], *signal) == [Span(10, 50)]
