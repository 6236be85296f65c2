"""The packets of QUIC handshakes in a capture: Initials, whose keys anybody can derive (RFC 9001 §5.2); Handshake packets by the key log.

Nothing of it is believed: what cannot be read is told as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.crypto import CryptoError, CryptoPair  # type: ignore[attr-defined]  # as Buffer
from aioquic.quic.packet import QuicHeader, QuicPacketType, QuicProtocolVersion, pull_quic_header

from harness.lab.decrypted import HANDSHAKE_SECRETS, Keyring, read_keys
from harness.lab.frames import Frame, parse_frames_untrusted

_LONG_HEADER = 0x80
_MOST_IDS = 4
"""Destination ids that one client's Initials have: one, and one more for each Retry."""
_NAMES = {
    QuicPacketType.INITIAL: "Initial",
    QuicPacketType.ZERO_RTT: "0-RTT",
    QuicPacketType.HANDSHAKE: "Handshake",
    QuicPacketType.RETRY: "Retry",
    QuicPacketType.VERSION_NEGOTIATION: "Version Negotiation",
}


class LongPacket(NamedTuple):
    """One packet with a long header.  ``frames``: None when no key opens it; ``again``: all of its CRYPTO bytes were sent before."""

    name: str
    source: bytes
    destination: bytes
    frames: tuple[Frame, ...] | None
    again: bool = False


class Handshakes:
    """Reads datagrams in the order in which they were sent: the ids that clients chose are learnt on the way."""

    def __init__(self, keys: Path | None) -> None:
        self._ids: dict[bytes, list[bytes]] = {}
        self._keys = Keyring(read_keys(keys, HANDSHAKE_SECRETS) if keys is not None else [])
        self._said: set[tuple[bytes, str, int]] = set()

    def read_untrusted(self, data: bytes) -> Iterator[LongPacket]:
        """The packets with long headers at the beginning of a datagram.  ValueError for one that is cut short."""
        buffer = Buffer(data=data)
        while not buffer.eof() and data[buffer.tell()] & _LONG_HEADER:
            start = buffer.tell()
            header = pull_quic_header(buffer)
            packet = data[start : start + header.packet_length]
            frames = self._open(header, packet, buffer.tell() - start)
            name = _NAMES.get(header.packet_type, "long header")
            yield LongPacket(name, header.source_cid, header.destination_cid, frames, self._again(name, header.source_cid, frames))
            buffer.seek(start + header.packet_length)

    def _open(self, header: QuicHeader, packet: bytes, offset: int) -> tuple[Frame, ...] | None:
        if header.packet_type is QuicPacketType.HANDSHAKE:
            found = self._keys.open(packet, offset, header.destination_cid)
            return parse_frames_untrusted(found[2]) if found is not None else None
        if header.packet_type is not QuicPacketType.INITIAL or header.version != QuicProtocolVersion.VERSION_1:
            return None
        for ours, theirs in ((header.source_cid, header.destination_cid), (header.destination_cid, header.source_cid)):
            from_client = ours == header.source_cid
            for chosen in [*self._ids.get(ours, ()), *([theirs] if from_client else [])]:
                pair = CryptoPair()
                pair.setup_initial(cid=chosen, is_client=not from_client, version=QuicProtocolVersion.VERSION_1)
                try:
                    _, payload, _ = pair.decrypt_packet(packet, offset, 0)
                except CryptoError:
                    continue
                known = self._ids.setdefault(ours, [])
                if chosen not in known and len(known) < _MOST_IDS:
                    known.append(chosen)
                return parse_frames_untrusted(payload)
        return None

    def _again(self, name: str, source: bytes, frames: tuple[Frame, ...] | None) -> bool:
        told = {(source, name, int(frame.fields["offset"])) for frame in frames or () if frame.name == "CRYPTO"}
        again = bool(told) and told <= self._said
        self._said |= told
        return again
