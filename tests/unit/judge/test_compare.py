"""The judge's comparison with the harness: what is within the limits is the same, and each kind of difference is a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.judge import compare
from tests.judge.__main__ import main
from tests.judge.compare import Packet, Silence, Told
from tests.judge.judged import VIDEO, Call, Direction, Fate, FourTuple, Run, handshakes, paths
from tests.judge.silence import MS, Source, Span
from tests.judge.tshark import Frame
from tests.judge.wire import Wire

AUDIO = Source(48_000, 960)
LOST = range(50, 60)
KEY = ("c", "alice", "bob", "audio")
NAME = "alice → bob audio"
WIFI, LTE = "203.0.113.2 4433", "198.51.100.2 4433"


def fate(number: int) -> Fate:
    left = 20 * MS * number
    arrived = None if number in LOST else left + 20 * MS
    return Fate(7, number, 960 * number, left, arrived, "alice/wifi", "" if arrived is None else "bob/eth", 20 * MS, True)


DIRECTION = Direction("c", "alice", "bob", "audio", tuple(map(fate, range(300))), (Span(0),), 20 * MS, 0, AUDIO)
WAYS = (FourTuple(WIFI, "b", 0, 2000, 90, 90, (0,)), FourTuple(LTE, "b", 1500, 9000, 80, 80, (1500, 1900)))
RUN = Run("run", (Call("c", "alice", "bob", 0, 5800 * MS, (5,), WAYS, (DIRECTION,)),), 0)
PACKETS = {one.key: Packet(one.departed, one.arrived, one.arrived, "wifi", one.came and "eth") for one in DIRECTION.packets}
QUALITY = {NAME: {"longest_gap": "200ms", "late": "0"}}
TOLD = Told(
    4, "PASS", "migration: it", {KEY: PACKETS}, QUALITY, {("c", NAME): [Silence("longest silence", 200 * MS, 1220 * MS)]}, [("c", 1)], []
)


def packets(**changes: Any) -> Told:
    """What the harness says, with packet 100 changed."""
    return replace(TOLD, packets={KEY: PACKETS | {(7, 100): replace(PACKETS[7, 100], **changes)}})


def test_what_agrees() -> None:
    row = compare.compare(RUN, replace(TOLD, moves=[(WIFI, LTE, 1500)]))
    assert row.differences == []
    assert (row.packets, row.silence, row.lost, row.late, row.handshakes) == (300, (200, 200), (10, 10), (0, 0), ([1], [1]))
    assert (row.paths, row.socket, row.worst_ms) == ((1, 2), None, 0)


ARRIVED = PACKETS[7, 100].arrived or 0


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (packets(arrived=ARRIVED + MS + 1, taken=None), "arrived +1.000 ms by the harness"),
        (packets(departed=2000 * MS - MS - 1), "departed -1.000 ms by the harness"),
        (packets(arrived=None, taken=None), "arrived by the judge alone"),
        (packets(taken=ARRIVED - MS - 1), "was taken 1.000 ms before it arrived"),
        (packets(left="lte"), "left by alice/wifi, the harness says lte"),
        (packets(came="wlan"), "came by bob/eth, the harness says wlan"),
        (replace(TOLD, packets={KEY: {key: one for key, one in PACKETS.items() if key != (7, 100)}}), "left by the judge alone"),
        (replace(TOLD, packets={KEY: PACKETS | {(8, 1): PACKETS[7, 100]}}), "left by the harness alone"),
        (replace(TOLD, packets={KEY: PACKETS | {(7, 50): replace(PACKETS[7, 50], arrived=5)}}), "arrived by the harness alone"),
        (
            replace(TOLD, quality={NAME: {"longest_gap": "198.9ms", "late": "0"}}),
            "longest silence is 198.900 ms by the harness, 200.000 ms",
        ),
        (replace(TOLD, quality={NAME: {"longest_gap": "200ms", "late": "1"}}), "the harness counts 1 late packets, the judge 0"),
        (replace(TOLD, silences={("c", NAME): [Silence("longest silence", 20 * MS, 1220 * MS)]}), "and the gap that ends then 200.000 ms"),
        (replace(TOLD, silences={("c", NAME): [Silence("longest silence", 90 * MS, 4000 * MS)]}), "and the gap that ends then 0.000 ms"),
        (replace(TOLD, handshakes=[("", 2)]), "handshakes: the harness counts 2, the judge 1"),
        (replace(TOLD, moves=[(WIFI, "192.0.2.9 1", 1500)]), "the harness saw 192.0.2.9 1 at the callee's host, the judge did not"),
        (replace(TOLD, moves=[(WIFI, LTE, 40 * MS)]), "the judge saw no first packet of it then"),
    ],
)
def test_each_difference_is_a_sentence(said: Told, sentence: str) -> None:
    (told,) = compare.compare(RUN, said).differences
    assert sentence in told


def test_times_within_the_limit_are_the_same_and_the_largest_difference_is_told() -> None:
    row = compare.compare(RUN, packets(arrived=ARRIVED + MS, taken=None))
    assert (row.differences, row.worst_ms) == ([], 1.0)


def test_packets_that_came_from_nowhere() -> None:
    strange = replace(RUN, calls=(replace(RUN.calls[0], directions=(replace(DIRECTION, strays=2),)),))
    (told,) = compare.compare(strange, TOLD).differences
    assert "2 packets came to bob that never left alice" in told


def test_before_schema_4_silence_and_what_only_agents_say_are_not_compared() -> None:
    old = replace(TOLD, schema=3, quality={NAME: {"longest_gap": "1ms", "late": "9"}}, silences={})
    old.packets[KEY] = {**PACKETS, (8, 1): replace(PACKETS[7, 100], departed=None, arrived=None, taken=None)}
    row = compare.compare(RUN, old)
    assert (row.differences, row.silence, row.late) == ([], (None, 200), (None, 0))


@pytest.mark.parametrize("stopped", [50, 150, 1500])
def test_what_only_the_socket_shows_is_a_line_of_its_own(stopped: int) -> None:
    """A listener that is stopped at 3000 ms takes what came meanwhile when it goes on."""
    began, ended = 3001 * MS, (3001 + stopped) * MS
    taken = {key: None if one.arrived is None else ended if began < one.arrived < ended else one.arrived for key, one in PACKETS.items()}
    said = {key: replace(one, taken=taken[key]) for key, one in PACKETS.items()}
    by_socket = max(200, stopped - 19)  # the one before was taken at 3000, and the place of one is no silence
    late = {50: 0, 150: 0, 1500: 65}[stopped]
    quality = {NAME: {"longest_gap": f"{by_socket}ms", "longest_gap_at_host": "200ms", "late": str(late)}}
    told = replace(TOLD, packets={KEY: said}, quality=quality, silences={})
    ((name, arrived, seen),) = compare.socket_line(RUN, told)
    assert (name, arrived, abs(seen - by_socket * MS) <= compare.SAMPLE) == (NAME, 200 * MS, True)
    row = compare.compare(RUN, told)
    assert (row.differences, row.silence, row.socket) == ([], (200, 200), (by_socket, by_socket))


def test_a_frame_of_video_needs_its_last_packet() -> None:
    parts = [
        replace(fate(n // 2), sequence=n, marker=n % 2 == 1, timestamp=3000 * (n // 2), arrived=20 * MS * (n // 2 + 1)) for n in range(40)
    ]
    whole = replace(DIRECTION, name="video", packets=tuple(parts), source=VIDEO)
    torn = replace(whole, packets=tuple(one for one in parts if one.sequence != 11))
    assert sum(one.frame.taken is None for one in whole.flow().placed) == 0
    assert [one.frame.timestamp for one in torn.flow().placed if one.frame.taken is None] == [15_000]


def frame(at: int, source: str, connection: int | None, hello: str = "", *, outgoing: bool = False) -> Frame:
    return Frame(at, "bob/eth", outgoing, (source, 1), ("b", 2), 100, True, connection, True, client_hellos=(hello,) if hello else ())


def wired(*frames: Frame, calls: dict[int, str]) -> Wire:
    return Wire(frames, (), {}, calls, 0)


def test_handshakes_by_client_hello_at_both_hosts() -> None:
    left = [frame(1, "a", 0, "aa", outgoing=True), frame(2, "a", 0, "aa", outgoing=True), frame(3, "a", 1, "bb", outgoing=True)]
    left += [frame(4, "a", None, "cc", outgoing=True), frame(5, "a", 2, "dd", outgoing=True), frame(99, "a", 0, "ee", outgoing=True)]
    came = [frame(11, "a", 0, "aa"), frame(12, "a", 1, "bb"), frame(13, "a", 2, "dd"), frame(14, "a", 0, "ee")]
    found = handshakes(wired(*left, calls={0: "c", 2: "another"}), wired(*came, calls={0: "c"}), "c", 0, 50)
    assert found == [1, 3]  # cc never came, dd is of another call, ee is after its end


def test_four_tuples_at_the_callees_host() -> None:
    frames = [frame(1, "a", 0), frame(2, "b", 0), frame(3, "a", 0), frame(4, "x", 9), frame(5, "a", 0, outgoing=True)]
    found = paths(wired(*frames, calls={0: "c"}), "c")
    assert found == [
        FourTuple("a 1", "b 2", 1, 3, 2, 2, (1, 3)),
        FourTuple("b 1", "b 2", 2, 2, 1, 1, (2,)),
        FourTuple("x 1", "b 2", 4, 4, 1, 0, (4,)),
    ]


def test_what_the_harness_wrote(tmp_path: Path) -> None:
    line = {"call": "c", "flow": "audio", "from": "alice", "to": "bob", "ssrc": 7, "seq": 1, "path": "wifi", "came_by": "eth"}
    lines = [line | {"departed": 5, "arrived": 9, "taken": 10}, line | {"seq": 2, "departed": None, "arrived": None}]
    (tmp_path / "media.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines) + '{"torn')
    value = {"kind": "duration", "count": 30}
    silent = {"name": "longest silence", "value": value, "where": {"end": 77}, "call": "c", "direction": NAME}
    verdicts = [silent, silent | {"value": None}, silent | {"name": "QUIC handshakes", "value": {"kind": "count", "count": 1}}]
    move = {"kind": "new 4-tuple", "taken": True, "at": 1500, "observed": {"before": WIFI, "after": LTE}}
    report = {
        "schema": 4,
        "result": "PASS",
        "scenario": "migration",
        "test": "it",
        "verdicts": verdicts,
        "receipts": [move],
        "quality": QUALITY,
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    told = compare.told(tmp_path)
    assert told.packets == {KEY: {(7, 1): Packet(5, 9, 10, "wifi", "eth")}}
    assert told.silences == {("c", NAME): [Silence("longest silence", 30, 77)]}
    assert (told.handshakes, told.moves, told.by_schedule) == ([("c", 1)], [(WIFI, LTE, 1500)], True)


def test_without_tshark_the_command_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(tmp_path)]) == 2
    assert "apt-get install tshark" in capsys.readouterr().err
