"""Datagrams found at the other host by their bytes, and the signalling that they carried."""

from __future__ import annotations

from harness.lab.crossings import SLACK, signalling
from tests.unit.lab.wire import MS, Wire, datagram, piece, rtp, udp


def test_each_packet_has_its_departure_its_listener_and_its_arrival() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(1)), came=30 * MS)
    wire.send(20 * MS, datagram(rtp(2)))
    wire.send(25 * MS, datagram(rtp(1)), speaker="bob", came=45 * MS)
    assert [(one.speaker, one.departed // MS, one.listener, one.arrived) for one in wire.crossed()] == [
        ("alice", 10, "bob", 30 * MS),
        ("alice", 20, "", None),
        ("bob", 25, "alice", 45 * MS),
    ]


def test_they_are_in_the_order_of_departure_whatever_order_they_were_opened_in() -> None:
    wire = Wire()
    for at in (30, 10, 20):
        wire.send(at * MS, datagram(rtp(at)), came=(60 - at) * MS)
    assert [one.departed // MS for one in wire.crossed()] == [10, 20, 30]
    assert [(one.arrived or 0) // MS for one in wire.crossed()] == [50, 40, 30]


def test_the_first_copy_is_the_arrival() -> None:
    wire = Wire()
    packet = wire.send(10 * MS, datagram(rtp(1)), came=30 * MS, by="lte")
    wire.arrive(packet, 22 * MS, by="wifi")
    (one,) = wire.crossed()
    assert one.arrived == 22 * MS
    assert one.arrival is not None
    assert one.arrival.interface == "bob/wifi"


def test_the_same_bytes_that_leave_twice_have_an_arrival_each() -> None:
    wire = Wire()
    first = wire.send(10 * MS, datagram(rtp(1)), number=1, came=30 * MS)
    again = wire.send(50 * MS, datagram(rtp(1)), number=1, came=70 * MS)
    assert first.udp.payload == again.udp.payload
    assert [one.arrived for one in wire.crossed()] == [30 * MS, 70 * MS]


def test_a_replay_by_somebody_else_is_nobodys_departure() -> None:
    wire = Wire()
    packet = wire.send(10 * MS, datagram(rtp(1)), came=30 * MS)
    wire.arrive(packet, 35 * MS, peer=("203.0.113.66", 9))
    (one,) = wire.crossed()
    assert (one.speaker, one.arrived) == ("alice", 30 * MS)


def test_bytes_that_came_before_they_left_are_not_its_arrival_but_for_what_two_clocks_may_differ() -> None:
    wire = Wire()
    early = wire.send(10 * MS, datagram(rtp(1)), came=10 * MS - SLACK - 1)
    wire.send(20 * MS, datagram(rtp(2)), came=20 * MS - SLACK)
    wire.send(30 * MS, datagram(rtp(3)), came=30 * MS - SLACK - 1)
    wire.arrive(early, 25 * MS)
    assert [one.arrived for one in wire.crossed()] == [25 * MS, 20 * MS - SLACK, None]


def test_what_was_surely_kept_before_its_capture_left_that_much_earlier() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(1)), came=12 * MS)
    wire.send(10 * MS, datagram(rtp(2)), came=12 * MS, path="lte")
    assert [(one.packet.udp.interface, one.departed // MS) for one in wire.crossed(alice_eth=5 * MS)] == [
        ("alice/eth", 5),
        ("alice/lte", 10),
    ]


def test_a_packet_that_comes_back_to_its_own_host_has_not_arrived() -> None:
    wire = Wire()
    packet = wire.send(10 * MS, datagram(rtp(1)))
    wire.came.append(("alice", udp("alice", 20 * MS, packet.udp.payload, outgoing=False)))
    (one,) = wire.crossed()
    assert (one.listener, one.arrived) == ("", None)


def test_signalling_is_read_with_when_each_message_left_and_came() -> None:
    wire = Wire()
    wire.say(10 * MS, "hold", came=30 * MS)
    wire.say(100 * MS, "resume", came=None)
    wire.say(50 * MS, "ack", came=70 * MS, speaker="bob")
    assert [(one.speaker, one.sender, one.message["type"], one.departed // MS, one.arrived) for one in signalling(wire.crossed())] == [
        ("alice", "client", "hold", 10, 30 * MS),
        ("bob", "server", "ack", 50, 70 * MS),
        ("alice", "client", "resume", 100, None),
    ]


def test_a_message_is_of_the_packet_that_completed_it() -> None:
    wire = Wire()
    whole = Wire().say(0, "hold", came=None).frames[0].fields["data"]
    wire.send(10 * MS, piece(0, 0, whole[:10]), came=30 * MS)
    wire.send(20 * MS, piece(0, 10, whole[10:]), came=95 * MS)
    (one,) = signalling(wire.crossed())
    assert (one.message["type"], one.departed, one.arrived) == ("hold", 20 * MS, 95 * MS)


def test_another_stack_s_signalling_is_passed_over_and_hides_nobody_else_s() -> None:
    wire = Wire()
    wire.send(10 * MS, piece(0, 0, b"\x05{{{{{"), came=30 * MS)
    wire.say(20 * MS, "bye", came=40 * MS, speaker="bob")
    assert [one.message["type"] for one in signalling(wire.crossed())] == ["bye"]
    media = Wire()
    media.send(10 * MS, piece(2, 0, b"\x05{{{{{"), datagram(rtp(1)), came=30 * MS)
    assert signalling(media.crossed()) == []
