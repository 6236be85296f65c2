"""Which of the agent's addresses could be used now, as the kernel says (rtnetlink): a change of network that no application reports.

A dump of all links and addresses is read at the start and after every notification, so what a notification says does not matter, nor that
one was lost.  The messages are unpacked by hand: the library that the harness itself uses for this would double what an agent imports.

An address is usable when its interface is up and has a carrier and the address is neither tentative nor failed duplicate detection
(linux/if.h, if_addr.h).  No privilege is needed, and a confined agent may ask.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import trio

from harness.agent.messages import PathSpec
from harness.agent.sockets import canonical
from harness.call.pathfinder import Local

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_REQUEST_DUMP = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3  # NLMSG_*
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22  # RTM_*
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_UP_AND_RUNNING = 0x1 | 0x40  # IFF_UP, IFF_RUNNING
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_UNUSABLE = 0x08 | 0x40  # IFA_F_DADFAILED, IFA_F_TENTATIVE
_ANSWER_WITHIN_S = 1.0
_LARGEST = 1 << 17


class Interfaces:
    """A netlink socket of the current network namespace that hears of changes.  OSError when there is none to be had."""

    def __init__(self, paths: tuple[PathSpec, ...]) -> None:
        self._paths = {Local(path.name, 4): canonical(path.v4)[1] for path in paths if path.v4 is not None}
        self._paths |= {Local(path.name, 6): canonical(path.v6)[1] for path in paths if path.v6 is not None}
        self._heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            self._heard.bind((0, _GROUPS))
        except OSError:
            self._heard.close()
            raise

    def usable(self) -> frozenset[Local]:
        """The paths whose address could be used now.  OSError when the kernel does not answer."""
        addresses = usable_addresses()
        return frozenset(path for path, ip in self._paths.items() if ip in addresses)

    async def changed(self) -> None:
        """Wait until something has changed; trio.ClosedResourceError once closed."""
        if self._heard.fileno() < 0:
            raise trio.ClosedResourceError("the interfaces are not watched any more")
        await trio.lowlevel.wait_readable(self._heard)
        while True:
            try:
                self._heard.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # which says that notifications were lost: also a change
                    raise

    def close(self) -> None:
        """Close it, and wake whoever waits."""
        if self._heard.fileno() >= 0:
            trio.lowlevel.notify_closing(self._heard)
            self._heard.close()


def usable_addresses() -> set[str]:
    """Every address of this network namespace that could be used now, as the kernel writes it.  OSError when the kernel refuses."""
    up = set()
    for kind, body in _dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
        _, _, index, flags, _ = _LINK.unpack_from(body)
        if kind == _NEWLINK and flags & _UP_AND_RUNNING == _UP_AND_RUNNING:
            up.add(index)
    found = set()
    for kind, body in _dump(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)):
        family, _, flags, _, index = _ADDRESS.unpack_from(body)
        if kind != _NEWADDR or index not in up or flags & _UNUSABLE or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        values = dict(_attributes(body[_ADDRESS.size :]))
        own = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))  # of IPv4 point-to-point links the second is the peer's
        if own is not None:
            found.add(socket.inet_ntop(family, own))
    return found


def _dump(kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of every message of a dump; again from the start when something changed in the middle of it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(_ANSWER_WITHIN_S)
        asked.bind((0, 0))
        for _ in range(3):
            asked.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body)
            found, whole = _answers(asked)
            if whole:
                break
    yield from found


def _answers(asked: socket.socket) -> tuple[list[tuple[int, bytes]], bool]:
    """The messages of one dump, and whether nothing changed meanwhile."""
    found: list[tuple[int, bytes]] = []
    whole = True
    while True:
        answer = asked.recv(_LARGEST)
        while answer:
            length, kind, flags, _, _ = _HEADER.unpack_from(answer)
            body, answer = answer[_HEADER.size : length], answer[(length + 3) & ~3 :]
            whole = whole and not flags & _DUMP_INTERRUPTED
            if kind == _DONE:
                return found, whole
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, os.strerror(code))
            found.append((kind, body))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
