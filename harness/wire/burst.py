"""Loss in bursts: the Gilbert–Elliott chain, one step per packet."""

from __future__ import annotations

from harness.spec.link import GilbertElliott

LUCK = 1 << 32
"""Draws here are whole numbers below this, as sch_netem's are."""


class Burst:
    """The chain's state.

    It starts good.  Each packet is first lost or not by the state that it finds, then the chain takes its step: the order in which
    sch_netem does it (net/sched/sch_netem.c, ``loss_gilb_ell``).
    """

    def __init__(self, model: GilbertElliott) -> None:
        self._bad = False
        self.adopt(model)

    def adopt(self, model: GilbertElliott) -> None:
        """Go on by ``model``, in the state it is in: a change does not end a bad spell."""
        self._step = (round(model.p.fraction * LUCK), round(model.r.fraction * LUCK))  # by state: of leaving it
        self._loss = (round(model.good.fraction * LUCK), round(model.bad.fraction * LUCK))

    def restart(self) -> None:
        """Back to the good state."""
        self._bad = False

    def strikes(self, luck: int) -> bool:
        """Whether a packet of this luck is lost in the present state; no step is taken."""
        return luck < self._loss[self._bad]

    def passes(self, luck: int, step: int) -> bool:
        """Whether a packet of this luck is lost; then the chain takes its ``step``."""
        lost = luck < self._loss[self._bad]
        if step < self._step[self._bad]:
            self._bad = not self._bad
        return lost
