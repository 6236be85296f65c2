"""What a verdict can point at: the moments of the packets, messages and states that a scenario counts (``media.figure.counted``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.fabric.udp_packets import UdpPacket
from harness.lab.decrypted import Packet, Signal
from harness.media.figure import Moment


def of_packets(packets: Iterable[UdpPacket | Packet]) -> Iterator[Moment]:
    """When each was captured, from where to where and by which interface; what is of an unknown time is of time 0."""
    for packet in packets:
        udp = packet.udp if isinstance(packet, Packet) else packet
        (source, port), (destination, to) = udp.source, udp.destination
        yield Moment(udp.monotonic or 0, f"{source} {port} → {destination} {to}, {udp.size} bytes by {udp.interface}")


def of_signals(signals: Iterable[Signal]) -> Iterator[Moment]:
    """When each message was whole, which it was, and by which interface it came or went."""
    for signal in signals:
        yield Moment(signal.packet.at, f"{signal.message.get('type')} by {signal.packet.udp.interface}")
