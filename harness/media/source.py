"""What a camera and a microphone would give the stack: synthetic RTP packets on a schedule that does not drift.

Pure: a source is asked ``due`` (when is the next packet owed) and told ``take(now)`` (hand over all that is owed).  Packet ``n`` is owed at
``start + n × interval`` whatever happened before, so a late wake-up delays what it delays and shifts nothing after it.  A source never
skips: after a stall it hands over all that it owes, each packet stamped with the time at which it really was offered, because a microphone
whose process was stalled has recorded all the same.  One that was switched off has not: ``go_on(now)`` begins the schedule anew, numbers
go on, and RTP timestamps jump by the pause (RFC 3550 §5.1: they tell when a packet was sampled).

A packet's payload says what it is (``Payload``): four bytes of magic that name the kind of frame, the frame's index, the time at which it
was offered, then filler from the source's own generator, so a record can be traced to the frame it came from without trusting either
agent's counters, and no two packets are alike.
"""

from __future__ import annotations

import random
import struct
from typing import Literal, NamedTuple, Protocol

from harness.rtp.packet import AUDIO_CLOCK, HEADER, VIDEO_CLOCK, RtpPacket

SECOND = 1_000_000_000

AUDIO_INTERVAL = 20_000_000
AUDIO_PAYLOAD_TYPE = 111
AUDIO_PAYLOAD_BYTES = 80
VIDEO_RATE = 30
VIDEO_PAYLOAD_TYPE = 96
VIDEO_KBPS = 400
VIDEO_LARGEST_PACKET = 1100
KEY_FRAME_EVERY = 60
KEY_FRAME_WEIGHT = 3

_STAMP = struct.Struct("!4sIQ")
_FILLER_BYTES = 8192
PAYLOAD_BYTES = (_STAMP.size, _FILLER_BYTES)
"""How many bytes a packet of audio may carry: from, to."""
FrameKind = Literal["audio", "delta", "key"]
_MAGIC: dict[FrameKind, bytes] = {"audio": b"QCHA", "delta": b"QCHV", "key": b"QCHK"}
_KIND: dict[bytes, FrameKind] = {magic: kind for kind, magic in _MAGIC.items()}


class Payload(NamedTuple):
    """The stamp at the head of every synthetic payload (16 bytes, network order): magic, u32 frame index, u64 offered (monotonic ns)."""

    kind: FrameKind
    frame: int
    offered: int


class SourcePacket(NamedTuple):
    """One RTP packet as it is offered to the stack.

    ``data``: the whole RTP packet.  ``sequence`` (16 bit), ``timestamp`` (32 bit) and ``marker`` repeat its header; ``frame`` counts the
    source's frames from 0; ``due`` is when the schedule owed it and ``offered`` when it was handed over (monotonic ns, ``offered >= due``).
    """

    data: bytes
    sequence: int
    timestamp: int
    marker: bool
    frame: int
    due: int
    offered: int


class Source(Protocol):
    """What the driver needs of any source."""

    ssrc: int

    @property
    def due(self) -> int:
        """When the next packet is owed, monotonic ns."""

    def take(self, now: int) -> list[SourcePacket]:
        """All packets owed at ``now``, oldest first; none twice."""

    def go_on(self, now: int) -> None:
        """After a pause: the next packet is owed at ``now``, unless it is due later anyway; nothing is owed for the time between."""

    def request_key_frame(self) -> None:
        """Ask for a frame that can be decoded alone; nothing to do for audio."""


def read_payload(payload: bytes) -> Payload | None:
    """The stamp of a synthetic payload, or None for any other payload (a real codec, a foreign agent)."""
    if len(payload) < _STAMP.size:
        return None
    magic, frame, offered = _STAMP.unpack_from(payload)
    kind = _KIND.get(magic)
    return None if kind is None else Payload(kind, frame, offered)


class _Filler:
    """Seeded bytes, made once: slices of one random block, at an offset that changes with every packet."""

    def __init__(self, rng: random.Random) -> None:
        self._block = rng.randbytes(_FILLER_BYTES)
        self._at = 0

    def take(self, count: int) -> bytes:
        self._at = (self._at + 61) % (_FILLER_BYTES - count) if count < _FILLER_BYTES else 0
        return self._block[self._at : self._at + count]


class AudioSource:
    """50 packets a second on RTP's 48 kHz clock, one packet a frame; what is in them is ``_payload``'s.

    The first packet, also after a pause, carries the marker: a talk spurt begins (RFC 3551 §4.1).

    ``start``: when the first packet is owed (monotonic ns).  ``sequence`` and ``timestamp`` are the first packet's (RFC 3550 §5.1 wants
    them random; the caller's generator decides).
    """

    def __init__(self, *, start: int, ssrc: int, sequence: int, timestamp: int, payload_type: int) -> None:
        self.ssrc = ssrc
        self._start = start
        self._sequence = sequence
        self._timestamp = timestamp
        self._payload_type = payload_type
        self._frame = 0
        self._spurt = 0

    def _payload(self, frame: int, now: int) -> bytes:
        """What packet ``frame``, offered at ``now``, holds; asked for once each, in order."""
        raise NotImplementedError

    @property
    def due(self) -> int:
        """When the next packet is owed, monotonic ns."""
        return self._start + self._frame * AUDIO_INTERVAL

    def take(self, now: int) -> list[SourcePacket]:
        """All packets owed at ``now``, oldest first."""
        packets = []
        while (due := self.due) <= now:
            frame = self._frame
            sequence = (self._sequence + frame) & 0xFFFF
            timestamp = (self._timestamp + frame * (AUDIO_CLOCK // 50)) & 0xFFFFFFFF
            first = frame == self._spurt
            data = RtpPacket(
                payload_type=self._payload_type,
                sequence=sequence,
                timestamp=timestamp,
                ssrc=self.ssrc,
                marker=first,
                payload=self._payload(frame, now),
            ).encode()
            packets.append(SourcePacket(data, sequence, timestamp, first, frame, due, now))
            self._frame = frame + 1
        return packets

    def go_on(self, now: int) -> None:
        """After a pause, a talk spurt that begins at ``now``."""
        pause = now - self.due
        if pause > 0:
            self._start += pause
            self._timestamp += pause * AUDIO_CLOCK // SECOND
            self._spurt = self._frame

    def request_key_frame(self) -> None:
        """Every audio frame stands alone: nothing to do."""


class SyntheticAudio(AudioSource):
    """Packets of ``payload_bytes`` each: a stamp and filler.  ValueError if ``payload_bytes`` cannot hold the stamp."""

    def __init__(
        self,
        *,
        start: int,
        ssrc: int,
        sequence: int,
        timestamp: int,
        rng: random.Random,
        payload_bytes: int = AUDIO_PAYLOAD_BYTES,
        payload_type: int = AUDIO_PAYLOAD_TYPE,
    ) -> None:
        if not _STAMP.size <= payload_bytes <= _FILLER_BYTES:
            raise ValueError(f"payload_bytes {payload_bytes} is out of range; allowed is {_STAMP.size} to {_FILLER_BYTES}")
        super().__init__(start=start, ssrc=ssrc, sequence=sequence, timestamp=timestamp, payload_type=payload_type)
        self._filler_bytes = payload_bytes - _STAMP.size
        self._filler = _Filler(rng)

    def _payload(self, frame: int, now: int) -> bytes:
        return _STAMP.pack(_MAGIC["audio"], frame & 0xFFFFFFFF, now) + self._filler.take(self._filler_bytes)


class VideoSource:
    """30 frames a second on RTP's 90 kHz clock, cut into packets of at most ``largest`` bytes of RTP; what is in them is ``_payloads``'s.

    The marker is on each frame's last packet (RFC 3551 §4.1).  Every 60th frame, and the next one after ``request_key_frame``, is a key
    frame.  ``kbps`` is the wanted payload bitrate (set it at any time).  A frame's packets are owed together.
    """

    def __init__(self, *, start: int, ssrc: int, sequence: int, timestamp: int, kbps: int, payload_type: int, largest: int) -> None:
        self._room = largest - HEADER.size
        if not _STAMP.size <= self._room <= _FILLER_BYTES:
            raise ValueError(f"largest {largest} is out of range; allowed is {HEADER.size + _STAMP.size} to {HEADER.size + _FILLER_BYTES}")
        self.ssrc = ssrc
        self.kbps = kbps
        self._start = start
        self._sequence = sequence
        self._timestamp = timestamp
        self._payload_type = payload_type
        self._frame = 0
        self._since_key = 0
        self._packets = 0

    def _payloads(self, kind: FrameKind, frame: int, now: int) -> list[bytes]:
        """What the packets of ``frame``, offered at ``now``, hold, ``_room`` bytes each at most; asked for once each, in order."""
        raise NotImplementedError

    @property
    def kbps(self) -> int:
        """The wanted payload bitrate, kbit/s; ValueError below 1."""
        return self._kbps

    @kbps.setter
    def kbps(self, value: int) -> None:
        if value < 1:
            raise ValueError(f"kbps {value} is out of range; allowed is 1 and above")
        changed = value != getattr(self, "_kbps", value)
        self._kbps = value
        if changed:
            self._rate_changed()

    def _rate_changed(self) -> None:
        """``kbps`` is another from the next frame on."""

    @property
    def due(self) -> int:
        """When the next frame is owed, monotonic ns."""
        return self._start + self._frame * SECOND // VIDEO_RATE

    def request_key_frame(self) -> None:
        """Make the next frame a key frame, and count the period of 60 from it."""
        self._since_key = 0

    def go_on(self, now: int) -> None:
        """After a pause, a key frame at ``now``."""
        pause = now - self.due
        if pause > 0:
            self._start += pause
            self._timestamp += pause * VIDEO_CLOCK // SECOND
            self.request_key_frame()

    def take(self, now: int) -> list[SourcePacket]:
        """All packets owed at ``now``, oldest first; a frame is never split between two calls."""
        packets: list[SourcePacket] = []
        while (due := self.due) <= now:
            kind: FrameKind = "delta" if self._since_key else "key"
            packets += self._cut(self._payloads(kind, self._frame, now), due, now)
            self._frame += 1
            self._since_key = (self._since_key + 1) % KEY_FRAME_EVERY
        return packets

    def _cut(self, payloads: list[bytes], due: int, now: int) -> list[SourcePacket]:
        timestamp = (self._timestamp + self._frame * (VIDEO_CLOCK // VIDEO_RATE)) & 0xFFFFFFFF
        packets = []
        for index, payload in enumerate(payloads):
            sequence = (self._sequence + self._packets) & 0xFFFF
            self._packets += 1
            last = index == len(payloads) - 1
            data = RtpPacket(
                payload_type=self._payload_type, sequence=sequence, timestamp=timestamp, ssrc=self.ssrc, marker=last, payload=payload
            ).encode()
            packets.append(SourcePacket(data, sequence, timestamp, last, self._frame, due, now))
        return packets


class SyntheticVideo(VideoSource):
    """Stamps and filler.

    A key frame has three times a delta frame's size; delta frames are sized so that the payload over one period of 60 comes to ``kbps``.
    """

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
        super().__init__(
            start=start, ssrc=ssrc, sequence=sequence, timestamp=timestamp, kbps=kbps, payload_type=payload_type, largest=largest
        )
        self._filler = _Filler(rng)

    def _payloads(self, kind: FrameKind, frame: int, now: int) -> list[bytes]:
        """One frame as packets of nearly equal size (never less than a stamp each)."""
        delta = self.kbps * 1000 * KEY_FRAME_EVERY // (8 * VIDEO_RATE * (KEY_FRAME_EVERY - 1 + KEY_FRAME_WEIGHT))
        size = delta * (KEY_FRAME_WEIGHT if kind == "key" else 1)
        count = max(1, -(-size // self._room))
        stamp = _STAMP.pack(_MAGIC[kind], frame & 0xFFFFFFFF, now)
        shares = [size * (index + 1) // count - size * index // count for index in range(count)]
        return [stamp + self._filler.take(max(0, share - _STAMP.size)) for share in shares]
