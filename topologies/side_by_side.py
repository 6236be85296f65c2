"""Two people at one table: a cable between their machines, and nothing in it that delays, drops or translates.

::

    alice/eth ────────────────── bob/eth
         192.0.2.0/24 · 2001:db8:1::/64
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.topology import Host, Link, Topology


def side_by_side(impairment: Impairment | None = None) -> Topology:
    """One wire, IPv4 and IPv6; ``impairment`` rules both directions (default: none)."""
    wire = impairment or Impairment()
    return Topology(
        "side_by_side", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "192.0.2.0/24", "2001:db8:1::/64", wire, wire),)
    )
