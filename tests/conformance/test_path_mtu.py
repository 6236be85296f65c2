"""A host behind a NAT learns the MTU of a link far away, as its kernel knows it: by the ICMP that the link's executor sends."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.spec.link import Impairment
from harness.spec.topology import Host, Link, Router, Topology
from tests.conformance.networks import opened, run_in, within_deadline
from tests.conformance.sites import HOME

ASK = """
import select, socket, sys
source, address, level, discover, get = *sys.argv[1:3], *map(int, sys.argv[3:])
sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((source, 0))  # as agents are; Linux keeps what it learns of IPv6 with the route that packets from this address take
sock.setsockopt(level, discover, 2)  # PMTUDISC_DO
sock.connect((address, 9))
sock.send(bytes(1400))
select.select([sock], [], [], 5)
print(sock.getsockopt(level, get))
"""
OPTIONS = {4: ("0", "10", "14"), 6: ("41", "23", "24")}  # IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU; the same of IPv6


def test_a_host_behind_a_nat_learns_the_mtu_of_a_far_link(tmp_path: Path) -> None:
    narrow = Impairment(mtu=1340, too_big=True)
    topology = Topology(
        "narrow",
        (Host("alice"), Host("bob"), Router("home", HOME), Router("internet")),
        (
            Link("alice/eth", "home/lan", "192.168.1.0/24", "fd00:1::/64"),
            Link("home/wan", "internet/home", "203.0.113.0/28", "2001:db8:1::/64"),
            Link("bob/eth", "internet/bob", "198.51.100.64/28", "2001:db8:3::/64", b_to_a=narrow),
        ),
    )

    async def main() -> None:
        async with opened(topology, tmp_path) as network:
            for version in (4, 6):
                ends = [topology.port(end) for end in ("alice/eth", "bob/eth")]
                addresses = [str(address.ip) for end in ends if (address := end.v4 if version == 4 else end.v6)]
                command = [sys.executable, "-I", "-c", ASK, *addresses, *OPTIONS[version]]
                assert await run_in(network, "alice", command) == (0, "1340\n"), f"IPv{version}"

    within_deadline(main)
