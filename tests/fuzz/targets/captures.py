"""Capture files, those of interfaces and the merged one."""

from __future__ import annotations

from pathlib import Path

from harness.errors import HarnessError
from harness.fabric import pcapng
from harness.fabric.merged_capture import Mark, merge, plain
from harness.fabric.udp_packets import udp_packets
from tests.fuzz.target import Ready, need, refusing, target
from tests.fuzz.targets.quic import conversation
from tests.fuzz.targets.wire import inbound, outbound

MS = 10**6
CLOCK = 1_700_000_000 * 10**9
SECRET = b"CLIENT_TRAFFIC_SECRET_0 " + b"0a" * 32 + b" " + b"0b" * 32


def capture(path: Path, name: str, datagrams: list[bytes] = []) -> bytes:  # noqa: B006 - read only
    """A capture with packets of both families, a handshake, statistics and a comment."""
    with path.open("wb") as file:
        writer = pcapng.Writer(file, [name], 262_144)
        for number, packet in enumerate([*outbound(), *inbound(), *datagrams]):
            frame = bytes(12) + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet
            at = CLOCK + number * MS
            writer.packet(0, at, frame, len(frame), outgoing=number % 2 == 0, comment="a comment" if number == 3 else None)
            if number % 4 == 0:
                writer.statistics(0, at, received=number, dropped=0, written=number, offset=CLOCK - 10**12, note="noted")
        writer.flush()
    return path.read_bytes()


@target("capture", share=0.4, longest=8192)
def read(folder: Path) -> Ready:
    """A capture, read whole: HarnessError; packets have times, and UDP is taken out of them."""
    path = folder / "alice.pcapng"
    seeds = [capture(path, "alice/eth"), pcapng.section() + pcapng.interface("a/b", 100)]

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with refusing(HarnessError):
            reader = pcapng.Reader(path)
            list(udp_packets(reader))
            need(reader.largest_clock_step >= 0, "the clock's steps have no size")

    return Ready(run, seeds)


@target("merged_capture", share=0.04, longest=8192)
def merged(folder: Path) -> Ready:
    """A capture merged with one in order, with marks and secrets: nothing is raised, and what is written can be read."""
    good, bad, out = folder / "good.pcapng", folder / "bad.pcapng", folder / "capture.pcapng"
    seeds = [capture(good, "alice/eth", conversation(folder).datagrams)]
    marks = [Mark(10**12 + 2 * MS, "FAULT: one", ("bob/eth",)), Mark(10**15, "late")]

    def run(data: bytes) -> None:
        bad.write_bytes(data)
        told = merge({"alice/eth": good, "bob/eth": bad}, out, key_log=SECRET + b"\n" + data[:200], marks=marks, about="it")
        need(told.packets >= 1, "packets of the other capture are gone")
        need(out.stat().st_size == told.size, "it has another size")
        with refusing(HarnessError):
            reader = pcapng.Reader(out)
            count = sum(1 for _ in reader)
            need(not reader.truncated and count == told.packets, f"{told.packets} packets were written and {count} are there")
        plain(data.decode("latin-1"))

    return Ready(run, seeds)
