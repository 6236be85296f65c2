"""What an attacker on the wire makes of the packets that she sees: copies, mutations and forgeries, each under the name of its kind.

She knows what anybody there can know: addresses, connection ids, and the keys of Initials (RFC 9001 §5.2); no other key.  Deterministic in
its generator and in what was seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from aioquic.buffer import Buffer, encode_uint_var  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.crypto import CryptoError, CryptoPair  # type: ignore[attr-defined]  # as Buffer
from aioquic.quic.packet import QuicPacketType, encode_long_header_first_byte, encode_quic_retry, pull_quic_header

Endpoint = tuple[str, int]
"""An IPv4 address and a UDP port."""

_V1 = 1
_UNSPOKEN = 0x1A2A3A4A  # a version that RFC 9000 §15 keeps free, so that nobody ever speaks it
_FULL = 1200
_TAG = 16
_CLOSE = b"\x1c\x0a\x00\x00"  # CONNECTION_CLOSE, PROTOCOL_VIOLATION, over a PADDING frame, without a reason
_KEPT = 4096


class Seen(NamedTuple):
    """One UDP payload of the call as it passed, at ``at`` (ns)."""

    at: int
    payload: bytes
    to_callee: bool


class Forged(NamedTuple):
    """One datagram to be sent: its kind, where it claims to come from, where it goes."""

    kind: str
    source: Endpoint
    destination: Endpoint
    payload: bytes


class Wiretap:
    """What she has seen of one call: its two ends, connection ids and packets, the newest ``_KEPT`` of each direction."""

    def __init__(self, callee: Endpoint) -> None:
        self.callee = callee
        self.caller: Endpoint | None = None
        self.packets: dict[bool, deque[Seen]] = {True: deque(maxlen=_KEPT), False: deque(maxlen=_KEPT)}
        self.first_id = self.caller_id = self.callee_id = b""
        self.hello = b""
        """The frames of the caller's first Initial, a whole ClientHello in them."""

    def see(self, at: int, source: Endpoint, destination: Endpoint, payload: bytes) -> Seen | None:
        """Take a passing UDP packet; None when it is not of the call."""
        to_callee = destination == self.callee
        if not payload or (not to_callee and source != self.callee):
            return None
        self.caller = source if to_callee else destination
        seen = Seen(at, payload, to_callee)
        self.packets[to_callee].append(seen)
        if payload[0] & 0x80:
            self._learn_untrusted(payload, to_callee)
        return seen

    def id_of(self, to_callee: bool) -> bytes:
        """The destination connection id in use in that direction (8 bytes, as the long headers showed)."""
        latest = next((seen.payload for seen in reversed(self.packets[to_callee]) if not seen.payload[0] & 0x80), b"")
        return latest[1:9]

    def _learn_untrusted(self, payload: bytes, to_callee: bool) -> None:
        buffer = Buffer(data=payload)
        try:
            header = pull_quic_header(buffer)
        except ValueError:
            return
        if not to_callee:
            self.callee_id = header.source_cid
        elif header.packet_type is QuicPacketType.INITIAL and not self.hello:
            keys = CryptoPair()
            keys.setup_initial(cid=header.destination_cid, is_client=False, version=_V1)
            try:
                _, self.hello, _ = keys.decrypt_packet(payload[: header.packet_length], buffer.tell(), 0)
            except CryptoError:
                return
            self.first_id, self.caller_id = header.destination_cid, header.source_cid


def sealed_initial(*, keys_of: bytes, destination: bytes, source: bytes, frames: bytes, from_client: bool, token: bytes = b"") -> bytes:
    """An Initial of 1200 bytes or a little more, sealed as whoever knows the first destination id (``keys_of``) can."""
    overhead = 7 + len(destination) + len(source) + 2 + len(token) + 2 + 2 + _TAG
    frames = frames.ljust(_FULL - overhead, b"\x00")
    header = bytes([encode_long_header_first_byte(_V1, QuicPacketType.INITIAL, 1)]) + _V1.to_bytes(4, "big")
    header += bytes([len(destination)]) + destination + bytes([len(source)]) + source
    header += (len(token) | 0x4000).to_bytes(2, "big") + token
    header += (2 + len(frames) + _TAG | 0x4000).to_bytes(2, "big") + b"\x00\x00"
    keys = CryptoPair()
    keys.setup_initial(cid=keys_of, is_client=from_client, version=_V1)
    return bytes(keys.encrypt_packet(header, frames, 0))


class Forger:
    """Makes datagrams out of what ``tap`` has seen.  ``own``: addresses that are hers; ``rng`` decides everything else."""

    def __init__(self, tap: Wiretap, own: list[str], rng: Random) -> None:
        self._tap = tap
        self._own = own
        self._rng = rng
        self._turn = 0
        self._strange = False
        self._kinds: dict[str, Callable[[bool], bytes]] = {
            "random bytes": self._noise,
            "flipped bits": self._flipped,
            "truncated": self._truncated,
            "rubbish appended": self._appended,
            "other connection id": self._other_id,
            "other version": self._other_version,
            "Version Negotiation": self._negotiation,
            "Retry": self._retry,
            "stateless reset": self._reset,
            "CONNECTION_CLOSE in an Initial": self._close_sealed,
            "CONNECTION_CLOSE in the clear": self._close_bare,
            "handshake rubbish": self._handshake,
            "RTP": self._rtp,
        }

    def stranger(self) -> Endpoint:
        """One of her own addresses, with some port."""
        return self._rng.choice(self._own), self._rng.randint(1024, 65535)

    def forge(self) -> Forged:
        """The next forgery: every kind in turn at both peers, from the other's address; at the callee every fourth from one of her own."""
        caller = self._caller()
        to_callee = self._turn % 2 == 0
        kind = list(self._kinds)[self._turn // 2 % len(self._kinds)]
        self._turn += 1
        if not to_callee:
            return Forged(kind, self._tap.callee, caller, self._kinds[kind](to_callee))
        self._strange = self._rng.random() < 0.25
        return Forged(kind, self.stranger() if self._strange else caller, self._tap.callee, self._kinds[kind](to_callee))

    def replay(self, before: int) -> Forged:
        """A copy of a packet that passed before ``before`` (ns): to the callee from the same or another address, or to the caller."""
        caller = self._caller()
        to_callee = self._turn % 3 != 2
        elsewhere = self._turn % 3 == 1
        self._turn += 1
        old = [seen.payload for seen in self._tap.packets[to_callee] if seen.at < before]
        payload = self._rng.choice(old)
        if not to_callee:
            return Forged("copy to the caller", self._tap.callee, caller, payload)
        if elsewhere:
            return Forged("copy from another address", self.stranger(), self._tap.callee, payload)
        return Forged("copy from the same address", caller, self._tap.callee, payload)

    def flood(self) -> Forged:
        """An Initial from one of her addresses: half of them good, a quarter sealed by nobody, a quarter with a token."""
        kind = ("good Initial", "unsealed Initial", "good Initial", "Initial with a bad token")[self._turn % 4]
        self._turn += 1
        first = self._rng.randbytes(8)
        token = self._rng.randbytes(80) if kind == "Initial with a bad token" else b""
        source = self._tap.caller_id or self._rng.randbytes(8)  # the ClientHello says it again, and must not contradict it
        data = sealed_initial(keys_of=first, destination=first, source=source, frames=self._tap.hello, from_client=True, token=token)
        if kind == "unsealed Initial":
            data = data[:-_TAG] + self._rng.randbytes(_TAG)
        return Forged(kind, self.stranger(), self._tap.callee, data)

    def _caller(self) -> Endpoint:
        assert self._tap.caller is not None, "she has seen no call"
        return self._tap.caller

    # Kinds

    def _copy(self, to_callee: bool) -> bytes:
        return self._rng.choice(self._tap.packets[to_callee]).payload

    def _noise(self, to_callee: bool) -> bytes:
        return self._rng.randbytes(self._rng.randint(1, 1400))

    def _flipped(self, to_callee: bool) -> bytes:
        data = bytearray(self._copy(to_callee))
        for bit in self._rng.sample(range(8 * len(data)), min(self._rng.randint(1, 8), 8 * len(data))):
            data[bit // 8] ^= 1 << bit % 8
        return bytes(data)

    def _truncated(self, to_callee: bool) -> bytes:
        data = self._copy(to_callee)
        return data[: self._rng.randint(1, max(1, len(data) - 1))]

    def _appended(self, to_callee: bool) -> bytes:
        return (self._copy(to_callee) + self._rng.randbytes(self._rng.randint(1, 200)))[:1452]

    def _other_id(self, to_callee: bool) -> bytes:
        data = self._copy(to_callee)
        return data[:1] + self._rng.randbytes(8) + data[9:]

    def _other_version(self, to_callee: bool) -> bytes:
        # To an id that nobody has it would be answered, by Version Negotiation: from her own address she may well ask for that.
        destination = self._rng.randbytes(8) if self._strange and to_callee else self._tap.id_of(to_callee).ljust(8, b"\x00")
        ids = bytes([8]) + destination + bytes([8]) + self._rng.randbytes(8)
        return bytes([0xC3]) + _UNSPOKEN.to_bytes(4, "big") + ids + self._rng.randbytes(_FULL - 5 - len(ids))

    def _negotiation(self, to_callee: bool) -> bytes:
        mine, theirs = (self._tap.caller_id, self._tap.callee_id) if to_callee else (self._tap.callee_id, self._tap.caller_id)
        ids = bytes([len(theirs)]) + theirs + bytes([len(mine)]) + mine
        return bytes([0xC0 | self._rng.getrandbits(6)]) + bytes(4) + ids + _UNSPOKEN.to_bytes(4, "big")

    def _retry(self, to_callee: bool) -> bytes:
        return encode_quic_retry(
            version=_V1,
            source_cid=self._rng.randbytes(8),
            destination_cid=self._tap.callee_id if to_callee else self._tap.caller_id,
            original_destination_cid=self._tap.first_id,
            retry_token=self._rng.randbytes(40),
        )

    def _reset(self, to_callee: bool) -> bytes:
        size = self._rng.randint(21, 90)
        start = self._tap.id_of(to_callee) if self._rng.random() < 0.5 else self._rng.randbytes(8)
        return bytes([0x40 | self._rng.getrandbits(6)]) + start + self._rng.randbytes(size - 9)

    def _close_sealed(self, to_callee: bool) -> bytes:
        source, destination = (self._tap.caller_id, self._tap.callee_id) if to_callee else (self._tap.callee_id, self._tap.caller_id)
        return sealed_initial(keys_of=self._tap.first_id, destination=destination, source=source, frames=_CLOSE, from_client=to_callee)

    def _close_bare(self, to_callee: bool) -> bytes:
        return bytes([0x41]) + self._tap.id_of(to_callee) + self._rng.randbytes(2) + _CLOSE + bytes(30)

    def _handshake(self, to_callee: bool) -> bytes:
        source, destination = (self._tap.caller_id, self._tap.callee_id) if to_callee else (self._tap.callee_id, self._tap.caller_id)
        header = bytes([encode_long_header_first_byte(_V1, QuicPacketType.HANDSHAKE, 1)]) + _V1.to_bytes(4, "big")
        body = self._rng.randbytes(self._rng.randint(40, 600))
        ids = bytes([len(destination)]) + destination + bytes([len(source)]) + source
        return header + ids + encode_uint_var(len(body)) + body

    def _rtp(self, to_callee: bool) -> bytes:
        return bytes([0x80, self._rng.choice((0x60, 0xE0, 0xC8))]) + self._rng.randbytes(self._rng.randint(10, 180))
