"""How fast a call comes back after an outage of 12 s on a path that loses 2 %, with no hint from the link.  Long: 20 s for each of 5 seeds.

Two people at home (topologies/two_homes.py, 2 % loss on Alice's access link).  In mid-call both directions of that link lose everything for
12 s, then 2 % again: no interface goes down, nothing tells the agents.  *First fresh audio* is from the moment at which the link executor
took the change back to the arrival of the first packet that was offered after it, the path's delay included, at each end.  *Stale* are
frames that arrived later than ``PLAYOUT`` after they were offered, over the whole call: the stack must drop what it could not send.
The bound has no clock of another program in it, so it is absolute; a stall of this machine can only make it worse.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from benchmarks.calls import open_lab
from benchmarks.row import Row, median
from harness.spec.link import Impairment
from harness.units import percent, s
from topologies.two_homes import DELAY, two_homes

TARGET_MS = 300.0
OUTAGE = 12 * s
LOSS = 2 * percent


def run(quick: bool) -> Iterator[Row]:
    """5 seeds; quick: 1."""
    seeds = range(1, 2) if quick else range(1, 6)
    fresh: dict[str, list[float]] = {"caller": [], "callee": []}
    stale = 0
    for seed in seeds:
        times, late = trio.run(_outage, seed)
        for side, took in times.items():
            fresh[side].append(took)
        stale += late
    for side, took in fresh.items():
        each = ", ".join(f"{one:.0f}" for one in took)
        yield Row("recovery", f"first fresh audio at the {side}, longest", max(took), "ms", TARGET_MS, n=len(took), note=f"each: {each}")
        yield Row("recovery", f"first fresh audio at the {side}, median", median(took), "ms", n=len(took))
    yield Row("recovery", "frames delivered past their playout deadline", stale, "", 0, n=len(seeds))


async def _outage(seed: int) -> tuple[dict[str, float], int]:
    """(ms until the first fresh audio by side, stale frames at both)."""
    usual = Impairment(delay=DELAY / 2, loss=LOSS)
    async with open_lab("recovery", seed) as lab:
        net = await lab.build(two_homes(loss=LOSS))
        alice, bob = await lab.agents("alice", "bob")
        link = net.link("home_a/wan")
        async with lab.call(alice, bob) as call:
            await call.heard_both_ways(for_=2 * s)
            await link.impair(Impairment(delay=DELAY / 2, loss=100 * percent))
            await trio.sleep(OUTAGE.s)
            await link.impair(usual)
            back = max(receipt.at for receipt in lab.receipts)
            await trio.sleep(4)
        sides = {"caller": alice.heard("audio"), "callee": bob.heard("audio")}
        fresh = {side: heard.recovery(after=back).value for side, heard in sides.items()}
        late = sum(heard.late().value.count for heard in sides.values())
    return {side: took.ms for side, took in fresh.items()}, late
