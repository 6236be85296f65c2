"""Packets of two aioquic cores in memory, read as from a capture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import CipherSuite

from harness.fabric.udp_packets import UdpPacket
from harness.lab.decrypted import Decrypted, Packet, decrypt, read_keys, signals
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


def pair(identity: Identity, *suites: CipherSuite, cid_length: int = 8) -> Pair:
    keys = io.StringIO()
    shared = {"alpn_protocols": ["x"], "secrets_log_file": keys, "max_datagram_frame_size": 65536}
    if suites:
        shared["cipher_suites"] = list(suites)
    ours = QuicConfiguration(is_client=True, server_name="peer.test", connection_id_length=cid_length, **shared)
    ours.load_verify_locations(identity.ca)
    theirs = QuicConfiguration(is_client=False, connection_id_length=cid_length, **shared)
    theirs.load_cert_chain(identity.certificate, identity.key)
    client = QuicConnection(configuration=ours)
    server = QuicConnection(configuration=theirs, original_destination_connection_id=client.original_destination_connection_id)
    both = Pair(client, server, keys)
    client.connect(SERVER, both.now / 1e9)
    both.exchange()
    return both


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
    assert [(key.sender, key.connection) for key in keys] == [("client", "ab" * 32)] * 2  # one secret, two suites of its length
