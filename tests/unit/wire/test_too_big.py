"""The answers of a router to packets that are too big, read by scapy."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPerror, UDPerror
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from harness.wire.too_big import answer_untrusted

ROUTER = {4: IPv4Address("192.0.2.1"), 6: IPv6Address("2001:db8::1")}
LINK = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
V4 = IP(src="10.0.0.1", dst="198.51.100.7", flags="DF")
V6 = IPv6(src="fd00::1", dst="2001:db8:7::1")
DATAGRAM = UDP(sport=4433, dport=5000) / Raw(bytes(range(200)) * 7)


def answer(packet: Packet, mtu: int = 1280) -> Packet | None:
    made = answer_untrusted(bytes(packet), mtu, ROUTER)
    return None if made is None else Ether(made)


def checksum_holds(told: Packet, layer: type[Packet]) -> bool:
    """Whether scapy, asked to compute it, comes to the same checksum."""
    field = "cksum" if layer is ICMPv6PacketTooBig else "chksum"
    again = told.copy()
    delattr(again[layer], field)
    return bool(getattr(Ether(bytes(again))[layer], field) == getattr(told[layer], field))


def test_ipv4_is_told_the_mtu_by_the_router() -> None:
    told = answer(LINK / V4 / DATAGRAM)
    assert told is not None
    assert (told.src, told.dst) == (LINK.dst, LINK.src)
    assert (told[IP].src, told[IP].dst) == ("192.0.2.1", "10.0.0.1")
    assert (told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu) == (3, 4, 1280)
    assert told[IP].len == len(told) - 14 == 576
    assert (told[IPerror].src, told[IPerror].dst) == ("10.0.0.1", "198.51.100.7")
    assert (told[UDPerror].sport, told[UDPerror].dport) == (4433, 5000)
    assert checksum_holds(told, IP)
    assert checksum_holds(told, ICMP)


def test_ipv6_is_told_the_mtu_by_the_router() -> None:
    told = answer(LINK / V6 / DATAGRAM, 1400)
    assert told is not None
    assert (told[IPv6].src, told[IPv6].dst) == ("2001:db8::1", "fd00::1")
    assert told[ICMPv6PacketTooBig].mtu == 1400
    assert told[IPv6].plen + 40 == len(told) - 14 == 1280
    assert bytes(told[ICMPv6PacketTooBig])[8:] == bytes(V6 / DATAGRAM)[: 1280 - 48]
    assert checksum_holds(told, ICMPv6PacketTooBig)


def test_a_short_packet_is_quoted_whole() -> None:
    told = answer(LINK / V4 / UDP() / Raw(b"odd"), 68)
    assert told is not None
    assert bytes(told[IPerror]) == bytes(V4 / UDP() / Raw(b"odd"))
    assert checksum_holds(told, ICMP)


@pytest.mark.parametrize(
    "packet",
    [
        LINK / IP(src="10.0.0.1", dst="198.51.100.7") / DATAGRAM,
        LINK / IP(src="10.0.0.1", dst="198.51.100.7", flags="DF", frag=100) / DATAGRAM,
        LINK / V4 / ICMP(type=3, code=1) / Raw(bytes(1400)),
        LINK / V6 / ICMPv6PacketTooBig() / Raw(bytes(1400)),
        Ether(src=LINK.src, dst="01:00:5e:00:00:01") / V4 / DATAGRAM,
        LINK / ARP(),
        LINK / Raw(b""),
    ],
    ids=["IPv4 without DF", "a later fragment", "an ICMP error", "an ICMPv6 error", "to a group", "ARP", "nothing"],
)
def test_nobody_is_told(packet: Packet) -> None:
    assert answer(packet) is None


def test_echo_requests_are_answered() -> None:
    assert answer(LINK / V4 / ICMP(type=8) / Raw(bytes(1400))) is not None
    assert answer(LINK / V6 / ICMPv6EchoRequest(data=bytes(1400))) is not None


def test_a_router_without_an_address_of_the_family_is_silent() -> None:
    assert answer_untrusted(bytes(LINK / V6 / DATAGRAM), 1280, {4: ROUTER[4]}) is None


def test_a_frame_cut_anywhere_is_no_error() -> None:
    for whole in (bytes(LINK / V4 / DATAGRAM), bytes(LINK / V6 / DATAGRAM)):
        for length in range(80):
            answer_untrusted(whole[:length], 1280, ROUTER)
