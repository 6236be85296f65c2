"""Which flow an RTP packet belongs to, whatever flow ids a stack has chosen (draft-ietf-avtcore-rtp-over-quic §5.1 leaves them to it)."""

from __future__ import annotations

from harness.call.quality import PADDING_PAYLOAD_TYPE
from harness.call.roq import FLOW_NAMES, decode_varint_untrusted
from harness.media.source import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE
from harness.rtp.packet import VERSION

RTCP = range(64, 96)
"""RTP payload types that are RTCP's packet types 192 to 223 (RFC 5761 §4)."""
_MEDIA = ("audio", "video", "screen")


class FlowNames:
    """The flows of one direction, by flow id and payload type."""

    def __init__(self) -> None:
        self._learnt: dict[int, str] = {}

    def name(self, flow_id: int, payload_type: int) -> str | None:
        """audio, video or screen; None for padding and what is no media of a call."""
        if payload_type == PADDING_PAYLOAD_TYPE:
            return None
        if payload_type == AUDIO_PAYLOAD_TYPE:
            return "audio"
        known = FLOW_NAMES.get(flow_id)
        if known in _MEDIA:
            return known
        if payload_type != VIDEO_PAYLOAD_TYPE:
            return None
        if flow_id not in self._learnt:
            self._learnt[flow_id] = "screen" if "video" in self._learnt.values() else "video"
        return self._learnt[flow_id]

    def of_datagram_untrusted(self, data: bytes) -> tuple[str, bytes] | None:
        """The flow (rtcp is one) and the packet in a DATAGRAM frame's ``data``; None for anything else."""
        head = decode_varint_untrusted(data)
        packet = b"" if head is None else data[head[1] :]
        if head is None or len(packet) < 2 or packet[0] >> 6 != VERSION:
            return None
        payload_type = packet[1] & 0x7F
        name = "rtcp" if payload_type in RTCP else self.name(head[0], payload_type)
        return None if name is None else (name, packet)
