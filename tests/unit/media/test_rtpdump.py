"""The file of heard packets: what is written comes back, and what others wrote there is not believed."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import AgentError
from harness.media.rtpdump import RtpDump, read

HEAD = b"#!rtpplay1.0 0.0.0.0/0\n" + bytes(16)


def written(*packets: bytes, largest: int = 1 << 20) -> tuple[bytes, RtpDump]:
    file = io.BytesIO()
    dump = RtpDump(file, largest=largest)
    for number, packet in enumerate(packets):
        dump.write(packet, 1_000_000_000 + number * 20_000_000)
    return file.getvalue(), dump


@given(st.lists(st.binary(max_size=1500), max_size=5))
def test_what_was_written_is_read(packets: list[bytes]) -> None:
    data, _ = written(*packets)
    assert list(read(data, "bob")) == packets


def test_it_is_rtptools_format() -> None:
    data, _ = written(b"RTP!", b"MORE!")
    assert data == HEAD + b"\x00\x0c\x00\x04\x00\x00\x00\x00RTP!" + b"\x00\x0d\x00\x05\x00\x00\x00\x14MORE!"


def test_it_stops_at_its_largest_size_and_says_so() -> None:
    data, dump = written(bytes(50), bytes(50), bytes(1), largest=len(HEAD) + 8 + 50 + 20)
    assert list(read(data, "bob")) == [bytes(50)]
    assert dump.left_out == 2


def test_a_last_entry_that_a_kill_cut_short_is_left_out() -> None:
    data, _ = written(b"RTP!", b"MORE!")
    assert all(list(read(data[:-cut], "bob")) == [b"RTP!"] for cut in range(1, 13))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with b''"),
        (b"RIFF....WAVE", "an rtpdump begins with"),
        (HEAD + b"\x00\x03\x00\x00\x00\x00\x00\x00", "byte 39: an entry of 3 bytes"),
        (HEAD + b"\x00\x0a\x00\x64\x00\x00\x00\x00ab", "an entry of 10 bytes with 100 of RTP"),
    ],
)
def test_what_is_no_rtpdump_is_the_agents_fault(data: bytes, says: str) -> None:
    with pytest.raises(AgentError, match=says):
        list(read(data, "bob"))


@given(st.binary(max_size=300))
def test_any_bytes_are_packets_or_the_agents_fault(data: bytes) -> None:
    for whole in (data, HEAD + data):
        with contextlib.suppress(AgentError):
            assert all(isinstance(packet, bytes) for packet in read(whole, "bob"))
