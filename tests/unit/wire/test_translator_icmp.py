"""ICMP through the translator: echo by identifier, errors with what they quote (RFC 5508)."""

from __future__ import annotations

from typing import Any

import pytest

from harness.spec.nat import Nat
from harness.wire.translator import Back, Forwarded, Translator
from tests.unit.wire.packets import (
    BOB,
    BOB6,
    CAROL,
    CAROL6,
    HOSTS,
    HOSTS6,
    ICMP,
    POOL,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    check,
    ends,
    ip,
    opened,
    translator,
    udp,
)

FAMILIES = {4: (HOSTS, BOB, CAROL, POOL[0]), 6: (HOSTS6, BOB6, CAROL6, POOL[2])}
ERRORS: dict[int, list[Any]] = {
    4: [ICMP(type=3, code=3), ICMP(type=3, code=4, nexthopmtu=1280), ICMP(type=11, code=0), ICMP(type=12, code=0)],
    6: [ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded()],
}
CASES = [(version, n) for version, errors in ERRORS.items() for n in range(len(errors))]


def echo(version: int, kind: str, source: str, to: str, identifier: int) -> bytes:
    layers = {
        (4, "request"): ICMP(type=8, id=identifier, seq=3),
        (4, "reply"): ICMP(type=0, id=identifier, seq=3),
        (6, "request"): ICMPv6EchoRequest(id=identifier, seq=3),
        (6, "reply"): ICMPv6EchoReply(id=identifier, seq=3),
    }
    return bytes(ip(source, to) / layers[version, kind] / b"ping")


def data(result: Any) -> bytes:
    packet = result.packet if isinstance(result, Back) else result
    assert isinstance(packet, bytes), "it was dropped"
    check(packet)
    return packet


def quoted(packet: bytes) -> bytes:
    """The packet that an ICMP error quotes."""
    return packet[28:] if packet[0] >> 4 == 4 else packet[48:]


def intact(quote: bytes) -> None:
    """A whole quoted packet has right checksums."""
    check(quote)


@pytest.mark.parametrize("version", [4, 6])
def test_echo(version: int) -> None:
    hosts, bob, carol, outside = FAMILIES[version]
    nat = translator(Nat(outside="wan"))
    identifiers = []
    for host in hosts[:2]:
        sent = opened(data(nat.outbound(echo(version, "request", host, bob, 77), 0)))
        assert (sent.src, sent.dst) == (outside, bob)
        identifiers.append(sent.payload.id)
        back = opened(data(nat.inbound(echo(version, "reply", bob, outside, sent.payload.id), 0)))
        assert (back.src, back.dst, back.payload.id, back.payload.seq) == (bob, host, 77, 3)
    assert identifiers[0] == 77, "kept where it is free"
    assert identifiers[1] != 77
    assert nat.inbound(echo(version, "reply", carol, outside, 77), 0) is None
    assert nat.outbound(echo(version, "reply", hosts[0], carol, 77), 0) is None, "an answer that nobody asked for"
    assert nat.inbound(echo(version, "request", bob, outside, 5), 0) is None
    assert nat.counted["inbound"].dropped == {"filtered": 1, "no_mapping": 1}


@pytest.mark.parametrize(("version", "n"), CASES)
def test_an_error_from_outside_reaches_who_it_is_about(version: int, n: int) -> None:
    hosts, bob, carol, outside = FAMILIES[version]
    nat = translator(Nat(outside="wan", ports="random"))
    packet = udp((hosts[0], 5000), (bob, 1000), b"x" * 40)
    sent = data(nat.outbound(packet, 0))
    for length in (len(sent), 28 if version == 4 else 48):  # RFC 792 asks for 8 bytes only
        error = bytes(ip(carol, outside) / ERRORS[version][n] / sent[:length])
        came = data(nat.inbound(error, 0))
        assert (opened(came).src, opened(came).dst) == (carol, hosts[0])
        assert quoted(came) == packet[:length], "exactly what the host sent, checksums included"
    assert nat.flows(0)[0].used == 0


@pytest.mark.parametrize(("version", "n"), CASES)
def test_an_error_from_inside_is_about_the_packet_as_it_was_outside(version: int, n: int) -> None:
    hosts, bob, _carol, outside = FAMILIES[version]
    nat = translator(Nat(outside="wan", ports="random"))
    seen, _ = ends(nat.outbound(udp((hosts[0], 5000), (bob, 1000)), 0))
    packet = udp((bob, 1000), seen, b"y" * 20)
    came = data(nat.inbound(packet, 0))
    for sender in hosts[:2]:  # the host itself, or a router on the way to it
        error = bytes(ip(sender, bob) / ERRORS[version][n] / came)
        sent = data(nat.outbound(error, 0))
        assert (opened(sent).src, opened(sent).dst) == (outside, bob)
        assert quoted(sent) == packet


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_an_echo(version: int) -> None:
    hosts, bob, carol, outside = FAMILIES[version]
    nat = translator(Nat(outside="wan", ports="random"))
    packet = echo(version, "request", hosts[0], bob, 77)
    sent = data(nat.outbound(packet, 0))
    came = data(nat.inbound(bytes(ip(carol, outside) / ERRORS[version][0] / sent), 0))
    assert opened(came).dst == hosts[0]
    assert quoted(came) == packet


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_a_hairpinned_packet(version: int) -> None:
    hosts, bob, _carol, _outside = FAMILIES[version]
    nat = translator(Nat(outside="wan", ports="random", hairpinning=True, filtering="endpoint-independent"))
    there, _ = ends(nat.outbound(udp((hosts[1], 6000), (bob, 1)), 0))
    packet = udp((hosts[0], 5000), there)
    came = data(nat.outbound(packet, 0))
    result = nat.outbound(bytes(ip(hosts[1], opened(came).src) / ERRORS[version][0] / came), 0)
    assert isinstance(result, Back)
    error = data(result)
    assert (opened(error).src, opened(error).dst) == (there[0], hosts[0])
    assert quoted(error) == packet


def test_one_pings_its_own_outside_address() -> None:
    nat = translator(Nat(outside="wan", ports="random", hairpinning=True))
    back = opened(data(nat.outbound(echo(4, "request", HOSTS[0], POOL[0], 9), 0)))
    assert (back.src, back.dst, back[ICMP].id) == (POOL[0], HOSTS[0], 9)


def spoiled(nat: Translator) -> dict[str, bytes]:
    """Errors that must not be let in, each with the reason for it."""
    sent = data(nat.outbound(udp((HOSTS[0], 5000), (BOB, 1000)), 0))
    about_another = udp((POOL[0], 5001), (BOB, 1000))
    wrong = bytearray(bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / sent))
    wrong[-1] ^= 1
    error = bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / sent)
    return {
        "about nothing known": bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / about_another),
        "about another remote": bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / udp((POOL[0], 5000), (CAROL, 1000))),
        "with a wrong checksum": bytes(wrong),
        "to somebody else": bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / udp((BOB, 1000), (HOSTS[0], 5000))),
        "about an error": bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / bytes(ip(POOL[0], BOB) / ICMP(type=3, code=3) / error)),
        "quoting too little": bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3) / sent[:27]),
        "quoting nothing": bytes(ip(CAROL, POOL[0]) / ICMP(type=3, code=3)),
        "a redirect": bytes(ip(CAROL, POOL[0]) / ICMP(type=5, code=1) / sent),
    }


def test_what_is_not_let_in() -> None:
    nat = translator(Nat(outside="wan"))
    for name, packet in spoiled(nat).items():
        assert nat.inbound(packet, 0) is None, name
    assert nat.counted["inbound"].dropped == {"no_mapping": 2, "malformed": 5, "protocol": 1}


def test_a_later_fragment_is_not_taken_for_an_error() -> None:
    nat = translator(Nat(outside="wan"))
    sent = data(nat.outbound(udp((HOSTS[0], 5000), (BOB, 1000)), 0))
    first = bytes(ip(CAROL, POOL[0], flags="MF") / ICMP(type=3, code=3) / sent)
    assert nat.inbound(first, 0) is None
    assert nat.counted["inbound"].dropped == {"fragment": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_a_forwarded_packet(version: int) -> None:
    hosts, bob, _carol, outside = FAMILIES[version]
    nat = translator(Nat(outside="wan"), forwards=(Forwarded(6000, hosts[0], 4433),))
    packet = udp((bob, 1000), (outside, 6000))
    came = data(nat.inbound(packet, 0))
    assert opened(came)[UDP].dport == 4433
    sent = data(nat.outbound(bytes(ip(hosts[0], bob) / ERRORS[version][0] / came), 0))
    assert quoted(sent) == packet
    intact(quoted(sent))
