"""The userspace link: the handle on the process that shapes what passes between the link's two ends (``relay_ends``).

One relay process serves all such links of a run (``relay_process``: its loop).  Who starts it (the keeper):

1. opens the ends (a TAP, or a packet socket on a veth's far half) inside each node's namespace, and takes the interfaces up;
2. makes ``seqpacket.pair()`` and lets ``child.start`` run the loop with that descriptor and all the ends' kept (a program without a
   keeper starts ``argv(theirs.fileno())`` with them inherited);
3. asks ``RelayControl(ours).start(links)``; from its answer on packets pass.

What the relay answers is counted outside the agents, so an answer with its counters is a receipt.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from harness.errors import SpecError
from harness.fabric.base import Direction, Dropped
from harness.fabric.seqpacket import Asker
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import from_text, to_plain
from harness.units import Duration, s
from harness.wire.translator import Translation

T = TypeVar("T")


def argv(control_fd: int) -> list[str]:
    """The command of the relay process, which finds its control socket at the inherited descriptor ``control_fd``."""
    return [sys.executable, "-m", "harness.fabric.relay_process", str(control_fd)]


class RelayLink(msgspec.Struct, frozen=True, kw_only=True):
    """One link for the relay: its ends' inherited descriptors, and per direction the first impairment and the seed of its fates.

    ``addresses_a`` and ``addresses_b`` are the ends' own, as text: who tells a sender that its packet is too big is the far end.  ``nat_a``
    and ``nat_b``: what is translated at an end that is a userspace NAT's outside; it draws from the seed of the direction that leaves it.
    """

    name: str
    fd_a: int
    fd_b: int
    a_to_b: Impairment = CLEAR
    b_to_a: Impairment = CLEAR
    seed_a_to_b: int
    seed_b_to_a: int
    mtu: int = 1500
    addresses_a: list[str] = []
    addresses_b: list[str] = []
    nat_a: Translation | None = None
    nat_b: Translation | None = None


class DirectionCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Packets of one direction so far, as the relay saw them.

    ``received + duplicated == delivered + lost + picked + too_big + queue_dropped + cut_dropped + refused + in_flight``; ``duplicated`` are
    copies that entered, ``refused`` those that the far interface did not take, by errno name in ``refusals`` (EIO: it is down).
    ``corrupted`` and ``reordered`` (let ahead) are among those that found room in the link.  ``picked_packets`` describes those that were
    dropped for their number by the impairment in force, ``awaited`` says how many of its picks are still to come.  ``late``: those written
    more than 1 ms after their time.  ``answered``: senders of packets that were too big who were told so.
    """

    received: int
    duplicated: int = 0
    delivered: int
    lost: int
    picked: int
    too_big: int = 0
    queue_dropped: int
    cut_dropped: int
    refused: int
    in_flight: int
    corrupted: int = 0
    reordered: int = 0
    answered: int = 0
    late: int = 0
    refusals: dict[str, int] = {}
    picked_packets: list[Dropped] = []
    awaited: int = 0


class LinkCounters(msgspec.Struct, frozen=True):
    """Both directions of one link, and whether it is cut."""

    a_to_b: DirectionCounters
    b_to_a: DirectionCounters
    cut: bool


class Counted(msgspec.Struct, frozen=True):
    """The counters of all links ``at`` one moment (ns, CLOCK_MONOTONIC)."""

    at: int
    links: dict[str, LinkCounters]


class Changed(msgspec.Struct, frozen=True):
    """Receipt of a change: packets that the relay took after ``at`` met the new impairment; the counters are those just before."""

    at: int
    link: str
    direction: Direction
    was: Impairment
    now: Impairment
    before: DirectionCounters


class Cut(msgspec.Struct, frozen=True):
    """Receipt of a cut or of its end: the counters are those just before ``at``, so what the cut drops is counted from there."""

    at: int
    link: str
    cut: bool
    before: LinkCounters


class RelayStats(msgspec.Struct, frozen=True, kw_only=True):
    """How well the relay itself ran.

    ``stalls``: (start, end) ns of CLOCK_MONOTONIC in which it ran late by more than 1 ms; a packet that was under way in one of them says
    nothing about the link.  ``more``: ask again with ``since`` the last end.  ``unlisted``: stalls dropped from a full list (0 unless it
    was overloaded for long).  ``frames``: frames read.  ``scheduling``: ``realtime``, ``nice`` or ``normal``.
    """

    at: int
    stalls: list[tuple[int, int]]
    more: bool
    unlisted: int
    frames: int
    cpu_ns: int
    worst_late_ns: int
    scheduling: str


class RelayControl:
    """The handle on a started relay process; synchronous, every call bounded by ``within``.

    Raises SpecError for a link or impairment that makes no sense, HarnessError when the process is dead or silent.
    """

    def __init__(self, control: socket.socket, within: Duration = 5 * s) -> None:
        self._asker = Asker(control, "relay", within)

    def start(self, links: Sequence[RelayLink]) -> Counted:
        """Hand over the links; on return they are served."""
        return _read(self._asker.ask("start", links=[to_plain(link) for link in links]), Counted)

    def impair(self, link: str, direction: Direction, impairment: Impairment, over: Duration | None = None) -> Changed:
        """Let ``impairment`` rule one direction, its schedule from now on; packets in the link keep their departures.

        ``over``: get there in a straight line from what rules now, in this time (``harness.spec.ramp``).
        """
        fields = {"link": link, "direction": direction, "impairment": to_plain(impairment)}
        return _read(self._asker.ask("impair", **fields, over=None if over is None else str(over)), Changed)

    def cut(self, link: str) -> Cut:
        """Drop everything both ways, what is in the link included, until ``uncut``."""
        return _read(self._asker.ask("cut", link=link), Cut)

    def uncut(self, link: str) -> Cut:
        """Mend a cut link."""
        return _read(self._asker.ask("uncut", link=link), Cut)

    def counters(self) -> Counted:
        """All links' counters."""
        return _read(self._asker.ask("counters"), Counted)

    def impairments(self) -> dict[str, dict[Direction, Impairment]]:
        """Per link and direction the impairment that rules packets entering now."""
        return msgspec.convert(self._asker.ask("impairments"), dict[str, dict[Direction, Impairment]], dec_hook=from_text)

    def hold(self) -> None:
        """Put every schedule back to its start and hold it there, and let every rate trace wait, as after ``start``."""
        self._asker.ask("hold")

    def restart(self) -> Counted:
        """Counters to zero, every seeded generator to its start, and schedules and rate traces begin.  Answers the last counters.

        For the moment between probing a network and using it: the first packet after has index 0, however many the probe has sent.
        """
        return _read(self._asker.ask("restart"), Counted)

    def ask_nat(self, router: str, do: str, **fields: Any) -> dict[str, Any]:
        """One request about the NAT of ``router`` (``relay_nats``)."""
        return self._asker.ask("nat", router=router, do=do, **fields)

    def rulings(self) -> dict[str, dict[str, Any]]:
        """Per link and direction what was asked for and what has ruled since ``restart`` (``base.rulings_of``)."""
        return dict(self._asker.ask("rulings"))

    def stats(self, since: int = 0) -> RelayStats:
        """The relay's own figures, with the stalls that ended after ``since``, at most 1,000 of them."""
        return _read(self._asker.ask("stats", since=since), RelayStats)

    def stalls(self, since: int = 0) -> list[tuple[int, int]]:
        """All stalls that ended after ``since``."""
        found: list[tuple[int, int]] = []
        while True:
            stats = self.stats(since)
            found += stats.stalls
            if not stats.more:
                return found
            since = stats.stalls[-1][1]

    def shutdown(self) -> Counted:
        """The last counters; the process then exits with code 0.  What is still in the links is dropped."""
        last = _read(self._asker.ask("shutdown"), Counted)
        self._asker.close()
        return last


def decode_link(raw: Any) -> RelayLink:
    """The RelayLink in a message; SpecError names what is wrong with it."""
    name = raw.get("name") if isinstance(raw, dict) else None
    link = _spec(raw, RelayLink, f"link {name}")
    for direction, impairment in (("a_to_b", link.a_to_b), ("b_to_a", link.b_to_a)):
        impairment.validate(f"link {link.name}, {direction}")
    return link


def decode_impairment(raw: Any, where: str) -> Impairment:
    """The Impairment in a message; SpecError names ``where`` and what is wrong with it."""
    impairment = _spec(raw, Impairment, where)
    impairment.validate(where)
    return impairment


def _spec(raw: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(raw, kind, dec_hook=from_text)
    except (msgspec.ValidationError, ValueError) as error:
        raise SpecError(where, str(error)) from None


def _read(raw: dict[str, Any], kind: type[T]) -> T:
    return msgspec.convert(raw, kind, dec_hook=from_text)
