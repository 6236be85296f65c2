"""What was seen, from outside the agents, of a fault that was asked for.

The lab turns an ``Observation`` into a receipt of the run.  Without one the run is INCONCLUSIVE: a fault that may not have happened proves
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Observation:
    """``fault`` in words, its ``kind``, ``at`` (ns, CLOCK_MONOTONIC) what was ``seen``; ``taken`` says whether that proves it.

    ``interfaces`` (``node/interface``) were going up or down from ``began`` to ``at``: what a host sent there then, the kernel may have
    taken without a trace.  ``source`` names the instrument: rtnetlink, conntrack, relay, netem, capture.  ``line``: what changed, for
    machines, as a line of the timeline (``lab/network_lines.py`` lists the kinds); empty when the network is as it was.  ``unfit``: what
    this machine did to the fault, so that nothing that came of it proves anything; empty when it did nothing.
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
