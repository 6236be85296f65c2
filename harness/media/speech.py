"""The counting voice as a source: ``SyntheticAudio``'s schedule and numbers, with Opus in its packets.

The voice starts at "one" with the source, goes round every ``voice.SECONDS``, and stands still while the source does.  Each frame is
encoded when it is offered, which takes some 0.1 ms, by an encoder that lives as long as the source.
"""

from __future__ import annotations

from importlib.resources import files

from harness.media.ogg import read_opus
from harness.media.opus import FRAME_BYTES, KBPS, OpusEncoder
from harness.media.source import AUDIO_PAYLOAD_TYPE, AudioSource

FILE = "speech.ogg"


def voice() -> bytes:
    """The voice as 48 kHz 16-bit mono samples, whole frames of 20 ms."""
    pcm = read_opus((files("harness.media") / FILE).read_bytes())
    return pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES]


class SpeechAudio(AudioSource):
    """50 Opus packets a second.  ``pcm``: what is said, over and over.  ``kbps``: of the encoder, ValueError when Opus has no such rate."""

    def __init__(
        self,
        *,
        start: int,
        ssrc: int,
        sequence: int,
        timestamp: int,
        pcm: bytes,
        kbps: int = KBPS,
        payload_type: int = AUDIO_PAYLOAD_TYPE,
    ) -> None:
        super().__init__(start=start, ssrc=ssrc, sequence=sequence, timestamp=timestamp, payload_type=payload_type)
        self._pcm = pcm
        self._encoder = OpusEncoder(kbps)

    def _payload(self, frame: int, now: int) -> bytes:
        at = frame * FRAME_BYTES % len(self._pcm)
        return self._encoder.encode(self._pcm[at : at + FRAME_BYTES])
