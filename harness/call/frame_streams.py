"""Media in stream mode: every RTP frame (the packets of one timestamp) on a unidirectional stream of its own.

A stream is reset with 0x05 when its frame's time is over before all of it was delivered, so that after an outage nothing stale is repeated.
A frame is handed to aioquic only when no earlier stream still has something to send: so the order of the media queue holds here as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.call.media_queue import CLASSES, URGENT, Waiting
from harness.call.quic import Core
from harness.call.roq import FLOW_IDS, RoqCode, encode_stream_packet, encode_varint
from harness.rtp.packet import HEADER


@dataclass(slots=True)
class _FrameStream:
    """An outgoing stream that carries one RTP frame; ``finished`` when its end has been written."""

    number: int
    flow: str
    timestamp: int
    expires: int
    finished: bool = False


class FrameStreams:
    """The outgoing frame streams of one connection.  Methods that give packets up return their tokens."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._streams: list[_FrameStream] = []

    def __len__(self) -> int:
        return len(self._streams)

    def has_room(self, entry: Waiting) -> bool:
        """Whether ``entry`` may be handed over now."""
        if any(self._core.stream_waits(stream.number) for stream in self._streams):
            return False
        return self._stream_of(entry) is not None or self._core.can_open_stream()

    def write(self, entry: Waiting) -> None:
        """Write a packet to its frame's stream; a packet with the marker, and any packet of audio, ends its frame."""
        _, second, _, timestamp, _ = HEADER.unpack_from(entry.packet)
        ends = bool(second & 0x80) or CLASSES[entry.flow] == URGENT
        data = encode_stream_packet(entry.packet)
        stream = self._stream_of(entry)
        if stream is None:
            for earlier in self._streams:
                if earlier.flow == entry.flow and not earlier.finished:
                    earlier.finished = True
                    self._core.send_stream_data(earlier.number, b"", end_stream=True)
            number = self._core.get_next_available_stream_id(is_unidirectional=True)
            data = encode_varint(FLOW_IDS[entry.flow]) + data
            stream = _FrameStream(number, entry.flow, timestamp, entry.expires)
            self._streams.append(stream)
        self._core.write_packet(stream.number, data, entry.token, end=ends)
        stream.finished = ends
        stream.expires = max(stream.expires, entry.expires)

    def _stream_of(self, entry: Waiting) -> _FrameStream | None:
        timestamp = HEADER.unpack_from(entry.packet)[3]
        return next((s for s in self._streams if s.flow == entry.flow and s.timestamp == timestamp and not s.finished), None)

    def next_expiry(self) -> int | None:
        """When ``expire`` has something to do."""
        return min((stream.expires for stream in self._streams if self._core.stream_waits(stream.number)), default=None)

    def expire(self, now: int) -> list[int]:
        """Cancel the frames whose time is over and that still have something to send (or to repeat)."""
        lost: list[int] = []
        for stream in list(self._streams):
            if self._core.stream_sent(stream.number):
                self._streams.remove(stream)
            elif now >= stream.expires and self._core.stream_waits(stream.number):
                self._streams.remove(stream)
                lost += self._cancel(stream)
        return lost

    def cancel_all(self) -> list[int]:
        """Cancel every frame under way; one that was acknowledged whole is none."""
        lost = [token for stream in self._streams if not self._core.stream_sent(stream.number) for token in self._cancel(stream)]
        self._streams.clear()
        return lost

    def refused(self, number: int) -> list[int]:
        """The peer asked to stop stream ``number`` (aioquic has reset it): nothing more may be written to it."""
        self._streams = [stream for stream in self._streams if stream.number != number]
        return self._core.forget_tokens(number)

    def _cancel(self, stream: _FrameStream) -> list[int]:
        self._core.reset_stream(stream.number, RoqCode.FRAME_CANCELLED)
        return self._core.forget_tokens(stream.number)
