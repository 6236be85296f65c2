"""What the sampler saw, as stalls that may excuse a verdict; and what of it is told in the report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from harness.excuse import LONG
from harness.fabric.samples import Samples
from harness.units import Duration
from harness.verdict import AGENT, MACHINE, Life, Stall


def stalls_of(samples: Samples, confined: Collection[str], made: Sequence[Stall]) -> list[Stall]:
    """The stalls of agents and machine.  ``made``: when the scenario itself stopped an agent.

    A stop counts only of an agent that is ``confined``, which cannot send itself a stop signal, and not where a timer of its own may have
    sent one.  Theft counts where it is confirmed.
    """
    found = [Stall(start, end, AGENT + name, "waited") for name, waits in samples.waits.items() for start, end in joined(waits)]
    for name in confined:
        for stop in samples.stops.get(name, ()):
            stall = Stall(stop.start, stop.end, AGENT + name, "stopped")
            if not stop.own and not any(one.who == stall.who and one.start < stall.end and one.end > stall.start for one in made):
                found.append(stall)
    stolen = joined((theft.start, theft.end) for theft in samples.thefts if theft.confirmed)
    for kind, intervals in (("stolen", stolen), ("waited", joined(samples.machine_waits)), ("throttled", joined(samples.throttled))):
        found += [Stall(start, end, MACHINE, kind) for start, end in intervals]
    return found


def life_of(samples: Samples) -> Life | None:
    """When agents were sampled; None when they never were."""
    if not samples.since or samples.until <= min(samples.since.values()):
        return None
    return Life(min(samples.since.values()), samples.until, samples.cores, samples.cpu.between)


def told(samples: Samples, stalls: Iterable[Stall]) -> str:
    """What was sampled, in a line of the timeline."""
    sums: dict[str, int] = {}
    for stall in stalls:
        what = f"{stall.who} {stall.kind or 'late'}"
        sums[what] = sums.get(what, 0) + stall.end - stall.start
    unconfirmed = sum(theft.end - theft.start for theft in samples.thefts if not theft.confirmed)
    parts = [f"{what} {Duration(length)}" for what, length in sorted(sums.items())]
    parts += [f"cores late for {Duration(unconfirmed)}, which nothing confirms"] if unconfirmed else []
    cost = [] if samples.cost is None else [f"sampling took {100 * samples.cost:.1f} % of a core"]
    lost = [f"not all samples were read: {samples.lost}"] if samples.lost else []
    return "; ".join([", ".join(parts) or "no stall was sampled", *cost, *lost])


def notable(stalls: Iterable[Stall]) -> Iterator[Stall]:
    """Those that the report lists: of the many waits of a busy machine only the long ones."""
    return (stall for stall in stalls if stall.kind != "waited" or stall.end - stall.start >= LONG)


def joined(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of ``intervals``, in order."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
