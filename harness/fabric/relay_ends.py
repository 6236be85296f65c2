"""The ends of a relayed link: where the relay takes frames from a node's interface, and puts them in.

A TAP is the interface itself, with a descriptor for its other side.  Where there is no /dev/net/tun (a container without the device) a veth
does: its far half stands in a namespace of the relay's own, and a packet socket on it is the descriptor.  Both are read and written a frame
at a time, so the relay's loop knows no difference.

How many frames an end lost before the relay could read them is the kernel's own count: of a TAP's full queue, of a packet socket's full
buffer.  A link's spec asks for none of these losses.
"""

from __future__ import annotations

import socket
import struct
from typing import Protocol

from harness.fabric import offloads
from harness.fabric import rtnl as nl
from harness.fabric.link_ends import End
from harness.fabric.netns import Namespace, inside, new_namespace
from harness.fabric.packet_sockets import SOL_PACKET, open_packet_socket
from harness.fabric.taps import open_tap, outlive_descriptor, tun_lacking

TX_QUEUE = 10_000
"""The transmit queue length that a TAP needs (IFLA_TXQLEN).  Of 100,000 packets/s the kernel's default of 1,000 lost 1.1 %, this 0.03 %."""
RECEIVE_BUFFER = 64 << 20
"""Bytes that a packet socket may hold: as many frames as a TAP's queue, at 4 to 6 KiB of kernel memory each."""

_PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 6, 23


class RelayEnds(Protocol):
    """One of the two forms."""

    name: str

    def open(self, end: End, mtu: int) -> int:
        """Make the interface of ``end``, which need not be up; the descriptor, non-blocking, of its other side."""

    def unread(self, end: End) -> int:
        """Frames so far that were lost between the interface and the relay."""


def choose_ends(packet: bool = False) -> RelayEnds:
    """TAPs where /dev/net/tun can be opened; else, or when asked for with ``packet``, packet sockets."""
    return PacketSockets() if packet or tun_lacking() is not None else Taps()


class Taps:
    """Each interface a TAP."""

    name = "tap"

    def open(self, end: End, mtu: int) -> int:
        """A TAP with the planned MAC; its index is the kernel's."""
        with inside(end.namespace.fd):
            fd = open_tap(end.plan.port.name)
        outlive_descriptor(fd)
        end.plan.index = end.namespace.rtnl.request(nl.get_link_named(end.plan.port.name))[0]["index"]
        end.namespace.rtnl.batch([nl.set_link(end.plan.index, mac=end.plan.mac, mtu=mtu, queue=TX_QUEUE)])
        return fd

    def unread(self, end: End) -> int:
        """What found the TAP's queue full."""
        message = end.namespace.rtnl.request(nl.get_link(end.plan.index))[0]
        return int(message.get_attr("IFLA_STATS64")["tx_dropped"])


class PacketSockets:
    """Each interface a veth, with a packet socket on its far half."""

    name = "packet"

    def __init__(self) -> None:
        self._far: Namespace | None = None
        self._sockets: dict[tuple[int, int], tuple[socket.socket, int]] = {}

    def open(self, end: End, mtu: int) -> int:
        """A veth; its far half, without addresses, in the relay's namespace."""
        if self._far is None:
            self._far = new_namespace("relay")
        index = end.plan.index
        far = f"far{index}"
        mac = f"02:00:00:01:{index >> 8:02x}:{index & 255:02x}"
        end.namespace.rtnl.batch([nl.new_veth(end.plan.port.name, index, end.plan.mac, far, index, mac, self._far.fd, mtu)])
        self._far.rtnl.batch([nl.no_ipv6_addresses(index)])
        for namespace, interface in ((end.namespace, end.plan.port.name), (self._far, far)):
            with inside(namespace.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ethtool:
                offloads.disable(ethtool, interface)
        with inside(self._far.fd):
            sock = open_packet_socket(far, RECEIVE_BUFFER, "the relay needs", ((SOL_PACKET, _PACKET_IGNORE_OUTGOING),))
        self._far.rtnl.batch([nl.set_link(index, up=True, arp=False)])
        self._sockets[end.namespace.inode, index] = (sock, 0)
        return sock.fileno()

    def unread(self, end: End) -> int:
        """What found the socket's buffer full.  The kernel's count begins anew with each reading."""
        key = (end.namespace.inode, end.plan.index)
        sock, before = self._sockets[key]
        _packets, drops = struct.unpack("II", sock.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 8))
        self._sockets[key] = (sock, before + drops)
        return before + int(drops)
