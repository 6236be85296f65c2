"""What one direction of a link does to the packets that cross it.

``None`` means "not impaired in this way" and is different from 0: an executor installs nothing for ``None``, and proves the value for 0.
Both executors (kernel netem, userspace relay) run this one spec; what an executor cannot express it refuses by name before the run.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.errors import SpecError
from harness.spec.rate_trace import RateTrace
from harness.units import MOST, Duration, Quantity, Rate, Ratio, expect, many

Distribution = Literal["uniform", "normal", "pareto", "paretonormal"]
"""netem's words for how a packet's delay is spread about ``delay``; ``harness.spec.spread`` has the numbers that both executors use."""

LEAST_SPREAD: dict[Distribution, float] = {"uniform": -1.0, "normal": -3.67, "pareto": -0.821, "paretonormal": -1.797}
"""How far below ``delay`` a packet's delay may fall, in units of ``jitter``: the foot of each distribution in the tables, rounded down."""

LARGEST_MTU = 65_535
MOST_STEPS = 100_000
LONGEST_SCHEDULE = Duration(24 * 3_600 * 10**9)


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

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        for what, value, lowest in (("nth", self.nth, 1), ("min_bytes", self.min_bytes, 0), ("max_bytes", self.max_bytes, 0)):
            if value is not None and not is_whole(value, lowest):
                raise SpecError(f"{where}, {what}", f"{value!r} is not a whole number of {lowest} or more")
        if self.min_bytes is not None and self.max_bytes is not None and self.min_bytes > self.max_bytes:
            raise SpecError(where, f"no packet has at least {self.min_bytes} and at most {self.max_bytes} bytes")


class GilbertElliott(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Loss in bursts: a two-state Markov chain that takes one step per packet (Gilbert 1960, Elliott 1963; netem's ``loss gemodel``).

    ``p``: from good to bad.  ``r``: from bad to good, so that a bad spell lasts 1/r packets in the mean.  ``bad``: loss in the bad state
    (netem's 1-h), ``good``: in the good one (netem's 1-k).  It starts in the good state.  The share of packets lost in the long run is
    ``(r·good + p·bad) / (p + r)``.
    """

    p: Ratio
    r: Ratio
    bad: Ratio = Ratio(10**12)
    good: Ratio = Ratio(0)

    def __str__(self) -> str:
        return f"p {self.p} r {self.r} bad {self.bad} good {self.good}"

    @property
    def mean_loss(self) -> float:
        """The share of packets lost in the long run, 0 to 1."""
        p, r = self.p.fraction, self.r.fraction
        return (r * self.good.fraction + p * self.bad.fraction) / (p + r)

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        for field in ("p", "r", "bad", "good"):
            validate_share(getattr(self, field), f"{where}, {field}", "a probability")
        if self.p.count == 0 and self.r.count == 0:
            raise SpecError(where, "with p and r both 0% the state never changes; for independent loss use loss")


class Impairment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One direction of a link, in netem's words.

    ``delay``: fixed one-way delay.  ``jitter``: each packet's delay is spread about it by ``distribution``: uniform in delay ± jitter, or
    (normal, pareto, paretonormal) with ``jitter`` as the standard deviation; packets leave in order of arrival unless ``reordering``.
    Where the spread reaches below 0, ``truncate`` says that such a packet leaves at once.  ``reorder``: this share skips the delay, and
    takes no rate.

    ``loss``: independent (Bernoulli) loss.  ``burst``: loss in bursts, on top.  ``drop``: exactly these packets are lost too; () picks none
    yet, and asks for an executor that can.  ``duplicate``: this share enters twice, one right behind the other.  ``corrupt``: in this share
    one random bit is flipped.

    ``rate``: bits of IP packet per second, serialised one packet after another.  ``queue``: how many packets may wait in the link, in delay
    or for the rate (tail drop beyond); None is the executor's default of 10,000.  ``queue_time``: a packet that would wait for the rate
    longer than this is dropped instead.  ``mtu``: larger IP packets are dropped, silently (a path MTU black hole), or, with ``too_big``,
    with the ICMP that a router owes (RFC 792 type 3 code 4, RFC 4443 type 2), in both families.  Nothing is ever fragmented: an IPv4 packet
    without DF is dropped like the others, and nobody is told.

    ``rate_trace``: a recorded rate, in the place of ``rate``; it goes on through the steps of a schedule, and through a change to an
    impairment with the same trace.  ``schedule``: the impairment over time; this one's own fields rule from 0, when it comes into force.
    What the topology asks for comes into force when the run goes live, after the probe: until then the own fields rule, and a
    ``rate_trace`` lets everything pass.
    """

    delay: Duration | None = None
    jitter: Duration | None = None
    distribution: Distribution = "uniform"
    truncate: bool = False
    reordering: bool = False
    reorder: Ratio | None = None
    loss: Ratio | None = None
    burst: GilbertElliott | None = None
    drop: tuple[Pick, ...] | None = None
    duplicate: Ratio | None = None
    corrupt: Ratio | None = None
    rate: Rate | None = None
    queue: int | None = None
    queue_time: Duration | None = None
    mtu: int | None = None
    too_big: bool = False
    rate_trace: RateTrace | None = None
    schedule: Schedule | None = None

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        for field, kind in (("delay", Duration), ("jitter", Duration), ("rate", Rate), ("queue_time", Duration)):
            validate_quantity(kind, getattr(self, field), f"{where}, {field}")
        for field in ("loss", "duplicate", "corrupt", "reorder"):
            validate_share(getattr(self, field), f"{where}, {field}")
        if self.burst is not None:
            self.burst.validate(f"{where}, burst")
        if self.drop is not None and not (isinstance(self.drop, tuple) and all(isinstance(pick, Pick) for pick in self.drop)):
            raise SpecError(f"{where}, drop", f"{self.drop!r} is not a tuple of Picks, for example (Pick(3),)")
        for pick in self.drop or ():
            pick.validate(f"{where}, drop")
        self._validate_delay(where)
        self._validate_rate(where)
        if self.mtu is not None and not is_whole(self.mtu, 68, LARGEST_MTU):
            raise SpecError(f"{where}, mtu", f"{self.mtu!r} is not a number of bytes; allowed is 68 (RFC 791's least) to {LARGEST_MTU}")
        if self.too_big and self.mtu is None:
            raise SpecError(f"{where}, too_big", "without an mtu no packet is too big; give an mtu")
        if self.schedule is not None:
            if not isinstance(self.schedule, Schedule):
                raise SpecError(f"{where}, schedule", f"{self.schedule!r:.60} is not a Schedule, for example {_EXAMPLE}")
            self.schedule.validate(f"{where}, schedule", self)

    def _validate_delay(self, where: str) -> None:
        if self.distribution not in LEAST_SPREAD:
            raise SpecError(f"{where}, distribution", f"{self.distribution!r} is not known; allowed are {', '.join(LEAST_SPREAD)}")
        if self.distribution != "uniform" and self.jitter is None:
            raise SpecError(f"{where}, distribution", "without jitter nothing is spread; give a jitter")
        if self.jitter is not None:
            if self.delay is None:
                raise SpecError(f"{where}, jitter", f"{self.jitter} about no delay; give a delay")
            lowest = self.delay.ns + LEAST_SPREAD[self.distribution] * self.jitter.ns
            if lowest < 0 and not self.truncate:
                how = "" if self.distribution == "uniform" else f" as a {self.distribution} distribution has it"
                most = Duration(int(self.delay.ns / -LEAST_SPREAD[self.distribution]))
                raise SpecError(
                    f"{where}, jitter",
                    f"{self.jitter} is above the delay of {self.delay}{how}; allowed is 0 to {most}, or truncate=True: whoever would"
                    " leave before it came leaves at once",
                )
        if self.truncate and self.jitter is None:
            raise SpecError(f"{where}, truncate", "without jitter no delay falls below 0; give a jitter")
        if self.reordering and self.jitter is None:
            raise SpecError(f"{where}, reordering", "without jitter nothing can overtake; give a jitter")
        if self.reorder is not None and (self.delay is None or self.delay.ns == 0):
            raise SpecError(f"{where}, reorder", "without a delay there is nothing to skip; give a delay")

    def _validate_rate(self, where: str) -> None:
        if self.rate is not None and self.rate.count == 0:
            raise SpecError(f"{where}, rate", "0bit never sends anything; to cut a link take it down, to lift the limit use None")
        if self.queue is not None and not is_whole(self.queue, 1, 1_000_000):
            raise SpecError(f"{where}, queue", f"{self.queue!r} is not a number of packets; allowed is 1 to 1000000")
        if self.rate_trace is not None:
            if not isinstance(self.rate_trace, RateTrace):
                raise SpecError(f"{where}, rate_trace", f"{self.rate_trace!r:.60} is not a RateTrace; read one with mahimahi(…)")
            if self.rate is not None:
                raise SpecError(f"{where}, rate_trace", f"it is a rate already, and rate is {self.rate}; give one of the two")
            self.rate_trace.validate(f"{where}, rate_trace")
        if self.queue_time is not None and self.rate is None and self.rate_trace is None:
            raise SpecError(f"{where}, queue_time", "without a rate nothing waits for it; give a rate")

    @property
    def is_clear(self) -> bool:
        """True when nothing at all is asked of the executor."""
        return self == Impairment()

    @property
    def least_delay(self) -> int:
        """How long (ns) whoever is least delayed takes, but for the rate; the schedule is left aside."""
        if self.delay is None or self.reorder is not None:
            return 0
        spread = LEAST_SPREAD[self.distribution] * self.jitter.ns if self.jitter is not None else 0
        return max(int(self.delay.ns + spread), 0)

    @property
    def at_start(self) -> Impairment:
        """What rules from 0 on: this impairment without its schedule."""
        return self if self.schedule is None else msgspec.structs.replace(self, schedule=None)

    def at_step(self, number: int) -> Impairment:
        """What rules from step ``number`` of the schedule on (1 is the first, -1 the last, 0 the start), the ``rate_trace`` with it."""
        if number == 0 or self.schedule is None:
            return self.at_start
        impairment = self.schedule.steps[number - 1 if number > 0 else number].impairment
        return impairment if self.rate_trace is None else msgspec.structs.replace(impairment, rate_trace=self.rate_trace)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``at`` on (since its schedule came into force) ``impairment`` rules, all of it: what it does not name is not impaired."""

    at: Duration
    impairment: Impairment

    def validate(self, where: str, whole: Impairment) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed; ``whole`` is whose schedule it is in."""
        if not isinstance(self.impairment, Impairment):
            raise SpecError(f"{where}, impairment", f"{self.impairment!r:.60} is not an Impairment")
        for field in ("schedule", "rate_trace"):
            if getattr(self.impairment, field) is not None:
                raise SpecError(f"{where}, {field}", f"a step has no {field} of its own; give it to the impairment whose schedule it is")
        if whole.rate_trace is not None and self.impairment.rate is not None:
            raise SpecError(f"{where}, rate", f"the rate_trace goes on through the steps, and rate is {self.impairment.rate}; leave it out")
        inherits = msgspec.structs.replace(self.impairment, rate_trace=whole.rate_trace)
        inherits.validate(where)


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Steps in the order of their times.  ``every``: after so long it begins again, with what rules from 0.

    Packets in the link are spared by a step.  A step has no schedule and no ``rate_trace`` of its own; its ``drop`` counts from the step.
    """

    steps: tuple[Step, ...]
    every: Duration | None = None

    def __str__(self) -> str:
        steps = f"{many(len(self.steps), 'step')}, the last at {self.steps[-1].at}" if self.steps else "no steps"
        return steps + (f", every {self.every}" if self.every is not None else "")

    def validate(self, where: str, whole: Impairment) -> None:
        """Raise SpecError that names ``where``, the step, the field, the value and what is allowed; ``whole`` is whose schedule it is."""
        if not isinstance(self.steps, tuple) or not all(isinstance(step, Step) for step in self.steps):
            raise SpecError(f"{where}, steps", f"{self.steps!r:.60} is not a tuple of Steps, for example {_EXAMPLE}")
        if not self.steps:
            raise SpecError(f"{where}, steps", "it is empty; for an impairment that stays as it is give no schedule")
        if len(self.steps) > MOST_STEPS:
            raise SpecError(f"{where}, steps", f"there are {len(self.steps)}; allowed is up to {MOST_STEPS}")
        before: Duration | None = None
        for number, step in enumerate(self.steps, 1):
            validate_quantity(Duration, step.at, f"{where}, step {number}, at", optional=False)
            place = f"{where}, step {number} (at {step.at})"
            if step.at.ns == 0:
                raise SpecError(f"{place}, at", "what rules from 0 are the impairment's own fields; allowed is above 0")
            if before is not None and step.at <= before:
                raise SpecError(f"{place}, at", f"it is not after the step before, at {before}; times ascend")
            before = step.at
            step.validate(place, whole)
        assert before is not None
        if before > LONGEST_SCHEDULE:
            raise SpecError(f"{where}, step {len(self.steps)} (at {before}), at", f"allowed is up to {LONGEST_SCHEDULE} (24 hours)")
        validate_quantity(Duration, self.every, f"{where}, every")
        if self.every is not None and self.every <= before:
            raise SpecError(f"{where}, every", f"{self.every} is not beyond the last step, at {before}, which would never come")


_EXAMPLE = "Schedule((Step(15 * s, Impairment(delay=60 * ms)),))"

CLEAR = Impairment()
"""An impairable link that is not impaired (yet)."""


def is_whole(value: object, least: int, most: int | None = None) -> bool:
    """Whether ``value`` is an int (not a bool) from ``least`` to ``most``."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)


def validate_quantity(kind: type[Quantity], value: object, where: str, *, optional: bool = True) -> None:
    """Raise SpecError unless ``value`` is a ``kind`` of 0 or more, or, where it is ``optional``, None."""
    if value is None and optional:
        return
    try:
        quantity = expect(kind, value, where)
    except TypeError as error:
        raise SpecError(where, str(error).partition(": ")[2]) from None
    if quantity.count < 0:
        raise SpecError(where, f"{value} is negative; allowed is 0 or more")
    if quantity.count >= MOST:
        raise SpecError(where, f"a {kind.__name__.lower()} of 2^63 or more of its smallest unit is none")


def validate_share(value: object, where: str, what: str = "a share") -> None:
    """Raise SpecError unless ``value`` is None or a Ratio from 0 to 100 %."""
    validate_quantity(Ratio, value, where)
    if isinstance(value, Ratio) and value.fraction > 1:
        raise SpecError(where, f"{value} is more than everything; allowed is 0% to 100%")
