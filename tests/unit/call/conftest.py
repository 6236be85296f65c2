from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.call.quic import Core


class Identity(NamedTuple):
    ca: str
    certificate: str
    key: str


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """A CA and a leaf for "peer.test", made once."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = {
        "ca.pem": _certificate("harness test CA", ca_key, "harness test CA", ca_key, ca=True).public_bytes(serialization.Encoding.PEM),
        "leaf.pem": _certificate("peer.test", leaf_key, "harness test CA", ca_key, ca=False).public_bytes(serialization.Encoding.PEM),
        "key.pem": leaf_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Identity(str(folder / "ca.pem"), str(folder / "leaf.pem"), str(folder / "key.pem"))


@pytest.fixture(scope="session", autouse=True)
def whoever_is_idle_has_nothing_to_send() -> Iterator[None]:
    """In every test here, each time a connection finds that there is nothing to send, aioquic's own long look must find nothing either."""
    find = Core.idle

    def idle(core: Core, now: float) -> bool:
        if not find(core, now):
            return False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Core, "_write_application", QuicConnection._write_application)
            assert core.datagrams_to_send(now) == []
        core._pacing_at = None
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Core, "idle", idle)
        yield
