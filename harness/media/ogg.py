"""Opus in an Ogg file (RFC 7845), in memory, both ways, by PyAV.  ModuleNotFoundError without the extra ``media``."""

from __future__ import annotations

import io

RATE = 48_000


def write_opus(pcm: bytes, *, rate: int, kbps: int) -> bytes:
    """16-bit mono samples as an Ogg Opus file of about ``kbps``; none at all as 20 ms of silence, since an empty file plays nowhere."""
    import av

    pcm = pcm or bytes(2 * (rate // 50))
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = kbps * 1000
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE, frame_size=RATE // 50)
        for frame in [*resampler.resample(_frame(pcm, rate)), *resampler.resample(None)]:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def read_opus(data: bytes) -> bytes:
    """The 16-bit mono samples at ``RATE`` of an Ogg Opus file of the project's own."""
    import av

    with av.open(io.BytesIO(data), "r", format="ogg") as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frames = [resampled for frame in container.decode(audio=0) for resampled in resampler.resample(frame)]
        frames += resampler.resample(None)
    return b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in frames)


def _frame(pcm: bytes, rate: int):  # type: ignore[no-untyped-def]
    import av

    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.sample_rate = rate
    frame.pts = 0
    frame.planes[0].update(pcm)
    return frame
