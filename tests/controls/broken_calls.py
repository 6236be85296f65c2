"""Agents that let one call suffer from another, or do not know what a call on hold is: see ``sabotage``."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Any

import msgspec

from harness.agent.driver import Driver
from harness.call.dialog import Call
from harness.call.errors import CallNotFound
from harness.call.events import CallHeld, CallResumed, Event, StateChanged, Transmit
from harness.call.session import Endpoint
from harness.call.states import State, require
from harness.units import s


class TakesOneCall(Endpoint):
    """Ends its other calls when it takes one, as a telephone without call waiting would."""

    def accept(self, call: str, now: int) -> None:
        for other in [other for other in self._calls if other != call]:
            self.end(other, "another call", now)
        super().accept(call, now)


class HangsUpTheWrongCall(Endpoint):
    """Asked to refuse a call, it ends the oldest one."""

    def reject(self, call: str, reason: str, now: int) -> None:
        self.end(next(iter(self._calls)), reason, now)


class FallsTogether(Endpoint):
    """Ends every call when one is over."""

    def events(self) -> list[Event]:
        found = super().events()
        for event in found:
            if isinstance(event, StateChanged) and event.new is State.IDLE:
                for other in list(self._calls):
                    with contextlib.suppress(CallNotFound):
                        self.end(other, "another call is over", event.at)
        return found


class HeldInName(Call):
    """On hold, it may still send."""

    def require_flowing(self) -> None:
        require(self.name, self.state, State.CONNECTED, operation="send_rtp")


class HoldsInName(Endpoint):
    call_class = HeldInName


class NeverResumes(Driver):
    """Its sources stay silent when a hold is over: it takes the call to be held by the other side as well."""

    def happened(self, event: Event) -> None:
        super().happened(replace(event, flows=False) if isinstance(event, CallResumed) else event)


class GoesOnSending(Driver):
    """Its sources know no pause."""

    def happened(self, event: Event) -> None:
        super().happened(event)
        if isinstance(event, CallHeld):
            self.studio.go_on(event.call, event.at)


class NeverNotices(Endpoint):
    """A call whose peer is silent goes on for an hour."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, failed=3600 * s, idle_timeout=3600 * s), **rest)


class StallsTogether(Endpoint):
    """One queue for all calls: while something waits for one of them, nothing is sent to the others."""

    stuck: bytes | None = None

    def transmit(self, now: int) -> list[Transmit]:
        everything = self._lines
        self._lines = [line for line in everything if line.connection.odcid == self.stuck] or everything
        try:
            out = super().transmit(now)
        finally:
            self._lines = everything
        self.stuck = next((line.connection.odcid for line in everything if line.connection.queue), None)
        return out


class OneCallWide(Driver):
    """Sends at most as many datagrams a second as one call with video needs; the rest is never sent."""

    budget = 0.0
    filled_at = 0

    def send(self, transmit: Transmit) -> None:
        now = time.monotonic_ns()
        self.budget = min(20.0, self.budget + (now - self.filled_at) * 160e-9)
        self.filled_at = now
        if self.budget >= 1:
            self.budget -= 1
            super().send(transmit)
        elif transmit.media:
            self.studio.departed(transmit.media, transmit.address, udp=0, sent=None, done=None)


ENDPOINTS: dict[str, type[Endpoint]] = {
    "takes-one-call": TakesOneCall,
    "hangs-up-the-wrong-call": HangsUpTheWrongCall,
    "falls-together": FallsTogether,
    "holds-in-name": HoldsInName,
    "never-notices": NeverNotices,
    "stalls-together": StallsTogether,
}
DRIVERS: dict[str, type[Driver]] = {"one-call-wide": OneCallWide, "holds-in-name": GoesOnSending, "never-resumes": NeverResumes}
