"""A phone at home behind two NATs in a row: the home's and the carrier's (CGNAT, RFC 6598 addresses between them).

::

    alice/eth ── home ────────── carrier ──────── internet ──────── bob/eth
    192.168.1.0/24  NAT  100.64.0.0/28  NAT   203.0.113.0/28    198.51.100.0/28
                              10 ms  times out idle UDP after 30 s     10 ms, no NAT
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms, s

DELAY = 10 * ms
ROUND_TRIP = 4 * DELAY


def carrier_grade() -> Topology:
    """One way alice → bob: 20 ms.  IPv4 only, as CGNAT is."""
    access = Impairment(delay=DELAY)
    return Topology(
        "carrier_grade",
        (
            Host("alice"),
            Host("bob"),
            Router("home", Nat(outside="wan")),
            Router("carrier", Nat(outside="wan", udp_timeout=30 * s)),
            Router("internet"),
        ),
        (
            Link("alice/eth", "home/lan", "192.168.1.0/24"),
            Link("home/wan", "carrier/ran", "100.64.0.0/28", a_to_b=access, b_to_a=access),
            Link("carrier/wan", "internet/carrier", "203.0.113.0/28"),
            Link("bob/eth", "internet/bob", "198.51.100.0/28", a_to_b=access, b_to_a=access),
        ),
    )
