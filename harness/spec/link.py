"""What one direction of a link does to the packets that cross it.

``None`` means "not impaired in this way" and is different from 0: an executor installs nothing for ``None``, and proves the value for 0.
Both executors (kernel netem, userspace relay) run this one spec; what an executor cannot express it refuses by name before the run.
"""

from __future__ import annotations

import msgspec

from harness.errors import SpecError
from harness.units import Duration, Quantity, Rate, Ratio, expect


class Pick(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One packet, picked by its number: the ``nth`` (1 is the first) of those it counts that enters once its impairment is in force.

    It counts every packet, or, with ``min_bytes`` or ``max_bytes``, only UDP datagrams with so many bytes of payload.  A link's
    housekeeping (ARP, neighbour discovery, MLD) never counts.
    """

    nth: int
    min_bytes: int | None = None
    max_bytes: int | None = None

    def __str__(self) -> str:
        bounds = (f"{sign} {bound} B" for sign, bound in (("≥", self.min_bytes), ("≤", self.max_bytes)) if bound is not None)
        return " ".join((f"#{self.nth}", *bounds))

    def counts(self, datagram: int | None) -> bool:
        """Whether a packet is one of those counted; ``datagram``: the bytes of its UDP payload, None when it is no UDP."""
        if self.min_bytes is None and self.max_bytes is None:
            return True
        if datagram is None:
            return False
        return (self.min_bytes is None or datagram >= self.min_bytes) and (self.max_bytes is None or datagram <= self.max_bytes)


class Impairment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One direction of a link, in netem's words.

    ``delay``: fixed one-way delay.  ``jitter``: each packet's delay is uniform in delay ± jitter; packets leave in order of arrival unless
    ``reordering``.  ``loss``: independent (Bernoulli) loss.  ``drop``: exactly these packets are lost too; () picks none yet, and asks for
    an executor that can.  ``rate``: bits of IP packet per second, serialised one packet after another.  ``queue``: how many packets may
    wait in the link, in delay or for the rate (tail drop beyond); None is the executor's default of 10,000.
    """

    delay: Duration | None = None
    jitter: Duration | None = None
    reordering: bool = False
    loss: Ratio | None = None
    drop: tuple[Pick, ...] | None = None
    rate: Rate | None = None
    queue: int | None = None

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        for field, kind in (("delay", Duration), ("jitter", Duration), ("loss", Ratio), ("rate", Rate)):
            value = getattr(self, field)
            if value is None:
                continue
            try:
                expect(kind, value, f"{where}, {field}")
            except TypeError as error:
                raise SpecError(f"{where}, {field}", str(error).partition(": ")[2]) from None
            if isinstance(value, Quantity) and value.count < 0:
                raise SpecError(f"{where}, {field}", f"{value} is negative; allowed is 0 or more")
        if self.loss is not None and self.loss.fraction > 1:
            raise SpecError(f"{where}, loss", f"{self.loss} is more than everything; allowed is 0% to 100%")
        if self.drop is not None and not (isinstance(self.drop, tuple) and all(isinstance(pick, Pick) for pick in self.drop)):
            raise SpecError(f"{where}, drop", f"{self.drop!r} is not a tuple of Picks, for example (Pick(3),)")
        for pick in self.drop or ():
            for what, value, lowest in (("nth", pick.nth, 1), ("min_bytes", pick.min_bytes, 0), ("max_bytes", pick.max_bytes, 0)):
                if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < lowest):
                    raise SpecError(f"{where}, drop, {what}", f"{value!r} is not a whole number of {lowest} or more")
            if pick.min_bytes is not None and pick.max_bytes is not None and pick.min_bytes > pick.max_bytes:
                raise SpecError(f"{where}, drop", f"no packet has at least {pick.min_bytes} and at most {pick.max_bytes} bytes")
        if self.rate is not None and self.rate.count == 0:
            raise SpecError(f"{where}, rate", "0bit never sends anything; to cut a link take it down, to lift the limit use None")
        if self.jitter is not None and (self.delay is None or self.jitter > self.delay):
            raise SpecError(f"{where}, jitter", f"{self.jitter} is above the delay of {self.delay}; allowed is 0 to the delay")
        if self.reordering and self.jitter is None:
            raise SpecError(f"{where}, reordering", "without jitter nothing can overtake; give a jitter")
        if self.queue is not None and (isinstance(self.queue, bool) or not isinstance(self.queue, int) or not 1 <= self.queue <= 1_000_000):
            raise SpecError(f"{where}, queue", f"{self.queue!r} is not a number of packets; allowed is 1 to 1000000")

    @property
    def is_clear(self) -> bool:
        """True when nothing at all is asked of the executor."""
        return self == Impairment()


CLEAR = Impairment()
"""An impairable link that is not impaired (yet)."""
