"""What the reference agent takes of a core at 50 audio packets/s each way, in a real call over a real two-host network.

The agents' own clock of running time is read (/proc/PID/task/*/schedstat, ns) over the middle of an audio call with every record, qlog and
key log on, as in any run.  Beside each agent, in the same host and over the same seconds, runs a *bare* loop in Python: 50 packets/s out
and 50 in over the same wire by UDP, 200 bytes, epoll and nothing else.  The ratio is what QUIC, RTP, the records and the protocol cost
beyond being woken and calling the kernel; unlike the share of a core it holds on another machine.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from benchmarks.calls import open_lab
from benchmarks.row import Row, spread
from harness.fabric.keeper_client import Process
from harness.spec.topology import Host, Link, Topology
from harness.units import s

TARGET = 6.0
PERIOD_NS = 20_000_000
PORT = 9000


def run(quick: bool) -> Iterator[Row]:
    """20 s of call; quick: 6 s."""
    seconds = 6 if quick else 20
    agents, bare = trio.run(_measure, seconds)
    yield Row("agent_cpu", "agent, 50 packets/s each way", max(agents), "% of a core", TARGET, n=len(agents), note=spread(agents, 1))
    yield Row("agent_cpu", "bare UDP loop beside it", max(bare), "% of a core", n=len(bare), note=spread(bare, 1))
    yield Row("agent_cpu", "agent ÷ bare loop", sum(agents) / sum(bare), "×", n=len(agents))


async def _measure(seconds: int) -> tuple[list[float], list[float]]:
    async with open_lab("agent_cpu", 1) as lab:
        pair = Topology("pair", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "10.0.0.0/24"),))
        net = await lab.build(pair)
        alice, bob = await lab.agents("alice", "bob")
        addresses = {name: str(pair.ports(name)[0].v4.ip) for name in ("alice", "bob")}
        loops = []
        for me, other in (("alice", "bob"), ("bob", "alice")):
            argv = [sys.executable, "-m", "benchmarks.agent_cpu", addresses[me], addresses[other]]
            loops.append(await net.spawn(me, argv, stdin=0, stdout=2, stderr=2))
        async with lab.call(alice, bob) as call:
            await call.heard_both_ways(for_=2 * s)
            processes = [alice.process, bob.process, *loops]
            began, before = time.monotonic_ns(), [ran(p) for p in processes]
            await trio.sleep(seconds)
            wall = time.monotonic_ns() - began
            shares = [100 * (ran(p) - was) / wall for p, was in zip(processes, before, strict=True)]
            await call.heard_both_ways(for_=1 * s)
        for loop in loops:
            loop.signal(15)
    return shares[:2], shares[2:]


def ran(process: Process) -> int:
    """Nanoseconds that all its threads have run."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{process.pid}/task").iterdir())


def bare(me: str, other: str) -> None:
    """The bare loop: on its own address, to the other's, for ever."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((me, PORT))
    end.setblocking(False)
    poll = select.epoll()
    poll.register(end.fileno(), select.EPOLLIN)
    payload, due = bytes(200), time.monotonic_ns()
    while True:
        now = time.monotonic_ns()
        if now >= due:
            due += PERIOD_NS
            end.sendto(payload, (other, PORT))
        if poll.poll(max(0.0, (due - now) / 1e9)):
            try:
                end.recvfrom(2000)
            except ConnectionRefusedError:
                continue  # the other one has not begun yet


if __name__ == "__main__":
    bare(sys.argv[1], sys.argv[2])
