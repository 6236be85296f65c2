"""What a listener heard: the Opus packets that really came to it, played out as the verdicts count them.

The buffer is the verdicts': a packet that is late by at most the deadline (``MediaPacket.late``) is played, a later one is not, so what
sounds lost is what is counted as lost.  A missing frame is concealed by libopus, faded as ITU-T G.711 Appendix I fades: whole for 10 ms,
then 20 % less every 10 ms, silence from 60 ms on.  Where nothing was due there is silence.

**Time.**  A sample's place is call time: sample n sounds at ``opened + n / 48 kHz``.  A real buffer would play everything one deadline
after it was due; here playing is put back by the buffer's share of that, to when a packet of median delay is taken.  A hole in the sound
thus lies under the gap in the arrivals that made it.  The codec's own 6.5 ms of look-ahead are left in, as they would be in a call.

Nothing is believed: the packets come from an agent's file, and one that cannot be decoded is concealed and counted.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from statistics import median_low

import msgspec

from harness.media.opus import FRAME_BYTES, SAMPLES, SILENCE, OpusDecoder
from harness.media.records import MediaPacket

RATE = 48_000
FRAME_NS = 20_000_000
LONGEST = 600 * 1_000_000_000
"""ns of sound that are written at most: 58 MB."""
_FADE = 3  # frames until a concealed sound has died away
_SECOND = 1_000_000_000

Stretch = tuple[int, int]
"""From and to, ns of CLOCK_MONOTONIC."""


class SoundFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over the packets offered in the window, in the words of W3C webrtc-stats where it has them.

    ``played``: decoded in time.  ``concealed_samples``: made up, the silent ones included; ``concealment_events``: runs of them.
    ``not_kept``: came in time, but the listener left no bytes of them.  ``undecodable``: not an Opus packet of 20 ms.
    """

    offered: int = 0
    played: int = 0
    concealed_samples: int = 0
    silent_concealed_samples: int = 0
    concealment_events: int = 0
    not_kept: int = 0
    undecodable: int = 0


class Listened(msgspec.Struct, frozen=True, kw_only=True):
    """``pcm``: 16-bit mono samples at ``RATE`` from ``starts``.  ``spoken`` and ``concealed``: stretches offered, and made up."""

    pcm: bytes
    starts: int
    spoken: tuple[Stretch, ...]
    concealed: tuple[Stretch, ...]
    figures: SoundFigures

    @property
    def duration(self) -> int:
        """How long it is, ns."""
        return len(self.pcm) // 2 * _SECOND // RATE


def listen(
    packets: Sequence[MediaPacket],
    payload: Callable[[MediaPacket], bytes | None],
    *,
    opened: int,
    closed: int,
    deadline: int | None,
) -> Listened:
    """Decode one audio flow in one direction.  ``payload``: the bytes that the listener left of a packet that came, or None.

    ``opened``, ``closed``: the window to be written, ns; packets of before it only prepare the decoder.  ``deadline``: as in the verdicts.
    """
    closed = min(closed, opened + LONGEST)
    pcm = bytearray(2 * ((closed - opened) * RATE // _SECOND))
    heard = [packet for packet in packets if packet.heard_by(deadline)]
    shift = median_low([(packet.taken or 0) - packet.offered for packet in heard]) if heard else 0
    counts: dict[str, int] = dict.fromkeys(("", *SoundFigures.__struct_fields__), 0)
    spoken: list[Stretch] = []
    concealed: list[Stretch] = []
    for _, group in groupby(sorted(packets, key=lambda packet: (packet.ssrc, packet.index)), key=lambda packet: packet.ssrc):
        own = list(group)
        decoder = OpusDecoder()
        missing = 0
        for packet, at in zip(own, _moments(own), strict=True):
            sound, why = _decoded(packet, payload, decoder, deadline)
            missing = 0 if sound is not None else missing + 1
            samples = sound if sound is not None else _faded(decoder, missing)
            place = (at + shift - opened) * RATE // _SECOND
            _lay(pcm, samples, place)
            start = opened + place * _SECOND // RATE
            if opened <= packet.offered <= closed:
                counts["offered"] += 1
                counts[why] += 1
                if sound is None:
                    counts["concealed_samples"] += SAMPLES
                    counts["silent_concealed_samples"] += SAMPLES * (missing > _FADE)
                    counts["concealment_events"] += missing == 1 or counts["offered"] == 1
            _stretch(spoken, start, opened, closed)
            if sound is None:
                _stretch(concealed, start, opened, closed)
    del counts[""]
    figures = SoundFigures(**counts)
    return Listened(pcm=bytes(pcm), starts=opened, spoken=tuple(sorted(spoken)), concealed=tuple(sorted(concealed)), figures=figures)


def _moments(packets: Sequence[MediaPacket]) -> Iterable[int]:
    """When each packet was owed (ns), by its RTP timestamp: a source that was stalled offers late, and its sound is none the later."""
    elapsed: list[int] = []
    clock = 0
    last = packets[0].rtp
    for packet in packets:
        step = (packet.rtp - last) & 0xFFFF_FFFF
        clock += step - 0x1_0000_0000 if step >= 0x8000_0000 else step
        last = packet.rtp
        elapsed.append(clock * _SECOND // RATE)
    began = min(packet.offered - since for packet, since in zip(packets, elapsed, strict=True))
    return [began + since for since in elapsed]


def _decoded(
    packet: MediaPacket, payload: Callable[[MediaPacket], bytes | None], decoder: OpusDecoder, deadline: int | None
) -> tuple[bytes | None, str]:
    """The frame's samples and "played", or None and why (the name of a count, or nothing for a packet that was lost)."""
    if not packet.heard_by(deadline):
        return None, ""
    data = payload(packet)
    if data is None:
        return None, "not_kept"
    samples = decoder.decode(data)
    return (None, "undecodable") if samples is None else (samples, "played")


def _faded(decoder: OpusDecoder, missing: int) -> bytes:
    """The ``missing``-th frame in a row that is made up."""
    if missing > _FADE:
        return SILENCE
    import numpy as np

    at = (np.arange(SAMPLES) + (missing - 1) * SAMPLES) * 1000 / RATE  # ms
    gain = np.clip(1.2 - at / 50, 0, 1)
    concealed = np.frombuffer(decoder.conceal(), "<i2") * gain
    return concealed.astype("<i2").tobytes()


def _lay(pcm: bytearray, samples: bytes, place: int) -> None:
    """Put ``samples`` at sample ``place``; what lies outside is cut off."""
    start, end = 2 * place, 2 * place + FRAME_BYTES
    low, high = max(start, 0), min(end, len(pcm))
    if low < high:
        pcm[low:high] = samples[low - start : high - start]


def _stretch(stretches: list[Stretch], start: int, opened: int, closed: int) -> None:
    """Add the frame at ``start`` to the last stretch, or begin another."""
    low, high = max(start, opened), min(start + FRAME_NS, closed)
    if low >= high:
        return
    if stretches and 0 <= low - stretches[-1][1] <= _SECOND // RATE + 1:  # a sample's time is no whole number of ns
        stretches[-1] = (stretches[-1][0], high)
    else:
        stretches.append((low, high))


def wav(pcm: bytes) -> bytes:
    """16-bit mono samples at ``RATE`` as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm)
    return file.getvalue()
