"""The configured one-way delay of the path that a packet took, from topology.json and the ``ruling`` lines of timeline.jsonl.

A path's own delay is the sum, over the links of its route, of the delay that ruled when the packet departed and of its own bytes at the
rate that ruled; no jitter and no queue.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

TIME = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
RATE = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
QUANTITY = re.compile(r"([0-9.]+)([a-z]+)")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What ruled one direction of a link from ``at`` (ns) on: ``delay`` in ns, ``rate`` in bits a second, 0 where there is no limit."""

    at: int
    delay: int
    rate: int


@dataclass(frozen=True)
class Network:
    """``neighbours``: of every interface the one at the other end of its link.  ``hosts``: the nodes that forward nothing.

    ``rulings``: by (the interface that a packet leaves by, the one that it comes to), in order of time.
    """

    neighbours: dict[str, str]
    hosts: frozenset[str]
    rulings: dict[tuple[str, str], tuple[Ruling, ...]]

    def route(self, left: str, came: str) -> list[tuple[str, str]]:
        """The links, each as (from, to), of the shortest way from interface ``left`` of one host to ``came`` of another; [] without one."""
        queue = deque([[(left, self.neighbours[left])]])
        seen = {left}
        while queue:
            way = queue.popleft()
            at = way[-1][1]
            if at == came:
                return way
            node = at.partition("/")[0]
            if node in self.hosts:
                continue
            for interface in self.neighbours:
                if interface.partition("/")[0] == node and interface != at and interface not in seen:
                    seen.add(interface)
                    queue.append([*way, (interface, self.neighbours[interface])])
        return []

    def interfaces(self, host: str) -> list[str]:
        """The interfaces of ``host``, in the topology's order."""
        return [name for name in self.neighbours if name.partition("/")[0] == host]

    def delay(self, left: str, came: str, at: int, size: int) -> int:
        """The path's own delay (ns) for an IP packet of ``size`` bytes that left interface ``left`` at ``at`` and was for ``came``."""
        total = 0
        for link in self.route(left, came):
            rulings = self.rulings.get(link, ())
            number = max(0, bisect_right(rulings, at, key=lambda one: one.at) - 1)
            if rulings:
                total += rulings[number].delay + (size * 8_000_000_000 // rulings[number].rate if rulings[number].rate else 0)
        return total


def network(topology: dict[str, Any], timeline: Iterable[dict[str, Any]]) -> Network:
    """The network of a run by its topology.json and the lines of its timeline.jsonl."""
    neighbours: dict[str, str] = {}
    for link in topology["links"]:
        neighbours[link["a"]] = link["b"]
        neighbours[link["b"]] = link["a"]
    rulings: dict[tuple[str, str], list[Ruling]] = {}
    for line in timeline:
        if line["kind"] == "ruling":
            said = line["impairment"]
            one = Ruling(line["at"], quantity(said.get("delay", "0ns"), TIME), quantity(said.get("rate", "0bit"), RATE))
            rulings.setdefault((line["from"], line["to"]), []).append(one)
    ordered = {link: tuple(sorted(found, key=lambda one: one.at)) for link, found in rulings.items()}
    return Network(neighbours, frozenset(host["name"] for host in topology["hosts"]), ordered)


def quantity(text: str, units: dict[str, int]) -> int:
    """``5ms`` in ns, ``200kbit`` in bits a second; ValueError for what is neither."""
    match = QUANTITY.fullmatch(text.strip().lower())
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is no quantity in {', '.join(units)}")
    return round(float(match[1]) * units[match[2]])
