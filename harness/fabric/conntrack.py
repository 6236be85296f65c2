"""The kernel's connection tracking table of one namespace, over ctnetlink: what a NAT really maps, and forgetting one flow.

This is where the receipts of a rebind come from.  Walking the table costs 10 ms (the kernel walks the buckets of all namespaces; measured
on 6.18), so ``Conntrack`` walks it once and then follows the kernel's events; whatever it answers it has asked the kernel for.
Messages are packed and read here, for pyroute2's classes take 0.2 ms for each.  Numbers are those of linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator

from harness.fabric.flow_table import Endpoint, Flow, FlowTable, Key
from harness.fabric.rtnl import Netlink, NetlinkRefused, Request

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET, _DELETE = 0, 1, 2
_GROUP_NEW, _GROUP_DESTROY = 1, 3
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_TUPLE_ORIG, _TUPLE_REPLY = 1, 2
_IP, _PROTO = 1, 2
_IPV4_SRC, _IPV4_DST, _IPV6_SRC, _IPV6_DST = 1, 2, 3, 4
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_NESTED, _TYPE = 0x8000, 0x3FFF
_UDP = 17
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ATTRIBUTE = struct.Struct("=HH")
_HEADER = struct.Struct("=IHHII")
_GENERIC = 4  # nfgenmsg: family, version, resource id
_LOOK = 500  # datagrams with events, mostly of one each, that one look takes in: 10 ms
_WALK_EVERY = 1_000_000_000  # ns between two walks that only events which were lost want


class _Raw:
    """Whole netlink messages, for ``Netlink.request`` to give back as they are."""

    @staticmethod
    def parse(data: bytes) -> Iterator[tuple[int, bytes]]:
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size:
                return
            yield kind, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


class Conntrack(Netlink):
    """ctnetlink in the namespace that is current when this is made.

    ``changed`` is called with a flow, and whether it is gone, as the kernel tells so (``FlowTable``).  ``fresh``: nothing has been tracked
    in that namespace yet, so that the table need not be walked first.
    """

    family = _NETLINK_NETFILTER

    def __init__(self, changed: Callable[[Flow, bool], None] = lambda flow, gone: None, *, fresh: bool = False) -> None:
        super().__init__()
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        self._events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._events.bind((0, 0))
        for group in (_GROUP_NEW, _GROUP_DESTROY):
            self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._table = FlowTable(changed, fresh=fresh)
        self._walked = 0

    def marshal(self) -> _Raw:
        """None: messages stay bytes."""
        return _Raw()

    def close(self) -> None:
        """Close both sockets; safe to call twice."""
        super().close()
        self._events.close()

    def udp(self) -> list[Flow]:
        """Every UDP flow that the table holds, of both families."""
        return self.confirmed(self.candidates())

    def candidates(self) -> list[Flow]:
        """Every UDP flow that the table holds, and some that it held: the kernel tells of one that timed out when it sweeps it up."""
        return list(self._followed().values())

    def confirmed(self, candidates: Iterable[Flow]) -> list[Flow]:
        """Those of them that are there, as they are now."""
        now = [self.lookup(flow.version, flow.source, flow.target) for flow in candidates]
        return [flow for flow in now if flow is not None]

    def fileno(self) -> int:
        """What is readable when the kernel has told something that was not taken in."""
        return self._events.fileno()

    def look(self) -> None:
        """Take in what the kernel has told, or a good part of it; walk the table again where that was too much, but not all the time."""
        self._drain(_LOOK)
        if self._table.known is None and time.monotonic_ns() - self._walked >= _WALK_EVERY:
            self._walk()

    def _followed(self) -> dict[Key, Flow]:
        known = self._table.known if self._drain() else None
        return self._walk() if known is None else known

    def _walk(self) -> dict[Key, Flow]:
        """The whole table as it is now; it is followed from here on, unless the kernel tells too much even during this."""
        self._table.lose()
        self._walked = time.monotonic_ns()
        self._drain()  # what was told before is in the table
        walked = [_flow(body) for _kind, body in self.request(_message(_GET, 0, b"", "the connection tracking table"), dump=True)]
        table = self._table.walked(flow for flow in walked if flow is not None)
        self._drain()
        return table

    def _drain(self, most: int | None = None) -> bool:
        """Take in what the kernel has told; False when it told more than was kept, so that the table must be walked again."""
        taken = 0
        while most is None or taken < most:
            taken += 1
            try:
                data = self._events.recv(1 << 16)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._table.lose()
                return False
            for flow, gone in told(data) if self._table.known is not None else ():
                self._table.event(flow, gone=gone)
        return True

    def lookup(self, version: int, source: Endpoint, target: Endpoint) -> Flow | None:
        """The one flow with packets from ``source`` to ``target``, in whichever direction it began, or None."""
        what = f"the flow from {source[0]} port {source[1]} to {target[0]} port {target[1]}"
        try:
            found = self.request(_message(_GET, version, _tuple(version, source, target), what))
        except NetlinkRefused as refusal:
            if refusal.errno == errno.ENOENT:
                return None
            raise
        return _flow(found[0][1]) if found else None

    def forget(self, flow: Flow) -> bool:
        """Delete this one flow's entry: its next packet is mapped anew.  False when it is not there: it timed out by itself."""
        what = f"to forget the flow from {flow.source[0]} port {flow.source[1]}"
        try:
            self.batch([_message(_DELETE, flow.version, _tuple(flow.version, flow.source, flow.target), what)])
        except NetlinkRefused as refusal:
            if refusal.errno == errno.ENOENT:
                return False
            raise
        return True


def told(data: bytes) -> Iterator[tuple[Flow, bool]]:
    """The UDP flows that a datagram of the kernel's events is about, and whether each is gone."""
    for kind, body in _Raw.parse(data):
        flow = _flow(body)
        if flow is not None:
            yield flow, kind & 0xFF != _NEW


def _message(number: int, version: int, attributes: bytes, what: str) -> Request:
    generic = struct.pack("=BBH", _FAMILY.get(version, socket.AF_UNSPEC), 0, 0)
    return Request(_SUBSYSTEM | number, 0, generic + attributes, what)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _tuple(version: int, source: Endpoint, target: Endpoint) -> bytes:
    family, numbers = _FAMILY[version], (_IPV4_SRC, _IPV4_DST) if version == 4 else (_IPV6_SRC, _IPV6_DST)
    addresses = b"".join(
        _attribute(number, socket.inet_pton(family, end[0])) for number, end in zip(numbers, (source, target), strict=True)
    )
    ports = _attribute(_PROTO_NUM, bytes([_UDP]))
    ports += b"".join(
        _attribute(number, end[1].to_bytes(2, "big")) for number, end in zip((_SRC_PORT, _DST_PORT), (source, target), strict=True)
    )
    return _attribute(_TUPLE_ORIG | _NESTED, _attribute(_IP | _NESTED, addresses) + _attribute(_PROTO | _NESTED, ports))


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _flow(body: bytes) -> Flow | None:
    """The flow of a message's ``body`` (what follows the netlink header); None when it is not UDP, or not whole."""
    version = {int(socket.AF_INET): 4, int(socket.AF_INET6): 6}.get(body[0]) if body else None
    attributes = _attributes(body[_GENERIC:])
    if version is None or _TUPLE_ORIG not in attributes or _TUPLE_REPLY not in attributes:
        return None
    original, reply = (_ends(version, attributes[kind]) for kind in (_TUPLE_ORIG, _TUPLE_REPLY))
    if original is None or reply is None:
        return None
    return Flow(version, *original, *reply)


def _ends(version: int, data: bytes) -> tuple[Endpoint, Endpoint] | None:
    parts = _attributes(data)
    addresses, proto = _attributes(parts.get(_IP, b"")), _attributes(parts.get(_PROTO, b""))
    if proto.get(_PROTO_NUM, b"")[:1] != bytes([_UDP]):
        return None
    numbers = (_IPV4_SRC, _IPV4_DST) if version == 4 else (_IPV6_SRC, _IPV6_DST)
    packed = [addresses.get(number, b"") for number in numbers]
    ports = [proto.get(number, b"") for number in (_SRC_PORT, _DST_PORT)]
    if any(len(one) != (4 if version == 4 else 16) for one in packed) or any(len(one) != 2 for one in ports):
        return None
    source, target = (
        (socket.inet_ntop(_FAMILY[version], address), int.from_bytes(port, "big")) for address, port in zip(packed, ports, strict=True)
    )
    return source, target
