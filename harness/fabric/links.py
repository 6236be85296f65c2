"""Who carries the impairable links of a run: kernel netem on veths, or the userspace relay between TAPs.

A link is one executor in both directions.  ``auto`` takes netem for a link where the kernel has sch_netem and both impairments can be said
in it, else the relay; the run says which on its first line, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import SpecError
from harness.fabric import netem
from harness.fabric.base import DIRECTIONS, IMPAIR_CHOICES, Direction, impairment_of
from harness.fabric.link_ends import End, LinkExecutor
from harness.fabric.netem_links import NetemExecutor
from harness.fabric.relay_ends import RelayEnds
from harness.fabric.relay_links import RelayExecutor
from harness.spec.link import Impairment
from harness.spec.topology import Link, Topology
from harness.units import Duration
from harness.wire.translator import Translation


@dataclass(frozen=True, slots=True)
class Choice:
    """The executor of one link by name, and why it was chosen."""

    executor: str
    why: str


def choose(impair: str, topology: Topology, only_relay: Mapping[str, str] | None = None) -> dict[str, Choice]:
    """Per impairable link the executor that ``impair`` asks for (auto, netem, relay, relay-packet); the kernel is asked what it has.

    ``only_relay``: by name the links that nothing but the relay can carry, and why; they need not be impairable.  Raises EnvironmentUnfit
    or SpecError when a link cannot be carried as asked.
    """
    if impair not in IMPAIR_CHOICES:
        raise SpecError("--impair", f"{impair!r} is not known; allowed are {', '.join(IMPAIR_CHOICES)}")
    bound = only_relay or {}
    links = [link for link in topology.links if link.impairable or link.name in bound]
    if impair in ("relay", "relay-packet"):
        return {link.name: Choice("relay", "asked for") for link in links}
    lacking = netem.lacking()
    if impair == "netem" and lacking is not None:
        raise netem.unfit(lacking)
    chosen: dict[str, Choice] = {}
    for link in links:
        unsaid = bound.get(link.name) or _unsaid(link)
        if impair == "netem" and unsaid is not None:
            raise SpecError("--impair netem", unsaid)
        why = lacking or unsaid
        fit = "asked for" if impair == "netem" else "the kernel has sch_netem"
        chosen[link.name] = Choice("netem", fit) if why is None else Choice("relay", why)
    return chosen


def _unsaid(link: Link) -> str | None:
    """Why netem cannot express this link, or None."""
    for direction in DIRECTIONS:
        reason = netem.can_say(impairment_of(link, direction))
        if reason is not None:
            return f"link {link.name}, {direction}: {reason}"
    return None


class Carriers:
    """The executors of a run's links, each link with its own.

    ``translations``: of the ends (``node/interface``) that are a userspace NAT's outside; the ``relay`` carries their links.
    """

    def __init__(
        self, chosen: dict[str, Choice], seed: int, ends: RelayEnds, translations: Mapping[str, Translation] | None = None
    ) -> None:
        self.chosen = chosen
        self._ends = ends
        self.relay = RelayExecutor(seed, self._ends, translations)
        named: dict[str, LinkExecutor] = {"netem": NetemExecutor(seed), "relay": self.relay}
        self._executors = {name: executor for name, executor in named.items() if any(one.executor == name for one in chosen.values())}

    @property
    def name(self) -> str:
        """``netem``, ``relay``, ``netem and relay``; ``plain wires`` when no link can be impaired."""
        return " and ".join(self._executors) or "plain wires"

    @property
    def why(self) -> str:
        """The reasons, once each; where there are several, with the first link that each holds for.  And what the relay stands on."""
        reasons: dict[str, str] = {}
        for name, choice in self.chosen.items():
            reasons.setdefault(choice.why, name)
        if not reasons:
            return "no link can be impaired"
        told = [why if link in why or len(reasons) == 1 else f"{link}: {why}" for why, link in reasons.items()]
        if "relay" in self._executors and self._ends.name == "packet":
            told.append("over packet sockets")
        return "; ".join(told)

    def carries(self, link: Link) -> bool:
        """Whether an executor stands in ``link``; else it is a plain wire."""
        return link.name in self.chosen

    def of(self, link: Link) -> LinkExecutor:
        """The executor of ``link``; SpecError when it is a plain wire."""
        if link.name not in self.chosen:
            raise SpecError(f"link {link.name}", "it was built as a plain wire; give it an impairment in the topology (CLEAR will do)")
        return self._executors[self.chosen[link.name].executor]

    def make(self, link: Link, a: End, b: End) -> None:
        """Create both interfaces of ``link``; they need not be up."""
        self.of(link).make(link, a, b)

    def start(self) -> None:
        """Put the impairments in force; interfaces are up and addressed."""
        for executor in self._executors.values():
            executor.start()

    def change(self, link: Link, direction: Direction, impairment: Impairment, over: Duration | None = None) -> dict[str, Any]:
        """Let ``impairment`` rule one direction from now on (``over``: by a ramp); answers what was asked before, and the counters then."""
        executor = self.of(link)
        return {**executor.change(link, direction, impairment, over), "executor": executor.name}

    def counters(self) -> dict[str, Any]:
        """Per link and direction: packets received, delivered, lost, dropped."""
        return {"links": {name: each for executor in self._executors.values() for name, each in executor.counters()["links"].items()}}

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """Per direction what the link's executor itself says that it does now; of a plain wire, that it is one."""
        if not self.carries(link):
            return {way: {"executor": "wire"} for way in DIRECTIONS}
        return self.of(link).in_force(link)

    def hold(self) -> None:
        """Put every schedule back to its start and hold it there, and let every rate trace wait: for the probe."""
        for executor in self._executors.values():
            executor.hold()

    @property
    def next_step(self) -> int | None:
        """When ``take_steps`` is to be called, ns."""
        return min((executor.next_step for executor in self._executors.values() if executor.next_step is not None), default=None)

    def take_steps(self) -> None:
        """Take the steps of schedules that are due and that no executor takes itself."""
        for executor in self._executors.values():
            executor.take_steps()

    def rulings(self) -> dict[str, Any]:
        """Per link and direction what was asked for and what has ruled since ``reset``."""
        return {name: each for executor in self._executors.values() for name, each in executor.rulings().items()}

    def reset(self) -> None:
        """Every seeded generator and counter back to its start; schedules and rate traces begin."""
        for executor in self._executors.values():
            executor.reset()

    def going_down(self, link: Link) -> None:
        """The interfaces of ``link`` are about to go down."""
        if self.carries(link):
            self.of(link).going_down(link)

    def come_up(self, link: Link) -> None:
        """The interfaces of ``link`` are up again."""
        if self.carries(link):
            self.of(link).come_up(link)

    def shortfalls(self) -> list[str]:
        """What the executors could not do of what was asked of them since ``reset``, in words."""
        return [text for executor in self._executors.values() for text in executor.shortfalls()]

    def stalls(self) -> list[tuple[int, int]]:
        """(start, end) ns of CLOCK_MONOTONIC in which an executor itself ran late."""
        return sorted(stall for executor in self._executors.values() for stall in executor.stalls())
