"""Frames and packets on links: what the relay, the translator and the kernel's table of connections are read with."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from pathlib import Path

from harness.fabric import conntrack, ethernet
from harness.fabric.flow_table import FlowTable
from harness.fabric.pcapng import Packet
from harness.fabric.udp_packets import datagram_untrusted, udp_packets
from harness.spec.nat import Nat
from harness.units import s
from harness.wire import too_big
from harness.wire.ip_packets import Headers, checksum_of, is_for_the_link, parse, pseudo_header, rewritten
from harness.wire.translator import Back, Forwarded, Translation, Translator
from tests.fuzz.target import Ready, Taken, need, target

V4, V6 = ("10.0.0.2", "198.51.100.2"), ("fd00:1::2", "2001:db8:b::2")
NAT4, NAT6 = "203.0.113.2", "2001:db8:1::2"


def ip(source: str, to: str, protocol: int, segment: bytes, checksum_at: int) -> bytes:
    """An IP packet with right checksums."""
    version, here, there = ip_address(source).version, ip_address(source).packed, ip_address(to).packed
    covered = segment if version == 4 and protocol == 1 else pseudo_header(version, here, there, protocol, len(segment)) + segment
    segment = segment[:checksum_at] + checksum_of(covered).to_bytes(2, "big") + segment[checksum_at + 2 :]
    if version == 6:
        return struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + here + there + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, protocol, 0) + here + there
    return head[:10] + checksum_of(head).to_bytes(2, "big") + head[12:] + segment


def udp(source: str, to: str, ports: tuple[int, int] = (40_000, 4433), payload: bytes = b"payload") -> bytes:
    """A UDP packet."""
    return ip(source, to, 17, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload, 6)


def icmp(source: str, to: str, kind: int, body: bytes, code: int = 0) -> bytes:
    """An ICMP message of either family."""
    return ip(source, to, 58 if ":" in source else 1, bytes((kind, code, 0, 0)) + body, 2)


def outbound() -> list[bytes]:
    """What hosts behind the NAT send."""
    tcp = struct.pack("!HHIIBBHHH", 40_000, 443, 1, 0, 0x50, 2, 1000, 0, 0)
    found = [ip(*V4, 6, tcp, 16), icmp(*V4, 8, b"\0\7\0\1data"), icmp(*V6, 128, b"\0\7\0\1data")]
    found += [udp(*V4), udp(*V6), udp(V4[0], NAT4, (40_001, 40_000)), udp(V6[0], "ff02::1")]
    extended = udp(*V6)
    found.append(
        extended[:4] + struct.pack("!HB", len(extended) - 40 + 8, 0) + extended[7:40] + bytes((17, 0, 0, 0, 0, 0, 0, 0)) + extended[40:]
    )
    return found


def inbound() -> list[bytes]:
    """What answers them."""
    answer4, answer6 = udp(V4[1], NAT4, (4433, 40_000)), udp(V6[1], NAT6, (4433, 40_000))
    about = udp(NAT4, V4[1])
    return [answer4, answer6, icmp("192.0.2.9", NAT4, 3, b"\0\0\5\0" + about[:28], 4), icmp(V6[1], NAT6, 1, bytes(4) + udp(NAT6, V6[1]), 4)]


@target("ip_packet", share=10)
def ip_packet(_: Path) -> Ready:
    """``parse`` and ``rewritten``, of whole and of quoted packets: a Reason and never an error; what is renamed is as long as before."""

    def run(data: bytes) -> None:
        is_for_the_link(data)
        for quoted in (False, True):
            found = parse(data, quoted)
            if isinstance(found, Headers):
                same = rewritten(data, found, found.source, found.destination, quoted)
                need(len(same) == len(data), "it has another length")

    return Ready(run, outbound() + inbound())


def _translators() -> list[Translator]:
    common = {"pool": (NAT4, NAT6), "spares": ("203.0.113.3", "2001:db8:1::3"), "router": "home"}
    forward = (Forwarded(4433, "10.0.0.2", 4433), Forwarded(4433, "fd00:1::2", 4433))
    return [
        Translator(Translation(nat=Nat(outside="wan", hairpinning=True, udp_timeout=30 * s), forwards=forward, **common), 1),  # type: ignore[arg-type]
        Translator(Translation(nat=Nat(outside="wan", mapping="address-and-port-dependent", ports="random", ipv6="firewall"), **common), 1),  # type: ignore[arg-type]
        Translator(
            Translation(
                nat=Nat(outside="wan", filtering="endpoint-independent", ipv6="prefix", prefix6="2001:db8:aa::/48"),
                prefixes=(("fd00:1::/64", "2001:db8:aa::/64"),),
                **common,  # type: ignore[arg-type]
            ),
            1,
        ),
    ]


@target("translator", share=4)
def translator(_: Path) -> Ready:
    """A NAT under any packets from both sides, over time: nothing is raised, every packet is counted once, and mappings expire."""
    nats = _translators()
    now, count = 10**12, 0

    def run(data: bytes) -> None:
        nonlocal now, count
        taken = Taken(data)
        which = taken.number()
        nat = nats[which % 3]
        count += 1
        now += 10**7 if count % 1000 else 400 * 10**9
        packet = taken.rest()
        for way in (nat.outbound, nat.inbound) if which & 0x80 else (nat.inbound, nat.outbound):
            result = way(packet, now)
            if isinstance(result, bytes | Back):
                need(len(result.packet if isinstance(result, Back) else result) <= max(len(packet), 1280), "it has grown")
        for counted in nat.counted.values():
            whole = counted.translated + counted.hairpinned + counted.passed + sum(counted.dropped.values())
            need(counted.received == whole, f"{counted} does not add up")
        if which & 0x7C == 0x7C:
            nat.rebind(["10.0.0.2"], address=False, linger=10**9, icmp=True, now=now)

    def held() -> int:
        """What is left when everything has had time to expire, and a packet has made it tidy up."""
        nonlocal now
        now += 10**13
        for nat in nats:
            nat.outbound(udp(*V4), now)
        return sum(len(side.table.outgoing) + len(side.table.incoming) for nat in nats for side in nat._sides.values())

    return Ready(run, [bytes([which]) + one for which in (0, 0x81, 0x82, 0xFC) for one in outbound() + inbound()], held)


@target("frame", share=10)
def frame(_: Path) -> Ready:
    """An Ethernet frame as the relay and the captures see it: nothing is raised, and an answer that it is too big is a frame in order."""
    router = {4: ip_address("10.0.0.1"), 6: ip_address("fd00:1::1")}

    def run(data: bytes) -> None:
        ethernet.is_chatter(data)
        need(len(ethernet.harmed(data, 0.5)) == len(data), "it has another length")
        size = ethernet.datagram_size(data)
        need((size is None) == (datagram_untrusted(data) is None), "it is UDP, and is not")
        list(udp_packets([Packet("a/b", 1, 1, data, len(data), True, None)]))
        answer = too_big.answer_untrusted(data, 1280, router)
        if answer is not None:
            found = parse(answer[14:])
            need(isinstance(found, Headers) and found.error, f"the answer is {found}")

    heads = {4: bytes(12) + b"\x08\0", 6: bytes(12) + b"\x86\xdd"}
    return Ready(run, [heads[one[0] >> 4] + one for one in outbound() + inbound()] + [b"\xff" * 12 + b"\x08\6" + bytes(28)])


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _flow_message(family: int, here: str, there: str) -> bytes:
    packed = [socket.inet_pton(family, one) for one in (here, there)]
    numbers = (1, 2) if family == socket.AF_INET else (3, 4)
    ends = []
    for way, (a, b) in ((1, packed), (2, packed[::-1])):
        addresses = _attribute(1 | 0x8000, _attribute(numbers[0], a) + _attribute(numbers[1], b))
        ports = _attribute(2 | 0x8000, _attribute(1, b"\x11") + _attribute(2, b"\x11\x51") + _attribute(3, b"\x9c\x40"))
        ends.append(_attribute(way | 0x8000, addresses + ports))
    return struct.pack("=BBH", family, 0, 0) + b"".join(ends)


@target("conntrack", share=1)
def tracked(_: Path) -> Ready:
    """A datagram of the kernel's table of connections: what cannot be read is no flow, and nothing is raised."""
    size = 0

    def run(data: bytes) -> None:
        nonlocal size
        table = FlowTable(lambda flow, gone: None, fresh=True)
        for flow, gone in conntrack.told(data):
            table.event(flow, gone=gone)
        size = len(table.known or ())

    bodies = [_flow_message(socket.AF_INET, *V4), _flow_message(socket.AF_INET6, *V6)]
    seeds = [struct.pack("=IHHII", 16 + len(body), 1 << 8 | kind, 0, 0, 0) + body for body in bodies for kind in (0, 2)]
    return Ready(run, [*seeds, b"".join(seeds)], lambda: size)
