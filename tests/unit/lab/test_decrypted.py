"""Packets of two aioquic cores in memory, read as from a capture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoContext, apply_key_phase, next_key_phase
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

from harness.fabric.udp_packets import UdpPacket
from harness.lab import wire_view
from harness.lab.decrypted import Decrypted, Opener, Packet, Sender, Tally, Unopened, decrypt, read_keys, signals
from harness.lab.frames import Frame
from tests.unit.call.conftest import Identity

CLIENT, SERVER = ("192.0.2.1", 5000), ("192.0.2.2", 4433)
MS = 1_000_000


def udp(data: bytes, at: int, *, outgoing: bool = False) -> UdpPacket:
    ends = (SERVER, CLIENT) if outgoing else (CLIENT, SERVER)
    return UdpPacket("eth", at, at, outgoing, *ends, len(data), data)


@dataclass
class Pair:
    """A client and a server, every datagram between them captured at the server's host; a step is 1 ms."""

    client: QuicConnection
    server: QuicConnection
    keys: io.StringIO
    captured: list[UdpPacket] = field(default_factory=list)
    now: int = 1_000 * MS

    def exchange(self) -> None:
        """Until both have nothing more to say."""
        quiet = False
        while not quiet:
            quiet = True
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                self.now += MS
                for data, _address in sender.datagrams_to_send(self.now / 1e9):
                    quiet = False
                    self.captured.append(udp(data, self.now, outgoing=sender is self.server))
                    receiver.receive_datagram(data, CLIENT if sender is self.client else SERVER, self.now / 1e9)

    def read(self, folder: Path) -> Decrypted:
        log = folder / "keys.log"
        log.write_text(self.keys.getvalue())
        return decrypt(self.captured, read_keys(log))


def pair(
    identity: Identity,
    *suites: CipherSuite,
    cid_length: int = 8,
    theirs_length: int | None = None,
    version: int = QuicProtocolVersion.VERSION_1,
) -> Pair:
    keys = io.StringIO()
    shared = {"alpn_protocols": ["x"], "secrets_log_file": keys, "max_datagram_frame_size": 65536}
    if suites:
        shared["cipher_suites"] = list(suites)
    ours = QuicConfiguration(is_client=True, server_name="peer.test", connection_id_length=cid_length, original_version=version, **shared)
    ours.load_verify_locations(identity.ca)
    theirs = QuicConfiguration(is_client=False, connection_id_length=cid_length if theirs_length is None else theirs_length, **shared)
    theirs.load_cert_chain(identity.certificate, identity.key)
    client = QuicConnection(configuration=ours)
    server = QuicConnection(configuration=theirs, original_destination_connection_id=client.original_destination_connection_id)
    both = Pair(client, server, keys)
    client.connect(SERVER, both.now / 1e9)
    both.exchange()
    return both


CONNECTION = "0a" * 32
SECRETS: dict[Sender, bytes] = {"client": bytes(range(32)), "server": bytes(range(32, 64))}


@dataclass
class Side:
    """One side that seals packets with short headers by hand, to an id of its peer's."""

    sender: Sender
    peer_id: bytes
    version: int = QuicProtocolVersion.VERSION_1
    first: int = 0x40
    """Of a packet's first byte: its QUIC bit, or none."""
    number: int = 0
    number_bytes: int = 2
    context: CryptoContext = field(default_factory=CryptoContext)

    def __post_init__(self) -> None:
        self.context.setup(cipher_suite=CipherSuite.AES_128_GCM_SHA256, secret=SECRETS[self.sender], version=self.version)

    def seal(self, payload: bytes = b"\x01" + bytes(30)) -> bytes:
        size = self.number_bytes
        header = bytes([self.first | self.context.key_phase << 2 | size - 1]) + self.peer_id
        header += (self.number % (1 << 8 * size)).to_bytes(size, "big")
        self.number += 1
        return self.context.encrypt_packet(header, payload, self.number - 1)

    def update(self) -> None:
        """Begin the next key phase (RFC 9001 §6)."""
        apply_key_phase(self.context, next_key_phase(self.context), "local_update")


def key_log(folder: Path, *senders: Sender) -> Path:
    log = folder / "keys.log"
    log.write_text("".join(f"{sender.upper()}_TRAFFIC_SECRET_0 {CONNECTION} {SECRETS[sender].hex()}\n" for sender in senders or SECRETS))
    return log


def sent_in(found: Decrypted, name: str) -> list[tuple[str, dict[str, object]]]:
    return [(packet.sender, frame.fields) for packet in found.packets for frame in packet.having(name)]


@pytest.mark.parametrize(
    "suite", [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256], ids=lambda s: s.name
)
def test_what_each_side_said_is_read_whatever_the_cipher(identity: Identity, tmp_path: Path, suite: CipherSuite) -> None:
    both = pair(identity, suite)
    both.client.send_datagram_frame(b"to the server")
    both.exchange()
    both.server.send_datagram_frame(b"to the client")
    both.exchange()
    found = both.read(tmp_path)
    assert found.sealed == []
    assert sent_in(found, "DATAGRAM") == [("client", {"data": b"to the server"}), ("server", {"data": b"to the client"})]
    assert sent_in(found, "HANDSHAKE_DONE") == [("server", {})]
    assert {packet.sender for packet in found.packets if packet.udp.outgoing} == {"server"}
    assert len({packet.connection for packet in found.packets}) == 1
    for sender in ("client", "server"):
        numbers = [packet.number for packet in found.packets if packet.sender == sender]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_connection_ids_of_any_length_are_learnt_from_the_handshake(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity, cid_length=13)
    both.client.send_datagram_frame(b"hello")
    both.exchange()
    found = both.read(tmp_path)
    assert found.sealed == []
    assert ("client", {"data": b"hello"}) in sent_in(found, "DATAGRAM")
    assert {len(packet.destination) for packet in found.packets} == {13}


def test_a_changed_connection_id_is_told(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.change_connection_id()
    both.client.send_ping(1)
    both.exchange()
    found = both.read(tmp_path)
    ids = [packet.destination for packet in found.packets if packet.sender == "client"]
    issued = [fields["connection_id"] for sender, fields in sent_in(found, "NEW_CONNECTION_ID") if sender == "server"]
    assert ids[-1] != ids[0]
    assert ids[-1] in issued
    assert sent_in(found, "RETIRE_CONNECTION_ID")[0] == ("client", {"sequence": 0})
    (connection,) = found.connections
    assert found.spare_ids(connection, "client") == len(issued) - 1
    assert found.spare_ids(connection, "server") == 7, "what the client issued beside its first, none of it used"


def test_a_key_update_is_followed(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    for text in (b"before", b"after", b"again"):
        both.client.send_datagram_frame(text)
        both.exchange()
        both.server.send_datagram_frame(text)
        both.exchange()
        both.client.request_key_update()
    found = both.read(tmp_path)
    assert found.sealed == []
    assert [fields["data"] for _sender, fields in sent_in(found, "DATAGRAM")] == [b"before"] * 2 + [b"after"] * 2 + [b"again"] * 2


def test_two_connections_in_one_capture_are_told_apart(identity: Identity, tmp_path: Path) -> None:
    one, other = pair(identity), pair(identity)
    one.client.send_datagram_frame(b"one")
    other.client.send_datagram_frame(b"other")
    one.exchange()
    other.exchange()
    one.captured = sorted(one.captured + other.captured, key=lambda packet: packet.time)
    one.keys.write(other.keys.getvalue())
    found = one.read(tmp_path)
    assert found.sealed == []
    of = {packet.having("DATAGRAM")[0].fields["data"]: packet.connection for packet in found.packets if packet.having("DATAGRAM")}
    assert set(of) == {b"one", b"other"}
    assert of[b"one"] != of[b"other"]


def test_what_no_key_opens_is_kept_and_not_taken_for_silence(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.send_datagram_frame(b"x" * 100)
    both.exchange()
    whole = len(both.read(tmp_path).packets)
    forged = both.captured[-1].payload[:-1] + bytes([both.captured[-1].payload[-1] ^ 1])
    for data in (forged, b"\x40" + bytes(100), b"\x40", b"\x40" * 21):
        both.captured.append(udp(data, both.now))
    found = both.read(tmp_path)
    assert [packet.payload for packet in found.sealed] == [forged, b"\x40" + bytes(100), b"\x40", b"\x40" * 21]
    assert len(found.packets) == whole


@pytest.mark.parametrize("version", [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2], ids=lambda v: v.name)
@pytest.mark.parametrize(
    "suite", [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256], ids=lambda s: s.name
)
def test_both_versions_are_read_through_a_key_update(identity: Identity, tmp_path: Path, suite: CipherSuite, version: int) -> None:
    both = pair(identity, suite, version=version)
    for text in (b"before", b"after"):
        both.client.send_datagram_frame(text)
        both.exchange()
        both.client.request_key_update()
    found = both.read(tmp_path)
    assert found.sealed == []
    assert [fields["data"] for _sender, fields in sent_in(found, "DATAGRAM")] == [b"before", b"after"]


@pytest.mark.parametrize(("ours", "theirs"), [(4, 8), (20, 1)])
def test_connection_ids_may_have_any_length_on_either_side(identity: Identity, tmp_path: Path, ours: int, theirs: int) -> None:
    both = pair(identity, cid_length=ours, theirs_length=theirs)
    both.client.send_datagram_frame(b"to the server")
    both.server.send_datagram_frame(b"to the client")
    both.exchange()
    found = both.read(tmp_path)
    assert found.sealed == []
    assert sent_in(found, "DATAGRAM") == [("client", {"data": b"to the server"}), ("server", {"data": b"to the client"})]
    assert {(packet.sender, len(packet.destination)) for packet in found.packets} == {("client", theirs), ("server", ours)}


@pytest.mark.parametrize("version", [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2], ids=lambda v: v.name)
def test_a_cleared_quic_bit_hides_nothing(tmp_path: Path, version: int) -> None:
    """RFC 9287: half of the packets have it cleared, none is passed over, opened or not."""
    side = Side("client", b"8 bytes.", version)
    packets = []
    for number in range(8):
        side.first = 0x40 * (number % 2)
        packets.append(side.seal())
    found = decrypt([udp(data, at) for at, data in enumerate(packets)], read_keys(key_log(tmp_path)))
    assert [packet.number for packet in found.packets] == list(range(8))
    assert found.sealed == []
    broken = [data[:-1] + bytes([data[-1] ^ 1]) for data in packets]
    found = decrypt([udp(data, at) for at, data in enumerate([packets[0], *broken])], read_keys(key_log(tmp_path)))
    assert (len(found.packets), len(found.sealed)) == (1, 8)
    assert found.tallies() == {(CONNECTION, "client"): Tally(1, 8, 0)}


def test_without_a_handshake_in_the_capture_ids_of_every_length_are_tried(tmp_path: Path) -> None:
    for length in range(21):
        packets = [udp(Side("client", bytes(range(length))).seal(), 1)]
        (opened,) = decrypt(packets, read_keys(key_log(tmp_path))).packets
        assert opened.destination == bytes(range(length))


def test_an_id_of_another_length_that_was_given_out_elsewhere_is_found(tmp_path: Path) -> None:
    first, later = Side("client", b"eight.id"), Side("client", b"thirteen.....", number=5)
    found = decrypt([udp(first.seal(), 1), udp(later.seal(), 2)], read_keys(key_log(tmp_path)))
    assert [packet.destination for packet in found.packets] == [b"eight.id", b"thirteen....."]


def test_a_packet_of_the_phase_before_that_was_overtaken_is_opened(tmp_path: Path) -> None:
    side = Side("client", b"8 bytes.")
    first, late = side.seal(), side.seal()
    side.update()
    after = side.seal()
    found = decrypt([udp(data, at) for at, data in enumerate((first, after, late))], read_keys(key_log(tmp_path)))
    assert [packet.number for packet in found.packets] == [0, 2, 1]


def test_a_duplicate_is_known_as_a_copy_however_old_it_is(tmp_path: Path) -> None:
    """With packet numbers of one byte a replay from 500 packets ago cannot be decoded; its bytes are known."""
    side = Side("client", b"8 bytes.", number_bytes=1)
    packets = [side.seal() for _ in range(500)]
    replayed = [*packets, packets[0], packets[-1]]
    found = decrypt([udp(data, at) for at, data in enumerate(replayed)], read_keys(key_log(tmp_path)))
    assert [(packet.number, packet.copy) for packet in found.packets[-3:]] == [(499, False), (0, True), (499, True)]
    assert found.sealed == []


def test_keys_that_stop_opening_in_mid_call_are_told(tmp_path: Path) -> None:
    side, other = Side("client", b"8 bytes."), Side("client", b"8 bytes.")
    packets = [udp(side.seal(), at, outgoing=True) for at in range(1, 11)]
    other.context.setup(cipher_suite=CipherSuite.AES_128_GCM_SHA256, secret=bytes(32), version=QuicProtocolVersion.VERSION_1)
    packets += [udp(other.seal(), at, outgoing=True) for at in range(11, 31)]
    found = decrypt(packets, read_keys(key_log(tmp_path)))
    assert found.tallies() == {(CONNECTION, "client"): Tally(10, 20, 0)}
    assert found.unopened() == [Unopened(CONNECTION, "client", 11, 30, 20)]
    stranger = [udp(one.payload, one.time) for one in packets]
    assert decrypt(stranger, read_keys(key_log(tmp_path))).unopened() == [], "what comes to a host may be anybody's"


def test_secrets_that_are_logged_late_open_what_waited(tmp_path: Path) -> None:
    client, server = Side("client", b"8 bytes."), Side("server", b"")
    opener = Opener(read_keys(key_log(tmp_path, "client")))
    waiting = [udp(server.seal(), at, outgoing=True) for at in range(40)]
    assert opener.open(udp(client.seal(), 1)) is not None
    assert [opener.open(one) for one in waiting] == [None] * 40
    opener.add(read_keys(key_log(tmp_path)))
    assert [packet.number for one in waiting if (packet := opener.open(one))] == list(range(40))


@pytest.mark.parametrize(("clients", "servers"), [(0, 8), (8, 0), (0, 0)])
def test_sides_without_connection_ids_are_told_apart(tmp_path: Path, clients: int, servers: int) -> None:
    client, server = Side("client", bytes(range(servers)), first=0), Side("server", bytes(range(clients)))
    packets = [udp((client, server)[at % 2].seal(), at, outgoing=at % 2 == 1) for at in range(40)]
    found = decrypt(packets, read_keys(key_log(tmp_path)))
    assert [(packet.sender, packet.number) for packet in found.packets] == [(("client", "server")[n % 2], n // 2) for n in range(40)]
    assert found.sealed == []


@pytest.mark.parametrize("update", [False, True], ids=["one phase", "key updates"])
def test_what_is_read_in_pieces_is_opened_as_if_it_were_read_at_once(tmp_path: Path, update: bool) -> None:
    """Of packet numbers one byte stands in the header, so their place is known only from those before."""
    side, opener = Side("client", b"8 bytes.", number_bytes=1), wire_view.Opener()
    for piece in range(1, 6):
        captured = [udp(side.seal(), piece * 1000 + at, outgoing=True) for at in range(200)]
        opened, sealed = opener.open(captured, read_keys(key_log(tmp_path)))
        assert [packet.number for packet in opened] == list(range(200 * (piece - 1), 200 * piece))
        assert sealed == []
        if update:
            side.update()


def test_invented_lines_in_a_key_log_hide_no_other(tmp_path: Path) -> None:
    log = key_log(tmp_path)
    invented = "".join(f"CLIENT_TRAFFIC_SECRET_0 {CONNECTION} {number:064x}\n" for number in range(50))
    log.write_text(invented + log.read_text() + invented.replace("CLIENT", "SERVER"))
    assert len(decrypt([udp(Side("client", b"8 bytes.").seal(), 1)], read_keys(log)).packets) == 1


def test_what_is_no_quic_is_not_sealed(tmp_path: Path) -> None:
    """A lookup of names beside a call: its endpoints speak no QUIC, whatever its first byte is."""
    query = UdpPacket("eth", 2, 2, True, ("192.0.2.1", 5353), ("192.0.2.9", 53), 40, b"\x52\x10" + bytes(38))
    found = decrypt([udp(Side("client", b"8 bytes.").seal(), 1), query], read_keys(key_log(tmp_path)))
    assert (len(found.packets), found.sealed) == (1, [])


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 50, b"\xc0", b"\xc0\x00\x00\x00\x01\xff" + bytes(50), b"\x80\x00\x00\x00\x00\x00\x00" + bytes(4)]
)
def test_what_is_no_one_rtt_packet_is_passed_over(data: bytes) -> None:
    assert decrypt([udp(data, 1)], []) == Decrypted([], [])


def test_signalling_is_put_together_from_pieces_in_any_order() -> None:
    text = b'\x0e{"type":"bye"}\x0c{"type":"x"}'

    def packet(number: int, start: int, stop: int) -> Packet:
        frame = Frame("STREAM", {"stream": 0, "offset": start, "data": text[start:stop], "fin": stop == len(text)})
        return Packet(udp(b"", number * MS), "client", "c", number, b"", (frame,))

    packets = [packet(1, 0, 4), packet(2, 10, 20), packet(3, 2, 12), packet(4, 2, 12), packet(5, 18, len(text))]
    stream = Decrypted(packets[:2], []).stream("c", "client", 0)
    assert (bytes(stream.data), stream.ended) == (text[:4], False)
    stream = Decrypted(packets, []).stream("c", "client", 0)
    assert (bytes(stream.data), stream.ended) == (text, True)
    assert [(one.message, one.packet.number) for one in signals(stream)] == [({"type": "bye"}, 3), ({"type": "x"}, 5)]
    assert Decrypted(packets, []).stream("c", "server", 0).data == b""
    assert Decrypted(packets, []).stream("c", "client", 4).data == b""


def test_a_cut_message_is_an_error() -> None:
    frame = Frame("STREAM", {"stream": 0, "offset": 0, "data": b'\x0e{"type', "fin": True})
    stream = Decrypted([Packet(udp(b"", 1), "client", "c", 1, b"", (frame,))], []).stream("c", "client", 0)
    with pytest.raises(ValueError, match="Read out of bounds"):
        signals(stream)


def test_of_the_key_log_only_application_secrets_are_taken_and_each_once(tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    line = f"CLIENT_TRAFFIC_SECRET_0 {'ab' * 32} {'cd' * 32}\n"
    log.write_text(f"# a comment\nCLIENT_HANDSHAKE_TRAFFIC_SECRET {'ab' * 32} {'cd' * 32}\n{line}{line}SERVER_TRAFFIC_SECRET_0 x\n")
    keys = read_keys(log)
    assert [(key.sender, key.connection, key.secret) for key in keys] == [("client", "ab" * 32, bytes.fromhex("cd" * 32))]
