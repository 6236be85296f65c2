"""How losses cluster: a plain list of bursts, and RFC 3611's burst/gap block for comparison with other tools.

A burst here is a maximal set of losses with fewer than Gmin good packets between neighbours; a set of one is an isolated loss, part of a
gap.  The plain list is what to read.  The RFC 3611 block is a mean over Markov counts: one 200 ms outage shows in it as "110 ms", the first
isolated loss counts as a burst, and trailing good packets are not counted.  Both take heard/not heard in the order offered: late counts as
lost ("discarded", in RFC 3611's words).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.media.records import MediaPacket
from harness.media.window import offered_in
from harness.units import Duration

GMIN = 16
"""RFC 3611 §4.7.2's recommended number of good packets that ends a burst."""


class XrCounters(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 3611 appendix A.2's transition counts over states 1 gap, 2 good within a burst, 3 lost within a burst, 4 isolated loss."""

    c11: int = 0
    c13: int = 0
    c14: int = 0
    c22: int = 0
    c23: int = 0
    c33: int = 0

    @property
    def burst_density(self) -> float:
        """Share of packets lost within bursts, 0 to 1; 1 also in the degenerate case of a burst of one loss."""
        lost = self.c13 + self.c23 + self.c33
        if lost == 0:
            return 0.0
        p32 = self.c23 / lost
        p23 = 1.0 if self.c22 + self.c23 < 1 else 1 - self.c22 / (self.c22 + self.c23)
        return p23 / (p23 + p32)

    @property
    def gap_density(self) -> float:
        """Share of packets lost within gaps, 0 to 1."""
        return self.c14 / (self.c11 + self.c14) if self.c11 + self.c14 else 0.0

    def gap_length_ms(self, packet_ms: float) -> float | None:
        """Mean gap in ms; None when no burst separates gaps (c13 == 0)."""
        return (self.c11 + self.c14 + self.c13) * packet_ms / self.c13 if self.c13 else None

    def burst_length_ms(self, packet_ms: float) -> float | None:
        """Mean burst in ms; None when there is none."""
        gap = self.gap_length_ms(packet_ms)
        if gap is None:
            return None
        total = self.c11 + 2 * self.c13 + self.c14 + self.c22 + 2 * self.c23 + self.c33  # c31 = c13, c32 = c23
        return total * packet_ms / self.c13 - gap


def wire_density(density: float) -> int:
    """The density as RFC 3611 sends it: × 256, floored, at most 255."""
    return min(255, int(density * 256))


def xr_counters(heard: Iterable[bool], gmin: int = GMIN) -> XrCounters:
    """RFC 3611 appendix A.2 over packets in the order offered; True is heard in time."""
    good = lost = c11 = c13 = c14 = c22 = c23 = c33 = 0
    for ok in heard:
        if ok:
            good += 1
            continue
        if good >= gmin:
            if lost == 1:
                c14 += 1
            else:
                c13 += 1
            lost = 1
            c11 += good
        else:
            lost += 1
            if good == 0:
                c33 += 1
            else:
                c23 += 1
                c22 += good - 1
        good = 0
    return XrCounters(c11=c11, c13=c13, c14=c14, c22=c22, c23=c23, c33=c33)


class Burst(msgspec.Struct, frozen=True):
    """``lost`` losses from position ``first`` to ``last`` in the order offered; ``start``/``end``: when those two were offered."""

    first: int
    last: int
    lost: int
    start: int
    end: int

    @property
    def isolated(self) -> bool:
        """Whether it is a single loss with Gmin good packets on either side."""
        return self.lost == 1


class LossRun(msgspec.Struct, frozen=True):
    """Packets lost one after the other: how many, and when the first of them was offered."""

    lost: int
    start: int


class LossPattern(msgspec.Struct, frozen=True):
    """``bursts``: all of them by time.  ``longest``: the longest unbroken run, None when nothing was missed.  ``counters``: RFC 3611."""

    offered: int
    bursts: tuple[Burst, ...]
    longest: LossRun | None
    counters: XrCounters


def runs(heard: Iterable[bool]) -> list[tuple[int, int]]:
    """(first position, how many) of each unbroken run of packets not heard."""
    out: list[tuple[int, int]] = []
    for position, ok in enumerate(heard):
        if ok:
            continue
        if out and sum(out[-1]) == position:
            out[-1] = (out[-1][0], out[-1][1] + 1)
        else:
            out.append((position, 1))
    return out


def loss_pattern(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None, gmin: int = GMIN) -> LossPattern:
    """How the packets offered in the window that were not heard within ``deadline`` ns cluster."""
    chosen = offered_in(packets, since, until)
    heard = [packet.heard_by(deadline) for packet in chosen]
    bursts: list[list[int]] = []  # [first, last, lost]
    for position, ok in enumerate(heard):
        if ok:
            continue
        if bursts and position - bursts[-1][1] - 1 < gmin:
            bursts[-1][1:] = [position, bursts[-1][2] + 1]
        else:
            bursts.append([position, position, 1])
    longest = max(runs(heard), key=lambda run: run[1], default=None)
    return LossPattern(
        len(chosen),
        tuple(Burst(first, last, lost, chosen[first].offered, chosen[last].offered) for first, last, lost in bursts),
        LossRun(longest[1], chosen[longest[0]].offered) if longest else None,
        xr_counters(heard, gmin),
    )


class Concealment(msgspec.Struct, frozen=True, kw_only=True):
    """What a decoder had to make up, in the words of W3C webrtc-stats: samples, and events (one per run, not per sample).

    ``interruptions``: runs of at least 150 ms, as Chrome counts audio interruptions (NetEq's kInterruptionLenMs; not a standard).
    """

    concealed_samples: int
    concealment_events: int
    interruptions: int
    longest: Duration


def concealment(heard: Iterable[bool], *, packet: Duration, clock_rate: int = 48_000) -> Concealment:
    """Concealment for audio packets of length ``packet`` in the order offered, each run of missed ones being one event."""
    lengths = [count * packet.ns for _, count in runs(heard)]
    return Concealment(
        concealed_samples=sum(length * clock_rate // 10**9 for length in lengths),
        concealment_events=len(lengths),
        interruptions=sum(length >= 150_000_000 for length in lengths),
        longest=Duration(max(lengths, default=0)),
    )
