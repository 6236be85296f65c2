"""QUIC as captures show it: headers, frames, handshakes, opened packets, and what is told of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import trustme
from aioquic.quic.crypto import CryptoContext, CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

from harness.call.headers import peek_untrusted, version_negotiation
from harness.call.roq import encode_varint
from harness.errors import HarnessError
from harness.fabric.udp_packets import UdpPacket
from harness.lab import exchange
from harness.lab.decrypted import decrypt, read_keys
from harness.lab.frames import parse_frames_untrusted
from harness.lab.holds import on_hold
from harness.lab.long_headers import Handshakes
from tests.fuzz.target import Ready, Taken, need, refusing, target
from tests.fuzz.targets.signalling import messages
from tests.unit.call.conftest import Identity
from tests.unit.lab.test_decrypted import CLIENT, SERVER

MS = 10**6
CONNECTION, SECRET = "0a" * 32, bytes(range(48))
CID = bytes(8)


@cache
def identity(folder: Path) -> Identity:
    """A CA and a leaf for "peer.test"."""
    ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    leaf = ca.issue_cert("peer.test", key_type=trustme.KeyType.ECDSA)
    paths = [folder / name for name in ("ca.pem", "leaf.pem", "key.pem")]
    ca.cert_pem.write_to_path(str(paths[0]))
    leaf.cert_chain_pems[0].write_to_path(str(paths[1]))
    leaf.private_key_pem.write_to_path(str(paths[2]))
    return Identity(*map(str, paths))


class Conversation(NamedTuple):
    """``datagrams``: UDP packets of a call, as IP packets; ``payloads``: what is in them; ``keys``: its key log."""

    datagrams: list[bytes]
    payloads: list[bytes]
    keys: str


@cache
def conversation(folder: Path) -> Conversation:
    """A handshake, signalling and media between two cores in memory."""
    from tests.fuzz.targets.wire import udp
    from tests.unit.lab.test_decrypted import pair

    both = pair(identity(folder))
    both.client.send_stream_data(0, messages()[0])
    both.exchange()
    both.server.send_stream_data(0, messages()[2] + messages()[4] + messages()[5])
    both.client.send_datagram_frame(b"\x20audio")
    both.exchange()
    payloads = [one.payload for one in both.captured]
    return Conversation([udp("10.0.0.2", "198.51.100.2", payload=one) for one in payloads], payloads, both.keys.getvalue())


def frames() -> list[bytes]:
    """A packet's payload with one of every kind of frame."""
    stream = b"\x0a\0" + encode_varint(len(messages()[0])) + messages()[0]
    return [
        b"\x01\0\0\0\x02\x05\x01\x00\x02\x1e",
        b"\x03\x40\x64\x00\x01\x05\x00\x03\x01\x02\x03\x30rest",
        stream + b"\x18\x01\x00\x08" + bytes(8) + bytes(16) + b"\x1a" + bytes(8) + b"\x1b" + bytes(8),
        b"\x06\0\x04abcd\x07\x02ab\x10\x05\x11\0\x05\x12\x05\x13\x05\x14\x05\x15\0\x05\x16\x05\x17\x05\x19\x01",
        b"\x04\x02\x05\x03\x05\x02\x05\x31\x03abc\x1c\x01\x02\x03why",
        b"\x1d\x07\x03end",
        b"\x0e\x02\x05\x03abc\x0f\x06\x00\x04\x20abc",
    ]


@target("quic_frames", share=7)
def quic_frames(_: Path) -> Ready:
    """The frames of a packet: nothing is raised, what cannot be read is the last one."""

    def run(data: bytes) -> None:
        found = parse_frames_untrusted(data)
        need(all(one.name != "UNREADABLE" for one in found[:-1]), "it went on after what it could not read")
        need(bool(found) == bool(data), "nothing came of something")

    return Ready(run, frames())


@target("quic_header", share=10)
def quic_header(folder: Path) -> Ready:
    """What tells a datagram's connection: None for what is no QUIC; the answer to another version is made of anything."""

    def run(data: bytes) -> None:
        header = peek_untrusted(data)
        if header is not None and header.version is not None:
            version_negotiation(header, [1])

    return Ready(run, conversation(folder).payloads[:6])


@target("long_headers", share=0.3)
def long_headers(folder: Path) -> Ready:
    """The packets with long headers of a datagram: ValueError for what is cut short."""
    log = folder / "keys.log"
    log.write_text(conversation(folder).keys)

    def run(data: bytes) -> None:
        with refusing_values():
            list(Handshakes(log).read_untrusted(data))

    return Ready(run, conversation(folder).payloads[:6])


class refusing_values:  # noqa: N801 - reads as refusing does
    """As ``refusing(ValueError)``, and the classes that aioquic derives from it."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return kind is not None and issubclass(kind, ValueError) and not issubclass(kind, UnicodeError)


@target("initial_payload", share=0.2)
def initial_payload(folder: Path) -> Ready:
    """The same of Initials that anybody can seal, with any frames in them: nothing is raised for what is whole."""

    def run(data: bytes) -> None:
        list(Handshakes(None).read_untrusted(sealed_initial(data)))

    return Ready(run, frames())


def sealed_initial(payload: bytes, number: int = 0, destination: bytes = CID, source: bytes = b"attacker") -> bytes:
    """A client's Initial of at least 1200 bytes around ``payload``."""
    pair = CryptoPair()
    pair.setup_initial(cid=destination, is_client=True, version=QuicProtocolVersion.VERSION_1)
    payload = payload.ljust(1200, b"\0")
    ids = bytes([len(destination)]) + destination + bytes([len(source)]) + source
    length = (0x4000 | (len(payload) + 2 + 16)).to_bytes(2, "big")
    header = b"\xc1\0\0\0\1" + ids + b"\0" + length + number.to_bytes(2, "big")
    return pair.encrypt_packet(header, payload, number)


def one_rtt(context: CryptoContext, destination: bytes, number: int, payload: bytes) -> bytes:
    """A packet with a short header around ``payload``, in the key phase that ``context`` is in."""
    header = bytes([0x41 | context.key_phase << 2]) + destination + (number & 0xFFFF).to_bytes(2, "big")
    return context.encrypt_packet(header, payload.ljust(4, b"\0"), number)


def context(secret: bytes) -> CryptoContext:
    """What seals packets of a side with that secret."""
    made = CryptoContext()
    suite = CipherSuite.AES_256_GCM_SHA384 if len(secret) == 48 else CipherSuite.AES_128_GCM_SHA256
    made.setup(cipher_suite=suite, secret=secret, version=QuicProtocolVersion.VERSION_1)
    return made


@target("exchange", share=0.1, longest=4096)
def told(folder: Path) -> Ready:
    """A capture of packets with any frames in them, of both sides, read with the key log: nothing is raised; of holds HarnessError."""
    log = folder / "exchange.log"
    log.write_text(f"CLIENT_TRAFFIC_SECRET_0 {CONNECTION} {SECRET.hex()}\nSERVER_TRAFFIC_SECRET_0 {CONNECTION} {SECRET[::-1].hex()}\n")
    keys = {True: context(SECRET), False: context(SECRET[::-1])}

    def run(data: bytes) -> None:
        taken = Taken(data)
        captured: dict[str, list[UdpPacket]] = {"alice": [], "bob": []}
        number = 0
        while taken:
            by_client, size = taken.number(), taken.number(2) % 1200
            packet = one_rtt(keys[by_client & 1 == 1], CID, number, taken.piece(size))
            ends = (CLIENT, SERVER) if by_client & 1 else (SERVER, CLIENT)
            names = ("alice", "bob") if by_client & 1 else ("bob", "alice")
            at = 10**12 + number * MS
            captured[names[0]].append(UdpPacket(f"{names[0]}/eth", at, at, True, *ends, len(packet), packet))
            if not by_client & 2:
                captured[names[1]].append(UdpPacket(f"{names[1]}/eth", at + MS, at + MS, False, *ends, len(packet), packet))
            number += 1
        signals, _ = exchange.tell(captured, log, lambda speaker, address: "")
        msgspec.json.encode(signals)
        wire = decrypt(captured["alice"], read_keys(log))
        need(not wire.sealed, "a packet was not opened")
        with refusing(HarnessError):
            for one in on_hold(wire, "c1", 10**13, "alice → bob"):
                one.overrun(), one.comeback()
        for connection in wire.connections:
            wire.spare_ids(connection, "client")
        wire.datagrams("audio", "rtcp")

    def packet(by: int, payload: bytes) -> bytes:
        return bytes([by]) + len(payload).to_bytes(2, "big") + payload

    said = b"".join(messages())
    cut = len(said) // 2
    stream = [b"\x0a\0" + encode_varint(cut) + said[:cut], b"\x0e\0" + encode_varint(cut) + encode_varint(len(said) - cut) + said[cut:]]
    seeds = [b"".join(packet(1, one) for one in stream + frames()), b"".join(packet(0, one) + packet(3, one) for one in frames())]
    return Ready(run, seeds)


@target("keys_log", "lines", share=0.2)
def key_log(folder: Path) -> Ready:
    """A key log that an agent wrote: ValueError."""
    log = folder / "agent.log"
    udp = [UdpPacket("eth", 1, 1, True, CLIENT, SERVER, len(one), one) for one in conversation(folder).payloads[-3:]]

    def run(data: bytes) -> None:
        log.write_bytes(data)
        try:
            keys = read_keys(log)
        except ValueError:
            return
        decrypt(udp, keys)

    return Ready(run, [conversation(folder).keys.encode()])


@target("captured_datagram", share=0.1)
def datagram(folder: Path) -> Ready:
    """Any datagrams in a capture, told of with a key log that does not open them, and without one: nothing is raised."""
    log = folder / "keys.log"
    log.write_text(conversation(folder).keys)

    def run(data: bytes) -> None:
        packets = [UdpPacket("alice/eth", n, n, True, CLIENT, SERVER, len(one), one) for n, one in enumerate((data, data[3:]))]
        for keys in (log, None):
            msgspec.json.encode(exchange.tell({"alice": packets, "bob": []}, keys, lambda speaker, address: "bob")[0])

    return Ready(run, conversation(folder).payloads)
