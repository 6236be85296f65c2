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
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harness.fabric.base import DIRECTIONS, MappingHistory, told
from harness.lab.rulings import words
from harness.spec.topology import Link, Topology

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
            ends = {"from": link.a, "to": link.b} if direction == "a_to_b" else {"from": link.b, "to": link.a}
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
