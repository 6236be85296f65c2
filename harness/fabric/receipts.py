"""What was seen, from outside the agents, of a fault that was asked for.

The lab turns an ``Observation`` into a receipt of the run.  Without one the run is INCONCLUSIVE: a fault that may not have happened proves
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.fabric.base import Direction


@dataclass(frozen=True, slots=True)
class Touches:
    """Which packets a change concerns: those that pass ``interfaces`` (``node/interface``) from when it was made until it is changed again.

    ``thing``: what was changed, the same words at each change of it.  ``direction``: of a link, of which only what enters it that way.
    ``before``: whether what passed before counts too, as at a thing that dies.  ``above``: bytes that an IP packet must exceed, of an MTU.
    ``endpoints``: where a packet must come from or go to (address, port); None for anywhere.  ``changed``: whether anything is different
    from before.  ``restores``: whether it only puts back what was changed before.
    """

    thing: str
    interfaces: tuple[str, ...]
    direction: Direction | None = None
    before: bool = False
    above: int = 0
    endpoints: frozenset[tuple[str, int]] | None = None
    changed: bool = True
    restores: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """``fault`` in words, its ``kind``, ``at`` (ns, CLOCK_MONOTONIC) what was ``seen``; ``taken`` says whether that proves it.

    ``interfaces`` (``node/interface``) were going up or down from ``began`` to ``at``: what a host sent there then, the kernel may have
    taken without a trace.  ``source`` names the instrument: rtnetlink, conntrack, relay, netem, capture.  ``line``: what changed, for
    machines, as a line of the timeline (``lab/network_lines.py`` lists the kinds); empty when the network is as it was.  ``unfit``: what
    this machine did to the fault, so that nothing that came of it proves anything; empty when it did nothing.  ``touches``: which packets
    it concerns; None for what is done to no packet's way.
    """

    fault: str
    kind: str
    at: int
    seen: dict[str, Any]
    taken: bool
    source: str
    began: int = 0
    interfaces: tuple[str, ...] = ()
    line: dict[str, Any] = field(default_factory=dict)
    unfit: str = ""
    touches: Touches | None = None
