"""How long a rebind takes with its receipt while 2,000 packets a second leave through the NAT: 40 of each kind by each translator.

One host behind a home router (port preserved, endpoint-independent mapping, filtering by address and port) sends numbered packets over
plain wires, two every millisecond.  The time is that of the scenario's own ``await nat.rebind(…)``: the new mapping in force, the old one
dead, and a packet seen to be carried by the new one.  Lost is what was sent and did not arrive, of all packets of the run.  A rebind cannot
be quicker than the next packet, which is half a millisecond away in the mean.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from benchmarks.row import Row, median, percentile
from harness.errors import SpecError
from harness.spec.nat import Nat
from tests.conformance.networks import opened, talking
from tests.conformance.sites import sites

_FLOW = (sys.executable, "-I", str(Path(__file__).with_name("flow.py")))
_TRANSLATORS = {"nft": "nft", "userspace": "userspace translator"}
_BETWEEN_S = 0.03


def run(quick: bool) -> Iterator[Row]:
    """40 rebinds of each kind by each translator; quick: 10."""
    count = 10 if quick else 40
    for translate, name in _TRANSLATORS.items():
        try:
            took, sent, heard, rate = trio.run(_measure, translate, count)
        except BaseExceptionGroup as group:
            if not group.split(SpecError)[0]:
                raise
            yield Row("rebind", f"rebind by {name}", None, note=str(group.exceptions[0]))
            continue
        for kind, some in took.items():
            note = f"p90 {percentile(some, 0.9):.2f}, longest {max(some):.2f} ms, {rate:,.0f} packets/s"
            yield Row("rebind", f"rebind of {kind} by {name}, median", median(some), "ms", 5, n=len(some), note=note)
        yield Row("rebind", f"packets lost by {name}", sent - heard, "", 0, n=sent)


async def _measure(translate: str, count: int) -> tuple[dict[str, list[float]], int, int, float]:
    """Milliseconds per rebind of each kind; packets sent and heard; packets per second."""
    took: dict[str, list[float]] = {"port": [], "address and port": []}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            opened(sites([(Nat(outside="wan"),)]), Path(folder), translate=translate) as network,
            talking(network, "bob", (*_FLOW, "hear")) as bob,
            talking(network, "h0", (*_FLOW, "send")) as near,
        ):
            await bob.ask("begin")
            await near.ask("begin")
            began = time.monotonic()
            await network.nat("n0_0").carries("h0")
            for n in range(2 * count):
                await trio.sleep(_BETWEEN_S)
                kind = "address and port" if n % 2 else "port"
                at = time.monotonic_ns()
                receipt = await network.nat("n0_0").rebind("h0", address=bool(n % 2))
                took[kind].append((time.monotonic_ns() - at) / 1e6)
                if not receipt.taken:
                    raise RuntimeError(f"a rebind without its receipt: {receipt}")
            sent = await near.ask("end")
            rate = sent / (time.monotonic() - began)
            return took, sent, await bob.ask("end"), rate
