"""Three questions to the kernel by netlink, packed by hand, since the doctor has nothing but Python.

Each asks in the current network namespace, changes nothing that outlives it, and raises OSError with the kernel's own code when refused.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

_ROUTE, _NETFILTER = 0, 12  # NETLINK_*
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400  # NLM_F_*
_ERROR, _DONE = 2, 3  # NLMSG_*
_NEWLINK, _NEWQDISC, _DELQDISC = 16, 36, 37  # RTM_*
_LINKINFO, _KIND, _DATA, _PEER, _IFNAME = 18, 1, 2, 1, 3  # IFLA_*, IFLA_INFO_*, VETH_INFO_PEER
_TCA_KIND, _TCA_OPTIONS = 1, 2
_CONNTRACK_GET = (1 << 8) | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_LOOPBACK = 1  # the interface index of lo in a new namespace
_ROOT, _HANDLE = 0xFFFFFFFF, 0x10000
_ANSWER_WITHIN_S = 5.0


def add_veth(name: str, peer: str) -> None:
    """A veth with both ends in this namespace."""
    peer_info = _attribute(_PEER, _interface() + _attribute(_IFNAME, peer.encode() + b"\0"))
    info = _attribute(_KIND, b"veth\0") + _attribute(_DATA, peer_info)
    _ask(_ROUTE, _NEWLINK, _CREATE | _EXCL | _ACK, _interface() + _attribute(_IFNAME, name.encode() + b"\0") + _attribute(_LINKINFO, info))


def takes_netem() -> bool:
    """Whether the kernel has sch_netem: one that does nothing is put on lo and removed again."""
    options = struct.pack("=6I", 0, 1000, 0, 0, 0, 0)  # struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter
    where = struct.pack("=BxxxiIII", 0, _LOOPBACK, _HANDLE, _ROOT, 0)
    try:
        _ask(_ROUTE, _NEWQDISC, _CREATE | _EXCL | _ACK, where + _attribute(_TCA_KIND, b"netem\0") + _attribute(_TCA_OPTIONS, options))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):  # ENOENT: "Specified qdisc kind is unknown"
            return False
        raise
    _ask(_ROUTE, _DELQDISC, _ACK, where)
    return True


def list_flows() -> None:
    """Read the table of flows that conntrack holds."""
    _ask(_NETFILTER, _CONNTRACK_GET, _DUMP, struct.pack("=BBH", socket.AF_INET, 0, 0))


def _interface() -> bytes:
    return struct.pack("=BxHiII", 0, 0, 0, 0, 0)  # struct ifinfomsg


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _ask(family: int, kind: int, flags: int, body: bytes) -> None:
    """Send one request and take its answers to the end; OSError with the kernel's code."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as sock:
        sock.settimeout(_ANSWER_WITHIN_S)
        sock.bind((0, 0))
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, 1, 0) + body)
        while True:
            answer = sock.recv(1 << 16)
            while answer:
                length, type_ = struct.unpack_from("=IH", answer)
                if type_ in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", answer, 16)[0] if length >= 20 else 0
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                answer = answer[(length + 3) & ~3 :]
