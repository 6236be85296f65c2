"""Agents that are broken in how a call comes up, is refused, or is given up."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.agent import messages
from harness.agent.driver import Driver
from harness.call.capabilities import NOTHING, MediaConstraints
from harness.call.dialog import Call
from harness.call.errors import CallNotFound, InvalidState, TransportError
from harness.call.events import Event, MediaExpired
from harness.call.session import Endpoint
from harness.call.states import State
from harness.units import s


class Patient(Endpoint):
    """Waits a minute for an answer, whatever it was told."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, dial_timeout=60 * s), **rest)


class SilentlyEndedCall(Call):
    """Takes its own timeout for a hang-up."""

    def break_off(self, reason: str, error: str, now: int) -> None:
        self.end(reason, now)


class EndsSilently(Endpoint):
    call_class = SilentlyEndedCall


class UndemandingCall(Call):
    """Wants nothing of its peer, whatever it was told."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{**settings, "wanted": NOTHING})


class AcceptsAnything(Endpoint):
    call_class = UndemandingCall


class Insists(Endpoint):
    """Wants all that it offers."""

    def initiate(self, to: Any, constraints: MediaConstraints, *, optional: MediaConstraints = NOTHING, **rest: Any) -> str:
        return super().initiate(to, constraints | optional, **rest)


class HoldsAnything(Driver):
    """Says that it holds a call which cannot be held."""

    def hold(self, request: messages.Hold) -> messages.Done:
        try:
            return super().hold(request)
        except InvalidState:
            return messages.Done()


class Forgives(Driver):
    """Is content to end what is over."""

    def end(self, request: messages.End) -> messages.Done:
        try:
            return super().end(request)
        except CallNotFound:
            return messages.Done()


class HalfBuilds(Driver):
    """Keeps an entry for a call that could not be made."""

    def dial(self, request: messages.Dial) -> messages.Dialled:
        try:
            return super().dial(request)
        except TransportError:
            self.calls["half-built"] = State.CALLING
            raise


class DropsInSilence(Driver):
    """Says nothing of what its full queue has pushed out."""

    def happened(self, event: Event) -> None:
        if not (isinstance(event, MediaExpired) and event.why == "queue full"):
            super().happened(event)


ENDPOINTS: dict[str, type[Endpoint]] = {
    "patient": Patient,
    "ends-silently": EndsSilently,
    "accepts-anything": AcceptsAnything,
    "insists": Insists,
}
DRIVERS: dict[str, type[Driver]] = {
    "holds-anything": HoldsAnything,
    "forgives": Forgives,
    "half-builds": HalfBuilds,
    "drops-in-silence": DropsInSilence,
}
