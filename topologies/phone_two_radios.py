"""A phone with Wi-Fi and LTE calls somebody whose callee side is reached through a port forward.

::

              192.168.1.0/24        203.0.113.0/28
    alice/wifi ───────────── home ─────────────────┐
       │          10 ms      NAT                   │      198.51.100.64/28        192.168.7.0/24
       │                                        internet ────────────────── office ──────────── bob/eth
       │       10.64.0.0/24        198.51.100.0/28 │                         NAT, UDP 4433 → bob
    alice/lte ────────────── carrier ──────────────┘
                  25 ms      NAT                     10 ms between internet and office
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import Ratio, ms

WIFI_DELAY = 10 * ms
LTE_DELAY = 25 * ms
CORE_DELAY = 10 * ms
WIFI_ROUND_TRIP = 2 * (WIFI_DELAY + CORE_DELAY)
LTE_ROUND_TRIP = 2 * (LTE_DELAY + CORE_DELAY)


def phone_two_radios(*, loss: Ratio | None = None, exact: bool = False) -> Topology:
    """One way alice → bob: 20 ms by Wi-Fi, 35 ms by LTE.  ``loss`` applies to both radio links, in both directions.

    ``exact``: single packets will be picked on the radio links, to be dropped.
    """
    drop = () if exact else None
    wifi = Impairment(delay=WIFI_DELAY, loss=loss, drop=drop)
    lte = Impairment(delay=LTE_DELAY, loss=loss, drop=drop)
    core = Impairment(delay=CORE_DELAY)
    return Topology(
        "phone_two_radios",
        (
            Host("alice"),
            Host("bob"),
            Router("home", Nat(outside="wan")),
            Router("carrier", Nat(outside="wan")),
            Router("internet"),
            Router("office", Nat(outside="wan", forwards=(PortForward(port=4433, host="bob", to_port=4433),))),
        ),
        (
            Link("alice/wifi", "home/lan", "192.168.1.0/24", "fd00:1::/64", wifi, wifi),
            Link("alice/lte", "carrier/ran", "10.64.0.0/24", "fd00:2::/64", lte, lte),
            Link("home/wan", "internet/home", "203.0.113.0/28", "2001:db8:1::/64"),
            Link("carrier/wan", "internet/carrier", "198.51.100.0/28", "2001:db8:2::/64"),
            Link("office/wan", "internet/office", "198.51.100.64/28", "2001:db8:3::/64", core, core),
            Link("bob/eth", "office/lan", "192.168.7.0/24", "fd00:7::/64"),
        ),
    )
