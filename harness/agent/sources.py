"""Which source a flow gets: synthetic packets, or what real codecs make (``--media``).

An audio source that is asked for packets of an exact size is synthetic in every run: no codec makes those.
"""

from __future__ import annotations

import random

from harness.media.kinds import MediaKind
from harness.media.source import Source, SyntheticAudio, SyntheticVideo


class SourceRefused(ValueError):  # noqa: N818 - an answer
    """A source that cannot be started or stopped as asked."""


class Repertoire:
    """Makes sources for ``kind`` of media.  Real ones are prepared here and now (some 100 ms), so that none of it happens in a call.

    ModuleNotFoundError when real media are asked for and their libraries are not there (``kinds.lacking``).
    """

    def __init__(self, kind: MediaKind = "synthetic") -> None:
        self.kind = kind
        self._voice = b""
        if kind != "synthetic":
            from harness.media.opus import OpusEncoder
            from harness.media.speech import voice

            self._voice = voice()
            OpusEncoder()
        if kind == "video":
            from harness.media.vp8 import Vp8Encoder

            Vp8Encoder(1)

    def source(self, flow: str, *, kbps: int | None, payload_bytes: int | None, rng: random.Random, now: int) -> Source:
        """A source for ``flow`` whose first packet is owed at ``now``; SourceRefused when there is none such."""
        if payload_bytes is not None and (flow != "audio" or kbps is not None):
            raise SourceRefused(
                f"payload_bytes {payload_bytes} is for audio, and instead of a bitrate; {flow} was asked for at {kbps} kbit/s"
            )
        try:
            if flow == "audio":
                return self._audio(kbps, payload_bytes, rng, now)
            if flow in ("video", "screen"):
                return self._video(kbps, rng, now)
        except ValueError as error:
            raise SourceRefused(f"{flow}: {error}") from None
        raise SourceRefused(f"there is no source for flow {flow}; there is one for audio, video and screen")

    def _audio(self, kbps: int | None, payload_bytes: int | None, rng: random.Random, now: int) -> Source:
        ssrc, sequence, timestamp = rng.getrandbits(32), rng.getrandbits(16), rng.getrandbits(32)
        if self.kind == "synthetic" or payload_bytes is not None:
            size = payload_bytes if kbps is None else kbps * 1000 // (8 * 50)
            given = {} if size is None else {"payload_bytes": size}
            return SyntheticAudio(start=now, ssrc=ssrc, sequence=sequence, timestamp=timestamp, rng=rng, **given)
        from harness.media.speech import SpeechAudio

        rate = {} if kbps is None else {"kbps": kbps}
        return SpeechAudio(start=now, ssrc=ssrc, sequence=sequence, timestamp=timestamp, pcm=self._voice, **rate)

    def _video(self, kbps: int | None, rng: random.Random, now: int) -> Source:
        ssrc, sequence, timestamp = rng.getrandbits(32), rng.getrandbits(16), rng.getrandbits(32)
        rate = {} if kbps is None else {"kbps": kbps}
        if self.kind != "video":
            return SyntheticVideo(start=now, ssrc=ssrc, sequence=sequence, timestamp=timestamp, rng=rng, **rate)
        from harness.media.vp8 import Vp8Video

        return Vp8Video(start=now, ssrc=ssrc, sequence=sequence, timestamp=timestamp, rng=rng, **rate)
