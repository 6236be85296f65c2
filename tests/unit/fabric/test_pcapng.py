from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw
from scapy.utils import PcapNgReader

from harness.errors import HarnessError
from harness.fabric.pcapng import Packet, Reader, Writer
from harness.fabric.udp_packets import datagram_untrusted, udp_packets

# Both addresses given: scapy would otherwise ask the host's network for them.
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
NOW = 1_750_000_000_123_456_789


def write(path: Path, frames: list[bytes], **options: object) -> None:
    with path.open("wb", buffering=0) as file:
        writer = Writer(file, ["alice/wifi", "bob/eth"], 2048)
        for n, frame in enumerate(frames):
            writer.packet(n % 2, NOW + n * 1_000_001, frame, len(frame), n % 3 == 0, **options)  # type: ignore[arg-type]
        writer.statistics(1, NOW, received=5, dropped=2, written=3, offset=1_000, note="a note")
        writer.flush()


frames = st.lists(st.binary(min_size=14, max_size=200), max_size=10)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 2**63),
            st.binary(max_size=300),
            st.integers(0, 9000),
            st.none() | st.booleans(),
            st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
        ),
        max_size=20,
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, packets: list[tuple]) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("capture") / "x.pcapng"
    with path.open("wb") as file:
        writer = Writer(file, ["a/x", "b/y"], 2048)
        for packet in packets:
            writer.packet(*packet)
        assert writer.is_flushed is not bool(packets)
        writer.flush()
        assert writer.size == file.tell()
    expected = [
        Packet(("a/x", "b/y")[interface], time, None, data, original, outgoing, comment)
        for interface, time, data, original, outgoing, comment in packets
    ]
    assert list(Reader(path)) == expected


def test_statistics_and_clock(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with path.open("wb") as file:
        writer = Writer(file, ["a/x"], 2048)
        for n, offset in enumerate((1000, 1010, 700_010)):
            writer.statistics(0, 10_000 + n * 100, received=n, dropped=0, written=n, offset=offset)
            writer.packet(0, 10_050 + n * 100, b"x" * 14, 14)
        writer.flush()
    reader = Reader(path)
    assert [(found.interface, found.received, found.written) for found in reader.statistics] == [("a/x", n, n) for n in range(3)]
    assert [packet.monotonic for packet in reader] == [9_050, 9_140, 10_250 - 700_010]
    assert reader.monotonic(5) == 5 - 1000, "before the first sample, the first"
    assert reader.largest_clock_step == 699_000


def by_scapy(path: Path) -> list[tuple[int, bytes, int | None]]:
    found = []
    with PcapNgReader(str(path)) as reader:
        for packet in reader:
            found.append((int(packet.time * 10**9), bytes(packet), packet.direction))
    return found


def by_tshark(path: Path) -> list[tuple[int, bytes, int | None]]:
    fields = [word for field in ("frame.time_epoch", "frame.packet_flags_direction") for word in ("-e", field)]
    text = subprocess.run(["tshark", "-r", path, "-T", "fields", *fields], capture_output=True, check=True, text=True).stdout
    hexes = subprocess.run(["tshark", "-r", path, "-T", "jsonraw"], capture_output=True, check=True, text=True).stdout
    raw = [bytes.fromhex(packet["_source"]["layers"]["frame_raw"][0]) for packet in json.loads(hexes)]
    found = []
    for line, data in zip(text.splitlines(), raw, strict=True):
        time, direction = line.split("\t")
        seconds, _, fraction = time.partition(".")
        found.append((int(seconds) * 10**9 + int(fraction), data, int(direction, 0)))
    return found


ORACLES: list[Callable[[Path], list[tuple[int, bytes, int | None]]]] = [by_scapy]
if shutil.which("tshark"):
    ORACLES.append(by_tshark)


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("comment", [None, "lost on purpose"])
def test_others_read_the_same(oracle: Callable[[Path], list[tuple[int, bytes, int | None]]], comment: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    sent = [bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(n))) for n in range(9)]
    write(path, sent, comment=comment)
    found = oracle(path)
    assert [data for _, data, _ in found] == sent
    # scapy keeps times as decimals of limited precision; tshark is exact
    assert all(abs(time - (NOW + n * 1_000_001)) <= (0 if oracle is by_tshark else 1000) for n, (time, _, _) in enumerate(found))
    directions = [direction for _, _, direction in found]
    if oracle is by_tshark:
        assert directions == [2 if n % 3 == 0 else 1 for n in range(9)]


def test_a_file_cut_anywhere_reads_up_to_the_last_whole_block(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    write(path, [bytes(50 + n) for n in range(5)])
    whole = path.read_bytes()
    complete = list(Reader(path))
    assert not Reader(path).truncated
    seen = set()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        reader = Reader(path)
        found = list(reader)
        assert [packet.data for packet in found] == [packet.data for packet in complete[: len(found)]]
        seen.add(len(found))
    assert seen == set(range(6))


def test_a_file_that_may_take_less_than_it_is_given_gets_everything() -> None:
    class Slow(io.RawIOBase):
        data = b""

        def write(self, data: object) -> int:
            taken = bytes(data)[:7]  # type: ignore[call-overload]
            self.data += taken
            return len(taken)

    slow, quick = Slow(), io.BytesIO()
    for file in (slow, quick):
        Writer(file, ["a/x"], 2048)
    assert slow.data == quick.getvalue()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\xd4\xc3\xb2\xa1" + bytes(40), "byte 0 begins no block"),
        (b"\x0a\x0d\x0d\x0a\x0d\x00\x00\x00" + bytes(40), "byte 0 begins no block"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x1a\x2b\x3c\x4d" + bytes(12) + b"\x1c\x00\x00\x00", "another byte order"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a" + bytes(12) + b"\x1d\x00\x00\x00", "block at byte 0 does not end"),
    ],
)
def test_what_is_no_capture_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match=complaint):
        Reader(path)


def packet_of(frame: ScapyPacket | bytes) -> Packet:
    data = bytes(frame)
    return Packet("a/x", 5, 4, data, len(data), True, None)


class TestUdp:
    @pytest.mark.parametrize(
        ("network", "source", "destination"),
        [
            (IP(src="10.0.0.1", dst="10.0.0.2"), "10.0.0.1", "10.0.0.2"),
            (IP(src="10.0.0.1", dst="10.0.0.2", options=[("NOP"), ("NOP"), ("NOP"), ("EOL")]), "10.0.0.1", "10.0.0.2"),
            (IP(src="10.0.0.1", dst="10.0.0.2", flags="MF"), "10.0.0.1", "10.0.0.2"),
            (IPv6(src="fd00::1", dst="fd00::2"), "fd00::1", "fd00::2"),
            (IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(), "fd00::1", "fd00::2"),
            (IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(offset=0, m=1), "fd00::1", "fd00::2"),
        ],
    )
    def test_is_found(self, network: ScapyPacket, source: str, destination: str) -> None:
        frame = ETHER / network / UDP(sport=4000, dport=4433) / Raw(b"hello")
        (found,) = udp_packets([packet_of(frame)])
        assert (found.source, found.destination) == ((source, 4000), (destination, 4433))
        assert (found.size, found.payload, found.outgoing, found.time, found.monotonic) == (5, b"hello", True, 5, 4)
        assert datagram_untrusted(bytes(frame)) == (5, b"hello")

    def test_size_is_the_wire_s_though_less_was_captured(self) -> None:
        frame = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(500)))[:60]
        (found,) = udp_packets([packet_of(frame)])
        assert (found.size, len(found.payload)) == (500, 60 - 42)
        assert datagram_untrusted(frame) == (500, bytes(60 - 42))

    def test_padding_of_a_short_frame_is_no_payload(self) -> None:
        frame = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"x")) + bytes(17)
        (found,) = udp_packets([packet_of(frame)])
        assert found.payload == b"x"

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            ETHER / ARP(hwsrc="02:00:00:00:00:01", psrc="10.0.0.1"),
            ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=6) / Raw(bytes(40)),
            ETHER / IP(src="10.0.0.1", dst="10.0.0.2", frag=10, proto=17) / Raw(bytes(40)),
            ETHER / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(offset=10, nh=17) / Raw(bytes(40)),
            ETHER / IPv6(src="fd00::1", dst="fd00::2", nh=58) / Raw(bytes(40)),
        ],
    )
    def test_other_things_are_left_out(self, frame: ScapyPacket | bytes) -> None:
        assert list(udp_packets([packet_of(frame)])) == []
        assert datagram_untrusted(bytes(frame)) is None

    @given(st.binary(max_size=120), st.sampled_from([b"\x08\x00\x45", b"\x86\xdd\x60", b""]))
    def test_nothing_on_the_wire_raises(self, rest: bytes, kind: bytes) -> None:
        list(udp_packets([packet_of(bytes(12) + kind + rest)]))
