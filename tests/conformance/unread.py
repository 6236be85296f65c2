"""What an end of the relay's loses while nobody reads it, as JSON on stdout: ``python -m tests.conformance.unread tap|packet COUNT``.

A process of its own, since it enters namespaces.  COUNT datagrams leave by an interface whose other side holds a few only.
"""

from __future__ import annotations

import json
import socket
import sys
from ipaddress import ip_interface

from harness.fabric import netns, relay_ends, rtnl
from harness.fabric.link_ends import End
from harness.fabric.plan import make_plan
from harness.spec.topology import Host, Link, Topology

ROOM = 100
TOPOLOGY = Topology("t", (Host("a"), Host("b")), (Link("a/wire", "b/wire", "10.9.0.0/24"),))


def main(form: str, count: int) -> None:
    netns.enter_run_namespaces()
    relay_ends.TX_QUEUE = ROOM
    relay_ends.RECEIVE_BUFFER = ROOM * 512
    ends = relay_ends.choose_ends(packet=form == "packet")
    end = End(netns.new_namespace("a"), make_plan(TOPOLOGY)["a"].ports["wire"])
    ends.open(end, 1500)
    end.namespace.rtnl.batch(
        [
            rtnl.set_link(end.plan.index, up=True),
            rtnl.new_address(end.plan.index, ip_interface("10.9.0.1/24")),
            rtnl.new_neighbour(end.plan.index, ip_interface("10.9.0.2/24").ip, "02:00:00:00:09:02"),
            rtnl.await_link(end.plan.index),
        ]
    )
    at_rest = ends.unread(end)
    with netns.inside(end.namespace.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"x" * 200, ("10.9.0.2", 9))
    print(json.dumps({"form": ends.name, "at rest": at_rest, "unread": ends.unread(end), "again": ends.unread(end)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
