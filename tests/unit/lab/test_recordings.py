"""Recordings of a run: names of which none is used twice, and what an agent left instead of a file of packets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import rotation
from harness.errors import AgentError
from harness.lab import recordings
from harness.media import rtpdump
from harness.media.opus import OpusEncoder
from harness.media.recording import FILE, Recording, decode
from harness.media.records import MediaPacket, checksum
from harness.media.rtpdump import RtpDump
from harness.media.speech import voice
from harness.rtp.packet import RtpPacket
from tests.unit.media.flows import S, audio


def lab(folder: Path, *calls: Any) -> Any:
    peers = {name: SimpleNamespace(name=name, folder=folder, calls=list(calls)) for name in ("alice", "bob")}
    for call in calls:
        call.sides = ((peers["alice"], peers["bob"]), (peers["bob"], peers["alice"]))
    return SimpleNamespace(folder=folder, peers=peers, evidence=SimpleNamespace(errors=[], quality={}))


def call(name: str, packets: list[MediaPacket], closed: int = 2 * S) -> Any:
    def heard_by(listener: Any, flow: str) -> Any:
        return SimpleNamespace(packets=packets, direction=f"to {listener.name} {flow}")

    return SimpleNamespace(id=name, opened=1, closed=closed, flows=("audio",), heard_by=heard_by)


def sent(folder: Path, *agents: str) -> list[MediaPacket]:
    """A hundred packets of the voice as recorded, and kept by ``agents``."""
    encoder, pcm = OpusEncoder(), voice()
    packets, datas = [], []
    for packet in audio(100):
        payload = encoder.encode(pcm[packet.index * 1920 :][:1920])
        data = RtpPacket(payload_type=111, sequence=packet.seq, timestamp=packet.rtp, ssrc=packet.ssrc, payload=payload).encode()
        values = {name: getattr(packet, name) for name in packet.__struct_fields__ if name != "crc"}
        packets.append(MediaPacket(**values, crc=checksum(data)))
        datas.append(data)
    for agent in agents:
        with (folder / f"{agent}.heard.rtpdump").open("wb") as file:
            dump = RtpDump(file)
            for data in datas:
                dump.write(data, 0)
    return packets


def made(run: Any) -> list[Recording]:
    recordings.make(run)
    return decode((run.folder / FILE).read_bytes())


def test_two_calls_of_the_same_two_leave_two_recordings_each(tmp_path: Path) -> None:
    packets = sent(tmp_path, "alice", "bob")
    run = lab(tmp_path, call("one", packets), call("two", packets))
    found = made(run)
    names = [name for one in found for name in one.files.values()]
    assert len(names) == len(set(names)) == 12
    assert [one.files["wav"] for one in found] == ["bob-heard.wav", "alice-heard.wav", "bob-heard-2.wav", "alice-heard-2.wav"]
    assert all((tmp_path / name).is_file() for name in names)
    assert {one.figures["played"] for one in found} == {99}, "the first was offered before the call was opened"
    assert run.evidence.quality["to bob audio"]["heard"]["played"] == 99
    assert run.evidence.errors == []


def test_a_corrupted_copy_is_not_played_for_the_packet(tmp_path: Path) -> None:
    packets = sent(tmp_path, "alice")
    path = tmp_path / "alice.heard.rtpdump"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = {one.listener: one for one in made(lab(tmp_path, call("one", packets)))}
    assert (found["alice"].figures["played"], found["alice"].figures["not_kept"]) == (98, 1)
    assert (found["bob"].files, found["bob"].note) == ({}, "bob left no bob.heard.rtpdump")


@pytest.mark.parametrize(
    ("left", "says"),
    [(b"MZ\x90\x00", "its file of heard packets begins with b'MZ"), (None, "alice.heard.rtpdump has 1000001 bytes; allowed are 1000000")],
)
def test_an_agent_that_leaves_something_else_has_broken_its_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes | None, says: str
) -> None:
    monkeypatch.setattr(rtpdump, "LARGEST_FILE", 1_000_000)
    packets = sent(tmp_path, "bob")
    (tmp_path / "alice.heard.rtpdump").write_bytes(bytes(1_000_001) if left is None else left)
    run = lab(tmp_path, call("one", packets))
    found = {one.listener: one for one in made(run)}
    (error,) = run.evidence.errors
    assert isinstance(error, AgentError)
    assert says in str(error)
    assert says in found["alice"].note
    assert found["bob"].figures["played"] == 99, "the other is heard all the same"


def test_synthetic_packets_among_real_ones_are_named(tmp_path: Path) -> None:
    data = RtpPacket(payload_type=111, sequence=0, timestamp=0, ssrc=1, payload=b"QCHA" + bytes(40)).encode()
    packets = [MediaPacket(**{n: getattr(p, n) for n in p.__struct_fields__ if n != "crc"}, crc=checksum(data)) for p in audio(1)]
    with (tmp_path / "bob.heard.rtpdump").open("wb") as file:
        RtpDump(file).write(data, 0)
    bob, _ = made(lab(tmp_path, call("one", packets)))
    assert (bob.files, bob.note) == ({}, "synthetic packets: there is nothing to hear in them")


def test_of_a_run_whose_records_are_not_all_there_nothing_is_decoded_and_it_says_so(tmp_path: Path) -> None:
    packets = sent(tmp_path, "alice", "bob")
    for number in (1, 3):
        rotation.part(tmp_path / "bob.media.jsonl", number).touch()
    found = made(lab(tmp_path, call("one", packets)))
    assert [(one.listener, one.files) for one in found] == [("bob", {}), ("alice", {})]
    assert {one.note for one in found} == {"bob.media.jsonl: part 2 of 3 was let go, which bounds what a long run leaves (--keep)"}
