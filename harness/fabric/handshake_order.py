"""The one exception to a merged capture's order of time: the handshakes of QUIC connections, so that Wireshark can open them.

A packet is captured at many interfaces, and behind a NAT with other addresses.  Wireshark joins all copies to one connection by its ids,
and reads the TLS handshake in the first copy of each message that it meets; but it keeps what it has read by addresses.  In order of time
it meets the client's hello first at the client and the server's at the server: with other addresses, so it never has both, and opens
nothing (tshark 4.0.17).  So while a connection opens, what the server says stands behind its copy at the interface that saw the client
first.  Stamps stay what they are.

Only what is the same in all versions of QUIC is read (RFC 8999).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.units import s

HOLD = 3 * s
"""How long a connection may take to open, from the client's first packet: then its packets are let go in order of time."""

Record = tuple[int, int, bytes | bytearray]
"""A block of a capture: its time (ns of CLOCK_REALTIME), its interface's number, and the whole of it."""

_FRAME = 28  # where the frame begins in a packet block
_UDP = 17
_LONG = 0x80


@dataclass(slots=True)
class _Opening:
    """A connection whose client is seen at interface ``anchor`` first, ``since`` that time; ``held``: what waits for its copy there."""

    anchor: int
    since: int
    held: list[Record]


class HandshakeOrder:
    """Takes records in order of time, a batch at a time, and gives them back in the order of the file."""

    def __init__(self) -> None:
        self._opening: dict[bytes, _Opening] = {}
        self._known: set[bytes] = set()

    def arrange(self, batch: list[Record]) -> list[Record]:
        """What may be written now."""
        out: list[Record] = []
        append, opening = out.append, self._opening
        for record in batch:
            block = record[2]  # UDP's payload begins at its byte 70 in IPv4, at 90 in IPv6
            if not opening and (len(block) <= 90 or not block[70 if block[40] == 8 else 90] & _LONG):
                append(record)
            else:
                self._look(record, out)
        return out

    def rest(self) -> list[Record]:
        """What is held still."""
        held = [record for opening in self._opening.values() for record in opening.held]
        self._opening.clear()
        return sorted(held, key=lambda record: record[0])

    def _look(self, record: Record, out: list[Record]) -> None:
        time, interface, block = record
        for late in [client for client, one in self._opening.items() if time - one.since > HOLD.ns]:
            out += self._opening.pop(late).held
        payload = _payload(block)
        client = self._client(payload, time, interface)
        opening = None if client is None else self._opening.get(client)
        if opening is None or client is None:
            out.append(record)
        elif interface != opening.anchor:
            opening.held.append(record)
        else:
            out.append(record)
            if not payload[0] & _LONG:  # the server has its final keys, and so has who reads this
                del self._opening[client]
                out += opening.held

    def _client(self, payload: bytes, time: int, interface: int) -> bytes | None:
        """The client's connection id that a packet of a server is addressed to; takes note of a connection that begins."""
        if len(payload) < 7:
            return None
        if not payload[0] & _LONG:
            return next((client for client in self._opening if payload.startswith(client, 1)), None)
        end = 6 + payload[5]
        to, by = payload[6:end], payload[end + 1 : end + 1 + payload[end]] if end < len(payload) else b""
        if to in self._known:
            return to
        if by and by not in self._known:
            self._known.add(by)
            self._opening[by] = _Opening(interface, time, [])
        return None


def _payload(block: bytes | bytearray) -> bytes:
    """What UDP carries in a packet block; nothing when it is none, or is behind IPv6 extensions."""
    if block[_FRAME + 12 : _FRAME + 14] == b"\x08\x00" and len(block) > _FRAME + 34 and block[_FRAME + 23] == _UDP:
        at = _FRAME + 14 + (block[_FRAME + 14] & 15) * 4 + 8
    elif block[_FRAME + 12 : _FRAME + 14] == b"\x86\xdd" and len(block) > _FRAME + 54 and block[_FRAME + 20] == _UDP:
        at = _FRAME + 62
    else:
        return b""
    captured = int.from_bytes(block[20:24], "little")
    return bytes(block[at : min(at + 48, _FRAME + captured)])  # enough for both connection ids
