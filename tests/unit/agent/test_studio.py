"""What a source may be asked for, and what is said of the rest; a stack that takes everything stands in for the endpoint."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from harness.agent.sources import Repertoire, SourceRefused
from harness.agent.studio import Studio
from harness.call.events import Address, MediaReceived
from harness.media.kinds import MediaKind
from harness.media.opus import SAMPLES, duration
from harness.media.records import RecordWriter
from harness.media.rtpdump import RtpDump, read
from harness.media.source import read_payload
from harness.media.vp8 import depacketize, is_key_frame
from harness.rtp.packet import RtpPacket, parse_rtp_untrusted

S = 1_000_000_000


class Taker:
    """Takes every packet, and keeps it."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def send_rtp(self, call: str, flow: str, packet: bytes, **rest: Any) -> int:
        self.packets.append(packet)
        return len(self.packets)


def studio(taker: Taker, repertoire: Repertoire | None = None) -> Studio:
    return Studio(
        taker,  # type: ignore[arg-type]
        RecordWriter(io.BytesIO()),
        generator=random.Random,
        expiry=1,
        complain=pytest.fail,
        repertoire=repertoire,
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


def payload(packets: list[bytes]) -> int:
    return sum(len(parse_rtp_untrusted(packet).payload) for packet in packets)


def test_the_stack_gives_video_less_then_nothing_then_what_was_asked_for() -> None:
    taker = Taker()
    one = studio(taker)
    one.start("c", "video", bitrate_kbps=400, now=0)

    def second(at: int) -> list[bytes]:
        taker.packets.clear()
        for now in range(at * S, (at + 1) * S, 10_000_000):
            one.offer(now)
        return list(taker.packets)

    one.adapt("c", 200, 0)
    assert payload(second(0)) == pytest.approx(25_000, rel=0.15)
    one.adapt("c", 0, 1 * S)
    assert second(2) == []
    assert one.due is None
    assert one.sources == ("c/video",)
    one.adapt("c", 999, 4 * S)
    first = read_payload(parse_rtp_untrusted(taker.packets[0]).payload)
    assert first is not None
    assert first.kind == "key"
    assert payload(second(4)) == pytest.approx(50_000, rel=0.15), "and no more than was asked for"


def test_what_the_stack_has_stopped_a_hold_does_not_start_and_the_other_way_round() -> None:
    taker = Taker()
    one = studio(taker)
    one.start("c", "video", now=0)
    one.adapt("c", 0, 1)
    one.pause("c")
    taker.packets.clear()
    one.go_on("c", 1 * S)
    one.offer(2 * S)
    assert taker.packets == []
    one.pause("c")
    one.adapt("c", 400, 3 * S)
    one.offer(4 * S)
    assert taker.packets == []
    one.go_on("c", 5 * S)
    assert taker.packets


def test_video_that_is_started_while_there_is_no_room_waits_and_audio_does_not() -> None:
    taker = Taker()
    one = studio(taker)
    one.adapt("c", 0, 0)
    one.start("c", "video", now=0)
    assert taker.packets == []
    one.start("c", "audio", now=0)
    assert len(taker.packets) == 1
    one.adapt("c", 400, 1 * S)
    assert len(taker.packets) > 1


def test_real_media_are_what_the_repertoire_has() -> None:
    taker = Taker()
    one = studio(taker, Repertoire("video"))
    one.start("c", "audio", now=0)
    one.start("c", "video", now=0)
    audio, *video = (parse_rtp_untrusted(packet).payload for packet in taker.packets)
    assert duration(audio) == SAMPLES
    assert is_key_frame(depacketize(video) or b"\x01")


def test_packets_of_an_exact_size_are_synthetic_among_real_media_too() -> None:
    taker = Taker()
    studio(taker, Repertoire("speech")).start("c", "audio", payload_bytes=700, now=0)
    payload = parse_rtp_untrusted(taker.packets[0]).payload
    assert len(payload) == 700
    assert read_payload(payload) is not None


@pytest.mark.parametrize(("kind", "flow", "real"), [("speech", "video", False), ("video", "video", True), ("video", "screen", True)])
def test_video_is_real_where_it_was_asked_for(kind: MediaKind, flow: str, real: bool) -> None:
    taker = Taker()
    studio(taker, Repertoire(kind)).start("c", flow, now=0)
    assert (read_payload(parse_rtp_untrusted(taker.packets[0]).payload) is None) == real


def test_a_bitrate_that_opus_has_not_is_refused() -> None:
    with pytest.raises(SourceRefused, match="audio: 700 kbit/s of Opus; allowed is 6 to 510"):
        studio(Taker(), Repertoire("speech")).start("c", "audio", bitrate_kbps=700, now=0)


def test_adaptation_reaches_a_real_encoder() -> None:
    taker = Taker()
    one = studio(taker, Repertoire("video"))
    one.start("c", "video", now=0)
    one.offer(4 * S)
    before, taker.packets = taker.packets, []
    one.adapt("c", 150, 4 * S)
    one.offer(8 * S)
    assert sum(map(len, before)) * 8 / 4000 == pytest.approx(400, rel=0.15)
    assert sum(map(len, taker.packets)) * 8 / 4000 == pytest.approx(150, rel=0.2)


def test_what_comes_is_kept_whole_where_media_are_real() -> None:
    file = io.BytesIO()
    one = Studio(
        Taker(),  # type: ignore[arg-type]
        RecordWriter(io.BytesIO()),
        generator=random.Random,
        expiry=1,
        complain=pytest.fail,
        kept=RtpDump(file),
    )
    packet = RtpPacket(payload_type=111, sequence=1, timestamp=2, ssrc=3, payload=b"opus").encode()
    one.heard(
        MediaReceived(
            at=5, call="c", flow="audio", packet=packet, address=Address("eth", "10.0.0.1", 4), mode="datagram", udp_size=99, arrived=4
        )
    )
    assert list(read(file.getvalue(), "bob")) == [packet]
