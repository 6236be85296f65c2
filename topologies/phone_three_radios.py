"""A phone with Wi-Fi, LTE at the edge of its cell, and 5G, and somebody on the open Internet.

::

    alice/wifi ── 10 ms ── home ────────┐
    192.168.1.0/24         NAT          │
                                        │                  10 ms
    alice/lte ── 150 ms ── carrier ── internet ──────────────────────────── bob/eth
    10.64.0.0/24           NAT          │                              198.51.100.64/28
                                        │
    alice/nr ─── 15 ms ─── carrier5g ───┘
    10.65.0.0/24           NAT
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms


def phone_three_radios() -> Topology:
    """One way alice → bob: 20 ms by Wi-Fi, 160 ms by LTE (it takes 320 ms to validate that path), 25 ms by 5G."""
    wifi, lte, nr, core = (Impairment(delay=delay) for delay in (10 * ms, 150 * ms, 15 * ms, 10 * ms))
    return Topology(
        "phone_three_radios",
        (
            Host("alice"),
            Host("bob"),
            Router("home", Nat(outside="wan")),
            Router("carrier", Nat(outside="wan")),
            Router("carrier5g", Nat(outside="wan")),
            Router("internet"),
        ),
        (
            Link("alice/wifi", "home/lan", "192.168.1.0/24", "fd00:1::/64", wifi, wifi),
            Link("alice/lte", "carrier/ran", "10.64.0.0/24", "fd00:2::/64", lte, lte),
            Link("alice/nr", "carrier5g/ran", "10.65.0.0/24", "fd00:3::/64", nr, nr),
            Link("home/wan", "internet/home", "203.0.113.0/28", "2001:db8:1::/64"),
            Link("carrier/wan", "internet/carrier", "198.51.100.0/28", "2001:db8:2::/64"),
            Link("carrier5g/wan", "internet/carrier5g", "198.51.100.16/28", "2001:db8:3::/64"),
            Link("bob/eth", "internet/bob", "198.51.100.64/28", "2001:db8:4::/64", core, core),
        ),
    )
