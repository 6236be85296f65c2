from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from harness.fabric.handshake_order import HOLD, HandshakeOrder, Record
from harness.fabric.pcapng import PACKET, STATISTICS, block

CLIENT, SERVER, OTHER = b"client-1", b"server-1", b"client-2"
MS = 1_000_000


def long_header(to: bytes, by: bytes) -> bytes:
    return b"\xc3\0\0\0\1" + bytes([len(to)]) + to + bytes([len(by)]) + by + bytes(40)


def short_header(to: bytes) -> bytes:
    return b"\x41" + to + bytes(40)


def at(time: int, interface: int, payload: bytes, version: int = 4) -> Record:
    ip = IP(src="192.0.2.1", dst="192.0.2.2") if version == 4 else IPv6(src="2001:db8::1", dst="2001:db8::2")
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ip / UDP(sport=1, dport=2) / Raw(payload))
    head = b"".join(number.to_bytes(4, "little") for number in (interface, 0, time, len(frame), len(frame)))
    return time * MS, interface, block(PACKET, head + frame)


def told(records: list[Record]) -> list[tuple[int, int]]:
    return [(time // MS, interface) for time, interface, _ in records]


def handshake(version: int = 4) -> list[Record]:
    """Client at interface 0, server at interface 1, 10 ms apart."""
    return [
        at(0, 0, long_header(b"first-id", CLIENT), version),
        at(10, 1, long_header(b"first-id", CLIENT), version),
        at(11, 1, long_header(CLIENT, SERVER), version),
        at(12, 1, short_header(CLIENT), version),
        at(21, 0, long_header(CLIENT, SERVER), version),
        at(22, 0, short_header(CLIENT), version),
        at(23, 0, long_header(SERVER, CLIENT), version),
        at(33, 1, long_header(SERVER, CLIENT), version),
        at(34, 1, short_header(CLIENT), version),
        at(44, 0, short_header(CLIENT), version),
    ]


IN_FILE = [(0, 0), (10, 1), (21, 0), (22, 0), (11, 1), (12, 1), (23, 0), (33, 1), (34, 1), (44, 0)]


def test_the_servers_words_wait_for_their_copy_at_the_client() -> None:
    for version in (4, 6):
        order = HandshakeOrder()
        assert told(order.arrange(handshake(version))) == IN_FILE
        assert order.rest() == []


def test_batches_make_no_difference() -> None:
    records = handshake()
    for cut in range(len(records)):
        order = HandshakeOrder()
        assert told(order.arrange(records[:cut]) + order.arrange(records[cut:])) == IN_FILE


def test_a_connection_that_does_not_open_is_let_go() -> None:
    order = HandshakeOrder()
    assert told(order.arrange(handshake()[:4])) == [(0, 0), (10, 1)]
    late = HOLD.ns // MS + 1
    assert told(order.arrange([at(late, 1, b"something else, of nobody's, long enough to be looked at")])) == [(11, 1), (12, 1), (late, 1)]
    order = HandshakeOrder()
    order.arrange(handshake()[:4])
    assert told(order.rest()) == [(11, 1), (12, 1)]


def test_each_connection_is_its_own() -> None:
    order = HandshakeOrder()
    order.arrange(handshake()[:4])
    other = [at(15, 1, long_header(b"other-id", OTHER)), at(16, 1, short_header(OTHER)), at(17, 0, short_header(OTHER))]
    assert told(order.arrange(other)) == [(15, 1), (16, 1), (17, 0)]
    assert told(order.arrange(handshake()[4:])) == IN_FILE[2:]


def test_nothing_else_is_moved_and_nothing_lost() -> None:
    records = [
        at(0, 0, long_header(b"first-id", CLIENT)),
        (1 * MS, 1, block(STATISTICS, bytes(12))),
        at(2, 1, b""),
        at(3, 1, b"\xc0"),
        at(4, 1, b"\xff" * 30),
        at(5, 1, b"\xc0\0\0\0\1\xff" + bytes(10)),
        at(6, 1, long_header(b"", b"")),
        (7 * MS, 1, block(PACKET, bytes(20))),
        (8 * MS, 1, block(PACKET, bytes(200))),
    ]
    order = HandshakeOrder()
    assert order.arrange(records) == records
    assert order.rest() == []
