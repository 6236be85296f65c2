"""Whether the first packet of a fresh network stalls: 200 builds of two hosts, and the time of the first round trip of each.

A veth whose queueing discipline is not yet active holds its first packet back for a second (seen in 5 of 85 builds by hand; neighbours
are permanent here, so no ARP is in it).  Each build is made by the keeper's own code in a process of its own, which then at once sends one
UDP packet from one host to the other and back; it dies and the next is built.  Half of the builds are of a plain wire, half of an
impairable link without impairment (netem or relay, whichever this machine has).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.row import Row, median, percentile
from harness.fabric.build import Build
from harness.fabric.netns import enter_run_namespaces, inside
from harness.spec.link import CLEAR
from harness.spec.topology import Host, Link, Topology

STALL_MS = 500
_GIVE_UP_S = 5.0


def run(quick: bool) -> Iterator[Row]:
    """200 builds; quick: 40."""
    count = 20 if quick else 100
    took = {kind: _measure(kind, count) for kind in ("plain", "impairable")}
    everything = [one for some in took.values() for one in some]
    stalls = sum(one > STALL_MS for one in everything)
    yield Row("first_packet", f"first round trips above {STALL_MS} ms", stalls, "", 0, n=len(everything))
    for kind, some in took.items():
        note = f"p90 {percentile(some, 0.9):.2f}, p99 {percentile(some, 0.99):.2f}, longest {max(some):.2f} ms"
        yield Row("first_packet", f"first round trip, {kind} link, median", median(some), "ms", n=len(some), note=note)


def _measure(kind: str, count: int) -> list[float]:
    argv = [sys.executable, "-m", "benchmarks.first_packet", kind, str(count)]
    return list(json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout))


def main(kind: str, count: int) -> None:
    """In a process of its own, since it enters namespaces: ``count`` builds, one after another."""
    impairment = CLEAR if kind == "impairable" else None
    pair = Topology("pair", (Host("a"), Host("b")), (Link("a/eth", "b/eth", "10.0.0.0/24", None, impairment, impairment),)).to_json()
    enter_run_namespaces()
    if init := os.fork():  # the first child is PID 1 of the new PID namespace, which must outlive the builds
        os.waitpid(init, 0)
        return
    took = []
    for _ in range(count):
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, str(_first_round_trip(pair)).encode())
            os._exit(0)
        os.close(tell)
        took.append(float(os.read(told, 100)))
        os.close(told)
        os.waitpid(child, 0)
    print(json.dumps(took))


def _first_round_trip(pair: str) -> float:
    """Milliseconds; ``_GIVE_UP_S`` when nothing came back."""
    build = Build(pair, "auto", 1, None)
    ends = []
    for name in ("a", "b"):
        with inside(build.nodes[name].namespace.fd):
            ends.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        ends[-1].settimeout(_GIVE_UP_S)
    a, b = ends
    b.bind((str(build.topology.port("b/eth").v4.ip), 9000))
    began = time.monotonic_ns()
    try:
        a.sendto(b"first", b.getsockname())
        _data, source = b.recvfrom(100)
        b.sendto(b"back", source)
        a.recv(100)
    except TimeoutError:
        return _GIVE_UP_S * 1e3
    return (time.monotonic_ns() - began) / 1e6


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
