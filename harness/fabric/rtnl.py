"""Rtnetlink over one plain socket: pyroute2's message classes, our own socket.

A netlink socket belongs to the network namespace in which it was opened, whatever its process does later; so one single-threaded process
can hold one ``Rtnl`` per namespace and talk to all of them without ever forking (pyroute2's own ``netns=`` sockets fork a child each).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, nlmsg
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from harness.errors import EnvironmentUnfit, HarnessError

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port id
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK = 270, 11, 10
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_CHUNK = 100  # messages per send: their acknowledgements must fit the default receive buffer
_REPLY_TIMEOUT_S = 5.0


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
            numbered = {self._encode(message, NLM_F_ACK): message for message in chunk}
            self._socket.send(b"".join(bytes(message.data) for message in chunk))
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
        wanted = self._encode(message, NLM_F_DUMP if dump else NLM_F_ACK)
        self._socket.send(bytes(message.data))
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

    def _encode(self, message: Any, extra_flags: int) -> int:
        self._sequence += 1
        header = message["header"]
        header["sequence_number"] = self._sequence
        header["pid"] = 0
        header["flags"] = (header["flags"] or 0) | NLM_F_REQUEST | extra_flags
        message.reset()
        message.encode()
        return self._sequence

    def _read(self) -> Iterable[tuple[int, int, bytes]]:
        try:
            data = self._socket.recv(1 << 20)
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
    attributes = ", ".join(f"{name} {value}" for name, value in message.get("attrs") or () if isinstance(value, int | str))
    return f"{type(message).__name__} ({attributes})"


# -- messages --------------------------------------------------------------------------------------------------------------------------

RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK = 16, 18, 19
RTM_NEWADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWNEIGH, RTM_NEWRULE = 20, 24, 25, 26, 28, 32
_CREATE = NLM_F_CREATE | NLM_F_EXCL
_REPLACE = NLM_F_CREATE | NLM_F_REPLACE
_NLA_F_NESTED = 0x8000
_IFF_UP = 1
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_NUD_PERMANENT = 0x80
_RTN_UNICAST, _RT_SCOPE_LINK, _RTPROT_STATIC, _FR_ACT_TO_TBL = 1, 253, 4, 1
MAIN_TABLE = 254


def _message(kind: Any, number: int, flags: int, attributes: list[tuple[str, Any]], /, **fields: int) -> Any:
    message = kind()
    message["header"]["type"] = number
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    return message


def new_veth(name: str, index: int, mac: str, peer_name: str, peer_index: int, peer_mac: str, peer_namespace_fd: int, mtu: int) -> Any:
    """A veth pair made from one end, both ends with chosen indexes and names, the far one born in another namespace.

    Never moved afterwards: moving one costs 18 ms (measured).  The near end comes up; the far one must be set up afterwards, since an up
    flag inside the peer attribute is answered by ENOTCONN (the kernel opens the peer before it knows its other half).
    """
    peer = {
        "index": peer_index,
        "attrs": [
            ("IFLA_IFNAME", peer_name),
            ("IFLA_ADDRESS", peer_mac),
            ("IFLA_MTU", mtu),
            ("IFLA_NET_NS_FD", peer_namespace_fd),
        ],
    }
    return _message(
        ifinfmsg,
        RTM_NEWLINK,
        _CREATE,
        [
            ("IFLA_IFNAME", name),
            ("IFLA_ADDRESS", mac),
            ("IFLA_MTU", mtu),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]}),
        ],
        index=index,
        flags=_IFF_UP,
        change=_IFF_UP,
    )


def set_link(index: int, *, up: bool | None = None, mac: str | None = None, mtu: int | None = None, queue: int | None = None) -> Any:
    """Change a link: state, MAC address, MTU, transmit queue length in packets."""
    attributes: list[tuple[str, Any]] = []
    if mac is not None:
        attributes.append(("IFLA_ADDRESS", mac))
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    if queue is not None:
        attributes.append(("IFLA_TXQLEN", queue))
    fields = {"index": index}
    if up is not None:
        fields |= {"flags": _IFF_UP if up else 0, "change": _IFF_UP}
    return _message(ifinfmsg, RTM_NEWLINK, 0, attributes, **fields)


class _DeviceConf(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A link message whose IFLA_AF_SPEC is written by hand: pyroute2 knows the kernel's answer (a struct), not the request (attributes).

    No child of ifinfmsg: it would inherit that class's compiled attribute map.
    """

    fields = ifinfmsg.fields
    nla_map = ((26, "IFLA_AF_SPEC", "hex"),)


def set_ipv4_forwarding(index: int) -> Any:
    """Forward IPv4 on this interface, through netlink because /proc/sys is read-only in a container (IFLA_INET_CONF)."""
    forwarding = struct.pack("=HHI", 8, 1, 1)  # IPV4_DEVCONF_FORWARDING = 1
    conf = struct.pack("=HH", 4 + len(forwarding), 1 | _NLA_F_NESTED) + forwarding  # IFLA_INET_CONF
    spec = struct.pack("=HH", 4 + len(conf), socket.AF_INET | _NLA_F_NESTED) + conf
    return _message(_DeviceConf, RTM_SETLINK, 0, [("IFLA_AF_SPEC", spec)], index=index)


def get_link(index: int) -> Any:
    """Query one link; its answer comes only once pending link changes are done, which makes it a barrier before the first packet."""
    return _message(ifinfmsg, RTM_GETLINK, 0, [], index=index)


def get_link_named(name: str) -> Any:
    """Query one link by its interface name."""
    return _message(ifinfmsg, RTM_GETLINK, 0, [("IFLA_IFNAME", name)])


def new_address(index: int, address: Any) -> Any:
    """Add an ``IPv4Interface`` or ``IPv6Interface``; IPv6 without duplicate address detection, which would delay it by a second."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    attributes = [("IFA_ADDRESS", str(address.ip))]
    if address.version == 4:
        attributes.append(("IFA_LOCAL", str(address.ip)))
    flags = _IFA_F_PERMANENT | (_IFA_F_NODAD if address.version == 6 else 0)
    return _message(
        ifaddrmsg, RTM_NEWADDR, _REPLACE, attributes, index=index, family=family, prefixlen=address.network.prefixlen, flags=flags
    )


def new_neighbour(index: int, address: Any, mac: str) -> Any:
    """A permanent neighbour, so that no ARP or ND packet can be delayed, lost or shaped."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _message(
        ndmsg, RTM_NEWNEIGH, _REPLACE, [("NDA_DST", str(address)), ("NDA_LLADDR", mac)], ifindex=index, family=family, state=_NUD_PERMANENT
    )


def _route(number: int, flags: int, network: Any, index: int, gateway: Any, metric: int, table: int) -> Any:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    attributes: list[tuple[str, Any]] = [("RTA_OIF", index), ("RTA_TABLE", table)]
    if network.prefixlen:
        attributes.append(("RTA_DST", str(network.network_address)))
    if gateway is not None:
        attributes.append(("RTA_GATEWAY", str(gateway)))
    if metric:
        attributes.append(("RTA_PRIORITY", metric))
    return _message(
        rtmsg,
        number,
        flags,
        attributes,
        family=family,
        dst_len=network.prefixlen,
        table=min(table, 252) if table > 255 else table,
        proto=_RTPROT_STATIC,
        scope=0 if gateway is not None else _RT_SCOPE_LINK,
        type=_RTN_UNICAST,
    )


def new_route(network: Any, index: int, gateway: Any = None, *, metric: int = 0, table: int = MAIN_TABLE) -> Any:
    """A static route to ``network`` by interface ``index`` and ``gateway`` (an address, or None when on-link)."""
    return _route(RTM_NEWROUTE, _REPLACE, network, index, gateway, metric, table)


def del_route(network: Any, index: int, gateway: Any = None, *, metric: int = 0, table: int = MAIN_TABLE) -> Any:
    """Remove the route that ``new_route`` with the same arguments made."""
    return _route(RTM_DELROUTE, 0, network, index, gateway, metric, table)


def new_source_rule(address: Any, table: int) -> Any:
    """Policy routing: packets whose source is ``address`` look up ``table`` first, so a socket's bound address picks its way out."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _message(
        fibmsg,
        RTM_NEWRULE,
        _CREATE,
        [("FRA_SRC", str(address)), ("FRA_TABLE", table), ("FRA_PRIORITY", 1000 + table)],
        family=family,
        src_len=address.max_prefixlen,
        action=_FR_ACT_TO_TBL,
    )


def get_route(target: str) -> Any:
    """Ask the kernel how it would send a packet to the address ``target`` now."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    return _message(rtmsg, RTM_GETROUTE, 0, [("RTA_DST", target)], family=family, dst_len=128 if ":" in target else 32)
