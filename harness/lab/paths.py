"""Whether a call went by the path that its scenario names: held against the capture at the caller's host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harness.agent.messages import Migrate, Redial
from harness.fabric.udp_packets import UdpPacket
from harness.lab.quic_headers import outside_untrusted
from harness.units import percent
from harness.verdict import Receipt

if TYPE_CHECKING:
    from harness.lab.conversation import Call
    from harness.lab.lab import Lab

KIND = "path"
"""The kind of such a receipt."""
_SHARE = 90 * percent
"""Of the packets of a call that was to be dialled by a path, those that must leave by it: the others may be probes of another one."""


def dialled_by(lab: Lab, call: Call) -> Iterator[Receipt]:
    """A receipt if the scenario names a path for ``call``: taken when its packets left by it until something was done to network or call.

    Packets of connections that were there before it was dialled are other calls'.  None of a call of which nothing left its caller's host.
    """
    if not call.path:
        return
    caller = call.caller
    moved = [one.began for one in caller.requests if isinstance(one.request, Migrate | Redial) and one.request.call == call.id]
    later = moved + [mark.began for mark in lab.faults]
    until = min(at for at in (*later, call.closed or lab.now()) if at > call.asked)
    captured = lab.evidence.captured(caller, whole=False)
    sent = [packet for packet in captured if packet.outgoing and packet.destination == call.remote and (packet.monotonic or 0) <= until]
    before = {_connection(lab, packet) for packet in sent if (packet.monotonic or 0) < call.asked} - {""}
    since = [packet for packet in sent if (packet.monotonic or 0) >= call.asked]
    left = [packet for packet in since if _connection(lab, packet) not in before] or since
    if not left:
        return
    by = Counter(packet.interface for packet in left)
    wanted = f"{caller.name}/{call.path}"
    taken = by[wanted] >= _SHARE.fraction * len(left)
    observed: dict[str, Any] = {f"packets by {interface}": count for interface, count in by.items()}
    if not taken:
        observed["why not"] = f"its packets left by {', '.join(by)}"
    fault, at = f"{caller.name} dials {call.callee.name} by {call.path}", left[0].monotonic or call.asked
    yield Receipt(fault=fault, kind=KIND, at=at, observed=observed, taken=taken, source=f"capture {caller.name}")


def _connection(lab: Lab, packet: UdpPacket) -> str:
    """What names the connection of a packet from its client: its keys, or the client's own id in a long header; "" where nothing does."""
    opened = lab.evidence.opened(packet.payload)
    if opened is not None:
        return opened.connection
    long = outside_untrusted(packet.payload).long
    return long[0].source.hex() if long else ""
