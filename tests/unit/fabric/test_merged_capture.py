from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from harness import rotation
from harness.fabric import merged_capture
from harness.fabric.merged_capture import SOON, Mark, Merged, merge, plain
from harness.fabric.pcapng import Packet, Reader, Writer, commented
from harness.spec.link import Impairment
from harness.spec.topology import Host, Link, Topology
from harness.units import ms
from tests.examples import examples

REAL, AHEAD = 1_790_000_000_000_000_000, 1_789_000_000_000_000_000
SECOND = 1_000_000_000
NAMES = ["alice/wifi", "bob/eth", "home/lan"]
SECRET = b"CLIENT_TRAFFIC_SECRET_0 " + b"ab" * 32 + b" " + b"cd" * 32


def frame(text: str) -> bytes:
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return bytes(ether / IP(src="192.0.2.1", dst="192.0.2.2") / UDP() / Raw(text.encode()))


def write(folder: Path, times: dict[str, list[int]], *, clock: bool = True) -> dict[str, Path]:
    """A capture per interface with a frame at each of its times (ns since REAL)."""
    found = {}
    for name, stamps in times.items():
        found[name] = folder / f"{name.replace('/', '.')}.pcapng"
        with found[name].open("wb") as file:
            writer = Writer(file, [name], 2048)
            if clock:
                writer.statistics(0, REAL, received=0, dropped=0, written=0, offset=AHEAD)
            for number, stamp in enumerate(stamps):
                data = frame(f"{name} {number}")
                writer.packet(0, REAL + stamp, data, len(data), number % 2 == 0)
            writer.flush()
    return found


def instant(stamp: int) -> int:
    return REAL - AHEAD + stamp


def merged(folder: Path, captures: dict[str, Path], *marks: Mark, **options: object) -> tuple[Merged, list[Packet]]:
    out = folder / "capture.pcapng"
    done = merge(captures, out, marks=marks, **options)  # type: ignore[arg-type]
    assert done.size == out.stat().st_size
    found = list(Reader(out))
    assert done.packets == len(found)
    return done, found


@settings(deadline=None, max_examples=examples(60))
@given(
    times=st.fixed_dictionaries({name: st.lists(st.integers(0, 3 * SECOND), max_size=40) for name in NAMES}),
    piece=st.integers(50, 3000),
    seed=st.integers(0, 99),
)
def test_every_packet_is_there_once_and_in_order(
    times: dict[str, list[int]], piece: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, rng = tmp_path_factory.mktemp("merged"), Random(seed)
    for stamps in times.values():  # nearly in order, as two processors leave them
        stamps.sort(key=lambda stamp: stamp + rng.randrange(0, 9_000_000))
    captures = write(folder, times)
    marks = [Mark(instant(rng.randrange(-SECOND, 4 * SECOND)), f"mark {n}", (rng.choice(NAMES),)) for n in range(5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged_capture, "_PIECE", piece)
        done, found = merged(folder, captures, *marks)
    assert [packet.time for packet in found] == sorted(REAL + stamp for stamps in times.values() for stamp in stamps)
    singly = [packet for path in captures.values() for packet in Reader(path)]
    assert {(p.interface, p.time, p.data, p.outgoing, p.monotonic) for p in found} == {
        (p.interface, p.time, p.data, p.outgoing, p.monotonic) for p in singly
    }
    if found:
        assert (done.comments, done.unplaced) == (len(marks), [])
    else:
        assert sorted(mark.text for mark in done.unplaced) == sorted(mark.text for mark in marks)


def where(packets: list[Packet]) -> list[tuple[str, int, str]]:
    return [(packet.interface, packet.time - REAL, packet.comment) for packet in packets if packet.comment is not None]


STEADY = {"alice/wifi": [n * 20 * ms.ns for n in range(100)], "bob/eth": [n * 20 * ms.ns + 5_000_000 for n in range(100)]}
STEADY = {name: [stamp for stamp in stamps if name != "alice/wifi" or stamp < SECOND] for name, stamps in STEADY.items()}


@pytest.mark.parametrize("piece", [100, 1 << 18])
@pytest.mark.parametrize(
    ("mark", "place"),
    [
        (Mark(instant(500_000_000), "x"), ("alice/wifi", 500_000_000, "x")),
        (Mark(instant(500_000_001), "x"), ("bob/eth", 505_000_000, "x")),
        (Mark(instant(500_000_001), "x", ("alice/wifi",)), ("alice/wifi", 520_000_000, "x")),
        (Mark(instant(990_000_000), "x", ("alice/wifi",)), ("bob/eth", 1_005_000_000, "x")),  # it is down: where there is something
        (Mark(instant(500_000_001), "x", ("nobody/eth",)), ("bob/eth", 505_000_000, "x")),
        (Mark(instant(-SECOND), "x"), ("alice/wifi", 0, "x")),
        (Mark(instant(5 * SECOND), "x", ("alice/wifi",)), ("bob/eth", 1_985_000_000, "x (3.015s after this packet, the last)")),
    ],
)
def test_a_mark_is_on_the_first_packet_at_or_after_it(
    mark: Mark, place: tuple[str, int, str], piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_capture, "_PIECE", piece)
    _, found = merged(tmp_path, write(tmp_path, STEADY), mark)
    assert where(found) == [place]


def test_a_mark_waits_no_longer_than_soon_for_its_own_interface(tmp_path: Path) -> None:
    captures = write(tmp_path, {"alice/wifi": [SOON.ns, SOON.ns + 2], "bob/eth": [1]})
    _, found = merged(tmp_path, captures, Mark(instant(0), "in time", ("alice/wifi",)), Mark(instant(-1), "too late", ("alice/wifi",)))
    assert where(found) == [("bob/eth", 1, "too late"), ("alice/wifi", SOON.ns, "in time")]


def test_the_comments_of_one_packet_are_all_there(tmp_path: Path) -> None:
    captures = write(tmp_path, {"alice/wifi": [0]})
    done = merge(captures, tmp_path / "x.pcapng", marks=[Mark(instant(0), "one"), Mark(instant(0), "two")])
    assert done.comments == 2
    raw = (tmp_path / "x.pcapng").read_bytes()
    assert b"\x01\0\x03\0one\0\x01\0\x03\0two\0" in raw


def test_without_a_clock_marks_are_told_as_unplaced(tmp_path: Path) -> None:
    mark = Mark(1, "x")
    done, found = merged(tmp_path, write(tmp_path, STEADY, clock=False), mark)
    assert done.unplaced == [mark]
    assert len(found) == sum(map(len, STEADY.values()))


def test_the_clock_of_the_instant_is_used_and_not_the_first(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with path.open("wb") as file:
        writer = Writer(file, ["alice/wifi"], 2048)
        for n in range(3):  # CLOCK_REALTIME is set forward by 0.4 s every second
            writer.statistics(0, REAL + n * SECOND, received=0, dropped=0, written=0, offset=AHEAD + n * 400_000_000)
            for k in range(10):
                writer.packet(0, REAL + n * SECOND + k * 100_000_000, b"x" * 60, 60)
        writer.flush()
    _, found = merged(tmp_path, {"alice/wifi": path}, Mark(REAL + SECOND + 150_000_000 - AHEAD - 400_000_000, "x"))
    assert where(found) == [("alice/wifi", SECOND + 200_000_000, "x")]


def test_a_capture_cut_anywhere_gives_what_is_whole_and_is_named(tmp_path: Path) -> None:
    captures = write(tmp_path, {"alice/wifi": [0, 2, 4], "bob/eth": [1, 3, 5]})
    whole = captures["bob/eth"].read_bytes()
    for length in range(len(whole)):
        captures["bob/eth"].write_bytes(whole[:length])
        kept = list(Reader(captures["bob/eth"]))
        done, found = merged(tmp_path, captures, Mark(instant(3), "x"))
        assert [packet.data for packet in found if packet.interface == "bob/eth"] == [packet.data for packet in kept]
        assert len(found) == 3 + len(kept)
        assert (not done.cut) == (not Reader(captures["bob/eth"]).truncated)


@pytest.mark.parametrize("garbage", [bytes(64), b"\xff" * 64, b"not a capture, " * 9])
def test_what_is_no_capture_is_named_and_the_rest_is_merged(garbage: bytes, tmp_path: Path) -> None:
    captures = write(tmp_path, {"alice/wifi": [0, 2, 4], "bob/eth": [1, 3, 5]})
    size = captures["bob/eth"].stat().st_size
    with captures["bob/eth"].open("ab") as file:
        file.write(garbage)
    done, found = merged(tmp_path, captures)
    assert len(found) == 6
    assert done.cut == {"bob/eth": f"byte {size} begins no block of a pcapng file"}
    captures["bob/eth"].write_bytes(garbage)
    done, found = merged(tmp_path, captures)
    assert len(found) == 3
    assert list(done.cut) == ["bob/eth"]


def test_nothing_captured_is_an_empty_capture(tmp_path: Path) -> None:
    for captures in ({}, write(tmp_path, {"alice/wifi": []})):
        done, found = merged(tmp_path, captures, Mark(0, "x"))
        assert (found, done.packets, len(done.unplaced)) == ([], 0, 1)


def test_nothing_is_left_of_a_merge_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = write(tmp_path, {"alice/wifi": [0]})
    monkeypatch.setattr(merged_capture.pcapng, "commented", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        merge(captures, tmp_path / "out.pcapng", marks=[Mark(instant(0), "x")])
    assert [path.name for path in tmp_path.iterdir()] == ["alice.wifi.pcapng"]


def test_only_its_owner_may_read_it_for_it_holds_secrets(tmp_path: Path) -> None:
    merge(write(tmp_path, STEADY), tmp_path / "out.pcapng", key_log=SECRET)
    assert (tmp_path / "out.pcapng").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("log", "kept", "left_out"),
    [
        (b"", 0, 0),
        (SECRET + b"\n" + SECRET + b"\r\n# a remark\n\n", 1, 0),
        (SECRET + b"\n" + SECRET[:-3], 1, 1),  # its writer was killed
        (b"\0" * 100 + b"\n" + SECRET.replace(b" ", b"\t") + b"\nEXPORTER_SECRET abc def\n", 0, 3),
    ],
)
def test_only_secrets_are_taken_from_the_key_log(log: bytes, kept: int, left_out: int, tmp_path: Path) -> None:
    done = merge({}, tmp_path / "out.pcapng", key_log=log)
    assert (done.secrets, done.secrets_left_out) == (kept, left_out)
    assert (tmp_path / "out.pcapng").read_bytes().count(SECRET + b"\n") == kept


def test_secrets_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged_capture, "_SECRETS_LIMIT", 2 * len(SECRET) + 2)
    lines = [SECRET[:-1] + digit for digit in (b"1", b"2", b"3")]
    done = merge({}, tmp_path / "out.pcapng", key_log=b"\n".join(lines))
    assert (done.secrets, done.secrets_left_out) == (2, 1)


@given(st.text(max_size=3_000))
def test_a_comment_is_one_bounded_line_of_what_can_be_seen(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    assert len(shown) <= 1_000
    assert len(shown.encode()) < 1 << 16  # the length of an option
    if text.isprintable() and len(text) <= 1_000:
        assert shown == text


@given(st.binary(max_size=50), st.none() | st.booleans(), st.none() | st.text("ab", min_size=1), st.lists(st.text("xyz", min_size=1)))
def test_a_commented_packet_is_the_packet(data: bytes, outgoing: bool | None, comment: str | None, more: list[str]) -> None:
    file = io.BytesIO()
    writer = Writer(file, [], 2048)
    head = file.tell()
    writer.packet(0, REAL, data, len(data) + 7, outgoing, comment)
    writer.flush()
    block = commented(file.getvalue()[head:], more)
    assert int.from_bytes(block[4:8], "little") == int.from_bytes(block[-4:], "little") == len(block)
    assert len(block) % 4 == 0
    for text in more:
        assert text.encode() in block
    assert block[28 : 28 + len(data)] == data


NET = Topology(
    name="two",
    nodes=(Host(name="alice"), Host(name="bob")),
    links=(Link(a="alice/wifi", b="bob/eth", net4="10.0.0.0/24", net6="fd00::/64", a_to_b=Impairment(delay=10 * ms), b_to_a=Impairment()),),
)


def fields(path: Path, *names: str, only: str = "") -> list[list[str]]:
    wanted = [word for name in names for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *wanted, *(["-Y", only] if only else [])], capture_output=True, check=True, text=True
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="platform: no tshark")  # docs/platforms.md
def test_tshark_shows_names_descriptions_and_comments(tmp_path: Path) -> None:
    hostile = 'Alice\0 "walks"\n<script>\x1b[31m out\udc80'
    ports = {name: NET.port(name) for name in ("alice/wifi", "bob/eth")}
    out = tmp_path / "capture.pcapng"
    merge(write(tmp_path, STEADY), out, ports=ports, key_log=SECRET, marks=[Mark(instant(SECOND), hostile)], about="a run\0of ours")
    rows = fields(out, "frame.interface_name", "frame.interface_description", "frame.comment")
    assert len(rows) == sum(map(len, STEADY.values()))
    assert {tuple(row[:2]) for row in rows} == {
        ("alice/wifi", "alice, interface wifi, 10.0.0.2/24, fd00::2/64, linked to bob/eth, out: delay 10ms"),
        ("bob/eth", "bob, interface eth, 10.0.0.1/24, fd00::1/64, linked to alice/wifi, in: delay 10ms"),
    }
    assert [row[2] for row in rows if row[2]] == ['Alice� "walks"�<script>�[31m out�']
    told = subprocess.run(["capinfos", "-M", out], capture_output=True, check=True, text=True).stdout
    assert "a run�of ours" in told
    assert told.count("Number of packets = ") == 2


def test_parts_are_read_one_after_the_other_and_what_is_gone_is_told(tmp_path: Path) -> None:
    captures = write(tmp_path, {"alice/wifi": list(range(0, 300, 10)), "bob/eth": list(range(5, 3000, 100))})
    whole = captures["alice/wifi"]
    for number, stamps in ((2, range(300, 600, 10)), (5, range(2000, 2300, 10))):
        (tmp_path / "later").mkdir(exist_ok=True)
        made = write(tmp_path / "later", {"alice/wifi": list(stamps)})["alice/wifi"]
        made.rename(rotation.part(whole, number))
    done, found = merged(tmp_path, captures)
    assert [packet.time - REAL for packet in found if packet.interface == "alice/wifi"] == [*range(0, 600, 10), *range(2000, 2300, 10)]
    assert [packet.time for packet in found] == sorted(packet.time for packet in found)
    assert done.cut == {"alice/wifi": rotation.gone(whole)}
    assert "parts 3 to 4 of 5 were let go" in done.cut["alice/wifi"]
