"""What a source may be asked for, and what is said of the rest; a stack that takes everything stands in for the endpoint."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from harness.agent.studio import SourceRefused, Studio
from harness.media.records import RecordWriter
from harness.rtp.packet import parse_rtp_untrusted


class Taker:
    """Takes every packet, and keeps it."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def send_rtp(self, call: str, flow: str, packet: bytes, **rest: Any) -> int:
        self.packets.append(packet)
        return len(self.packets)


def studio(taker: Taker) -> Studio:
    return Studio(
        taker,  # type: ignore[arg-type]
        RecordWriter(io.BytesIO()),
        generator=random.Random,
        expiry=1,
        complain=pytest.fail,
    )


def test_audio_packets_are_as_large_as_was_asked() -> None:
    taker = Taker()
    studio(taker).start("c", "audio", payload_bytes=700, now=0)
    assert [len(parse_rtp_untrusted(packet).payload) for packet in taker.packets] == [700]


@pytest.mark.parametrize(
    ("flow", "asked", "says"),
    [
        ("video", {"payload_bytes": 700}, "payload_bytes 700 is for audio"),
        ("audio", {"payload_bytes": 700, "bitrate_kbps": 64}, "instead of a bitrate"),
        ("audio", {"payload_bytes": 15}, "payload_bytes 15 is out of range; allowed is 16"),
        ("audio", {"payload_bytes": 1 << 20}, "payload_bytes 1048576 is out of range"),
        ("data", {}, "there is no source for flow data"),
    ],
)
def test_what_no_source_can_give_is_refused_and_nothing_runs(flow: str, asked: dict[str, int], says: str) -> None:
    one = studio(Taker())
    with pytest.raises(SourceRefused, match=says):
        one.start("c", flow, now=0, **asked)
    assert one.sources == ()
