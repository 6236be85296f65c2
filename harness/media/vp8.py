"""VP8 in RTP (RFC 7741), by libvpx through PyAV, which is imported when an encoder or decoder is made, and no sooner.

Every packet begins with a payload descriptor of four bytes that holds a picture id of 15 bits.  libavcodec does not change the bitrate of
an encoder that runs, so a new bitrate is a new encoder (some 2 ms), and its first frame a key frame.
"""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from harness.media.picture import HEIGHT, WIDTH, Picture
from harness.media.source import VIDEO_KBPS, VIDEO_LARGEST_PACKET, VIDEO_PAYLOAD_TYPE, VIDEO_RATE, FrameKind, VideoSource

if TYPE_CHECKING:
    import av

_DESCRIPTOR = struct.Struct("!BBH")
_EXTENDED, _START, _PICTURE_ID, _LONG_ID = 0x80, 0x10, 0x80, 0x8000
_LARGEST_KEY_FRAME = "300"  # percent of a frame's share of the bitrate


class Vp8Encoder:
    """Pictures of ``picture.WIDTH × HEIGHT`` in grey to VP8 frames of ``kbps`` at 30 a second, in real time (some 1 ms each)."""

    def __init__(self, kbps: int) -> None:
        import av

        codec = av.CodecContext.create("libvpx", "w")
        codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        codec.time_base = Fraction(1, VIDEO_RATE)
        codec.framerate = Fraction(VIDEO_RATE)
        codec.bit_rate = kbps * 1000
        codec.gop_size = 1 << 20  # key frames are made when they are asked for
        codec.thread_count = 1
        rate = str(kbps * 1000)
        codec.options = {
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
            "minrate": rate,
            "maxrate": rate,
            "bufsize": str(kbps * 600),
            "undershoot-pct": "50",
            "overshoot-pct": "50",
            "max-intra-rate": _LARGEST_KEY_FRAME,
        }
        codec.open()
        self._codec = codec
        self._frame = av.VideoFrame
        self._key = av.video.frame.PictureType.I
        self._at = 0

    def encode(self, luma: bytes, *, key: bool) -> bytes:
        """The VP8 frame for a picture."""
        frame = self._frame(WIDTH, HEIGHT, "yuv420p")
        grey, *colours = frame.planes
        grey.update(_padded(luma, WIDTH, grey.line_size, grey.buffer_size))
        for plane in colours:
            plane.update(b"\x80" * plane.buffer_size)
        frame.pts = self._at
        self._at += 1
        if key:
            frame.pict_type = self._key
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


class Vp8Video(VideoSource):
    """``picture.Picture`` as VP8.  A bitrate below what the picture needs at libvpx's coarsest (some 60 kbit/s) is not reached."""

    def __init__(
        self,
        *,
        start: int,
        ssrc: int,
        sequence: int,
        timestamp: int,
        rng: random.Random,
        kbps: int = VIDEO_KBPS,
        payload_type: int = VIDEO_PAYLOAD_TYPE,
        largest: int = VIDEO_LARGEST_PACKET,
    ) -> None:
        self._encoder: Vp8Encoder | None = None
        super().__init__(
            start=start, ssrc=ssrc, sequence=sequence, timestamp=timestamp, kbps=kbps, payload_type=payload_type, largest=largest
        )
        self._picture = Picture(rng)
        self._picture_id = rng.getrandbits(15)

    def _rate_changed(self) -> None:
        self._encoder = None
        self.request_key_frame()

    def _payloads(self, kind: FrameKind, frame: int, now: int) -> list[bytes]:
        if self._encoder is None:
            self._encoder = Vp8Encoder(self.kbps)
        encoded = self._encoder.encode(self._picture.draw(frame, self.kbps), key=kind == "key")
        return packetize(encoded, self._picture_id + frame, self._room)


class Descriptor(NamedTuple):
    """What a payload descriptor says; ``start``: the first packet of the frame.  ``picture_id`` None: there is none."""

    start: bool
    picture_id: int | None
    size: int


def packetize(frame: bytes, picture_id: int, room: int) -> list[bytes]:
    """A VP8 frame as RTP payloads of nearly equal size, ``room`` bytes each at most."""
    share = room - _DESCRIPTOR.size
    count = max(1, -(-len(frame) // share))
    edges = [len(frame) * n // count for n in range(count + 1)]
    head = (_PICTURE_ID, _LONG_ID | picture_id & 0x7FFF)
    return [_DESCRIPTOR.pack(_EXTENDED | (_START if n == 0 else 0), *head) + frame[edges[n] : edges[n + 1]] for n in range(count)]


def describe(payload: bytes) -> Descriptor | None:
    """The descriptor at the head of ``payload``, bytes from the network; None when it does not hold a whole one (RFC 7741 §4.2)."""
    if not payload:
        return None
    first, at = payload[0], 1
    picture_id = None
    if first & 0x80:
        if len(payload) < 2:
            return None
        extensions, at = payload[1], 2
        if extensions & 0x80:
            if len(payload) < 4:
                return None
            long = payload[2] & 0x80
            picture_id = int.from_bytes(payload[2:4]) & 0x7FFF if long else payload[2]
            at += 2 if long else 1
        at += bool(extensions & 0x40) + bool(extensions & 0x30)
    if at > len(payload):
        return None
    return Descriptor(bool(first & 0x10) and not first & 0x07, picture_id, at)


def depacketize(payloads: list[bytes]) -> bytes | None:
    """The VP8 frame in all of its payloads, in order; None when they are not one frame."""
    parts = []
    for n, payload in enumerate(payloads):
        described = describe(payload)
        if described is None or described.start != (n == 0):
            return None
        parts.append(payload[described.size :])
    return b"".join(parts) or None


def is_key_frame(frame: bytes) -> bool:
    """Whether a VP8 frame can be decoded alone (RFC 6386 §9.1)."""
    return bool(frame) and not frame[0] & 1


def size(frame: bytes) -> tuple[int, int] | None:
    """Width and height by a key frame's own head (RFC 6386 §9.1); None without one.  A decoder makes room for what it says: up to 1 GB."""
    if frame[3:6] != b"\x9d\x01\x2a" or len(frame) < 10:
        return None
    return int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF


class Vp8Decoder:
    """VP8 frames to pictures."""

    def __init__(self) -> None:
        import av

        self._packet = av.Packet
        self._failed = av.error.FFmpegError
        self._codec = av.CodecContext.create("libvpx", "r")
        self._codec.thread_count = 1

    def decode(self, frame: bytes) -> av.VideoFrame | None:
        """The picture of ``frame``, bytes from the network; None when it cannot be decoded, or is not of the size that is sent."""
        if not frame or (is_key_frame(frame) and size(frame) != (WIDTH, HEIGHT)):
            return None
        try:
            pictures = self._codec.decode(self._packet(frame))
        except self._failed:
            return None
        if not pictures or (pictures[-1].width, pictures[-1].height) != (WIDTH, HEIGHT):
            return None
        return pictures[-1]


def luma(picture: av.VideoFrame) -> bytes:
    """The grey of a decoded picture, ``WIDTH × HEIGHT`` bytes."""
    plane = picture.planes[0]
    data = bytes(plane)
    if plane.line_size == WIDTH:
        return data[: WIDTH * HEIGHT]
    return b"".join(data[row * plane.line_size : row * plane.line_size + WIDTH] for row in range(HEIGHT))


def _padded(data: bytes, width: int, line: int, size: int) -> bytes:
    """Rows of ``width`` as rows of ``line`` bytes, ``size`` in all."""
    if line != width:
        data = b"".join(data[at : at + width].ljust(line, b"\0") for at in range(0, len(data), width))
    return data.ljust(size, b"\0")[:size]
