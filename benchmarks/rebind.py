"""How long a rebind takes with its receipt while 2,000 packets a second leave through the NAT: 40 of each kind by each translator.

One host behind a home router (port preserved, endpoint-independent mapping, filtering by address and port) sends numbered packets over
plain wires.  The time is that of the scenario's own ``await nat.rebind(…)``: the new mapping in force, the old one dead, and a packet seen
to be carried by the new one.  Lost is what was sent and did not arrive, of all packets of the run.  A rebind cannot be quicker than the
next packet, which is 0.25 ms away in the mean.
"""

from __future__ import annotations

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

_BOB = ["198.51.100.2", 4433]
_EVERY_S = 1 / 2000
_TRANSLATORS = {"nft": "nft", "userspace": "userspace translator"}
_PACKETS_BETWEEN = 100


def run(quick: bool) -> Iterator[Row]:
    """40 rebinds of each kind by each translator; quick: 10."""
    count = 10 if quick else 40
    for translate, name in _TRANSLATORS.items():
        try:
            took, sent, heard = trio.run(_measure, translate, count)
        except BaseExceptionGroup as group:
            if not group.split(SpecError)[0]:
                raise
            yield Row("rebind", f"rebind by {name}", None, note=str(group.exceptions[0]))
            continue
        for kind, some in took.items():
            note = f"p90 {percentile(some, 0.9):.2f}, longest {max(some):.2f} ms"
            yield Row("rebind", f"rebind of {kind} by {name}, median", median(some), "ms", 5, n=len(some), note=note)
        yield Row("rebind", f"packets lost by {name}", sent - heard, "", 0, n=sent)


async def _measure(translate: str, count: int) -> tuple[dict[str, list[float]], int, int]:
    """Milliseconds per rebind of each kind; packets sent and heard."""
    took: dict[str, list[float]] = {"port": [], "address and port": []}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            opened(sites([(Nat(outside="wan"),)]), Path(folder), translate=translate) as network,
            talking(network, "bob") as bob,
            talking(network, "h0") as near,
        ):
            await bob.ask("open", name="4", bind=_BOB)
            await near.ask("open", name="4", bind=["10.0.0.2", 4433], to=_BOB, every=_EVERY_S)
            for n in range(2 * count):
                heard = (await bob.ask("heard", name="4"))["count"]
                await bob.ask("heard", name="4", count=heard + _PACKETS_BETWEEN)
                kind = "address and port" if n % 2 else "port"
                began = time.monotonic_ns()
                receipt = await network.nat("n0_0").rebind("h0", address=bool(n % 2))
                took[kind].append((time.monotonic_ns() - began) / 1e6)
                if not receipt.taken:
                    raise RuntimeError(f"a rebind without its receipt: {receipt}")
            sent = (await near.ask("quiet"))["4"][-1][1] + 1
            answer = await bob.ask("heard", name="4", count=sent, within=2.0)
    return took, sent, answer["count"]
