"""What a stack really did, by the captures of its run and nothing else: that a cheat does what it says must not be taken from it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from harness.fabric.pcapng import Reader
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.lab.decrypted import Decrypted, decrypt, read_keys


def captured(run: Path, host: str) -> list[UdpPacket]:
    """The UDP packets in ``host``'s captures of the run in folder ``run``, by time."""
    found = []
    for file in run.glob(f"capture/{host}.*.pcapng"):
        found += udp_packets(Reader(file))
    return sorted(found, key=lambda packet: packet.time)


def opened(run: Path, host: str) -> Decrypted:
    """Those of them that the run's keys open."""
    return decrypt(captured(run, host), read_keys(run / "keys.log"))


def sent(run: Path, host: str, flow: str = "audio") -> list[int]:
    """When each packet of ``flow`` left ``host``, ns."""
    return sorted(packet.udp.time for packet, _ in opened(run, host).datagrams(flow) if packet.udp.outgoing)


def longest_gap_ms(run: Path, host: str, flow: str = "audio") -> float:
    """The longest time between two packets of ``flow`` that left ``host``, ms."""
    return max((b - a for a, b in pairwise(sent(run, host, flow))), default=0) / 1e6


def slowest_ack_ms(run: Path, host: str) -> float:
    """How long at most anything that came to ``host`` waited until an ACK that covers it left there, ms."""
    packets = opened(run, host).packets
    waiting: list[tuple[int, int]] = []
    slowest = 0
    for packet in packets:
        if not packet.udp.outgoing:
            if packet.having("DATAGRAM"):
                waiting.append((packet.number, packet.udp.time))
            continue
        for frame in packet.having("ACK"):
            covered = [(number, at) for number, at in waiting if number <= frame.fields["ranges"][0][1]]
            slowest = max([slowest, *(packet.udp.time - at for _, at in covered)])
            waiting = [one for one in waiting if one not in covered]
    return slowest / 1e6
