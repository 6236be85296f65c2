"""What state the network was in, and when that changed, as lines of the timeline for the page's lanes and for other machines.

Beside ``at`` (ns, CLOCK_MONOTONIC) and ``text`` a line has, by its ``kind``:

* ``link``: the ``link``, and ``up``, each end and whether it is.  One for every link when the captures begin, and one at each change.
* ``ruling``: the ``link``, the ``direction`` (``a_to_b``) with its ends ``from`` and ``to``, the ``impairment`` in force from then on
  (field → value in words, nothing for a clear link), its ``executor`` (``relay``, ``netem``, ``wire``); of a schedule's step the ``round``
  and ``step``, and when it was ``due``.  The first of each direction is what was built.  Written at the run's end.
* ``mapping``, ``mapping gone``: ``source`` is the NAT's router; the ``mapping`` (``fabric.base.told``), the same in both; ``by`` whom it
  was seen: ``translator``, exact, or ``conntrack``, as of when the kernel's word was read, within a millisecond unless there is a flood of
  it, and for what timed out as of when the kernel swept it up.  Written at the run's end.  ``mappings untold``: how many more there were.
* ``nat``: what was done to the ``nat``: it ``did`` a ``rebind`` of ``host`` (``before``, what was ``expected`` after, ``address``,
  ``linger_ns``, ``icmp``), a ``reboot``, or had an ``expiry``.
* ``route``: the ``host`` sends by ``interface`` now.
* ``dropped``: how many ``packets`` a ``place`` (``office/wan → internet/office``; ``NAT home, inbound``; ``home``: its kernel) dropped
  since the links were live, and ``why`` (reason → packets), of every place that dropped any.  Before them stands one of them all, without
  ``place``: ``packets``, and how many ``places`` keep count; a link that nobody impairs (``wire``) keeps none.  Written at the run's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harness.fabric.base import DIRECTIONS, MappingHistory, ends_of, told
from harness.lab.rulings import words
from harness.spec.topology import Link, Topology
from harness.units import many

Line = dict[str, Any]


def links_at_start(topology: Topology, at: int) -> Iterator[Line]:
    """Every link as it was when the captures began."""
    for link in topology.links:
        state = "up" if link.starts_up else "down"
        yield {"at": at, "source": "fabric", "kind": "link", "text": f"{link.name} is {state}", **_ends(link, link.starts_up)}


def _ends(link: Link, up: bool) -> Line:
    return {"link": link.name, "up": {link.a: up, link.b: up}}


def rulings(told_: dict[str, Any], topology: Topology, executors: dict[str, str], live: int) -> list[Line]:
    """Every ruling of every direction, in order; ``told_``: as ``Network.finish`` answers.  A wire is clear from ``live`` (ns) on."""
    lines = []
    for link in topology.links:
        for direction in DIRECTIONS:
            clear = {"at": live, "due": live, "round": 0, "step": 0, "impairment": {}}
            one = told_.get(link.name, {}).get(direction, {"rulings": [clear], "unlisted": 0})
            ends = dict(zip(("from", "to"), ends_of(link, direction), strict=True))
            for ruling in one["rulings"]:
                lines.append(
                    {
                        "at": ruling["at"],
                        "source": "fabric",
                        "kind": "ruling",
                        "text": f"{link.name} {direction}: {words(ruling['impairment'])}",
                        "link": link.name,
                        "direction": direction,
                        **ends,
                        "executor": executors.get(link.name, "wire"),
                        **{name: ruling[name] for name in ("impairment", "round", "step", "due")},
                    }
                )
            if one["unlisted"]:
                text = f"{link.name} {direction}: {one['unlisted']} further rulings are not listed"
                lines.append({**lines[-1], "kind": "rulings untold", "text": text, "unlisted": one["unlisted"]})
    return sorted(lines, key=lambda line: int(line["at"]))


_WHY = {
    "lost": "lost by its loss",
    "picked": "picked",
    "too_big": "too big for it",
    "queue_dropped": "without room in its queue",
    "cut_dropped": "while it was cut",
    "refused": "refused at its far end",
    "dropped": "by its qdisc",
    "unadmitted": "that nothing admitted",
    "no_mapping": "to an endpoint that nothing was mapped to",
    "filtered": "from senders that it filters",
    "rebound": "to a mapping that was gone",
    "hairpin_off": "to be hairpinned, which it does not do",
    "ports_exhausted": "for which no port was left",
    "fragment": "fragments",
    "malformed": "malformed",
    "protocol": "of protocols that it does not translate",
    "not_ours": "for somebody else",
    "prefix": "of a foreign prefix",
    "no_route": "for which it had no route",
    "too_long": "too long for the next link",
    "discarded": "discarded",
    "no_port": "for a port that nobody had open",
    "no_room": "for which a socket had no room",
}
"""Reasons of both link executors, of nft, of the translator and of kernels (``fabric/kernel_drops.py``), in words."""


def dropped(final: dict[str, Any], topology: Topology, at: int) -> list[Line]:
    """What was dropped where, in the topology's order; ``final``: the last counters, as ``Network.finish`` answers."""
    counted: dict[str, dict[str, int]] = {}
    for link in topology.links:
        for direction in DIRECTIONS:
            if (told_ := final["links"].get(link.name, {}).get(direction)) is not None:
                counted[" → ".join(ends_of(link, direction))] = {reason: told_[reason] for reason in _WHY if told_.get(reason)}
    for router, directions in final["nats"].items():
        for direction, told_ in directions.items():
            counted[f"NAT {router}, {direction}"] = {reason: count for reason, count in told_["dropped"].items() if count}
    counted |= final["kernels"]
    base = {"at": at, "source": "fabric", "kind": "dropped"}
    packets = sum(count for why in counted.values() for count in why.values())
    ways, nodes = len(counted) - len(final["kernels"]), len(final["kernels"])
    head = f"{many(packets, 'packet')} dropped, as {many(ways, 'direction')} of links and NATs and {many(nodes, 'kernel')} count"
    lines = [{**base, "text": head, "places": len(counted), "packets": packets}]
    for place, why in counted.items():
        if why:
            each = ", ".join(f"{count} {_WHY.get(reason, reason)}" for reason, count in why.items())
            lines.append({**base, "text": f"{place}: {each}", "place": place, "packets": sum(why.values()), "why": why})
    return lines


def mappings(histories: dict[str, Any]) -> list[Line]:
    """What became of the mappings of every NAT, in order; ``histories``: as ``Network.finish`` answers, by router."""
    lines: list[Line] = []
    for router, plain in histories.items():
        history = msgspec.convert(plain, MappingHistory)
        for change in history.changes:
            mapping = told(change.mapping)
            text = f"{mapping['inside']} is seen {'no more ' if change.gone else ''}as {mapping['outside']} by {mapping['remote']}"
            kind = "mapping gone" if change.gone else "mapping"
            lines.append({"at": change.at, "source": router, "kind": kind, "text": text, "mapping": mapping, "by": history.source})
        if history.unlisted:
            text = f"{history.unlisted} further changes of mappings are not listed"
            at = history.changes[-1].at if history.changes else 0
            lines.append({"at": at, "source": router, "kind": "mappings untold", "text": text, "unlisted": history.unlisted})
    return sorted(lines, key=lambda line: int(line["at"]))
