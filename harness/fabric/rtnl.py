"""Rtnetlink over one plain socket.

A netlink socket belongs to the network namespace in which it was opened, whatever its process does later; so one single-threaded process
can hold one ``Rtnl`` per namespace and talk to all of them without ever forking (pyroute2's own ``netns=`` sockets fork a child each).

The requests that build a network are packed here, since there are hundreds and pyroute2's classes take 0.1 to 0.2 ms for each (a third of
the time of a 50-host star, measured); answers, queueing disciplines and conntrack are pyroute2's, whose messages ``batch`` and ``request``
take as well.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from harness.errors import EnvironmentUnfit, HarnessError

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port id
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK = 270, 11, 10
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_CHUNK = 100  # messages per send: their acknowledgements must fit the default receive buffer
_REPLY_TIMEOUT_S = 5.0
_LARGEST = 1 << 16  # bytes of one datagram from the kernel, which fills 32 KiB at most


@dataclass(frozen=True, slots=True)
class Request:
    """A netlink request: message type, flags, what follows the header, and in words ``what`` it asks for (told when it is refused)."""

    number: int
    flags: int
    body: bytes
    what: str


class NetlinkRefused(EnvironmentUnfit):
    """The kernel refused one message; ``errno`` is its code and the text carries its own explanation (extended ACK)."""

    def __init__(self, what: str, code: int, explanation: str) -> None:
        self.errno = code
        detail = f" ({explanation})" if explanation else ""
        super().__init__(f"the kernel refused {what}: {errno.errorcode.get(code, code)}, {os.strerror(code)}{detail}")


class Netlink:
    """One netlink socket in the namespace that is current when it is made.  Not thread-safe; every wait is bounded by 5 s."""

    family = socket.NETLINK_ROUTE

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self.family)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((0, 0))
        self._socket.settimeout(_REPLY_TIMEOUT_S)
        self._sequence = 0
        self._marshal = self.marshal()

    def marshal(self) -> Any:
        """The decoder of this netlink family's messages."""
        return MarshalRtnl()

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()

    def batch(self, messages: Iterable[Any]) -> None:
        """Send all ``messages`` (requests without an answer), in order; raises NetlinkRefused for the first one that the kernel refuses."""
        pending = list(messages)
        for start in range(0, len(pending), _CHUNK):
            chunk = pending[start : start + _CHUNK]
            first = self._sequence + 1
            self._socket.send(b"".join([self._encode(message, NLM_F_ACK) for message in chunk]))
            numbered = dict(enumerate(chunk, first))
            refusal: NetlinkRefused | None = None
            while numbered:
                for kind, sequence, body in self._read():
                    if kind == NLMSG_ERROR and sequence in numbered:
                        refusal = refusal or _refusal(body, numbered[sequence])
                        del numbered[sequence]
            if refusal is not None:
                raise refusal

    def request(self, message: Any, *, dump: bool = False) -> list[Any]:
        """Send one query and return the decoded answers; ``dump`` asks for every object of the message's kind."""
        self._socket.send(self._encode(message, NLM_F_DUMP if dump else NLM_F_ACK))
        wanted = self._sequence
        raw: list[bytes] = []
        while True:
            for kind, sequence, body in self._read():
                if sequence != wanted:
                    continue
                if kind == NLMSG_ERROR:
                    refusal = _refusal(body, message)
                    if refusal is not None:
                        raise refusal
                    return self._decode(raw)
                if kind == NLMSG_DONE:
                    return self._decode(raw)
                raw.append(body)

    def _decode(self, raw: list[bytes]) -> list[Any]:
        return list(self._marshal.parse(b"".join(raw))) if raw else []

    def _encode(self, message: Any, extra_flags: int) -> bytes:
        """``message``, a Request or one of pyroute2's, as bytes with the next sequence number."""
        self._sequence += 1
        if isinstance(message, Request):
            size = _HEADER.size + len(message.body)
            return _HEADER.pack(size, message.number, message.flags | NLM_F_REQUEST | extra_flags, self._sequence, 0) + message.body
        header = message["header"]
        header["sequence_number"] = self._sequence
        header["pid"] = 0
        header["flags"] = (header["flags"] or 0) | NLM_F_REQUEST | extra_flags
        message.reset()
        message.encode()
        return bytes(message.data)

    def _read(self) -> Iterable[tuple[int, int, bytes]]:
        try:
            data = self._socket.recv(_LARGEST)
        except TimeoutError:
            raise HarnessError(f"the kernel did not answer a netlink request within {_REPLY_TIMEOUT_S:g} s") from None
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset : offset + length]
            offset += (length + 3) & ~3


class Rtnl(Netlink):
    """Links, addresses, routes, rules and neighbours of one namespace."""


def _refusal(body: bytes, message: Any) -> NetlinkRefused | None:
    code = -struct.unpack_from("=i", body, _HEADER.size)[0]
    if code == 0:
        return None
    return NetlinkRefused(_describe(message), code, _explanation(body))


def _explanation(body: bytes) -> str:
    """The kernel's own words from an extended ACK, or nothing."""
    _length, _kind, flags, _sequence, _port = _HEADER.unpack_from(body)
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    offset = _HEADER.size + 4 + _HEADER.size  # after the error code and the capped copy of the request
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        if kind & 0x3FFF == _NLMSGERR_ATTR_MSG:
            return body[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += (length + 3) & ~3
    return ""


def _describe(message: Any) -> str:
    if isinstance(message, Request):
        return message.what
    attributes = ", ".join(f"{name} {value}" for name, value in message.get("attrs") or () if isinstance(value, int | str))
    return f"{type(message).__name__} ({attributes})"


# -- requests --------------------------------------------------------------------------------------------------------------------------
# Structures and numbers are those of linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h and fib_rules.h.

RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK = 16, 18, 19
RTM_NEWADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWNEIGH, RTM_NEWRULE = 20, 24, 25, 26, 28, 32
_CREATE = NLM_F_CREATE | NLM_F_EXCL
_REPLACE = NLM_F_CREATE | NLM_F_REPLACE
_NLA_F_NESTED = 0x8000
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, hardware type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, prefix lengths of destination and source, tos, table, protocol, scope, type, flags
_RULE = struct.Struct("=BBBBBxxBI")  # fib_rule_hdr: family, prefix lengths of destination and source, tos, table, action, flags
_ATTRIBUTE = struct.Struct("=HH")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_TXQLEN, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 1, 3, 4, 13, 18, 26, 28
_IFLA_EXT_MASK, _SKIP_STATS = 29, 8  # without statistics the answers are small, and a batch of them fits the receive buffer
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET_CONF, _IPV4_DEVCONF_FORWARDING = 1, 1
_IPV4_DEVCONF_RP_FILTER, _LOOSE = 8, 2  # linux/ip.h; of all's and the interface's own the higher number rules
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 8, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE = 2, 6, 15
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_NUD_PERMANENT = 0x80
_RTN_UNREACHABLE, _LAST_METRIC = 7, 1 << 30
_RTN_UNICAST, _RT_SCOPE_LINK, _RTPROT_STATIC, _FR_ACT_TO_TBL = 1, 253, 4, 1
MAIN_TABLE = 254


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, value.to_bytes(4, sys.byteorder))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _hardware(kind: int, mac: str) -> bytes:
    return _attribute(kind, bytes.fromhex(mac.replace(":", "")))


def new_veth(name: str, index: int, mac: str, peer_name: str, peer_index: int, peer_mac: str, peer_namespace_fd: int, mtu: int) -> Request:
    """A veth pair made from one end, both ends with chosen indexes and names, the far one born in another namespace.

    Never moved afterwards: moving one costs 18 ms (measured).  The near end comes up; the far one must be set up afterwards, since an up
    flag inside the peer attribute is answered by ENOTCONN (the kernel opens the peer before it knows its other half).
    """
    peer = _LINK.pack(0, 0, peer_index, 0, 0) + _text(_IFLA_IFNAME, peer_name) + _hardware(_IFLA_ADDRESS, peer_mac)
    peer += _number(_IFLA_MTU, mtu) + _number(_IFLA_NET_NS_FD, peer_namespace_fd)
    information = _text(_IFLA_INFO_KIND, "veth") + _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, peer))
    body = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + _text(_IFLA_IFNAME, name) + _hardware(_IFLA_ADDRESS, mac) + _number(_IFLA_MTU, mtu)
    return Request(
        RTM_NEWLINK, _CREATE, body + _attribute(_IFLA_LINKINFO, information), f"a veth {name} ({index}) to {peer_name} ({peer_index})"
    )


def set_link(
    index: int,
    *,
    up: bool | None = None,
    arp: bool | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    queue: int | None = None,
) -> Request:
    """Change a link: state, whether it asks for and answers with hardware addresses, MAC address, MTU, transmit queue length in packets."""
    flags = (_IFF_UP if up else 0) | (_IFF_NOARP if arp is False else 0)
    body = _LINK.pack(0, 0, index, flags, (0 if up is None else _IFF_UP) | (0 if arp is None else _IFF_NOARP))
    if mac is not None:
        body += _hardware(_IFLA_ADDRESS, mac)
    if mtu is not None:
        body += _number(_IFLA_MTU, mtu)
    if queue is not None:
        body += _number(_IFLA_TXQLEN, queue)
    wanted = [
        f"{name} {value}" for name, value in (("up", up), ("ARP", arp), ("MAC", mac), ("MTU", mtu), ("queue", queue)) if value is not None
    ]
    return Request(RTM_NEWLINK, 0, body, f"{', '.join(wanted)} for interface {index}")


def set_ipv4_forwarding(index: int) -> Request:
    """Forward IPv4 on this interface, through netlink because /proc/sys is read-only in a container (IFLA_INET_CONF)."""
    conf = _attribute(_IFLA_INET_CONF | _NLA_F_NESTED, _number(_IPV4_DEVCONF_FORWARDING, 1))
    spec = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET | _NLA_F_NESTED, conf))
    return Request(RTM_SETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + spec, f"IPv4 forwarding on interface {index}")


def let_strangers_in(index: int) -> Request:
    """Have this interface take packets whose source is routed by another one: rp_filter 2, whatever stricter the host gave to all."""
    conf = _attribute(_IFLA_INET_CONF | _NLA_F_NESTED, _number(_IPV4_DEVCONF_RP_FILTER, _LOOSE))
    spec = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET | _NLA_F_NESTED, conf))
    return Request(RTM_SETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + spec, f"rp_filter {_LOOSE} on interface {index}")


def no_ipv6_addresses(index: int) -> Request:
    """Let the kernel give this interface no IPv6 address of its own, so that it says nothing by itself (IFLA_INET6_ADDR_GEN_MODE)."""
    mode = _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))
    spec = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET6 | _NLA_F_NESTED, mode))
    return Request(RTM_SETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + spec, f"no IPv6 addresses on interface {index}")


def get_link(index: int) -> Request:
    """Query one link."""
    return Request(RTM_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0), f"the state of interface {index}")


def await_link(index: int) -> Request:
    """A query whose answer comes only once pending link changes are done: a barrier before the first packet."""
    return Request(RTM_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + _number(_IFLA_EXT_MASK, _SKIP_STATS), f"the state of interface {index}")


def get_link_named(name: str) -> Request:
    """Query one link by its interface name."""
    return Request(RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name), f"the state of interface {name}")


def new_address(index: int, address: Any) -> Request:
    """Add an ``IPv4Interface`` or ``IPv6Interface``; IPv6 without duplicate address detection, which would delay it by a second."""
    four = address.version == 4
    flags = _IFA_F_PERMANENT | (0 if four else _IFA_F_NODAD)
    body = _ADDRESS.pack(_FAMILY[address.version], address.network.prefixlen, flags, 0, index) + _attribute(_IFA_ADDRESS, address.packed)
    if four:
        body += _attribute(_IFA_LOCAL, address.packed)
    return Request(RTM_NEWADDR, _REPLACE, body, f"address {address} on interface {index}")


def new_neighbour(index: int, address: Any, mac: str) -> Request:
    """A permanent neighbour, so that no ARP or ND packet can be delayed, lost or shaped."""
    body = _NEIGHBOUR.pack(_FAMILY[address.version], index, _NUD_PERMANENT, 0, 0)
    body += _attribute(_NDA_DST, address.packed) + _hardware(_NDA_LLADDR, mac)
    return Request(RTM_NEWNEIGH, _REPLACE, body, f"neighbour {address} at {mac} on interface {index}")


def _route(number: int, flags: int, network: Any, index: int, gateway: Any, metric: int, table: int) -> Request:
    body = _ROUTE.pack(
        _FAMILY[network.version],
        network.prefixlen,
        0,
        0,
        min(table, 252),  # RT_TABLE_COMPAT: the true number is in the attribute
        _RTPROT_STATIC,
        0 if gateway is not None else _RT_SCOPE_LINK,
        _RTN_UNICAST,
        0,
    )
    body += _number(_RTA_OIF, index) + _number(_RTA_TABLE, table)
    if network.prefixlen:
        body += _attribute(_RTA_DST, network.network_address.packed)
    if gateway is not None:
        body += _attribute(_RTA_GATEWAY, gateway.packed)
    if metric:
        body += _number(_RTA_PRIORITY, metric)
    way = f" via {gateway}" if gateway is not None else ""
    return Request(number, flags, body, f"the route to {network}{way} by interface {index} in table {table}")


def new_route(network: Any, index: int, gateway: Any = None, *, metric: int = 0, table: int = MAIN_TABLE) -> Request:
    """A static route to ``network`` by interface ``index`` and ``gateway`` (an address, or None when on-link)."""
    return _route(RTM_NEWROUTE, _REPLACE, network, index, gateway, metric, table)


def del_route(network: Any, index: int, gateway: Any = None, *, metric: int = 0, table: int = MAIN_TABLE) -> Request:
    """Remove the route that ``new_route`` with the same arguments made."""
    return _route(RTM_DELROUTE, 0, network, index, gateway, metric, table)


def new_dead_end(version: int, table: int) -> Request:
    """The last route of ``table``: what finds no other there is unreachable (ENETUNREACH for the sender), and looks up no further table."""
    body = _ROUTE.pack(_FAMILY[version], 0, 0, 0, min(table, 252), _RTPROT_STATIC, 0, _RTN_UNREACHABLE, 0)
    body += _number(_RTA_TABLE, table) + _number(_RTA_PRIORITY, _LAST_METRIC)
    return Request(RTM_NEWROUTE, _REPLACE, body, f"the dead end of table {table}")


def new_source_rule(address: Any, table: int) -> Request:
    """Policy routing: packets whose source is ``address`` look up ``table`` first, so a socket's bound address picks its way out."""
    body = _RULE.pack(_FAMILY[address.version], 0, address.max_prefixlen, 0, 0, _FR_ACT_TO_TBL, 0)
    body += _attribute(_FRA_SRC, address.packed) + _number(_FRA_TABLE, table) + _number(_FRA_PRIORITY, 1000 + table)
    return Request(RTM_NEWRULE, _CREATE, body, f"the rule that {address} looks up table {table}")


def get_route(target: str) -> Request:
    """Ask the kernel how it would send a packet to the address ``target`` now."""
    address = ip_address(target)
    body = _ROUTE.pack(_FAMILY[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + _attribute(_RTA_DST, address.packed)
    return Request(RTM_GETROUTE, 0, body, f"the route to {target}")
