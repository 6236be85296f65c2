"""Two phones, each with Wi-Fi and LTE behind a NAT of its own; both of Bob's networks forward one UDP port to him.

::

                  192.168.1.0/24                                              192.168.2.0/24
    alice/wifi ───────────── home_a ────────┐                  ┌──────── home_b ───────────── bob/wifi
       │          10 ms       NAT           │                  │    NAT, UDP 4433 → bob 10 ms    │
       │                                    ├──── internet ────┤                                 │
       │          10.64.0.0/24              │                  │              10.65.0.0/24       │
    alice/lte ────────────── carrier_a ─────┘                  └────── carrier_b ──────────── bob/lte
                  25 ms       NAT                                   NAT, UDP 4433 → bob 25 ms

Bob's LTE is off at first.  Where he is reached then, his application has to tell Alice's by other ways than this call.
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms

WIFI_DELAY = 10 * ms
LTE_DELAY = 25 * ms
ROUND_TRIP = 4 * LTE_DELAY
"""The longest there is: both by LTE."""


def both_mobile() -> Topology:
    """One way alice → bob: 20 ms when both are at home, 35 ms when one is, 50 ms when neither is."""
    wifi, lte = Impairment(delay=WIFI_DELAY), Impairment(delay=LTE_DELAY)
    to_bob = (PortForward(port=4433, host="bob", to_port=4433),)
    return Topology(
        "both_mobile",
        (
            Host("alice"),
            Host("bob"),
            Router("home_a", Nat(outside="wan")),
            Router("carrier_a", Nat(outside="wan")),
            Router("internet"),
            Router("home_b", Nat(outside="wan", forwards=to_bob)),
            Router("carrier_b", Nat(outside="wan", forwards=to_bob)),
        ),
        (
            Link("alice/wifi", "home_a/lan", "192.168.1.0/24", a_to_b=wifi, b_to_a=wifi),
            Link("alice/lte", "carrier_a/ran", "10.64.0.0/24", a_to_b=lte, b_to_a=lte),
            Link("bob/wifi", "home_b/lan", "192.168.2.0/24", a_to_b=wifi, b_to_a=wifi),
            Link("bob/lte", "carrier_b/ran", "10.65.0.0/24", a_to_b=lte, b_to_a=lte, starts_up=False),
            Link("home_a/wan", "internet/home_a", "203.0.113.0/28"),
            Link("carrier_a/wan", "internet/carrier_a", "203.0.113.16/28"),
            Link("home_b/wan", "internet/home_b", "198.51.100.0/28"),
            Link("carrier_b/wan", "internet/carrier_b", "198.51.100.16/28"),
        ),
    )
