"""Two hosts in namespaces of their own, joined by one link under test: the bench on which every executor is measured.

``python -m tests.conformance.two_hosts relay|relay-packet|netem`` is a process of its own, since it enters namespaces; it answers JSON
lines on stdin with JSON lines on stdout. Single-threaded: it sends and receives in one loop, and arrival times are the kernel's, so that
its own slowness in reading falsifies nothing. Slowness in sending would: a packet whose ``send`` took more than ``SLOW_SEND`` is reported
as such.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import ipaddress
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from functools import partial
from typing import Any

import msgspec

from harness.errors import BlamedError, EnvironmentUnfit
from harness.fabric import netem, netns, relay, relay_ends, rtnl, seqpacket, taps
from harness.fabric.capture_process import clock_offset
from harness.fabric.link_ends import End
from harness.fabric.plan import make_plan
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import Host, Link, Topology, from_text, to_plain
from harness.units import s
from tests.conformance.witness import Witness

SLOW_SEND = 300_000  # ns
HEADERS = 28  # IPv4 and UDP
SO_TIMESTAMPNS = 35
SETTLED = 30_000_000  # ns without an arrival, with nothing left in the link, after which the rest is lost
A, B = ipaddress.ip_interface("10.9.0.1/24"), ipaddress.ip_interface("10.9.0.2/24")
A6, B6 = ipaddress.ip_interface("fd09::1/64"), ipaddress.ip_interface("fd09::2/64")
# b's further addresses: a kernel keeps what it has learned of the path to an address, so each test of the path's MTU has its own.
OTHERS = [ipaddress.ip_interface(text.format(host)) for text in ("10.9.0.{}/24", "fd09::{}/64") for host in (3, 4)]
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, PMTUDISC_DO = 10, 14, 23, 24, 2
MAC_A, MAC_B = "02:00:00:00:09:01", "02:00:00:00:09:02"
PORT = 9000
TOPOLOGY = Topology("t", (Host("a"), Host("b")), (Link("a/wire", "b/wire", "10.9.0.0/24"),))


class RelayWire:
    """The link under test is the userspace relay."""

    def __init__(self, a: netns.Namespace, b: netns.Namespace, packet: bool = False) -> None:
        ends, plan = relay_ends.choose_ends(packet), make_plan(TOPOLOGY)
        if not packet and ends.name != "tap":
            raise EnvironmentUnfit(taps.tun_lacking() or "")
        made = [End(a, plan["a"].ports["wire"]), End(b, plan["b"].ports["wire"])]
        for end, mac in zip(made, (MAC_A, MAC_B), strict=True):
            end.plan.mac = mac
        fds = [ends.open(end, 1500) for end in made]
        self.indexes = [end.plan.index for end in made]
        self.ends = ends  # which holds what a descriptor belongs to
        ours, theirs = seqpacket.pair()
        self.process = subprocess.Popen(relay.argv(theirs.fileno()), pass_fds=[theirs.fileno(), *fds])
        theirs.close()
        self.control = relay.RelayControl(ours, 30 * s)
        ends_of = {"addresses_a": [str(A.ip), str(A6.ip)], "addresses_b": [str(B.ip), str(B6.ip)]}
        self.control.start([relay.RelayLink(name="wire", fd_a=fds[0], fd_b=fds[1], seed_a_to_b=1, seed_b_to_a=2, **ends_of)])

    def impair(self, impairment: Impairment) -> None:
        self.control.impair("wire", "a_to_b", impairment)

    def counters(self) -> dict[str, Any]:
        return dict(to_plain(self.control.counters().links["wire"].a_to_b))

    def own(self, since: int) -> dict[str, Any]:
        stats = self.control.stats()
        stalls = [(start, end) for start, end in self.control.stalls() if end > since]
        return {**to_plain(stats), "stalls": stalls, "rulings": self.control.rulings()["wire"]["a_to_b"]["rulings"]}

    def close(self) -> None:
        self.control.shutdown()
        self.process.wait(10)


class NetemWire:
    """The link under test is a veth with sch_netem on a's end."""

    def __init__(self, a: netns.Namespace, b: netns.Namespace) -> None:
        reason = netem.lacking()
        if reason is not None:
            raise netem.unfit(reason)
        self.rtnl = a.rtnl
        self.indexes = [100, 101]
        a.rtnl.batch([rtnl.new_veth("wire", 100, MAC_A, "wire", 101, MAC_B, b.fd, 1500)])
        netem.install(a.rtnl, 100, seed=1)

    def impair(self, impairment: Impairment) -> None:
        netem.change(self.rtnl, 100, impairment)

    def counters(self) -> dict[str, Any]:
        return dict(to_plain(netem.counters(self.rtnl, 100)))

    def own(self, since: int) -> dict[str, Any]:
        return {"stalls": []}  # the kernel keeps none

    def close(self) -> None:
        pass


class Bench:
    """Hosts a and b, the link, and one UDP socket on each."""

    def __init__(self, executor: str) -> None:
        self.a, self.b = netns.new_namespace("a"), netns.new_namespace("b")
        self.wire: Any = {"relay": RelayWire, "relay-packet": partial(RelayWire, packet=True), "netem": NetemWire}[executor](self.a, self.b)
        for namespace, index, mine, other, mac in (
            (self.a, self.wire.indexes[0], [A, A6], [B, B6, *OTHERS], MAC_B),
            (self.b, self.wire.indexes[1], [B, B6, *OTHERS], [A, A6], MAC_A),
        ):
            addresses = [rtnl.new_address(index, address) for address in mine]
            neighbours = [rtnl.new_neighbour(index, address.ip, mac) for address in other]
            namespace.rtnl.batch([rtnl.no_ipv6_addresses(index), rtnl.set_link(index, up=True), *addresses, *neighbours])
            namespace.rtnl.request(rtnl.get_link(index))
        with netns.inside(self.a.fd):
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind((str(A.ip), PORT))
        self.sender.connect((str(B.ip), PORT))
        with netns.inside(self.b.fd):
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.witness = Witness() if executor == "netem" else None
        self.receiver.bind((str(B.ip), PORT))
        self.receiver.setblocking(False)
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        for option in (socket.SO_RCVBUF, 33):  # 33: SO_RCVBUFFORCE, refused where not root
            with contextlib.suppress(OSError):
                self.receiver.setsockopt(socket.SOL_SOCKET, option, 64 << 20)

    def send(self, count: int, interval: int, size: int, changes: list[tuple[int, Impairment]], more: bool = False) -> dict[str, Any]:
        """``count`` packets of ``size`` bytes of IP, one every ``interval`` ns; before packet n the change for n, if there is one.

        It ends when as many have arrived, or, with ``more`` (some may come twice), when nothing more comes.
        Times are ns of CLOCK_MONOTONIC.
        """
        due_changes = dict(changes)
        sent: list[int] = [0] * count
        done: list[int] = [0] * count
        arrived: list[tuple[int, int]] = []
        filler = bytes(size - HEADERS - 4)
        before, began = self.wire.counters(), time.monotonic_ns()
        offset = clock_offset()  # arrival stamps are CLOCK_REALTIME
        if self.witness:
            self.witness.begin()
        for n in range(count):
            due = began + n * interval
            while (now := time.monotonic_ns()) < due:
                if due - now > 200_000 and self._wait(due - now - 100_000):
                    self._receive(arrived, offset, 50)
            if n in due_changes:
                self.wire.impair(due_changes[n])
            packet = n.to_bytes(4, "big") + filler
            sent[n] = time.monotonic_ns()
            self.sender.send(packet)
            done[n] = self._look()
        while more or len(arrived) < count:
            if self._wait(SETTLED):
                self._receive(arrived, offset, 1000)
            elif self.wire.counters()["in_flight"] == 0 and not self._wait(SETTLED):
                break
        return {
            "sent": sent,
            "slow": [n for n in range(count) if done[n] - sent[n] > SLOW_SEND],
            "arrived": arrived,
            "drift": abs(clock_offset() - offset),
            "before": before,
            "after": self.wire.counters(),
            "own": self.wire.own(began),
            "late": self.witness.stalls if self.witness else [],
        }

    def _wait(self, span: int) -> bool:
        """Wait for an arrival, ``span`` ns at most; whether there is one."""
        if self.witness:
            return self.witness.wait(self.receiver, time.monotonic_ns() + span)
        return bool(select.select([self.receiver], [], [], span / 1e9)[0])

    def _look(self) -> int:
        """The time; netem's witness has looked."""
        return self.witness.look() if self.witness else time.monotonic_ns()

    def _receive(self, arrived: list[tuple[int, int]], offset: int, most: int) -> None:
        for _ in range(most):
            try:
                data, ancillary, _, _ = self.receiver.recvmsg(2000, 64)
            except BlockingIOError:
                return
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            arrived.append((int.from_bytes(data[:4], "big"), seconds * 1_000_000_000 + nanoseconds - offset))
            self._look()

    def path_mtu(self, host: int, size: int, version: int) -> dict[str, Any]:
        """Send a packet of ``size`` bytes of IP, not to be fragmented, to b's address ending in ``host``: what a's kernel makes of it.

        ``mtu``: what the kernel takes for the path's MTU afterwards; ``again``: the error's name when as large a one is sent again, None
        when it is taken; ``arrived``: the sizes of the packets that reached b, the last one being of ``mtu`` bytes.
        """
        family, headers = (socket.AF_INET, HEADERS) if version == 4 else (socket.AF_INET6, HEADERS + 20)
        level, discover, get = (0, IP_MTU_DISCOVER, IP_MTU) if version == 4 else (41, IPV6_MTU_DISCOVER, IPV6_MTU)
        address = next(str(one.ip) for one in OTHERS if one.version == version and str(one.ip)[-1] == str(host))
        with netns.inside(self.b.fd):
            receiver = socket.socket(family, socket.SOCK_DGRAM)
        with netns.inside(self.a.fd):
            sender = socket.socket(family, socket.SOCK_DGRAM)
        again, arrived = None, []
        with receiver, sender:
            receiver.bind((address, PORT))
            sender.setsockopt(level, discover, PMTUDISC_DO)
            sender.connect((address, PORT))
            sender.send(bytes(size - headers))
            select.select([receiver, sender], [], [], SETTLED / 1e9)
            sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # what ICMP brought; else the next send would tell it
            mtu = sender.getsockopt(level, get)
            try:
                sender.send(bytes(size - headers))
            except OSError as error:
                again = errno.errorcode.get(error.errno or 0)
            with contextlib.suppress(OSError):
                sender.send(bytes(mtu - headers))
            while select.select([receiver], [], [], SETTLED / 1e9)[0]:
                arrived.append(len(receiver.recv(2000)) + headers)
        return {"mtu": mtu, "again": again, "arrived": arrived}

    def answer(self, request: dict[str, Any]) -> Any:
        def impairment(raw: Any) -> Impairment:
            return msgspec.convert(raw, Impairment, dec_hook=from_text)

        match request.pop("op"):
            case "send":
                changes = [(n, impairment(raw)) for n, raw in request.pop("changes", [])]
                return self.send(**request, changes=changes)
            case "path_mtu":
                return {**self.path_mtu(**request), "counters": self.wire.counters()}
            case "impair":
                return self.wire.impair(impairment(request["impairment"]))
            case op:
                raise ValueError(op)


def main() -> None:
    gc.disable()  # a collection would look like a stall
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        if os.geteuid() != 0:
            netns.enter_run_namespaces()
        bench = Bench(sys.argv[1])
    except BlamedError as error:
        print(json.dumps({"unfit": str(error)}), file=out, flush=True)
        return
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(bench.answer(json.loads(line))), file=out, flush=True)
    bench.wire.impair(CLEAR)
    bench.wire.close()


if __name__ == "__main__":
    main()
