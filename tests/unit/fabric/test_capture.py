"""The capture process on real interfaces, in namespaces of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import rotation
from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric import capture, seqpacket
from harness.fabric.capture_tail import CaptureTail
from harness.fabric.pcapng import Reader
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.units import s

WAIT = 60.0


def hosts(folder: Path, packets: int, end: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.unit.fabric.captured_hosts", str(folder), str(packets), end]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=WAIT, check=True, env={**os.environ, **environment})
    return dict(json.loads(done.stdout))


def udp(folder: Path, name: str) -> list[UdpPacket]:
    return [packet for packet in udp_packets(Reader(folder / name)) if packet.destination[1] == 6000]


def test_both_ends_have_every_packet_once_with_its_direction_size_and_time(tmp_path: Path) -> None:
    said = hosts(tmp_path / "made", 400, "stop")
    left, arrived = (udp(tmp_path / "made", f"{end}.eth.pcapng") for end in "ab")
    assert [packet.outgoing for packet in left] == [True] * 400
    assert [packet.outgoing for packet in arrived] == [False] * 400
    for found in (left, arrived):
        assert [int.from_bytes(packet.payload[:4], "big") for packet in found] == list(range(400))
        assert [packet.size for packet in found] == [4 + n % 1000 for n in range(400)]
        assert {(packet.source, packet.destination) for packet in found} == {
            (("10.8.0.1", 5000), ("10.8.0.2", 6000)),
            (("fd08::1", 5000), ("fd08::2", 6000)),
        }
    # One clock: a packet leaves after its sender looked at the clock, and arrives no earlier than it left.
    for before, out, into in zip(said["sent"], left, arrived, strict=True):
        assert out.monotonic is not None
        assert into.monotonic is not None
        # 1 ms: an offset between two clocks is sampled, and CLOCK_REALTIME may be slewed meanwhile
        assert before - 1_000_000 <= out.monotonic <= into.monotonic + 1_000_000
    for name in ("a/eth", "b/eth"):
        last = said["stopped"][name]
        assert (last["dropped"], last["unwritten"], last["failure"]) == (0, 0, None)
        assert last["written"] == last["received"] >= 400
    assert said["code"] == 0


def test_killed_it_leaves_readable_files_up_to_the_last_flush(tmp_path: Path) -> None:
    said = hosts(tmp_path, 200, "kill")
    assert said["code"] == -9
    assert len(udp(tmp_path, "a.eth.pcapng")) == len(udp(tmp_path, "b.eth.pcapng")) == 200


def test_a_long_capture_keeps_its_first_part_and_the_newest_each_a_file_of_its_own(tmp_path: Path) -> None:
    said = hosts(tmp_path, 800, "stop", **{rotation.VARIABLE: "0.08"})  # four parts of some 20 kB
    last = said["stopped"]["a/eth"]
    assert (last["dropped"], last["unwritten"], last["written"]) == (0, 0, last["received"])
    path = tmp_path / "a.eth.pcapng"
    there = rotation.numbers(path)
    assert there == [1, there[-1] - 2, there[-1] - 1, there[-1]]
    assert rotation.gone(path).startswith(f"a.eth.pcapng: parts 2 to {there[-1] - 3} of {there[-1]} were let go")
    assert sum(part.stat().st_size for part in rotation.parts(path)) < 90_000 < last["bytes"]
    for part in rotation.parts(path):
        found = udp(tmp_path, part.name)
        assert all(packet.monotonic is not None for packet in found)
        numbers = [int.from_bytes(packet.payload[:4], "big") for packet in found]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert udp(tmp_path, "a.eth.pcapng")[0].payload[:4] == bytes(4)
    newest = [packet for part in rotation.parts(path)[1:] for packet in udp(tmp_path, part.name)]
    numbers = [int.from_bytes(packet.payload[:4], "big") for packet in newest]
    assert numbers == list(range(numbers[0], 800))


def test_what_a_tail_reads_bit_by_bit_is_the_whole_capture(tmp_path: Path) -> None:
    hosts(tmp_path, 400, "stop", **{rotation.VARIABLE: "0.4"})  # no more parts than are kept
    path = tmp_path / "a.eth.pcapng"
    assert len(rotation.parts(path)) > 1
    whole = [packet for part in rotation.parts(path) for packet in Reader(part)]
    tail = CaptureTail(path)
    assert list(tail.fresh()) == whole
    assert list(tail.fresh()) == []


def test_a_socket_for_an_interface_that_is_not_there_is_refused() -> None:
    with pytest.raises(EnvironmentUnfit, match=r"interface 'nothere0' cannot be captured: No such device|no packet socket"):
        capture.open_capture("nothere0")


def test_file_names_do_not_collide() -> None:
    assert capture.file_name("a-b/c") != capture.file_name("a/b-c")


class TestWithoutSockets:
    @staticmethod
    def started(*fds: int) -> tuple[subprocess.Popen[bytes], capture.CaptureControl]:
        ours, theirs = seqpacket.pair()
        process = subprocess.Popen(capture.argv(theirs.fileno()), pass_fds=[theirs.fileno(), *fds])
        theirs.close()
        return process, capture.CaptureControl(ours, 20 * s)

    def test_nothing_to_capture_is_fine_and_twice_is_not(self, tmp_path: Path) -> None:
        process, control = self.started()
        assert control.start(tmp_path, {}) == {}
        with pytest.raises(HarnessError, match="no request 'explode'"):
            control._ask("explode")
        assert control.stop() == {}
        assert process.wait(WAIT) == 0

    def test_a_descriptor_that_was_not_inherited_is_named(self, tmp_path: Path) -> None:
        process, control = self.started()
        with pytest.raises(EnvironmentUnfit, match="capture of a/eth: descriptor 999 was not inherited"):
            control.start(tmp_path, {"a/eth": 999})
        control.stop()
        process.wait(WAIT)

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        process, control = self.started()
        with pytest.raises(EnvironmentUnfit, match=f"cannot be written to {os.fspath(tmp_path)}/file/x: Not a directory"):
            control.start(tmp_path / "file" / "x", {})
        control.stop()
        process.wait(WAIT)

    def test_it_ends_when_it_is_left_alone(self) -> None:
        process, control = self.started()
        control._asker.close()
        assert process.wait(WAIT) == 0
