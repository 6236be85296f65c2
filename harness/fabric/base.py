"""What both sides of the fabric speak of: the lab's process, and the keeper that holds the network.

The lab's side imports nothing of the keeper's: importing pyroute2 takes 0.2 s, which every run would wait for.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from harness.spec.link import CLEAR, Impairment, Pick
from harness.spec.topology import Link, to_plain
from harness.wire.timetable import Timetable

Direction = Literal["a_to_b", "b_to_a"]
DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")
IMPAIR_CHOICES = ("auto", "netem", "relay", "relay-packet")
TRANSLATE_CHOICES = ("auto", "nft", "userspace")


def impairment_of(link: Link, direction: Direction) -> Impairment:
    """The impairment that the topology asks of ``direction``."""
    return (link.a_to_b if direction == "a_to_b" else link.b_to_a) or CLEAR


def ends_of(link: Link, direction: Direction) -> tuple[str, str]:
    """From which end to which ``direction`` goes."""
    return (link.a, link.b) if direction == "a_to_b" else (link.b, link.a)


class Mapping(msgspec.Struct, frozen=True, eq=False):
    """One UDP flow through a NAT: ``inside`` sends to ``remote``, where it is seen to come from ``outside``.  Each is (address, port).

    ``reached`` is who really answers: ``remote`` itself, or the host behind a port forward on it.  ``used``: when a packet last refreshed
    it, ns of CLOCK_MONOTONIC; None from conntrack, which does not tell.  Two are equal when they map alike, whenever used.
    """

    version: int
    inside: tuple[str, int]
    outside: tuple[str, int]
    remote: tuple[str, int]
    reached: tuple[str, int]
    used: int | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self._maps == other._maps

    def __hash__(self) -> int:
        return hash(self._maps)

    @property
    def _maps(self) -> tuple[object, ...]:
        return self.version, self.inside, self.outside, self.remote, self.reached


def told(mapping: Mapping) -> dict[str, Any]:
    """A mapping as plain data for people and pages: endpoints as ``203.0.113.2:4433`` or ``[2001:db8::1]:4433``, and no time."""
    ends = {name: endpoint(*getattr(mapping, name)) for name in ("inside", "outside", "remote", "reached")}
    return {"protocol": "udp", "version": mapping.version, **ends}


def endpoint(address: str, port: int) -> str:
    """An address and a port as one writes them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class MappingChange(msgspec.Struct, frozen=True):
    """A NAT made ``mapping`` at ``at`` (ns), or lost it (``gone``)."""

    at: int
    gone: bool
    mapping: Mapping


class MappingHistory(msgspec.Struct, frozen=True):
    """What became of one NAT's UDP mappings since the run went live, in order: told by ``source`` (``conntrack``, ``translator``).

    ``unlisted``: how many changes there were after the list was full.
    """

    source: str
    changes: list[MappingChange]
    unlisted: int


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A packet that a link dropped for its number: by which ``pick``, ``at`` what time (ns), and as which ``number`` of all that entered.

    ``size``: bytes of its UDP payload, ``begins`` the first of them in hex; of the whole IP packet when it is no UDP (``udp`` False).  NATs
    change addresses and ports but not the payload, so by these it is found in a capture elsewhere.
    """

    pick: Pick
    number: int
    at: int
    udp: bool
    size: int
    begins: str


def brief(impairment: Impairment) -> dict[str, Any]:
    """An impairment as plain data for people: a schedule and a recorded rate in a few words."""
    plain = dict(to_plain(msgspec.structs.replace(impairment, schedule=None, rate_trace=None)))
    for field in ("rate_trace", "schedule"):
        if getattr(impairment, field) is not None:
            plain[field] = str(getattr(impairment, field))
    return plain


def rulings_of(timetable: Timetable) -> dict[str, Any]:
    """What has ruled one direction, as plain data.

    ``asked``, the ``rulings`` in order, how many more are ``unlisted``, and when the ``next`` step is due (ns, None when there is none).
    """
    return {
        "asked": brief(timetable.asked),
        "rulings": [
            {**{field: getattr(one, field) for field in ("at", "due", "round", "step", "received")}, "impairment": brief(one.impairment)}
            for one in timetable.rulings
        ],
        "unlisted": timetable.unlisted,
        "next": timetable.next,
    }
