"""Five people at home, each behind a router of their own: any of them can call any other.

::

                                   ┌── 10 ms ── home_b ── bob/eth
                                   ├── 10 ms ── home_c ── carol/eth
    alice/eth ── home_a ── internet┤
                                   ├── 10 ms ── home_d ── dave/eth
                                   └── 10 ms ── home_e ── erin/eth

Every home is 192.168.1.0/24 behind a NAT that forwards UDP 4433 to the one who lives there.  The access link of each but alice's
(``home_b/wan`` …) is impairable; hers is a plain wire, so that what passes between her and another crosses one impaired link.
"""

from __future__ import annotations

from harness.spec.link import Impairment
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms

DELAY = 10 * ms
ROUND_TRIP = 2 * DELAY
OTHERS = ("bob", "carol", "dave", "erin")


def access(name: str) -> str:
    """The outside end of the access link of ``name``'s home."""
    return f"home_{name[0]}/wan"


def five_homes(*others: str) -> Topology:
    """One way alice → another takes ``DELAY``; between two others it takes twice that.  ``others``: who lives there, by default all."""
    names = ("alice", *(others or OTHERS))
    homes = [Router(f"home_{name[0]}", Nat(outside="wan", forwards=(PortForward(port=4433, host=name, to_port=4433),))) for name in names]
    links = []
    for place, name in enumerate(names):
        letter = name[0]
        line = None if name == "alice" else Impairment(delay=DELAY)
        links += [
            Link(f"{name}/eth", f"home_{letter}/lan", "192.168.1.0/24", f"fd00:{letter}::/64"),
            Link(f"home_{letter}/wan", f"internet/{letter}", f"203.0.113.{16 * place}/28", f"2001:db8:{letter}::/64", line, line),
        ]
    return Topology("five_homes", (*map(Host, names), *homes, Router("internet")), tuple(links))
