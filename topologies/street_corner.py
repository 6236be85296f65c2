"""Alice at home, Bob on a public address, and Mallory, who taps the street that Alice's line runs through and has a faster line of her own.

::

    alice/eth ── home ── street ── 20 ms ── internet ── 5 ms ── bob/eth
    192.168.1.0/24 NAT     ┊                   │                198.51.100.0/28
                           ┊ (tap)             │
                           └┄┄┄┄┄┄┄┄┄┄┄┄┄ mallory/eth
                                           192.0.2.0/24

She sees every packet that passes ``street/home`` (``TAP``) as it passes, and may put any source address on what she sends by her own line.
What she copies and sends from there is with Bob ``HEAD_START`` before the original.
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms

HEAD_START = 20 * ms
NEAR = 5 * ms
ROUND_TRIP = 2 * (HEAD_START + NEAR)
TAP = "street/home"


def street_corner() -> Topology:
    """IPv4 alone: Mallory writes no other."""
    slow, near = Impairment(delay=HEAD_START), Impairment(delay=NEAR)
    return Topology(
        "street_corner",
        (Host("alice"), Host("bob"), Host("mallory"), Router("home", Nat(outside="wan")), Router("street"), Router("internet")),
        (
            Link("alice/eth", "home/lan", "192.168.1.0/24"),
            Link("home/wan", "street/home", "203.0.113.0/28"),
            Link("street/up", "internet/a", "203.0.113.16/28", None, slow, slow),
            Link("bob/eth", "internet/b", "198.51.100.0/28", None, near, near),
            Link("mallory/eth", "internet/m", "192.0.2.0/24"),
        ),
    )
