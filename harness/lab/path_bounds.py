"""Bounds that follow from a path: its delay, its rates, the size of probes, and the limit on what goes to an unvalidated address.

QUIC's own rules come from RFC 9000, whose sections the functions name.  The RFC sets hardly any time; what a bound demands beyond it is
told in the verdict's note, in the words of ``beyond``.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import comb

import msgspec

from harness.lab.path_delay import HEADERS
from harness.media.figure import Figure
from harness.media.sealed import MOST
from harness.media.source import AUDIO_PAYLOAD_BYTES
from harness.rtp.packet import HEADER
from harness.units import Duration, Rate, Ratio, kbit, ms

PROBE = 1200
"""Bytes of UDP payload of an expanded datagram with PATH_CHALLENGE or PATH_RESPONSE (RFC 9000 §8.2.1, §8.2.2)."""
AMPLIFICATION = 3
"""Times what came from an unvalidated address may be sent there (RFC 9000 §8.1, §9.3.1)."""
PING = 29
"""Bytes of UDP payload of the smallest datagram that shows a new address and is no probe."""
AUDIO = AUDIO_PAYLOAD_BYTES + HEADER.size + MOST
"""Bytes of UDP payload of an audio packet, at most."""
WINDOW = 10 * PROBE
"""Bytes of the initial congestion window (RFC 9002 §7.2)."""
WITH_VIDEO = 520 * kbit
"""What a call with audio and video sends each way, headers and all."""
INTERVAL = 20 * ms
"""From one audio frame to the next."""
SCHEDULING = 20 * ms
"""What the processes at both ends may take in all."""
RARE = 1e-6
"""A count of losses that chance exceeds in fewer runs than this is no chance."""


class Way(msgspec.Struct, frozen=True):
    """One direction of a path: its configured delay, and the rates of those of its links that have one."""

    delay: Duration
    rates: tuple[Rate, ...] = ()

    @classmethod
    def of(cls, links: Sequence[tuple[int, int]]) -> Way:
        """From the delay (ns) and the rate (bit/s, 0 without a limit) of each link (``PathDelays.links``)."""
        return cls(Duration(sum(delay for delay, _ in links)), tuple(Rate(rate) for _, rate in links if rate))

    def serialisation(self, size: int) -> Duration:
        """How long the links take to send a datagram with ``size`` bytes of UDP payload, one after the other."""
        return Duration(sum((size + HEADERS) * 8 * 1_000_000_000 // rate.bits_per_second for rate in self.rates))

    def takes(self, size: int) -> Duration:
        """How long such a datagram is under way."""
        return self.delay + self.serialisation(size)


class Path(msgspec.Struct, frozen=True):
    """A path of a call: from its caller ``there``, and ``back``."""

    there: Way
    back: Way

    @property
    def delay(self) -> Duration:
        """The configured delay of the slower direction."""
        return max(self.there.delay, self.back.delay)

    def round_trip(self, size: int = AUDIO) -> Duration:
        """How long a datagram with ``size`` bytes of UDP payload and an answer of the same size take."""
        return self.there.takes(size) + self.back.takes(size)

    def probes(self) -> Duration:
        """What one expanded datagram each way adds to the way of the media behind it."""
        return self.there.serialisation(PROBE) + self.back.serialisation(PROBE)


def moved(base: Duration, old: Path, new: Path) -> Duration:
    """A bound of silence over a move: ``base`` and the delay that the new path has more; a shorter path takes nothing off."""
    more = max(new.there.delay - old.there.delay, new.back.delay - old.back.delay)
    return base + max(more, 0 * ms)


def validation(path: Path) -> Duration:
    """From an expanded PATH_CHALLENGE to its expanded PATH_RESPONSE (RFC 9000 §8.2)."""
    return path.round_trip(PROBE)


def further_datagrams(first: int, spent: int, *, then: int = AUDIO, wanted: int = AUDIO) -> int:
    """How many datagrams of ``then`` bytes must follow one of ``first`` bytes until ``wanted`` bytes may be sent to their address.

    Until the address is validated three times what came from there may be sent (RFC 9000 §8.1, §9.3.1), of which ``spent`` bytes have gone.
    """
    lacking = wanted + spent - AMPLIFICATION * first
    return max(0, -(-lacking // (AMPLIFICATION * then)))


def rebound(path: Path) -> Duration:
    """The longest silence when the caller's address changes under her in mid-call, while she speaks (RFC 9000 §9.3).

    What is under way to the old address is lost: a round trip.  Her next packet shows the new one, where the PATH_CHALLENGE takes all that
    the first packet lets the peer send (§8.2.1 expands it as far as the limit permits); media behind it waits for the packets after that.
    """
    packets = 1 + further_datagrams(AUDIO, min(PROBE, AMPLIFICATION * AUDIO))
    return path.round_trip() + packets * INTERVAL + path.probes() + SCHEDULING


REBOUND = "media goes out before the new address is validated (§9.3)"


def moved_over(path: Path) -> Duration:
    """From a caller's decision to use ``path``, the old one being dead, to the first fresh frame on either side (RFC 9000 §9.2, §9.3).

    She validates the path; then a datagram that may be as small as a PING shows the callee the new address.  He may save up for an expanded
    PATH_CHALLENGE (§8.2.1) before he sends media there, so it waits for her packets, or for the end of his validation; then for his own
    next frame.  His PATH_CHALLENGE and her PATH_RESPONSE are ahead of media on a line with a rate.
    """
    saving = min(further_datagrams(PING, PROBE) * INTERVAL, validation(path))
    shown = validation(path) + path.there.takes(PING) + saving
    return shown + INTERVAL + path.probes() + path.back.takes(AUDIO) + SCHEDULING


MOVED_OVER = "the move begins at once, and media goes out before it is validated (§9.3)"
GOES_ON = "the old path carries media until the new one is validated (§9.2)"


def restarted(path: Path, rate: Rate = WITH_VIDEO) -> Duration:
    """How long media of ``rate`` waits on a new path because congestion control begins anew there (RFC 9000 §9.4).

    The initial window (RFC 9002 §7.2) lasts for a while; what exceeds it waits for the first acknowledgement, a round trip after the first
    packet.
    """
    lasts = Duration(WINDOW * 8 * 1_000_000_000 // rate.bits_per_second)
    return max(path.round_trip() - lasts, 0 * ms)


def frames_in(silence: Duration, interval: Duration = INTERVAL) -> int:
    """How many frames are due in a silence of that length: as many may be unheard where it is allowed."""
    return -(-silence.ns // interval.ns)


def chance_losses(packets: int, loss: Ratio) -> int:
    """How many of ``packets`` a link that loses each with the same probability may lose: more is rarer than ``RARE``."""
    probability = loss.percent / 100
    left, count = 1.0, 0
    while count < packets:
        left -= comb(packets, count) * probability**count * (1 - probability) ** (packets - count)
        if left < RARE:
            break
        count += 1
    return count


def picture(base: Duration, largest_frame: int, way: Way) -> Duration:
    """A bound of video's silence: ``base`` and what the slowest link takes to send the largest frame, in bytes of UDP payload."""
    slowest = min((rate.bits_per_second for rate in way.rates), default=0)
    packets = -(-largest_frame // PROBE)
    return base + Duration((largest_frame + packets * HEADERS) * 8 * 1_000_000_000 // slowest if slowest else 0)


def beyond(figure: Figure, demand: str) -> Figure:
    """``figure`` with what its bound demands ``beyond RFC 9000`` in its note."""
    return replace(figure, note="; ".join(filter(None, (figure.note, f"beyond RFC 9000: {demand}"))))
