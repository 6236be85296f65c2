"""The links that the userspace relay carries: TAP to TAP, through one relay process for a run."""

from __future__ import annotations

from random import Random
from typing import Any

from harness.errors import HarnessError
from harness.fabric import child, relay, relay_process, seqpacket
from harness.fabric import rtnl as nl
from harness.fabric.base import DIRECTIONS, Direction
from harness.fabric.link_ends import End, impairment_of, plain
from harness.fabric.netns import inside
from harness.spec.link import Impairment
from harness.spec.topology import Link


class RelayExecutor:
    """All its links through one relay process."""

    name = "relay"

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._links: list[relay.RelayLink] = []
        self._control: relay.RelayControl | None = None

    def make(self, link: Link, a: End, b: End) -> None:
        """Two TAPs; their descriptors wait for ``start``."""
        fds = [self._tap(link, end) for end in (a, b)]
        seeds = [Random(f"{self._seed}/{link.name}/{direction}").getrandbits(63) for direction in DIRECTIONS]
        self._links.append(
            relay.RelayLink(
                name=link.name,
                fd_a=fds[0],
                fd_b=fds[1],
                a_to_b=impairment_of(link, "a_to_b"),
                b_to_a=impairment_of(link, "b_to_a"),
                seed_a_to_b=seeds[0],
                seed_b_to_a=seeds[1],
                mtu=link.mtu,
            )
        )

    @staticmethod
    def _tap(link: Link, end: End) -> int:
        with inside(end.namespace.fd):
            fd = relay.open_tap(end.plan.port.name)
        relay.outlive_descriptor(fd)
        end.plan.index = end.namespace.rtnl.request(nl.get_link_named(end.plan.port.name))[0]["index"]
        end.namespace.rtnl.batch([nl.set_link(end.plan.index, mac=end.plan.mac, mtu=link.mtu, queue=relay.TX_QUEUE)])
        return fd

    def start(self) -> None:
        """Start the relay process with all the TAPs."""
        if not self._links:
            return
        ours, theirs = seqpacket.pair()
        fds = [theirs.fileno(), *(fd for link in self._links for fd in (link.fd_a, link.fd_b))]
        child.start(relay_process.main, theirs.fileno(), fds)
        theirs.close()
        self._control = relay.RelayControl(ours)
        self._control.start(self._links)

    def _relay(self) -> relay.RelayControl:
        if self._control is None:
            raise HarnessError("the relay carries no link of this topology")
        return self._control

    def change(self, link: Link, direction: Direction, impairment: Impairment) -> dict[str, Any]:
        """One message to the relay."""
        return plain(self._relay().impair(link.name, direction, impairment))

    def counters(self) -> dict[str, Any]:
        """As the relay counted them."""
        return plain(self._control.counters()) if self._control is not None else {"links": {}}

    def reset(self) -> None:
        """Begin the shapers anew."""
        if self._control is not None:
            self._control.restart()

    def stalls(self) -> list[tuple[int, int]]:
        """As the relay recorded them."""
        return self._control.stalls() if self._control is not None else []
