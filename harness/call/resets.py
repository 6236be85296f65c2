"""Stateless resets (RFC 9000 §10.3) for connections that were given up as lost.

Who gives a connection up because of silence forgets it, and its peer may not have noticed: the silence was in one direction, or the peer
slept.  Whatever the peer sends to one of the forgotten connection ids is answered with the token that the peer was given for that id, so
that it knows at once and can dial again, instead of finding out by a silence of its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

MIN_SIZE = 21
"""A shorter datagram could not be taken for a QUIC packet (RFC 9000 §10.3)."""
MAX_SIZE = 42
"""More would say nothing more; and it stays shorter than any packet with media in it."""
MOST = 1024
"""Connection ids that are remembered; the oldest leave first."""


class LostConnections:
    """The connection ids of lost connections, each with its token and how long it is remembered.  Nanoseconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._known: dict[bytes, tuple[bytes, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, tokens: Mapping[bytes, bytes], until: int) -> None:
        """Answer for the connection ids of ``tokens`` until then."""
        for cid, token in tokens.items():
            self._known.pop(cid, None)
            self._known[cid] = token, until
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def answer_untrusted(self, cid: bytes, size: int, now: int) -> bytes | None:
        """The reset for a datagram of ``size`` bytes to ``cid``; None when it is not known, or too short to be answered by less."""
        known = self._known.get(cid)
        if known is None:
            return None
        token, until = known
        if now >= until:
            del self._known[cid]
            return None
        length = min(size - 1, MAX_SIZE)
        if length < MIN_SIZE:
            return None
        noise = self._rng.randbytes(length - len(token))
        return bytes([0x40 | noise[0] & 0x3F]) + noise[1:] + token
