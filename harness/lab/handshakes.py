"""The QUIC handshakes in a capture, told apart by what their Initials say: QUIC versions 1 and 2, whatever their connection ids are.

The keys of Initials are public (RFC 9001 §5.2), so a handshake is known by its client's first CRYPTO bytes, the ClientHello.  Initials
whose CRYPTO bytes contradict each other are of two handshakes, under whatever connection ids they come; a repeated Initial, its
continuation after a HelloRetryRequest, and the same handshake after a Retry are of one.  An attempt that was answered with Version
Negotiation, and by nothing else, was no handshake: the client begins another one (RFC 9000 §6.2).

An Initial that cannot be opened (a version that is not known, a packet that was changed on the way) is told by its destination id alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from aioquic.quic.packet import get_retry_integrity_tag

from harness.fabric.udp_packets import UdpPacket
from harness.lab.frames import Frame, parse_frames_untrusted
from harness.lab.long_headers import Initials
from harness.lab.quic_headers import VERSIONS, LongHeader, outside_untrusted
from harness.lab.quic_keys import Sender

_TAG = 16
"""Bytes of a Retry's integrity tag (RFC 9001 §5.8)."""
_MOST_PIECES = 64
"""CRYPTO frames of one side's Initials that are kept."""


@dataclass
class _Said:
    """CRYPTO bytes of one side, by their offset."""

    pieces: dict[int, bytes] = field(default_factory=dict)

    def contradicts(self, offset: int, data: bytes) -> bool:
        """Whether other bytes are known at some place of ``data``."""
        return any(
            known[max(offset - start, 0) : offset + len(data) - start] != data[max(start - offset, 0) : start + len(known) - offset]
            for start, known in self.pieces.items()
            if start < offset + len(data) and offset < start + len(known)
        )

    def add(self, offset: int, data: bytes) -> None:
        """Take a CRYPTO frame."""
        if len(self.pieces) < _MOST_PIECES and len(data) > len(self.pieces.get(offset, b"")):
            self.pieces[offset] = data


@dataclass
class Begun:
    """A handshake that a client began with its packet ``first``.

    ``chosen``: the destination ids of its first Initials: what the client chose, and what a Retry gave it.
    """

    first: UdpPacket
    chosen: list[bytes]
    hello: _Said = field(default_factory=_Said)
    answer: _Said = field(default_factory=_Said)
    answered: bool = False
    refused: bool = False
    """Whether it was answered with Version Negotiation."""

    def same(self, other: Begun) -> bool:
        """Whether ``other``, seen at another host, may be this one."""
        known = set(self.chosen) & set(other.chosen)
        return bool(known) and not any(self.hello.contradicts(offset, data) for offset, data in other.hello.pieces.items())


def handshakes(packets: Iterable[UdpPacket], *, outgoing: bool) -> list[Begun]:
    """The handshakes in a host's capture, in order of time.  ``outgoing``: whether the clients' packets are those that the host sent."""
    reader = _Reader()
    for udp in packets:
        sender: Sender = "client" if bool(udp.outgoing) is outgoing else "server"
        for header in outside_untrusted(udp.payload).long:
            reader.take(udp, header, sender)
    return [one for one in reader.begun if one.answered or not one.refused]


def came(sent: Sequence[Begun], arrived: Sequence[Begun]) -> Iterator[Begun]:
    """Those of ``sent``, seen at the client's host, that were seen at the server's host too."""
    return (one for one in sent if any(one.same(other) for other in arrived))


class _Reader:
    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self._initials = Initials()
        self._by_id: dict[bytes, list[Begun]] = {}
        """By each of the ids that were chosen for it, the newest last."""
        self._retries: dict[bytes, Begun] = {}
        """By the id that the Retry gave."""
        self._server_ids: set[bytes] = set()
        self._rivals: dict[bytes, tuple[Begun, UdpPacket]] = {}
        """Servers' second answers to one ClientHello, by their source id: of another connection if the client goes on with it."""

    def take(self, udp: UdpPacket, header: LongHeader, sender: Sender) -> None:
        if sender == "server":
            self._from_server(udp, header)
            return
        if header.kind == "Initial" or header.version not in VERSIONS:
            self._from_client(udp, header)
        rival = self._rivals.pop(header.destination, None)
        if rival is not None:
            self.begun.append(Begun(rival[1], list(rival[0].chosen), rival[0].hello, answered=True))

    def _from_client(self, udp: UdpPacket, header: LongHeader) -> None:
        opened = self._initials.open(udp.payload, header, "client")
        if opened is None:
            if header.destination not in self._server_ids and header.destination not in self._by_id and header.destination:
                self._new(udp, header.destination)
            return
        chosen, _, payload = opened
        crypto = [frame for frame in parse_frames_untrusted(payload) if frame.name == "CRYPTO"]
        one = self._known(chosen, crypto)
        if one is None and not crypto:
            return  # it acknowledges something, or probes; of which handshake cannot be told
        if one is None and (one := self._retries.pop(chosen, None)) is not None and not one.answered:
            one.chosen.append(chosen)
            one.hello = _Said()  # it has to be the same one (RFC 9000 §17.2.5.2); what came before the Retry made no connection
            self._by_id.setdefault(chosen, []).append(one)
        one = one or self._new(udp, chosen)
        for frame in crypto:
            one.hello.add(frame.fields["offset"], frame.fields["data"])

    def _known(self, chosen: bytes, crypto: Sequence[Frame]) -> Begun | None:
        """The handshake under that id, of several the newest, that the CRYPTO frames do not contradict."""
        for one in reversed(self._by_id.get(chosen, [])):
            if not any(one.hello.contradicts(frame.fields["offset"], frame.fields["data"]) for frame in crypto):
                return one
        return None

    def _new(self, udp: UdpPacket, chosen: bytes) -> Begun:
        one = Begun(udp, [chosen])
        self.begun.append(one)
        self._by_id.setdefault(chosen, []).append(one)
        return one

    def _from_server(self, udp: UdpPacket, header: LongHeader) -> None:
        if header.kind == "Version Negotiation":
            for one in self._by_id.get(header.source, []):
                one.refused = True
        elif header.kind == "Retry":
            self._retry(udp.payload, header)
        else:
            self._server_ids.add(header.source)
            if header.kind == "Initial" and (opened := self._initials.open(udp.payload, header, "server")) is not None:
                crypto = [frame for frame in parse_frames_untrusted(opened[2]) if frame.name == "CRYPTO"]
                self._answer(udp, header, opened[0], crypto)
            elif header.kind == "Initial":
                for one in self._by_id.get(header.source, []):
                    one.answered = True

    def _retry(self, data: bytes, header: LongHeader) -> None:
        """Only a Retry whose tag is made with the id that a client chose is an answer to it."""
        sealed, tag = data[header.start : -_TAG], data[-_TAG:]
        for one in reversed(self.begun):
            if not one.answered and get_retry_integrity_tag(sealed, one.chosen[0], header.version) == tag:
                self._retries[header.source] = one
                return

    def _answer(self, udp: UdpPacket, header: LongHeader, chosen: bytes, crypto: Sequence[Frame]) -> None:
        known = self._by_id.get(chosen, [])
        for one in reversed(known):
            if not any(one.answer.contradicts(frame.fields["offset"], frame.fields["data"]) for frame in crypto):
                one.answered = True
                for frame in crypto:
                    one.answer.add(frame.fields["offset"], frame.fields["data"])
                return
        if known:
            self._rivals[header.source] = known[-1], udp
