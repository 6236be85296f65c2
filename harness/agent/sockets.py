"""The agent's UDP sockets: one for each local path and address family, bound to that path's own address.

The host's policy routing picks the interface by the source address, so binding to an address is choosing a path, and no privilege is
needed. QUIC forbids fragments (RFC 9000 §14): DF is set and the kernel's cached path MTU is ignored (IP_PMTUDISC_PROBE), which is QUIC's
own business. Receive stamps come from the kernel (SO_TIMESTAMPNS), and so does the count of datagrams that it dropped because nobody read
(SO_RXQ_OVFL): those are this process' loss and not the network's.

No error of a send may end the agent: a path that is down is what it is here for.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

import trio

from harness import stamps
from harness.agent.clock import StampClock
from harness.agent.messages import Bound, PathSpec

Family = Literal["v4", "v6"]
_INET: dict[Family, socket.AddressFamily] = {"v4": socket.AF_INET, "v6": socket.AF_INET6}

_SO_RCVBUFFORCE = 33
_SO_RXQ_OVFL = 40  # asm-generic/socket.h; not in Python's socket module
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 23, 3  # linux/in.h, linux/in6.h
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_UINT32 = struct.Struct("@I")
_ANCILLARY = stamps.SPACE + socket.CMSG_SPACE(_UINT32.size)
_LARGEST = 65535
BATCH = 64


class Datagram(NamedTuple):
    """One datagram read: payload, where it came from, when the kernel took it in (monotonic ns)."""

    data: bytes
    ip: str
    port: int
    arrived: int


class PathSocket:
    """A bound UDP socket of one path and family.  OSError when the address cannot be bound (the path is down, or not this host's)."""

    def __init__(
        self, path: str, family: Family, ip: str, port: int, *, receive_buffer: int, clock: StampClock, before_it_is_up: bool
    ) -> None:
        self.path = path
        self.family: Family = family
        self.dropped = 0
        self._clock = clock
        self._buffer = bytearray(_LARGEST)
        self._view = memoryview(self._buffer)
        self._socket = socket.socket(_INET[family], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._set_options(receive_buffer, before_it_is_up)
            self._socket.bind((ip, port))
        except OSError:
            self._socket.close()
            raise
        self.ip, self.port = self._socket.getsockname()[:2]

    def _set_options(self, receive_buffer: int, before_it_is_up: bool) -> None:
        self._socket.setsockopt(*stamps.STAMPED, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        try:  # beyond net.core.rmem_max, which a namespace of our own may exceed
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, min(receive_buffer, 0x3FFF_FFFF))
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(receive_buffer, 0x3FFF_FFFF))
        if self.family == "v4":
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, before_it_is_up)
        else:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, before_it_is_up)

    @property
    def bound(self) -> Bound:
        """What the protocol shows of this socket."""
        return Bound(path=self.path, family=self.family, ip=self.ip, port=self.port, dropped=self.dropped)

    async def readable(self) -> None:
        """Wait until there is something to read; trio.ClosedResourceError once it is closed."""
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError(f"the socket of {self.path} is closed")
        await trio.lowlevel.wait_readable(self._socket)

    def drain(self) -> Iterator[Datagram]:
        """What waits in the socket now, at most BATCH datagrams.  Errors pending on the socket are not datagrams, and are passed over."""
        for _ in range(BATCH):
            try:
                size, ancillary, _, sender = self._socket.recvmsg_into([self._buffer], _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that somebody sent us; the stack's own timers are what judges a path
            arrived: int | None = None
            for level, kind, value in ancillary:
                if (level, kind) == stamps.STAMPED:
                    seconds, fraction = stamps.TIMESPEC.unpack(value)
                    arrived = self._clock.monotonic(seconds * 1_000_000_000 + fraction)
                elif kind == _SO_RXQ_OVFL:
                    (self.dropped,) = _UINT32.unpack(value)
            now = time.monotonic_ns()
            if arrived is None or not self._clock.plausible(arrived, now):
                arrived = now  # no stamp, or the wall clock was set since the last sample: the next sample will tell
            yield Datagram(bytes(self._view[:size]), sender[0], sender[1], arrived)

    def send(self, data: bytes, ip: str, port: int) -> OSError | None:
        """Send one datagram; the error if the kernel refused it."""
        try:
            self._socket.sendto(data, (ip, port))
        except OSError as error:
            return error
        return None

    def close(self) -> None:
        """Close it, and wake whoever waits to read it (trio.ClosedResourceError)."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def errno_name(error: OSError) -> str:
    """ENETUNREACH and the like."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def canonical(ip: str) -> tuple[Family, str]:
    """The family of a literal address, and the address as the kernel writes it; ValueError that names it when it is none."""
    for family, inet in _INET.items():
        try:
            return family, socket.inet_ntop(inet, socket.inet_pton(inet, ip))
        except (OSError, ValueError):
            continue
    raise ValueError(f"{ip!r} is not an IPv4 or IPv6 address")


class SocketTable:
    """The sockets of an agent: at most one for each path and family.  ValueError for paths that make no sense."""

    def __init__(self, paths: tuple[PathSpec, ...], receive_buffer: int, clock: StampClock) -> None:
        self._receive_buffer = receive_buffer
        self._clock = clock
        self._addresses: dict[tuple[str, Family], str] = {}
        self._open: dict[tuple[str, Family], PathSocket] = {}
        names = [path.name for path in paths]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"paths are named {', '.join(names) or 'nothing'}; at least one is needed, and no two of one name")
        for path in paths:
            for expected, ip in (("v4", path.v4), ("v6", path.v6)):
                if ip is None:
                    continue
                family, ip = canonical(ip)
                if family != expected:
                    raise ValueError(f"path {path.name}: {ip} is not a {expected} address")
                self._addresses[path.name, family] = ip

    @property
    def places(self) -> tuple[tuple[str, Family], ...]:
        """Every (path, family) that has an address."""
        return tuple(self._addresses)

    def address(self, path: str, family: Family) -> str:
        """The own address there; ValueError that names what there is."""
        ip = self._addresses.get((path, family))
        if ip is None:
            known = ", ".join(f"{name}/{kind}" for name, kind in self._addresses)
            raise ValueError(f"path {path} has no {family} address; known are {known}")
        return ip

    def get(self, path: str, family: Family) -> PathSocket | None:
        """The open socket there."""
        return self._open.get((path, family))

    def of(self, path: str, ip: str) -> PathSocket | None:
        """The open socket of ``path`` that can send to ``ip``."""
        return self._open.get((path, "v6" if ":" in ip else "v4"))

    def open(self, path: str, family: Family, port: int = 0, *, before_it_is_up: bool = False) -> PathSocket:
        """Open and keep a socket.  ValueError for an unknown path or family; OSError when the address cannot be bound.

        ``before_it_is_up``: bind also an address that the host does not have now; it is heard from when it has it.
        """
        ip = self.address(path, family)
        opened = PathSocket(path, family, ip, port, receive_buffer=self._receive_buffer, clock=self._clock, before_it_is_up=before_it_is_up)
        self._open[path, family] = opened
        return opened

    def close(self, path: str, family: Family) -> None:
        """Close the socket there, if one is open."""
        closed = self._open.pop((path, family), None)
        if closed is not None:
            closed.close()

    def close_all(self) -> None:
        """Close every socket."""
        for path, family in list(self._open):
            self.close(path, family)

    @property
    def bound(self) -> tuple[Bound, ...]:
        """What the protocol shows of the open sockets."""
        return tuple(opened.bound for opened in self._open.values())

    def __len__(self) -> int:
        return len(self._open)
