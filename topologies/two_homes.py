"""Two people at home, each behind a router of their own; the callee's forwards one UDP port.

::

    alice/eth ── home_a ──┐                       ┌── home_b ── bob/eth
    192.168.1.0/24  NAT   │ 5 ms             5 ms │   NAT, UDP 4433 → bob   192.168.1.0/24
                          └────── internet ───────┘
             203.0.113.0/28                   198.51.100.0/28

Both homes use the same private subnet, as homes do.
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat, PortForward, Ports
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import Duration, Rate, Ratio, ms

DELAY = 10 * ms
ROUND_TRIP = 2 * DELAY


def two_homes(
    *,
    delay: Duration = DELAY,
    jitter: Duration | None = None,
    loss: Ratio | None = None,
    rate: Rate | None = None,
    ports: Ports = "preserve",
    exact: bool = False,
) -> Topology:
    """One way alice → bob takes ``delay``: half of it on either access link.  ``jitter``, ``loss`` and ``rate``: of alice's access link.

    ``ports``: how her router gives them out.  ``exact``: her access link will do what only the relay can (single drops, rate traces).
    """
    near = Impairment(delay=delay / 2, jitter=jitter, loss=loss, rate=rate, drop=() if exact else None)
    far = Impairment(delay=delay / 2)
    return Topology(
        "two_homes",
        (
            Host("alice"),
            Host("bob"),
            Router("home_a", Nat(outside="wan", ports=ports)),
            Router("internet"),
            Router("home_b", Nat(outside="wan", forwards=(PortForward(port=4433, host="bob", to_port=4433),))),
        ),
        (
            Link("alice/eth", "home_a/lan", "192.168.1.0/24", "fd00:a::/64"),
            Link("bob/eth", "home_b/lan", "192.168.1.0/24", "fd00:b::/64"),
            Link("home_a/wan", "internet/a", "203.0.113.0/28", "2001:db8:a::/64", near, near),
            Link("home_b/wan", "internet/b", "198.51.100.0/28", "2001:db8:b::/64", far, far),
        ),
    )
