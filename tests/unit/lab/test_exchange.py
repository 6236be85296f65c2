"""What two aioquic cores said to each other, told from the packets at both hosts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from harness.call.roq import encode_varint
from harness.fabric.udp_packets import UdpPacket
from harness.lab import exchange
from harness.report.artifacts import Artifacts
from harness.report.messages import read
from harness.report.story import Signal
from tests.unit.call.conftest import Identity
from tests.unit.lab.test_decrypted import MS, SERVER, Pair, pair
from topologies.five_homes import five_homes
from topologies.two_homes import two_homes

DELAY = 5 * MS


def message(kind: str, **fields: object) -> bytes:
    body = msgspec.json.encode({"type": kind, "session_id": "c1", **fields})
    return encode_varint(len(body)) + body


def hosts(both: Pair, *, lost: tuple[int, ...] = (), moved: int | None = None) -> dict[str, list[UdpPacket]]:
    """What was captured at either host.  The numbers in ``lost`` came to nobody; from ``moved`` on the client's come from elsewhere."""
    found: dict[str, list[UdpPacket]] = {"alice": [], "bob": []}
    for number, packet in enumerate(both.captured):
        speaker, listener = ("bob", "alice") if packet.outgoing else ("alice", "bob")
        source = ("203.0.113.9", 62416) if moved is not None and number >= moved and speaker == "alice" else packet.source
        out = replace(packet, interface=f"{speaker}/eth", outgoing=True)
        came = replace(packet, interface=f"{listener}/eth", outgoing=False, source=source)
        found[speaker].append(out)
        if number not in lost:
            at = (packet.monotonic or 0) + DELAY
            found[listener].append(replace(came, monotonic=at, time=at))
    return {name: sorted(packets, key=lambda one: one.time) for name, packets in found.items()}


def tell(both: Pair, folder: Path, captured: dict[str, list[UdpPacket]], *, keys: bool = True) -> tuple[list[Signal], list[str]]:
    log = folder / "keys.log"
    log.write_text(both.keys.getvalue())
    return exchange.tell(captured, log if keys else None, lambda speaker, address: "bob" if address == SERVER else "alice")


def told(signals: list[Signal], *layers: str) -> list[tuple[str, str, str]]:
    return [(one.speaker, one.listener, one.text) for one in signals if one.layer in layers]


def test_a_handshake_and_what_was_said_in_it(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.send_stream_data(0, message("capability_exchange", audio=True, video=False, max_bandwidth_kbps=2500))
    both.exchange()
    both.server.send_stream_data(0, message("hold") + message("resume"))
    both.exchange()
    both.client.close(7, reason_phrase="<b>ended")
    both.exchange()
    signals, notes = tell(both, tmp_path, hosts(both))
    assert notes == []
    assert told(signals, "quic")[0] == ("alice", "bob", "Initial")
    assert ("bob", "alice", "HANDSHAKE_DONE") in told(signals, "quic")
    assert told(signals, "quic")[-1] == ("alice", "bob", "CONNECTION_CLOSE 0x7 “<b>ended”")
    assert told(signals, "call") == [("alice", "bob", "capability_exchange: audio, 2500 kbit/s"), ("bob", "alice", "hold, resume")]
    assert all(one.came is not None and one.came - one.at == DELAY for one in signals)
    assert [one.at for one in signals] == sorted(one.at for one in signals)


def test_what_never_came_is_told_with_whom_it_was_meant_for(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    first = len(both.captured)
    both.client.send_stream_data(0, message("bye", reason="ended"))
    both.exchange()
    signals, _ = tell(both, tmp_path, hosts(both, lost=(first,)))
    assert [(one.listener, one.text, one.came) for one in signals if one.layer == "call"] == [("bob", "bye: ended", None)]


def test_a_listener_sees_a_connection_come_from_elsewhere_once(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.send_datagram_frame(b"\x20audio")
    both.exchange()
    moved = len(both.captured)
    for _ in range(3):
        both.client.send_datagram_frame(b"\x20audio")
        both.exchange()
    signals, _ = tell(both, tmp_path, hosts(both, moved=moved))
    assert told(signals, "path") == [("alice", "bob", "now from 203.0.113.9:62416, over eth")]
    assert told(signals, "media") == [("alice", "bob", "first audio RTP")]


def test_without_keys_the_outside_is_told_and_that_it_is_all(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.send_datagram_frame(b"\x20audio")
    both.exchange()
    signals, notes = tell(both, tmp_path, hosts(both), keys=False)
    assert notes == ["no keys.log: what is inside the packets cannot be told"]
    assert told(signals, "quic")[0] == ("alice", "bob", "Initial")
    assert any(text.startswith("first sealed packet") for _, _, text in told(signals, "quic"))
    assert told(signals, "call", "media", "path") == []


def test_what_is_sent_twice_with_the_same_bytes_comes_twice(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    first = both.captured[0]
    late = (both.captured[-1].monotonic or 0) + 100 * MS
    both.captured.append(replace(first, monotonic=late, time=late))
    signals, _ = tell(both, tmp_path, hosts(both))
    initials = [one for one in signals if one.text.startswith("Initial") and one.speaker == "alice"]
    assert initials[0].text == "Initial" and initials[-1].text == "Initial (again)"
    assert [one.came for one in (initials[0], initials[-1])] == [one.at + DELAY for one in (initials[0], initials[-1])]


def test_a_close_before_the_handshake_is_told_with_its_error(tmp_path: Path) -> None:
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["x"]))
    client.connect(SERVER, 1.0)
    first = client.datagrams_to_send(1.0)
    client.close(0x12A, reason_phrase="unknown")
    data = [one for one, _ in (*first, *client.datagrams_to_send(1.1))]
    sent = [UdpPacket("alice/eth", n, n, True, ("192.0.2.1", 5000), SERVER, len(one), one) for n, one in enumerate(data)]
    signals, _ = exchange.tell({"alice": sent}, None, lambda speaker, address: "bob")
    assert told(signals, "quic") == [
        ("alice", "bob", "Initial"),
        ("alice", "bob", "Initial, CONNECTION_CLOSE 0xc APPLICATION_ERROR"),
    ]


def test_a_message_over_two_packets_is_told_as_such(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.send_stream_data(0, message("bye", reason="x" * 1500))
    both.exchange()
    signals, _ = tell(both, tmp_path, hosts(both))
    texts = [text for _, _, text in told(signals, "call")]
    assert len(texts) == 2 and all(text.startswith("bye: xxx") and text.endswith(" (in part)") for text in texts)


def test_signalling_that_is_none_is_told_as_such(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    both.client.send_stream_data(0, message("hold") + b"\x05junk!")
    both.exchange()
    signals, _ = tell(both, tmp_path, hosts(both))
    assert told(signals, "call") == [("alice", "bob", "hold, what is no signalling message")]


def test_random_bytes_are_no_reason_to_stop(tmp_path: Path) -> None:
    junk = [
        UdpPacket("alice/eth", n, n, True, ("192.0.2.1", 1), SERVER, len(data), data) for n, data in enumerate((b"", b"\xff", b"\xc0" * 9))
    ]
    signals, _ = exchange.tell({"alice": junk}, None, lambda speaker, address: "")
    assert all(one.listener == "" and one.came is None for one in signals)


def test_the_file_is_read_back_on_the_clock_of_the_page(identity: Identity, tmp_path: Path) -> None:
    both = pair(identity)
    (tmp_path / "keys.log").write_text(both.keys.getvalue())
    said = exchange.write(tmp_path, hosts(both), lambda speaker, address: "")
    signals, notes = read(Artifacts(tmp_path), lambda ns: ns // 1000 - 1_000_000)
    assert said == f"{exchange.FILE}: {len(signals)} messages" and notes == []
    assert (signals[0].at, signals[0].came) == (1000, 6000)


def test_who_is_meant_by_an_address() -> None:
    two = exchange.resolver(two_homes(), 4433)
    assert two("alice", ("198.51.100.2", 4433)) == "bob"
    assert two("bob", ("203.0.113.2", 62416)) == "alice"
    five = exchange.resolver(five_homes(), 4433)
    assert five("alice", ("203.0.113.34", 4433)) == "carol"
    assert five("carol", ("203.0.113.2", 62416)) == ""
