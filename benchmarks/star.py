"""How long it takes to build a star of 50 hosts, and a network of two hosts: this harness, mininet (Debian) and munet (PyPI).

The same network for each: N hosts, each on a plain wire of its own to one router in the middle, with a /24 a wire, an address at both ends,
a default route at every host, forwarding on at the router, ready for the first packet; after the clock has stopped a TCP connection from
the first host to the last, across the router, proves it (refused by the host: it got there and back).  The two-host network is one wire.

*build* is the time inside an interpreter that has everything imported: for us the keeper's own report, from the topology's JSON to the
barrier after which packets flow; for the others from before the first object to after the last command.  Importing mininet or munet and
starting our keeper process is in *wall*: from the start of a command, or of ``open_network``, to ready.  So the ratios compare like with
like.  The programs take turns in one run, and medians are compared.  The others are run as their documentation has it (mininet's
linuxrouter example, munet's ``async_build_topology``), and what mininet does to the host's limits first is skipped, in its favour.

Both run as root in throwaway net, mount and PID namespaces (``unshare``), so that nothing of the host is touched or left behind.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from benchmarks import competitors
from benchmarks.row import Row, median, spread
from harness.fabric.network import Network, open_network
from harness.spec.topology import Host, Link, Router, Topology

TARGETS_MS = {50: 140.0, 2: 15.0}
SHARES = {"mininet": 1 / 8, "munet": 1 / 100}
PROVE = "import socket,sys; s=socket.socket(); s.settimeout(5); print(s.connect_ex((sys.argv[1], 9)))"


def star(hosts: int) -> Topology:
    """``hosts`` hosts around one router; two hosts are joined by one wire."""
    if hosts == 2:
        return Topology("pair", (Host("h0"), Host("h1")), (Link("h0/eth", "h1/eth", "10.0.0.0/24"),))
    links = tuple(Link(f"h{n}/eth", f"hub/p{n}", f"10.0.{n}.0/24") for n in range(hosts))
    return Topology("star", (*(Host(f"h{n}") for n in range(hosts)), Router("hub")), links)


def run(quick: bool) -> Iterator[Row]:
    """50 and 2 hosts; quick: one turn each, of 10 and 2 hosts."""
    for hosts in (10, 2) if quick else (50, 2):
        turns = {"harness": 4 if quick else 10, "mininet": 1 if quick else 3, "munet": 1 if quick else 2}
        yield from _compare(hosts, turns)


def _compare(hosts: int, turns: dict[str, int]) -> Iterator[Row]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    lacking: dict[str, str] = {}
    left = dict(turns)
    while any(left.values()):  # the one with most still to do goes next: they take turns throughout
        name = max(left, key=lambda n: left[n] / turns[n])
        left[name] -= 1
        if name == "harness":
            times[name].append(trio.run(_ours, hosts))
            continue
        measured = competitors.measure(name, hosts)
        if isinstance(measured, str):
            lacking[name], left[name] = measured, 0
        else:
            times[name].append(measured)
    builds, walls = ({name: [one[k] for one in some] for name, some in times.items() if some} for k in (0, 1))
    ours, what = builds["harness"], f"star of {hosts}" if hosts > 2 else "two hosts"
    yield Row("star", f"{what}: build", median(ours), "ms", TARGETS_MS.get(hosts), n=len(ours), note=spread(ours))
    yield Row("star", f"{what}: wall", median(walls["harness"]), "ms", n=len(ours), note=spread(walls["harness"]))
    for name in ("mininet", "munet"):
        if name in lacking:
            yield Row("star", f"{what}: share of {name}'s build", None, note=lacking[name])
            continue
        yield Row("star", f"{what}: {name}'s build", median(builds[name]), "ms", n=len(builds[name]), note=spread(builds[name]))
        target = SHARES[name] if hosts == 50 else None
        note = f"1/{median(builds[name]) / median(ours):.0f}; of the wall time 1/{median(walls[name]) / median(walls['harness']):.0f}"
        yield Row("star", f"{what}: share of {name}'s build", median(ours) / median(builds[name]), "", target, n=len(ours), note=note)


async def _ours(hosts: int) -> tuple[float, float]:
    """(build, wall) in ms."""
    topology = star(hosts)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic_ns()
        async with open_network(
            topology, impair="auto", seed=1, captures=None, log=Path(folder) / "keeper.log", observe=lambda _seen: None
        ) as network:
            wall = (time.monotonic_ns() - began) / 1e6
            await _prove(network, topology, Path(folder) / "proof")
            return network.report["built_ns"] / 1e6, wall


async def _prove(network: Network, topology: Topology, out: Path) -> None:
    first, last = topology.hosts[0].name, topology.hosts[-1].name
    target = str(topology.ports(last)[0].v4.ip)
    with out.open("w+") as file:
        process = await network.spawn(first, [sys.executable, "-c", PROVE, target], stdin=0, stdout=file.fileno(), stderr=2)
        await process.ended.wait()
        file.seek(0)
        competitors.proven("harness", file.read())
