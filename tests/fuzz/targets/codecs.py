"""Payloads of real media: RFC 7741 descriptors, and, bounded, the codecs of libavcodec, which is C."""

from __future__ import annotations

import random
from pathlib import Path

from harness.errors import HarnessError
from harness.media import film, listening, recording
from harness.media.ogg import read_opus, write_opus
from harness.media.opus import FRAME_BYTES, OpusDecoder, OpusEncoder, duration
from harness.media.records import Arrival, MediaPacket
from harness.media.source import read_payload
from harness.media.vp8 import Vp8Decoder, Vp8Video, depacketize, describe, is_key_frame
from harness.rtp.packet import parse_rtp_untrusted
from tests.fuzz.target import Ready, need, refusing, target

MS = 10**6


def _opus() -> list[bytes]:
    encoder, rng = OpusEncoder(), random.Random(1)
    return [encoder.encode(rng.randbytes(FRAME_BYTES)) for _ in range(3)]


def _vp8() -> list[bytes]:
    source = Vp8Video(start=0, ssrc=1, sequence=0, timestamp=0, rng=random.Random(1), kbps=60)
    return [parse_rtp_untrusted(one.data).payload for _ in range(3) for one in source.take(source.due)]


@target("payload_head", share=10, longest=64)
def head(_: Path) -> Ready:
    """What the first bytes of a payload say: None or a description; no description is longer than the payload."""

    def run(data: bytes) -> None:
        found = describe(data)
        need(found is None or found.size <= len(data), "it describes more than there is")
        depacketize([data, data[1:]])
        is_key_frame(data)
        need(duration(data) is None or duration(data) != 0 or data[0] & 3 == 3, "a packet of no time")
        read_payload(data)

    return Ready(run, [one[:40] for one in _vp8() + _opus()])


@target("opus", share=0.3, longest=1300)
def opus(_: Path) -> Ready:
    """An Opus packet to libopus: None, or 20 ms; and what is made up after it."""
    decoder = OpusDecoder()

    def run(data: bytes) -> None:
        found = decoder.decode(data)
        need(found is None or len(found) == FRAME_BYTES, "it is not 20 ms")
        need(len(decoder.conceal()) == FRAME_BYTES, "what is made up is not 20 ms")

    return Ready(run, _opus())


@target("vp8", share=0.2, longest=2048)
def vp8(_: Path) -> Ready:
    """A VP8 frame to libvpx: None, or a picture of the one size."""
    decoder = Vp8Decoder()

    def run(data: bytes) -> None:
        decoder.decode(data)

    return Ready(
        run, [one for payload in _vp8() if (one := depacketize([payload])) is not None] + [b"\x10\2\0\x9d\x01\x2a\xff\x3f\xff\x3f"]
    )


@target("ogg", share=0.2, longest=4096)
def ogg(_: Path) -> Ready:
    """An Ogg file to libavformat (the project's own only): libav's errors."""
    import av

    def run(data: bytes) -> None:
        try:
            read_opus(data)
        except (av.error.FFmpegError, IndexError):  # IndexError: no audio stream in it
            return

    return Ready(run, [write_opus(bytes(9600), rate=48_000, kbps=24)])


@target("heard", share=0.02, longest=2048)
def heard(_: Path) -> Ready:
    """What came to a listener, decoded: nothing is raised, and the counts add up."""
    payloads = _opus()

    def packet(number: int) -> MediaPacket:
        at = number * 20 * MS
        common = {"call": "c", "flow": "audio", "ssrc": 1, "seq": number, "index": number, "rtp": number * 960, "pt": 111, "frame": number}
        rest = {"marker": number == 0, "size": 90, "offered": at, "sent": at, "path": "eth", "remote": "b", "udp": 99, "mode": "datagram"}
        rest["taken"] = at + 30 * MS
        return MediaPacket(**common, **rest, arrivals=(Arrival(at + 30 * MS, "eth", "a", 99),))  # type: ignore[arg-type]

    packets = [packet(number) for number in range(4)]

    def run(data: bytes) -> None:
        kept = {0: payloads[0], 1: data, 2: data[::-1], 3: payloads[1]}
        found = listening.listen(packets, lambda one: kept[one.seq], opened=0, closed=100 * MS, deadline=200 * MS)
        need(found.figures.offered == 4 and found.figures.played + found.figures.undecodable == 4, f"{found.figures} do not add up")

    return Ready(run, payloads)


@target("seen", share=0.01, longest=2048)
def seen(_: Path) -> Ready:
    """What came to a viewer, decoded and made into a film: nothing is raised."""
    payloads = _vp8()[:2]

    def packet(number: int) -> MediaPacket:
        at = number * 33 * MS
        common = {"call": "c", "flow": "video", "ssrc": 1, "seq": number, "index": number, "rtp": number * 3000, "pt": 96, "frame": number}
        rest = {"marker": True, "size": 900, "offered": at, "sent": at, "path": "eth", "remote": "b", "udp": 999, "mode": "datagram"}
        rest["taken"] = at + 30 * MS
        return MediaPacket(**common, **rest, arrivals=(Arrival(at + 30 * MS, "eth", "a", 999),))  # type: ignore[arg-type]

    packets = [packet(number) for number in range(3)]

    def run(data: bytes) -> None:
        kept = {0: payloads[0], 1: data, 2: payloads[1]}
        film.watch(packets, lambda one: kept[one.seq], opened=0, closed=200 * MS)

    return Ready(run, payloads)


@target("heard_json", "json", share=0.6)
def heard_json(_: Path) -> Ready:
    """``heard.json``: HarnessError; what is taken is written back to an equal list."""

    def run(data: bytes) -> None:
        with refusing(HarnessError):
            found = recording.decode(data)
            need(recording.decode(recording.encode(found)) == found, "it does not come back as itself")

    return Ready(run, [recordings()])


def recordings() -> bytes:
    """One of each kind."""
    sound = {"ogg": "bob-heard.ogg", "spectrogram": "bob-heard.png", "wav": "bob-heard.wav"}
    common = {"listener": "bob", "speaker": "alice", "call": "c", "starts_ns": 1001 * 10**9, "duration_ns": 10**9}
    one = recording.Recording(**common, flow="audio", files=sound, concealed=((1, 2),), figures={"played": 3})  # type: ignore[arg-type]
    other = recording.Recording(**common, flow="video", files={"film": "bob-seen.webm"}, note="a note")  # type: ignore[arg-type]
    return recording.encode([one, other])
