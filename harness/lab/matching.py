"""The agent does not grade itself: its media records against the packets that were captured at its host."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.fabric.udp_packets import UdpPacket
from harness.media import records
from harness.units import ms

CLOCK_SLACK = 1 * ms
"""Between an agent's stamp and the capture's of one packet: the same kernel stamp, converted by two samples of the clock offset."""

Swallowed = Callable[[str | None, int, int], bool]
"""Whether the interface of a path was going up or down between two instants (ns): what was sent then is nowhere."""


@dataclass
class Matched:
    """How many records were held against captures so far, how many of them match no packet, and the first that does not."""

    checked: int = 0
    unmatched: int = 0
    first: str = ""

    def take(self, found: Iterable[records.Record], captured: Iterable[UdpPacket], sent_too: bool, swallowed: Swallowed) -> None:
        """Hold the records ``found`` against ``captured``, which is whole for their time, and count.

        ``sent_too``: also those of packets sent; what netem delays or drops is captured late or never.
        """
        times: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for packet in captured:
            times[bool(packet.outgoing), packet.size].append(packet.monotonic or 0)
        for one in times.values():
            one.sort()
        slack = CLOCK_SLACK.ns
        for record in found:
            if isinstance(record, records.ArrivedRecord):
                outgoing, size, since, until = False, record.udp, record.arrived - slack, record.arrived + slack
            elif sent_too and record.sent is not None and record.udp is not None:
                outgoing, size, since, until = True, record.udp, record.sent - slack, (record.done or record.sent) + slack
            else:
                continue
            self.checked += 1
            known = times[outgoing, size]
            place = bisect_left(known, since)
            if (place == len(known) or known[place] > until) and not (outgoing and swallowed(record.path, since, until)):
                self.unmatched += 1
                what = "sent" if outgoing else "arrived"
                self.first = self.first or f"{record.flow} packet {record.seq}, {size} bytes {what} at {since + slack}"
