"""How a packet's delay is spread about the mean: one table of quantiles for both executors, in the kernel's format.

sch_netem draws an entry of the table (TCA_NETEM_DELAY_DIST) at random and adds ``jitter · entry / 8192`` to the delay
(net/sched/sch_netem.c, ``tabledist``); the relay does the same with the same entries.  An entry is a signed 16-bit number, so that nothing
is farther out than four standard deviations.  iproute2 ships tables made from the same curves (netem/ there), but cut off without
correction: by them a pareto's standard deviation is 0.82 of the jitter asked for.  Here every table has mean 0 and standard deviation 1 to
within 0.0001 *after* the cut, so that ``delay`` is the mean and ``jitter`` the standard deviation, as the spec says.

``uniform`` has no table: both executors draw it from delay ± jitter.
"""

from __future__ import annotations

from functools import cache
from math import sqrt
from statistics import NormalDist

from harness.spec.link import Distribution

Table = tuple[int, ...]

SCALE = 8192
"""An entry of one standard deviation (the kernel's NETEM_DIST_SCALE)."""

ENTRIES = 4096
"""As many as iproute2's tables have; the kernel takes up to 16,384."""

_LEAST, _MOST = -(1 << 15), (1 << 15) - 1
_SHAPE = 3.0  # of the Pareto distribution, as in NIST Net and iproute2

_PARETO_MEAN = _SHAPE / (_SHAPE - 1)
_PARETO_DEVIATION = sqrt(_SHAPE / (_SHAPE - 2)) / (_SHAPE - 1)

# Where the middle of a curve lies and how wide it is, so that the table made of it, cut off at four standard deviations, has mean 0 and
# standard deviation 1.  Found by iteration; tests/unit/spec/test_spread.py holds the tables to it.
_FIT: dict[Distribution, tuple[float, float]] = {
    "normal": (0.0, 0.999839),
    "pareto": (1.464002, 0.565735),
    "paretonormal": (-0.025283, 0.737424),
}


@cache
def table(distribution: Distribution) -> Table | None:
    """The quantiles of ``distribution`` in ascending order, that of (i + ½) / ENTRIES at i, in units of 1/SCALE; None for uniform."""
    if distribution == "uniform":
        return None
    middle, width = _FIT[distribution]
    shares = ((entry + 0.5) / ENTRIES for entry in range(ENTRIES))
    return tuple(max(_LEAST, min(round((_quantile(distribution, share) - middle) / width * SCALE), _MOST)) for share in shares)


def _quantile(distribution: Distribution, share: float) -> float:
    if distribution == "normal":
        return NormalDist().inv_cdf(share)
    pareto = float((1 - share) ** (-1 / _SHAPE))
    if distribution == "pareto":
        return pareto
    # NIST Net's mixture, which its authors found to be like measured networks: both curves at the same quantile.
    return 0.25 * NormalDist().inv_cdf(share) + 0.75 * (pareto - _PARETO_MEAN) / _PARETO_DEVIATION
