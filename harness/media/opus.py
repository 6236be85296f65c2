"""Opus in RTP (RFC 7587): 48 kHz, mono, 20 ms a packet, one packet a frame, by libopus through PyAV.

``PyAV`` is imported when an encoder or decoder is made, and no sooner: whoever sends synthetic media does not need it.

Loss is concealed by libopus itself.  A packet that is nothing but its first byte holds one frame of length 0, which means that no frame is
there, "due to discontinuous transmission (DTX) or because the packet was lost" (RFC 6716 §3.2.1); libopus then goes on from what it decoded
last.  In-band FEC is not sent: libavcodec has no way to ask libopus for the copy of a lost frame in the next packet.
"""

from __future__ import annotations

SAMPLES = 960
"""Of one packet: 20 ms at 48 kHz."""
FRAME_BYTES = 2 * SAMPLES
SILENCE = bytes(FRAME_BYTES)
KBPS = 24
LARGEST_PACKET = 1275
"""Bytes of one frame (RFC 6716 §3.2.1)."""


class OpusEncoder:
    """16-bit mono frames of 20 ms to packets; ``kbps`` from 6 to 510 (RFC 6716 §2.1.1), ValueError beyond."""

    def __init__(self, kbps: int = KBPS) -> None:
        if not 6 <= kbps <= 510:
            raise ValueError(f"{kbps} kbit/s of Opus; allowed is 6 to 510")
        import av

        self._frame = av.AudioFrame
        codec = av.CodecContext.create("libopus", "w")
        codec.sample_rate = 48_000
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = kbps * 1000
        codec.options = {"application": "voip", "frame_duration": "20"}
        codec.open()
        self._codec = codec
        self._at = 0

    def encode(self, pcm: bytes) -> bytes:
        """The packet for ``FRAME_BYTES`` of samples."""
        frame = self._frame(format="s16", layout="mono", samples=SAMPLES)
        frame.sample_rate = 48_000
        frame.pts = self._at
        self._at += SAMPLES
        frame.planes[0].update(pcm)
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


class OpusDecoder:
    """Packets to 16-bit mono frames of 20 ms, each ``FRAME_BYTES`` long."""

    def __init__(self) -> None:
        import av

        self._packet = av.Packet
        self._failed = av.error.FFmpegError
        codec = av.CodecContext.create("libopus", "r")
        codec.sample_rate = 48_000
        codec.layout = "mono"
        codec.open()
        self._codec = codec
        self._last: int | None = None

    def decode(self, payload: bytes) -> bytes | None:
        """The samples of ``payload``, bytes from the network; None when it is no Opus packet of 20 ms."""
        if duration(payload) != SAMPLES or len(payload) > LARGEST_PACKET + 2:
            return None
        samples = self._decode(payload)
        if samples is not None:
            self._last = payload[0]
        return samples

    def conceal(self) -> bytes:
        """What stands in for a frame that did not come; silence when none came yet."""
        if self._last is None:
            return SILENCE
        return self._decode(bytes([self._last & ~3])) or SILENCE

    def _decode(self, payload: bytes) -> bytes | None:
        try:
            frames = self._codec.decode(self._packet(payload))
        except self._failed:
            return None
        samples = b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in frames)
        return samples if len(samples) == FRAME_BYTES else None


def duration(payload: bytes) -> int | None:
    """How many samples at 48 kHz an Opus packet says that it holds, by its first byte or two (RFC 6716 §3.1); None for no packet."""
    if not payload:
        return None
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = 120 << (config & 3)
    if code == 3:
        return frame * (payload[1] & 0x3F) if len(payload) > 1 else None
    return frame * (1 if code == 0 else 2)
