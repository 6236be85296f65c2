"""Address validation before a connection is made (RFC 9000 §8.1.2): a Retry out, a token back from the address that it was sent to.

Each Initial that is answered costs a handshake's cryptography; a Retry costs neither that nor memory, and who cannot hear it gets no
further.  What only looks like an Initial is found out before anything is made for it (``is_sealed_untrusted``).

Tokens are sealed with a key that this process alone has, hold for 30 s and for one address; aioquic makes and reads them.
"""

from __future__ import annotations

import random

from aioquic.quic.crypto import CryptoError, CryptoPair  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.packet import encode_quic_retry
from aioquic.quic.retry import QuicRetryTokenHandler

from harness.call.events import Address
from harness.call.headers import CID_LENGTH, Header

SECOND = 1_000_000_000


class Doorman:
    """Asks for, and knows, proofs of address.  ``rng`` makes connection ids."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tokens = QuicRetryTokenHandler()

    @staticmethod
    def is_sealed_untrusted(data: bytes, header: Header) -> bool:
        """Whether an Initial was sealed with the keys that its destination id gives (RFC 9001 §5.2), as anybody can and noise cannot."""
        assert header.version is not None
        keys = CryptoPair()
        keys.setup_initial(cid=header.destination, is_client=False, version=header.version)
        try:
            keys.decrypt_packet(data[: header.ends_at], header.sealed_at, 0)
        except CryptoError:
            return False
        return True

    def retry(self, header: Header, address: Address, now: int) -> bytes:
        """The Retry packet for an Initial without a token."""
        assert header.version is not None
        source = self._rng.randbytes(CID_LENGTH)
        token = self._tokens.create_token(
            address=(address.ip, address.port),
            original_destination_connection_id=header.destination,
            retry_source_connection_id=source,
            now=now / SECOND,
        )
        return encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source,
            original_destination_cid=header.destination,
            retry_token=token,
        )

    def admitted_untrusted(self, header: Header, address: Address, now: int) -> bytes | None:
        """The destination id of the client's very first Initial, when this one proves its address; None for a token that is not ours.

        RFC 9000 §8.1.2 allows to drop the latter (the client times out); no other tokens are ever given out (NEW_TOKEN).
        """
        try:
            return self._tokens.validate_token(
                address=(address.ip, address.port), destination_cid=header.destination, token=header.token, now=now / SECOND
            )
        except ValueError:
            return None
