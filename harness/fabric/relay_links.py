"""The links that the userspace relay carries, through one relay process for a run, and what that process could not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import HarnessError
from harness.fabric import child, relay, relay_process, seqpacket
from harness.fabric.base import DIRECTIONS, Direction, brief, impairment_of
from harness.fabric.link_ends import End, plain, seed_of
from harness.fabric.relay_ends import RelayEnds
from harness.spec.link import Impairment
from harness.spec.topology import Link
from harness.units import Duration
from harness.wire.translator import Translation

TOO_LATE = 0.5
"""The share of a link's packets that may leave more than 1 ms late.  Stalls, which are recorded, make some late, on a busy machine a fifth
(seen); when it is most of them this machine cannot hold the delay.
"""
FEW_LATE = 50
"""So few late packets are no rule, whatever their share: of nine packets one stall makes more than a tenth late (seen)."""


class RelayExecutor:
    """All its links through one relay process.  ``translations``: of the ends (``node/interface``) that are a userspace NAT's outside."""

    name = "relay"

    def __init__(self, seed: int, ends: RelayEnds, translations: Mapping[str, Translation] | None = None) -> None:
        self._seed = seed
        self._ends = ends
        self._translations = translations or {}
        self._sources: dict[str, dict[Direction, End]] = {}
        self._unread: dict[tuple[str, Direction], int] = {}
        self._unread_when_down: dict[tuple[str, Direction], int] = {}
        self._links: list[relay.RelayLink] = []
        self._control: relay.RelayControl | None = None

    def make(self, link: Link, a: End, b: End) -> None:
        """Both ends; their descriptors wait for ``start``."""
        fds = [self._ends.open(end, link.mtu) for end in (a, b)]
        self._sources[link.name] = {"a_to_b": a, "b_to_a": b}
        seeds = [seed_of(self._seed, link.name, direction) for direction in DIRECTIONS]
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
                addresses_a=_own(a),
                addresses_b=_own(b),
                nat_a=self._translations.get(link.a),
                nat_b=self._translations.get(link.b),
            )
        )

    def start(self) -> None:
        """Start the relay process with all the ends."""
        if not self._links:
            return
        ours, theirs = seqpacket.pair()
        fds = [theirs.fileno(), *(fd for link in self._links for fd in (link.fd_a, link.fd_b))]
        child.start("relay", relay_process.main, theirs.fileno(), fds)
        theirs.close()
        self._control = relay.RelayControl(ours)
        self._control.start(self._links)

    def _relay(self) -> relay.RelayControl:
        if self._control is None:
            raise HarnessError("the relay carries no link of this topology")
        return self._control

    def ask_nat(self, router: str, do: str, **fields: Any) -> dict[str, Any]:
        """One request about the userspace NAT of ``router``."""
        return self._relay().ask_nat(router, do, **fields)

    def change(self, link: Link, direction: Direction, impairment: Impairment, over: Duration | None = None) -> dict[str, Any]:
        """One message to the relay."""
        return plain(self._relay().impair(link.name, direction, impairment, over))

    def counters(self) -> dict[str, Any]:
        """As the relay counted them."""
        return plain(self._control.counters()) if self._control is not None else {"links": {}}

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """As the relay's shapers tell."""
        told = self._relay().impairments()[link.name]
        return {way: {"executor": "relay", **brief(told[way])} for way in DIRECTIONS}

    next_step = None  # the relay takes its steps itself

    def take_steps(self) -> None:
        """Nothing: the relay takes its steps itself."""

    def rulings(self) -> dict[str, Any]:
        """As the relay recorded them."""
        return self._control.rulings() if self._control is not None else {}

    def hold(self) -> None:
        """Put every schedule back to its start and hold it there."""
        if self._control is not None:
            self._control.hold()

    def reset(self) -> None:
        """Begin the shapers anew, and the account of what the relay could not do."""
        if self._control is not None:
            self._control.restart()
        self._unread = self._counted_unread()

    def _counted_unread(self) -> dict[tuple[str, Direction], int]:
        return {(name, way): self._ends.unread(end) for name, ends in self._sources.items() for way, end in ends.items()}

    def going_down(self, link: Link) -> None:
        """What is sent by an interface that is going down is lost as it should be, though the kernel counts it among what was not read."""
        for way, end in self._sources[link.name].items():
            self._unread_when_down.setdefault((link.name, way), self._ends.unread(end))

    def come_up(self, link: Link) -> None:
        """From here on what is not read is missing again."""
        for way, end in self._sources[link.name].items():
            key = (link.name, way)
            if key in self._unread_when_down:
                self._unread[key] = self._unread.get(key, 0) + self._ends.unread(end) - self._unread_when_down.pop(key)

    def shortfalls(self) -> list[str]:
        """Since ``reset``: links that lost packets before the relay could take them, or whose packets were late as a rule."""
        if self._control is None:
            return []
        counted, found = self._control.counters().links, []
        for (name, way), unread in self._counted_unread().items():
            lost = self._unread_when_down.get((name, way), unread) - self._unread.get((name, way), 0)
            counters = counted[name].a_to_b if way == "a_to_b" else counted[name].b_to_a
            if lost:
                found.append(
                    f"link {name}, {way}: {lost} packets beside the {counters.received} that the relay took came faster than it can take"
                    " them; nobody asked for this loss"
                )
            if counters.late > max(TOO_LATE * counters.delivered, FEW_LATE):
                found.append(
                    f"link {name}, {way}: {counters.late} of {counters.delivered} packets left more than 1 ms after their time;"
                    f" a relay that can hold the delay is late for {TOO_LATE:.0%} at most"
                )
        return found

    def stalls(self) -> list[tuple[int, int]]:
        """As the relay recorded them."""
        return self._control.stalls() if self._control is not None else []


def _own(end: End) -> list[str]:
    """The addresses of an end, those that a userspace NAT has instead of the interface included."""
    return [str(address.ip) for address in (*end.plan.addresses, *end.plan.translated)]
