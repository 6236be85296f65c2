"""How many of the packets that a flow owed were heard, and what became of the rest.

    owed = never departed + lost (left, never came) + not taken (came, nobody read it) + late (taken after the deadline) + in time

Network loss and playout loss are two figures.  Over reliable QUIC streams the network loses nothing and everything is late instead, so loss
for the listener is counted by deadline.  Duplicates are extra copies and never hide a loss (RFC 3550's expected - received would let them).
A copy that came with other bytes than left first is corrupted, and no arrival: a packet of which nothing else came is lost as well.
Reordering is RFC 4737's singleton: a packet whose first copy arrives after one that departed later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.media.figure import Overdue, share
from harness.media.records import MediaPacket
from harness.media.window import offered_in
from harness.units import Duration, Ratio

GIVEN_UP = frozenset({"expired", "queue full"})
"""The stack's words for what became too old in its queue, or was pushed out of it: delay alone does that.  A refusal is none of these."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of packets owed in one window; ``duplicates`` and ``corrupted`` count copies: beyond the first, and not intact."""

    offered: int
    expired: int
    lost: int
    late: int
    duplicates: int
    reordered: int
    corrupted: int
    not_taken: int = 0

    @property
    def sent(self) -> int:
        """Packets that left the sender's host."""
        return self.offered - self.expired

    @property
    def arrived(self) -> int:
        """Packets of which a copy came, late ones included."""
        return self.sent - self.lost

    @property
    def unheard(self) -> int:
        """Packets that the listener missed: never departed, lost, not taken or late."""
        return self.expired + self.lost + self.not_taken + self.late

    @property
    def network_loss(self) -> Ratio | None:
        """Lost of those sent; None when none was sent."""
        return share(self.lost, self.sent)

    @property
    def playout_loss(self) -> Ratio | None:
        """Unheard of those due; None when none was due."""
        return share(self.unheard, self.offered)

    @property
    def rfc3550_lost(self) -> int:
        """RFC 3550's expected - received over these packets: signed, and lowered by duplicates."""
        return self.offered - self.arrived - self.duplicates


def delivery(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None) -> Delivery:
    """The fates of the packets due in the window; an arrival after ``until`` still counts.  ``deadline``: ns that one may be late."""
    chosen = offered_in(packets, since, until)
    return Delivery(
        offered=len(chosen),
        expired=sum(packet.sent is None for packet in chosen),
        lost=sum(was_lost(packet) for packet in chosen),
        late=sum(was_late(packet, deadline) for packet in chosen),
        duplicates=sum(max(0, len(packet.arrivals) - 1) for packet in chosen),
        reordered=len(overtaken(packets, since=since, until=until, deadline=deadline)),
        corrupted=sum(packet.corrupted for packet in chosen),
        not_taken=sum(was_not_taken(packet) for packet in chosen),
    )


def was_lost(packet: MediaPacket) -> bool:
    """Whether it left the sender's host and never came to the listener's."""
    return packet.sent is not None and not packet.arrivals


def was_late(packet: MediaPacket, deadline: int | None) -> bool:
    """Whether it was taken, and late by more than ``deadline`` ns."""
    return packet.taken is not None and not packet.heard_by(deadline)


def was_not_taken(packet: MediaPacket) -> bool:
    """Whether it came to the listener's host, and its process never took it."""
    return bool(packet.arrivals) and packet.taken is None


def overtaken(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None) -> tuple[Overdue, ...]:
    """The packets that ``Delivery.reordered`` counts."""
    chosen = offered_in(packets, since, until)
    came = sorted((packet.arrived, position) for position, packet in enumerate(chosen) if packet.arrived is not None)
    found, newest = [], -1
    for arrived, position in came:
        if position < newest:
            found.append(Overdue("overtaken", chosen[position].sent or chosen[position].offered, arrived))
        newest = max(newest, position)
    return tuple(found)


def late(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None) -> tuple[Overdue, ...]:
    """The packets that ``Delivery.late`` counts."""
    return _delayed((one for one in offered_in(packets, since, until) if one.sent is not None), deadline)


def given_up(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None) -> tuple[Overdue, ...]:
    """Those of the packets that ``Delivery.expired`` counts that were given up because they had waited."""
    return _delayed((one for one in offered_in(packets, since, until) if one.sent is None), deadline)


def delayed(packet: MediaPacket, deadline: int | None) -> Overdue | None:
    """How ``packet`` was late, or given up because it had waited; None when delay alone did not cost it.  ``deadline``: ns."""
    if was_late(packet, deadline):
        excess = Duration((packet.late or 0) - (deadline or 0))
        return Overdue("late", packet.offered, packet.taken or 0, excess, packet.sent or 0, packet.arrived or 0)
    if packet.sent is None and packet.unsent in GIVEN_UP:
        return Overdue("given up", packet.offered, packet.offered + (deadline or 0))
    return None


def _delayed(packets: Iterable[MediaPacket], deadline: int | None) -> tuple[Overdue, ...]:
    return tuple(one for packet in packets if (one := delayed(packet, deadline)) is not None)
