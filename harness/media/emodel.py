"""ITU-T G.107's E-model: R and MOS per second, the worst second first.  A figure to read, never one to gate on.

* The base is 93.2 (Ro - Is at default values) and the delay impairment is Idd alone: the harness has no acoustic echo, so the talker and
  listener echo terms would tell of an echo that nobody hears.  ``full_model`` has the whole formula, for checking the base.
* Delay is mouth to ear: packetisation + codec lookahead + one way through stack and network + the listener's buffer.  Not half an RTT.
* Loss is what the listener missed: expired, lost or late.
* The model is a planning model over stationary conditions.  Two silent seconds in a minute are 3.3 % loss and R 82, "satisfied": so every
  second is scored by itself, and one in which nothing was heard is R 0, MOS 1, not what the loss formula says at 100 %.
* R of two codecs is never compared, and that of Opus is a proxy: G.113 has no Ie and Bpl for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import msgspec

from harness.media.bursts import runs
from harness.media.records import MediaPacket
from harness.media.window import offered_in
from harness.units import Duration, Rate, ms, ns, us

BASE = 93.2
"""Ro - Is at the default values of G.107, rounded as the Recommendation prints it."""

SECOND = 1_000_000_000


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """A codec as the E-model sees it: ``ie`` equipment impairment, ``bpl`` robustness to loss (G.113 appendix I), and its own delays.

    ``buffer``: what the listener's jitter buffer adds to the delay (judgement, not a standard: state it with the figure).
    """

    label: str
    ie: float
    bpl: float
    packet: Duration = 20 * ms
    lookahead: Duration = 0 * ns
    buffer: Duration = 40 * ms


G711_PLC = Codec(label="G.711 with appendix I PLC", ie=0.0, bpl=25.1)
G711 = Codec(label="G.711 without PLC", ie=0.0, bpl=4.3)
G729A_VAD = Codec(label="G.729A with VAD", ie=11.0, bpl=19.0, lookahead=5 * ms)


def opus_proxy(bitrate: Rate | None = None, *, fec: bool = False, dtx: bool = False) -> Codec:
    """Opus by ggarber/rtcscore's proxy: Ie = 55 - 4.6 ln(bit/s) within 0 to 30, 6 if the rate is unknown, 8 with DTX; Bpl 10, 20 with FEC.

    The proxy's own base is 100 with another delay term; here it stands on ``BASE``, and its label says that it is a proxy.
    """
    ie = 8.0 if dtx else 6.0 if bitrate is None else min(30.0, max(0.0, 55 - 4.6 * math.log(max(1, bitrate.bits_per_second))))
    return Codec(label="Opus (proxy, not comparable)", ie=ie, bpl=20.0 if fec else 10.0, lookahead=6500 * us)


def idd(delay_ms: float) -> float:
    """G.107's impairment by absolute delay; 0 up to 100 ms mouth to ear."""
    if delay_ms <= 100:
        return 0.0
    x = math.log2(delay_ms / 100)
    return 25 * (math.pow(1 + x**6, 1 / 6) - 3 * math.pow(1 + (x / 3) ** 6, 1 / 6) + 2)


def ie_eff(ie: float, bpl: float, loss_percent: float, burst_ratio: float = 1.0) -> float:
    """G.107's effective equipment impairment at ``loss_percent`` (0 to 100); ``burst_ratio`` 1 is random loss, above it bursty."""
    return ie + (95 - ie) * loss_percent / (loss_percent / burst_ratio + bpl) if loss_percent else ie


def r_factor(codec: Codec, *, delay_ms: float, loss_percent: float, burst_ratio: float = 1.0) -> float:
    """R on the Idd-only column; may be below 0."""
    return BASE - idd(delay_ms) - ie_eff(codec.ie, codec.bpl, loss_percent, burst_ratio)


def mos(r: float) -> float:
    """G.107 annex B's MOS for R: 1 to 4.5.  The cubic dips to 0.989 between R 0 and 6.5, so it is clamped to 1."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def burst_ratio(heard: Sequence[bool]) -> float:
    """G.107's BurstR: mean run of losses over the mean run of random loss at the same rate; at least 1, so few losses never look sparse."""
    lengths = [count for _, count in runs(heard)]
    lost = sum(lengths)
    if not lost or lost == len(heard):
        return 1.0
    return max(1.0, lost / len(lengths) * (1 - lost / len(heard)))


class ScoredSecond(msgspec.Struct, frozen=True, kw_only=True):
    """One second (the last may be longer) of a flow: ns edges, what was missed of what was offered, delay mouth to ear, R and MOS."""

    start: int
    end: int
    offered: int
    unheard: int
    delay: Duration | None
    r: float
    mos: float
    codec: str


def worst_seconds(
    packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None, codec: Codec = G711_PLC
) -> list[ScoredSecond]:
    """Every second of the window, the worst first (of equals the earlier).

    A rest below a second belongs to the last one.  A second in which the source offered nothing (mute, hold) has no score and is left out;
    an empty list means that nothing was offered at all.
    """
    chosen = offered_in(packets, since, until)
    count = max(1, (until - since) // SECOND)
    filed: dict[int, list[MediaPacket]] = {}
    for packet in chosen:
        filed.setdefault(min(count - 1, (packet.offered - since) // SECOND), []).append(packet)
    scored = []
    for number, inside in filed.items():
        start = since + number * SECOND
        end = until if number == count - 1 else start + SECOND
        scored.append(_score(inside, start, end, deadline, codec))
    return sorted(scored, key=lambda second: (second.r, second.start))


def _score(packets: Sequence[MediaPacket], start: int, end: int, deadline: int | None, codec: Codec) -> ScoredSecond:
    heard = [packet.heard_by(deadline) for packet in packets]
    transits = [(packet.taken or 0) - packet.offered for packet, ok in zip(packets, heard, strict=True) if ok]
    unheard = len(packets) - len(transits)
    delay = codec.packet + codec.lookahead + codec.buffer + Duration(round(fmean(transits))) if transits else None
    r = 0.0
    if delay is not None:
        r = r_factor(codec, delay_ms=delay.ms, loss_percent=100 * unheard / len(packets), burst_ratio=burst_ratio(heard))
    return ScoredSecond(start=start, end=end, offered=len(packets), unheard=unheard, delay=delay, r=r, mos=mos(r), codec=codec.label)


class FullModel(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of the whole formula: R = ro - is_ - idte - idle - idd (loss and advantage apart)."""

    ro: float
    is_: float
    idte: float
    idle: float
    idd: float

    @property
    def r(self) -> float:
        """The rating without loss."""
        return self.ro - self.is_ - self.idte - self.idle - self.idd


def full_model(*, ta: float = 0.0, t: float = 0.0, tr: float = 0.0, telr: float = 65.0) -> FullModel:
    """G.107 (narrow band) with all other parameters at their defaults; delays in ms: ``ta`` absolute, ``t`` echo, ``tr`` round trip."""
    slr, rlr, stmr, lstr, ds, ps, pr, wepl, nc, nfor, qdu = 8.0, 2.0, 15.0, 18.0, 3.0, 35.0, 35.0, 110.0, -70.0, -64.0, 1.0
    olr = slr + rlr
    nos = ps - slr - ds - 100 + 0.004 * (ps - olr - ds - 14) ** 2
    pre = pr + 10 * math.log10(1 + 10 ** ((10 - lstr) / 10))
    nor = rlr - 121 + pre + 0.008 * (pre - 35) ** 2
    no = 10 * math.log10(sum(10 ** (level / 10) for level in (nc, nos, nor, nfor + rlr)))
    ro = 15 - 1.5 * (slr + no)

    xolr = olr + 0.2 * (64 + no - rlr)
    iolr = 20 * ((1 + (xolr / 8) ** 8) ** (1 / 8) - xolr / 8)
    stmro = -10 * math.log10(10 ** (-stmr / 10) + math.exp(-t / 4) * 10 ** (-telr / 10))
    ist = (
        12 * (1 + ((stmro - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((stmro + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((stmro - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    q = 37 - 15 * math.log10(qdu)
    g = 1.07 + 0.258 * q + 0.0602 * q**2
    iq = 15 * math.log10(1 + 10 ** ((ro - 100) / 15 + 46 / 8.4 - g / 9) + 10 ** (46 / 30 - g / 40))

    terv = telr - 40 * math.log10((1 + t / 10) / (1 + t / 150)) + 6 * math.exp(-0.3 * t**2)
    roe, re = -1.5 * (no - rlr), 80 + 2.5 * (terv - 14)
    idte = ((roe - re) / 2 + math.sqrt((roe - re) ** 2 / 4 + 100) - 1) * (1 - math.exp(-t)) if t >= 1 else 0.0
    rle = 10.5 * (wepl + 7) * (tr + 1) ** -0.25
    idle = (ro - rle) / 2 + math.sqrt((ro - rle) ** 2 / 4 + 169)
    return FullModel(ro=ro, is_=iolr + ist + iq, idte=idte, idle=idle, idd=idd(ta))
