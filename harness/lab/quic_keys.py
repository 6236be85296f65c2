"""Keys of QUIC packets, versions 1 and 2: from a run's key log, and those of Initials, which anybody can derive.

RFC 9001 §5 (packet protection), §6 (key update); RFC 9369 §3.3 (labels and salt of version 2).  The key log names secrets: neither the
version nor the cipher suite that they are for.  Both are found by trying, once for each secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from aioquic.quic.crypto import INITIAL_SALT_VERSION_1, INITIAL_SALT_VERSION_2, derive_key_iv_hp
from aioquic.quic.packet import QuicProtocolVersion, decode_packet_number
from aioquic.tls import CipherSuite, cipher_suite_hash, hkdf_expand_label, hkdf_extract
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import ECB

from harness.lab.quic_headers import LONG_HEADER, VERSIONS

Sender = Literal["client", "server"]

APPLICATION_SECRETS: dict[str, Sender] = {"CLIENT_TRAFFIC_SECRET_0": "client", "SERVER_TRAFFIC_SECRET_0": "server"}
HANDSHAKE_SECRETS: dict[str, Sender] = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET": "client", "SERVER_HANDSHAKE_TRAFFIC_SECRET": "server"}
_SUITES = {  # by the length of the secret, which is its hash's
    32: (CipherSuite.AES_128_GCM_SHA256, CipherSuite.CHACHA20_POLY1305_SHA256),
    48: (CipherSuite.AES_256_GCM_SHA384,),
}
_SALTS = {QuicProtocolVersion.VERSION_1: INITIAL_SALT_VERSION_1, QuicProtocolVersion.VERSION_2: INITIAL_SALT_VERSION_2}
_UPDATE_LABELS = {QuicProtocolVersion.VERSION_1: b"quic ku", QuicProtocolVersion.VERSION_2: b"quicv2 ku"}
_SAMPLE, _TAG, _LONGEST_NUMBER, _KEY_PHASE = 16, 16, 4, 0x04
_NUMBERS_KEPT = 20_000
_MOST_SECRETS = 64
"""Secrets that have opened nothing yet that one packet is tried with; a key log may have any number of lines that are none."""


class Opened(NamedTuple):
    """What a key made of a packet.  ``copy``: a packet of that number was opened with the same secret before."""

    number: int
    payload: bytes
    copy: bool


class _Phase(NamedTuple):
    """The AEAD of one key phase (RFC 9001 §6), and the secret that it was made of."""

    bit: int
    secret: bytes
    aead: AESGCM | ChaCha20Poly1305
    iv: int


class Key:
    """A secret under one cipher suite and version that it may be for."""

    def __init__(self, secret: bytes, suite: CipherSuite, version: int, *, counts: bool = True) -> None:
        """``counts``: whether packet numbers are counted, as they are but for the first few of a connection (RFC 9000 §A.3)."""
        self._suite = suite
        self._version = version
        self._counts = counts
        self._largest = -1
        _, _, protection = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=version)
        self._mask = _mask(suite, protection)
        self._previous: _Phase | None = None
        self._current = self._phase(secret, 0)
        self._next: _Phase | None = None

    def _phase(self, secret: bytes, bit: int) -> _Phase:
        key, iv, _ = derive_key_iv_hp(cipher_suite=self._suite, secret=secret, version=self._version)
        aead = ChaCha20Poly1305(key) if self._suite is CipherSuite.CHACHA20_POLY1305_SHA256 else AESGCM(key)
        return _Phase(bit, secret, aead, int.from_bytes(iv, "big"))

    def _updated(self) -> _Phase:
        algorithm = cipher_suite_hash(self._suite)
        label = _UPDATE_LABELS[QuicProtocolVersion(self._version)]
        secret = hkdf_expand_label(algorithm, self._current.secret, label, b"", algorithm.digest_size)
        return self._phase(secret, 1 - self._current.bit)

    def open(self, packet: bytes, sealed: int) -> tuple[int, bytes] | None:
        """The number and the payload of ``packet``, whose packet number is at byte ``sealed``; None when this is not its key."""
        sample = packet[sealed + _LONGEST_NUMBER : sealed + _LONGEST_NUMBER + _SAMPLE]
        if len(sample) < _SAMPLE:
            return None
        mask = self._mask(sample)
        long = packet[0] & LONG_HEADER
        first = packet[0] ^ (mask[0] & (0x0F if long else 0x1F))
        size = (first & 3) + 1
        behind = sealed + size
        truncated = int.from_bytes(packet[sealed:behind], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        number = int(decode_packet_number(truncated, 8 * size, self._largest + 1))
        header = b"%c%b%b" % (first, packet[1:sealed], truncated.to_bytes(size, "big"))
        body = packet[behind:]
        current = self._current
        if long or (first & _KEY_PHASE) >> 2 == current.bit:
            payload = _open(current, number, body, header)
        else:
            payload = self._other_phase(number, body, header)
        if payload is None:
            return None
        if number > self._largest and self._counts:
            self._largest = number
        return number, payload

    def _other_phase(self, number: int, body: bytes, header: bytes) -> bytes | None:
        """Of a packet of the phase before, which was overtaken, or of the next one, which then has begun (RFC 9001 §6.3, §6.5)."""
        if self._previous is not None and (payload := _open(self._previous, number, body, header)) is not None:
            return payload
        self._next = self._next or self._updated()
        payload = _open(self._next, number, body, header)
        if payload is not None:
            self._previous, self._current, self._next = self._current, self._next, None
        return payload


def _open(phase: _Phase, number: int, body: bytes, header: bytes) -> bytes | None:
    try:
        return phase.aead.decrypt((phase.iv ^ number).to_bytes(12, "big"), body, header)
    except InvalidTag:
        return None


def _mask(suite: CipherSuite, key: bytes) -> Callable[[bytes], bytes]:
    """What makes the header protection mask of a sample (RFC 9001 §5.4.3, §5.4.4)."""
    if suite is CipherSuite.CHACHA20_POLY1305_SHA256:
        stream = Cipher(ChaCha20(key, bytes(_SAMPLE)), mode=None).encryptor()

        def of_chacha(sample: bytes) -> bytes:
            stream.reset_nonce(sample)
            return stream.update(bytes(5))

        return of_chacha
    return Cipher(AES(key), ECB()).encryptor().update


class Secret:
    """One side's secret of one connection (its TLS client random, in hex), whatever version and cipher suite it is for."""

    def __init__(self, connection: str, sender: Sender, secret: bytes) -> None:
        self.connection = connection
        self.sender: Sender = sender
        self.resolved = False
        """Whether it has opened a packet."""
        self.secret = secret
        self._keys: list[Key] = []
        self._numbers: set[int] = set()
        self._forgotten = -1
        """Up to which number those opened are no longer listed."""

    def open(self, packet: bytes, sealed: int) -> Opened | None:
        """What is in ``packet``, whose packet number is at byte ``sealed``; None when this is not its secret."""
        if not self._keys:
            suites = _SUITES.get(len(self.secret), ())
            self._keys = [Key(self.secret, suite, version) for version in VERSIONS for suite in suites]
        for key in self._keys:
            opened = key.open(packet, sealed)
            if opened is not None:
                if not self.resolved:
                    self._keys, self.resolved = [key], True
                return Opened(*opened, self._known(opened[0]))
        return None

    def _known(self, number: int) -> bool:
        known = number in self._numbers or number <= self._forgotten
        self._numbers.add(number)
        if len(self._numbers) > _NUMBERS_KEPT:
            self._forgotten = max(self._numbers) - _NUMBERS_KEPT // 2
            self._numbers = {one for one in self._numbers if one > self._forgotten}
        return known


class Keyring:
    """Secrets in the order of their log, of which the probable are tried first.

    That is the one that opened the last packet to the same connection id, then those from the newest that opened anything on: connections
    come one after the other.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._secrets = list(secrets)
        self._newest = 0
        self._by_id: dict[bytes, Secret] = {}

    def __contains__(self, destination: bytes) -> bool:
        """Whether a packet to that connection id was opened, or is expected."""
        return destination in self._by_id

    @property
    def expected(self) -> list[Secret]:
        """Those of connections of which a packet was opened, of either side, the newest first."""
        connections = {secret.connection for secret in self._secrets if secret.resolved}
        return [secret for secret in reversed(self._secrets) if secret.connection in connections]

    def add(self, secrets: Iterable[Secret]) -> None:
        """Take secrets that were logged since; those that are there already are passed over."""
        known = {(one.connection, one.sender, one.secret) for one in self._secrets}
        self._secrets += [one for one in secrets if (one.connection, one.sender, one.secret) not in known]

    def of_id(self, destination: bytes) -> Secret | None:
        """Whose packets to that connection id were opened, or are expected (``learn``)."""
        return self._by_id.get(destination)

    def learn(self, destination: bytes, secret: Secret) -> None:
        """Take it that packets to that connection id are for ``secret``."""
        self._by_id.setdefault(destination, secret)

    def pair(self, secret: Secret) -> Secret | None:
        """The other side's secret of the same connection, if it was logged."""
        return next((one for one in self._secrets if one.connection == secret.connection and one.sender != secret.sender), None)

    def open(self, packet: bytes, sealed: int, destination: bytes) -> tuple[Secret, Opened] | None:
        """The secret of ``packet``, which is to ``destination``, and what is in it; None without one."""
        known = self._by_id.get(destination)
        if known is not None and (opened := known.open(packet, sealed)) is not None:
            return known, opened
        for place in self._probable():
            secret = self._secrets[place]
            if secret is not known and (opened := secret.open(packet, sealed)) is not None:
                self._by_id[destination] = secret
                self._newest = max(self._newest, place)
                return secret, opened
        return None

    def _probable(self) -> Iterable[int]:
        """Places of secrets that a packet may be for: those that opened something, and so many of the others, the newest first."""
        order = [*range(self._newest, len(self._secrets)), *reversed(range(self._newest))]
        fresh = [place for place in order if not self._secrets[place].resolved]
        tried = set(islice(fresh, _MOST_SECRETS))
        return [place for place in order if self._secrets[place].resolved or place in tried]


def read_keys(log: Path, labels: Mapping[str, Sender] = APPLICATION_SECRETS) -> list[Secret]:
    """The application secrets of a key log (SSLKEYLOGFILE lines), or those of ``labels``; both sides may have written the same one.

    ValueError for bad hex.
    """
    lines = dict.fromkeys(tuple(line.split()) for line in log.read_text(encoding="ascii").splitlines())
    found = []
    for line in lines:
        if len(line) == 3 and line[0] in labels:
            secret = bytes.fromhex(line[2])
            if len(secret) in _SUITES:
                found.append(Secret(line[1], labels[line[0]], secret))
    return found


@lru_cache(256)
def _initial_secrets(chosen: bytes, version: int) -> tuple[bytes, bytes]:
    """Of client and server (RFC 9001 §5.2; RFC 9369 §3.3.1)."""
    algorithm = cipher_suite_hash(CipherSuite.AES_128_GCM_SHA256)
    initial = hkdf_extract(algorithm, _SALTS[QuicProtocolVersion(version)], chosen)
    client, server = (hkdf_expand_label(algorithm, initial, label, b"", algorithm.digest_size) for label in (b"client in", b"server in"))
    return client, server


@lru_cache(256)
def initial_key(chosen: bytes, version: int, sender: Sender) -> Key:
    """The key of ``sender``'s Initials on the connection whose client chose the id ``chosen`` for its first, or was given it by a Retry.

    Initials have few packet numbers, so a key of them is shared by all who read.
    """
    return Key(_initial_secrets(chosen, version)[sender == "server"], CipherSuite.AES_128_GCM_SHA256, version, counts=False)
