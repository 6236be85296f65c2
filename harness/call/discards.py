"""What came to an endpoint and was of no use to it, counted by reason: how a stack shows that somebody is at work on its wire.

One datagram is counted once.  A few of these come without any malice: a repeated Initial after its keys are gone, a late answer to a
connection that is over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Why = Literal[
    "not QUIC",  # no header that could be one's (RFC 9000 §17)
    "unknown connection id",  # no connection here has given it out, and it begins none
    "unknown server address",  # a client hears only from where it sends to (RFC 9000 §9)
    "not authentic",  # no key of the connection opens it: forged, changed on the way, or its keys are gone
    "duplicate",  # its packet number was there before (RFC 9000 §12.3)
    "duplicate from another address",  # and it came from elsewhere than what is taken: somebody copies packets
    "bad token",  # an Initial with a proof of address that is none
    "too many half open",  # an Initial, when no more connections without a call may be begun
    "out of place",  # Version Negotiation or Retry for a connection that is past them, or was never asked
]


@dataclass(slots=True)
class Discards:
    """The counts of one endpoint.

    ``discarded``: by ``Why``; ``answered``: with Retry, Version Negotiation or a stateless reset, nothing being kept.
    ``begun``: connections that others have begun here, calls or not.  ``reclaimed``: how often a path was taken back from whoever had sent
    a peer's packets from elsewhere.
    """

    discarded: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    reclaimed: int = 0
