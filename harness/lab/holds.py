"""A call on hold as the packets at one host show it: when the hold was in force there, and whether media kept to it.

In force is what the signalling on the wire says: from the packet that brought ``hold`` past the host's interface (out, or in) to the one
that brought the ``resume`` after which neither side holds the call.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HarnessError
from harness.lab.decrypted import Decrypted, Signal
from harness.media.figure import Figure, Gap
from harness.units import Duration

"""Each flow's id is one byte, and stands first in its datagrams (RTP over QUIC §4.1)."""


@dataclass(frozen=True)
class OnHold:
    """One time on hold at a host, from ``began`` to ``ended`` (ns), and when the host sent ``media`` of the call, judged ``until``."""

    began: int
    ended: int
    media: list[int]
    until: int
    direction: str

    def overrun(self) -> Figure:
        """For how long after the hold took effect the host still sent media."""
        last = max((at for at in self.media if self.began < at < self.ended), default=self.began)
        return Figure(Duration(last - self.began), self.direction, (Gap(Duration(last - self.began), self.began, last),))

    def comeback(self) -> Figure:
        """From the end of the hold to the first media that the host sent again; to the end of the judged time when it sent none."""
        first = min((at for at in self.media if at >= self.ended), default=None)
        end = max(self.ended, self.until) if first is None else first
        gap = Gap(Duration(end - self.ended), self.ended, end, recovered=first is not None)
        return Figure(gap.excess, self.direction, (gap,), "" if gap.recovered else "never came back")


def on_hold(wire: Decrypted, call: str, until: int, direction: str) -> list[OnHold]:
    """Every time that ``call`` was on hold in the capture of one host, and came off it.

    HarnessError when the call is not in it, or what was said there is no signalling.
    """
    said = ((one, _signals(wire, one, direction)) for one in wire.connections)
    connection, signals = next(((one, its) for one, its in said if any(s.message.get("session_id") == call for s in its)), (None, []))
    if connection is None:
        raise HarnessError(f"{direction}: the capture has no connection of call {call}")
    media = [packet.at for packet in wire.packets if packet.connection == connection and packet.udp.outgoing and packet.has_media]
    found: list[OnHold] = []
    holders: set[str] = set()
    began = 0
    for signal in signals:
        kind, at = signal.message.get("type"), signal.packet.at
        if kind == "hold":
            began = began if holders else at
            holders.add(signal.sender)
        elif kind == "resume" and holders:
            holders.discard(signal.sender)
            if not holders:
                found.append(OnHold(began, at, media, until, direction))
    return found


def _signals(wire: Decrypted, connection: str, direction: str) -> list[Signal]:
    try:
        return wire.signals(connection)
    except ValueError as error:
        raise HarnessError(f"{direction}: what was said on connection {connection[:16]} is no signalling: {error}") from None
