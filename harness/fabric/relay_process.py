"""The relay's loop: reads Ethernet frames from one end's TAP, asks the direction's shaper, writes them to the other end's when due.

``python -m harness.fabric.relay_process CONTROL_FD``.  One thread, epoll and one timerfd; all the shapers' next departures are in one
agenda, a heap in which an entry that its direction no longer vouches for is stale.  Ends on ``shutdown`` or when the control socket closes.

It keeps its own lateness: a *stall* is a time in which it ran late by more than 1 ms, so that whatever passed through then says nothing
about the link; it ends when what it made late has been handed over.  While packets pass, a tick every 2 ms makes sure that a stall of 3 ms
is noticed though no departure is due in it.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import sys
import time
from array import array
from heapq import heappop, heappush
from time import monotonic_ns
from typing import Any

from harness.errors import EnvironmentUnfit, HarnessError, SpecError
from harness.fabric.base import rulings_of
from harness.fabric.ethernet import HEADER, is_chatter
from harness.fabric.relay import (
    Changed,
    Counted,
    Cut,
    RelayStats,
    decode_impairment,
    decode_link,
)
from harness.fabric.relay_nats import RelayNats
from harness.fabric.relay_way import NEVER, TOO_BIG, Line, Way
from harness.fabric.scheduling import prefer_this_process
from harness.fabric.seqpacket import Answerer
from harness.spec.link import LEAST_SPREAD
from harness.spec.ramp import ramp
from harness.spec.spread import table
from harness.spec.topology import from_text, to_plain
from harness.timer import Timer
from harness.units import Duration

BATCH = 64  # frames read from one TAP before anything else gets its turn: about 0.5 ms
DRAIN = 2_000  # frames at most that are let in before a change takes effect: those were sent before it
LATE = 1_000_000  # ns
TICK = 2_000_000  # ns
WAKING = 50_000  # ns that waking up takes (measured: p50 of 48 and 55 µs): a frame came so much before it is seen
EARLY = 30_000  # ns that the timer is set before a departure: all of WAKING would be waited out awake half of the time, for 1 % of a core
LONE = 300_000  # ns between frames above which one is read at a time: to ask for a second costs as much as the first
ACTIVE = 100_000_000  # ns since a frame last came or left in which the tick runs
STALLS_KEPT = 20_000
STALLS_ANSWERED = 1_000
_GONE = (errno.EBADFD, errno.ENODEV, errno.EBADF)  # the TAP's namespace is being torn down


class Lateness:
    """The stalls so far, merged where they touch, as numbers: on a busy machine there are thousands in an hour."""

    def __init__(self) -> None:
        self._starts = array("q")
        self._ends = array("q")
        self.unlisted = 0
        self.worst = 0

    def note(self, start: int, end: int, late: int) -> None:
        """From ``start`` to ``end`` the loop ran late, in the end by ``late`` ns."""
        self.worst = max(self.worst, late)
        if self._ends and start <= self._ends[-1] + LATE:
            self._starts[-1] = min(start, self._starts[-1])
            self._ends[-1] = end
        elif len(self._ends) >= STALLS_KEPT:
            self.unlisted += 1
        else:
            self._starts.append(start)
            self._ends.append(end)

    def since(self, at: int, most: int) -> tuple[list[tuple[int, int]], bool]:
        """The first ``most`` of those that ended after ``at``, and whether there are more."""
        first = next((place for place, end in enumerate(self._ends) if end > at), len(self._ends))
        places = range(first, min(first + most, len(self._ends)))
        return [(self._starts[place], self._ends[place]) for place in places], len(self._ends) - first > most


class Relay:
    """The loop and the answers."""

    def __init__(self, control_fd: int, scheduling: str) -> None:
        self._lines: dict[str, Line] = {}
        self._ways: list[Way] = []
        self._by_fd: dict[int, Way] = {}
        self._nats = RelayNats()
        self._agenda: list[tuple[int, int]] = []
        self._lateness = Lateness()
        self._frames = 0
        self._last_passage = 0
        self._done = False
        self._scheduling = scheduling
        self._poll = select.epoll()
        self._timer = Timer()
        self._armed = NEVER
        self._control = Answerer(control_fd, self._answer)
        self._poll.register(self._timer.fileno(), select.EPOLLIN)
        self._poll.register(self._control.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Serve until told to stop or left alone.

        A frame that woke the loop came one waking before it was seen, so it is let in as of then (not before the loop fell asleep).  The
        timer is set a little early, and what is left until the departure is waited out awake, unless frames are waiting.
        """
        timer_fd, control_fd, by_fd = self._timer.fileno(), self._control.fileno(), self._by_fd
        poll = self._poll.poll
        asleep = monotonic_ns()
        while not self._done:
            self._arm(asleep)
            events = poll()
            awake = monotonic_ns()
            if awake - self._armed > LATE:
                # It slept past its alarm.  Nothing is known of it since it fell asleep.
                self._lateness.note(asleep, awake, awake - self._armed)
            asked, idle = False, True
            for fd, _ in events:
                if fd in by_fd:
                    idle = False
                    way = by_fd[fd]
                    self._take(way, 1 if awake - way.last_frame > LONE else BATCH, max(asleep, awake - WAKING))
                elif fd == timer_fd:
                    self._armed = NEVER
                elif fd == control_fd:
                    asked = True
            self._serve(EARLY if idle else 0)
            if asked and not self._control.serve():
                return
            asleep = monotonic_ns()
            if asleep - awake > LATE:
                self._lateness.note(awake, asleep, asleep - awake)

    def _arm(self, now: int) -> None:
        at = self._agenda[0][0] - EARLY if self._agenda else NEVER
        if now - self._last_passage < ACTIVE:
            at = min(at, now + TICK)
        if at < self._armed:
            self._armed = at
            self._timer.arm(max(at, 1))
        elif self._armed == NEVER:
            self._timer.arm(0)  # nothing to come: a firing already seen must not wake it again

    def _take(self, way: Way, most: int, now: int) -> None:
        """Let in what waits at the near end, up to ``most`` frames, as of ``now``."""
        fd, size, push, read = way.read_fd, way.frame_size, way.shaper.push, os.read
        taken, translated = 0, way.leaving is not None
        try:
            while taken < most:
                frame = read(fd, size)
                taken += 1
                if translated:
                    let_out = way.leave(frame, now)
                    if let_out is None:
                        continue
                    frame = let_out
                if push(frame, len(frame) - HEADER, now, is_chatter(frame)) is TOO_BIG:
                    way.refuse(frame, now)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _GONE:
                self._poll.unregister(fd)
                del self._by_fd[fd]
            elif error.errno != errno.ENETDOWN:  # which a packet socket tells once when its interface has gone down
                raise
        if taken:
            self._frames += taken
            self._last_passage = way.last_frame = now
            self._await_departure(way)

    def _await_departure(self, way: Way) -> None:
        """Put the next departure of ``way`` into the agenda if it is earlier than the one that is there."""
        following = way.shaper.next_departure
        if following is not None and following < way.vouched:
            way.vouched = following
            heappush(self._agenda, (following, way.number))

    def _give(self, way: Way, frames: list[bytes], now: int) -> None:
        """Hand over what has crossed the link; what the NAT at its end sends back crosses it the other way."""
        if way.entering is not None:
            frames, answers = way.enter(frames, now)
            if answers:
                back = self._ways[way.number ^ 1]
                for answer in answers:
                    back.shaper.push(answer, len(answer) - HEADER, now)
                self._await_departure(back)
        way.write(frames)

    def _serve(self, ahead: int = 0) -> None:
        """Write out everything that is due, and what will be within ``ahead`` ns when it is."""
        agenda = self._agenda
        now = monotonic_ns()
        while agenda and agenda[0][0] <= now + ahead:
            due, number = heappop(agenda)
            if number < 0:
                self._step(self._ways[~number], due)
                now = monotonic_ns()
                continue
            way = self._ways[number]
            if way.vouched != due:
                continue
            while now < due:
                now = monotonic_ns()
            frames, late = way.shaper.release(now), now - due
            self._give(way, frames, now)
            self._vouch(way)
            self._last_passage = now = monotonic_ns()
            if late > LATE:
                self._lateness.note(due, now, late)
                way.late += len(frames)

    def _step(self, way: Way, due: int) -> None:
        """Take a step of a schedule at its time: what was sent before it is let in first."""
        if way.timetable.next != due:
            return  # another schedule has come into force
        while (now := monotonic_ns()) < due:
            pass
        if now - due > LATE:
            self._lateness.note(due, now, now - due)
        if way.read_fd in self._by_fd:
            self._take(way, DRAIN, now)
        way.step(monotonic_ns())
        self._await_step(way)

    def _await_step(self, way: Way) -> None:
        """Put the schedule's next step into the agenda; it is told from a departure by its number, which is negative."""
        if way.timetable.next is not None:
            heappush(self._agenda, (way.timetable.next, ~way.number))

    def _vouch(self, way: Way) -> None:
        following = way.shaper.next_departure
        way.vouched = NEVER if following is None else following
        if following is not None:
            heappush(self._agenda, (following, way.number))

    # -- answers ---------------------------------------------------------------------------------------------------------------------------

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("op"):
            case "start":
                result: Any = self._start(message.get("links"))
            case "impair":
                result = self._impair(message)
            case "cut" | "uncut" as op:
                result = self._cut(self._line(message), op == "cut")
            case "counters":
                result = self._counted()
            case "impairments":
                result = {name: {d: way.shaper.impairment for d, way in line.ways.items()} for name, line in self._lines.items()}
            case "hold":
                result = self._hold()
            case "nat":
                return self._nats.answer(message)
            case "restart":
                result = self._restart()
            case "rulings":
                result = {name: {d: rulings_of(way.timetable) for d, way in line.ways.items()} for name, line in self._lines.items()}
            case "stats":
                result = self._stats(int(message.get("since", 0)))
            case "shutdown":
                self._done = True
                result = self._counted()
            case op:
                known = "start, impair, cut, uncut, counters, impairments, hold, nat, restart, rulings, stats, shutdown"
                raise HarnessError(f"there is no request {op!r}; there are {known}")
        return dict(to_plain(result))

    def _start(self, raw: Any) -> Counted:
        if self._lines:
            raise HarnessError("it was started already")
        if not isinstance(raw, list):
            raise HarnessError(f"start: links is {raw!r}; a list is meant")
        links = [decode_link(link) for link in raw]
        for link in links:
            if link.name in self._lines:
                raise SpecError(f"link {link.name}", "two links have this name")
            line = Line(link, len(self._ways))
            self._lines[link.name] = line
            self._ways += line.ways.values()
            for nat in line.nats:
                self._nats.add(nat)
            for way in line.ways.values():
                try:
                    os.set_blocking(way.read_fd, False)
                    self._poll.register(way.read_fd, select.EPOLLIN)
                except OSError as error:
                    raise EnvironmentUnfit(f"link {link.name}: descriptor {way.read_fd} was not inherited ({error.strerror})") from None
                self._by_fd[way.read_fd] = way
        for distribution in LEAST_SPREAD:
            table(distribution)  # 6 ms in all, which would be a stall at a change
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the middle of traffic is a stall, and the loop makes no cycles
        return self._counted()

    def _line(self, message: dict[str, Any]) -> Line:
        name = message.get("link")
        if not isinstance(name, str) or name not in self._lines:
            raise SpecError(f"link {name}", f"the relay has no such link; it has {', '.join(self._lines) or 'none'}")
        return self._lines[name]

    def _impair(self, message: dict[str, Any]) -> Changed:
        line = self._line(message)
        direction: Any = message.get("direction")
        if direction not in line.ways:
            raise SpecError(f"link {line.name}, direction", f"{direction!r} is not one; there are {', '.join(line.ways)}")
        way = line.ways[direction]
        where = f"link {line.name}, {direction}"
        impairment, over = decode_impairment(message.get("impairment"), where), message.get("over")
        self._settle(way)
        if over is not None:
            impairment = ramp(way.timetable.in_force, impairment, from_text(Duration, over), where)
        at, before, was = monotonic_ns(), way.counters, way.timetable.asked
        way.change(impairment, at)
        self._await_step(way)
        return Changed(at, line.name, direction, was, impairment, before)

    def _cut(self, line: Line, cut: bool) -> Cut:
        for way in line.ways.values():
            self._settle(way)
        at, before = monotonic_ns(), line.counters
        for way in line.ways.values():
            if cut:
                way.shaper.cut(at)
            else:
                way.shaper.uncut()
            self._give(way, way.shaper.release(at), at)
            self._vouch(way)
        return Cut(at, line.name, cut, before)

    def _settle(self, way: Way) -> None:
        """Let in what was sent before now, and out what is due, so that a change parts before from after."""
        if way.read_fd in self._by_fd:
            self._take(way, DRAIN, monotonic_ns())
        self._serve()

    def _counted(self) -> Counted:
        for way in self._ways:
            self._settle(way)
        return Counted(monotonic_ns(), {name: line.counters for name, line in self._lines.items()})

    def _hold(self) -> dict[str, int]:
        now = monotonic_ns()
        for way in self._ways:
            way.hold(now)
        return {"at": now}

    def _restart(self) -> Counted:
        last, now = self._counted(), monotonic_ns()
        for way in self._ways:
            way.restart(now)
            self._await_step(way)
        return last

    def _stats(self, since: int) -> RelayStats:
        stalls, more = self._lateness.since(since, STALLS_ANSWERED)
        return RelayStats(
            at=monotonic_ns(),
            stalls=stalls,
            more=more,
            unlisted=self._lateness.unlisted,
            frames=self._frames,
            cpu_ns=time.process_time_ns(),
            worst_late_ns=self._lateness.worst,
            scheduling=self._scheduling,
        )


def main(arguments: list[str]) -> int:
    """Run on the control socket whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal reaches everyone; the keeper decides when links end
    relay = Relay(int(arguments[0]), prefer_this_process())
    relay.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
