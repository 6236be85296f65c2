"""The packets of QUIC handshakes in a capture: Initials, whose keys anybody can derive (RFC 9001 §5.2); Handshake packets by the key log.

Versions 1 and 2, connection ids of any length and of none, cleared QUIC bits.  Nothing of it is believed: what cannot be read is told as
such.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.lab.frames import Frame, parse_frames_untrusted
from harness.lab.quic_headers import VERSIONS, LongHeader, outside_untrusted
from harness.lab.quic_keys import HANDSHAKE_SECRETS, Keyring, Sender, initial_key, read_keys

_MOST_IDS = 64
"""Destination ids of clients' first Initials that are remembered under one source id: those of as many handshakes at once."""


class LongPacket(NamedTuple):
    """One packet with a long header.

    ``frames``: None when no key opens it.  ``again``: all of its CRYPTO bytes were sent before.  ``chosen``: of an Initial that was opened,
    the connection id that its keys are derived from; ``sender``: of an Initial that was opened, whose it is.
    """

    name: str
    source: bytes
    destination: bytes
    frames: tuple[Frame, ...] | None
    again: bool = False
    chosen: bytes = b""
    sender: Sender | None = None


class Initials:
    """Opens Initial packets in the order in which they were sent: the ids that clients chose are learnt on the way."""

    def __init__(self) -> None:
        self._chosen: dict[bytes, list[bytes]] = {}
        """By the client's source id, the newest first."""

    def open(self, data: bytes, header: LongHeader, by: Sender | None = None) -> tuple[bytes, Sender, bytes] | None:
        """The id that the keys of an Initial in ``data`` are of, its sender and its payload; None when it cannot be opened.

        ``by``: whose it is, if that is known.
        """
        if header.version not in VERSIONS:
            return None
        packet, sealed = data[header.start : header.end], header.sealed - header.start
        senders: tuple[tuple[Sender, bytes, list[bytes]], ...] = (
            ("client", header.source, [header.destination, *self._chosen.get(header.source, ())]),
            ("server", header.destination, self._chosen.get(header.destination, [])),
        )
        for sender, client, candidates in senders:
            if by not in (None, sender):
                continue
            for chosen in candidates:
                opened = initial_key(chosen, header.version, sender).open(packet, sealed)
                if opened is not None:
                    self._learn(client, chosen)
                    return chosen, sender, opened[1]
        return None

    def _learn(self, client: bytes, chosen: bytes) -> None:
        known = self._chosen.setdefault(client, [])
        if chosen in known:
            known.remove(chosen)
        known.insert(0, chosen)
        del known[_MOST_IDS:]


class Handshakes:
    """Reads datagrams in the order in which they were sent."""

    def __init__(self, keys: Path | None) -> None:
        self._initials = Initials()
        self._keys = Keyring(read_keys(keys, HANDSHAKE_SECRETS) if keys is not None else [])
        self._said: set[tuple[bytes, bytes, str, int]] = set()

    def read_untrusted(self, data: bytes) -> Iterator[LongPacket]:
        """The packets with long headers at the beginning of a datagram.  ValueError for one that is cut short."""
        outside = outside_untrusted(data)
        for header in outside.long:
            frames, chosen, sender = self._open(data, header)
            again = self._again(header, chosen, frames)
            yield LongPacket(header.kind, header.source, header.destination, frames, again, chosen, sender)
        if outside.damaged:
            raise ValueError(outside.damaged)

    def _open(self, data: bytes, header: LongHeader) -> tuple[tuple[Frame, ...] | None, bytes, Sender | None]:
        if header.kind == "Handshake":
            packet = data[header.start : header.end]
            found = self._keys.open(packet, header.sealed - header.start, header.destination)
            return (parse_frames_untrusted(found[1].payload), b"", found[0].sender) if found is not None else (None, b"", None)
        if header.kind != "Initial" or (opened := self._initials.open(data, header)) is None:
            return None, b"", None
        chosen, sender, payload = opened
        return parse_frames_untrusted(payload), chosen, sender

    def _again(self, header: LongHeader, chosen: bytes, frames: tuple[Frame, ...] | None) -> bool:
        """Whether all that it says of the handshake was said before: after a Retry the first Initial is a new one all the same."""
        crypto = [frame for frame in frames or () if frame.name == "CRYPTO"]
        told = {(header.source, chosen, header.kind, int(frame.fields["offset"])) for frame in crypto}
        again = bool(told) and told <= self._said
        self._said |= told
        return again
