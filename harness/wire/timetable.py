"""Which impairment rules one direction of a link, and from when: its schedule, step by step, and what really ruled.

It is *held* at first: the impairment's own fields rule, no step comes, and a rate trace lets everything pass.  ``go_live`` begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from harness.spec.link import Impairment

KEPT = 20_000
"""How many changes are kept; of more, the first."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """From ``at`` on (ns) ``impairment`` ruled; ``received``: how many packets had entered before, which it does not touch.

    ``step``: of the schedule (0: its start, or no schedule), in its ``round`` (0 is the first); ``due``: when it should have come.
    """

    at: int
    due: int
    round: int
    step: int
    impairment: Impairment
    received: int


class Timetable:
    """Takes the time from outside; who drives it calls ``step`` when ``next`` has come, and puts in force what each call answers.

    ``asked``: the impairment as asked for, schedule and all.  ``in_force``: what rules now.  ``rulings``: since it went live, in order;
    ``unlisted``: how many more there were than are kept.
    """

    def __init__(self, impairment: Impairment) -> None:
        self.asked = impairment
        self.hold()

    def hold(self) -> Impairment:
        """Go back to the beginning and stay there."""
        self.next: int | None = None
        self.rulings: list[Ruling] = []
        self.unlisted = 0
        self.in_force = msgspec.structs.replace(self.asked.at_start, rate_trace=None)
        return self.in_force

    def go_live(self, now: int, received: int) -> Impairment:
        """Begin, from the beginning."""
        self.hold()
        return self.change(self.asked, now, received)

    def change(self, impairment: Impairment, now: int, received: int) -> Impairment:
        """Let ``impairment`` rule from ``now`` on, in the place of what was asked before."""
        self.asked = impairment
        self._since, self._round, self._step = now, 0, 0
        return self._rule(now, now, received)

    def step(self, now: int, received: int) -> Impairment:
        """Take the step that is due."""
        assert self.next is not None
        due = self.next
        schedule = self.asked.schedule
        assert schedule is not None
        if self._step < len(schedule.steps):
            self._step += 1
        else:
            self._round, self._step = self._round + 1, 0
        return self._rule(due, now, received)

    def _rule(self, due: int, now: int, received: int) -> Impairment:
        self.in_force = self.asked.at_step(self._step)
        if len(self.rulings) < KEPT:
            self.rulings.append(Ruling(now, due, self._round, self._step, self.in_force, received))
        else:
            self.unlisted += 1
        self.next = self._next()
        return self.in_force

    def _next(self) -> int | None:
        schedule = self.asked.schedule
        if schedule is None:
            return None
        begins = self._since + self._round * (schedule.every.ns if schedule.every is not None else 0)
        if self._step < len(schedule.steps):
            return begins + schedule.steps[self._step].at.ns
        return None if schedule.every is None else begins + schedule.every.ns
