"""A small valid network whose parts a test replaces one at a time."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.spec.link import Impairment
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms, percent, s

ACCESS = Link("home/wan", "internet/a", "203.0.113.0/28", "2001:db8::/64", Impairment(delay=10 * ms, loss=1 * percent), Impairment())
LAN = Link("alice/eth", "home/lan", "192.168.1.0/24", "fd00:1::/64")
FAR = Link("bob/eth", "internet/b", "198.51.100.0/28", "2001:db8:1::/64", starts_up=False)
NAT = Nat(outside="wan", udp_timeout=30 * s, forwards=(PortForward(port=4433, host="alice", to_port=4434),))


def net(
    *,
    name: str = "small",
    nodes: tuple[Host | Router, ...] | None = None,
    links: tuple[Link, ...] = (LAN, ACCESS, FAR),
    nat: Nat | None = NAT,
    **more: Any,
) -> Topology:
    """alice/eth – home (NAT) – internet – bob/eth."""
    return Topology(name, nodes or (Host("alice"), Host("bob"), Router("home", nat), Router("internet")), links, **more)


def changed(link: Link, **fields: Any) -> Topology:
    """The small network with ``link``, one of its three, changed."""
    return net(links=tuple(msgspec.structs.replace(one, **fields) if one is link else one for one in (LAN, ACCESS, FAR)))
