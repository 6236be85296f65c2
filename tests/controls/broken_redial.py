"""Agents that lose patience, or do not come back, or come back as somebody else; see ``sabotage``."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.call.capabilities import MediaConstraints
from harness.call.connection import Connection
from harness.call.dialog import Call
from harness.call.events import Address
from harness.call.media_queue import MediaQueue, Waiting
from harness.call.redial import Redial
from harness.call.session import Endpoint
from harness.units import ms


class Impatient(Endpoint):
    """Takes a second of silence for the end of the connection, and redials."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, suspected=500 * ms, disconnected=750 * ms, failed=1000 * ms), **rest)


class HoardingQueue(MediaQueue):
    """Throws nothing away."""

    def is_expired(self, entry: Waiting, now: int) -> bool:
        return False


class HoardingConnection(Connection):
    queue_class = HoardingQueue


class Hoards(Endpoint):
    connection_class = HoardingConnection


class IdleRedial(Redial):
    """Waits for somebody else to do something."""

    def due(self, now: int) -> Address | None:
        return None

    def timer(self) -> int | None:
        return self.until


class IdleCall(Call):
    redial_class = IdleRedial


class NeverRedials(Endpoint):
    call_class = IdleCall


class RedialsAnew(Endpoint):
    """Hangs up what it has lost, and calls again: another call."""

    def _redial(self, call: Call, now: int) -> None:
        to = call.redial.due(now)
        if to is not None and not call.ended:
            call.end("lost", now)
            self.initiate(to, MediaConstraints.audio_only(), now=now, server_name=call.server_name)


class ForgettingConnection(Connection):
    """Is gone without a word when it is given up."""

    def give_up(self, reason: str, now: int) -> None:
        self.abandon(reason, now)

    @property
    def was_lost(self) -> bool:
        return False


class Forgets(Endpoint):
    """Says nothing to whoever still sends on a connection that it has lost."""

    connection_class = ForgettingConnection


class ClosedDoor(Redial):
    """Lets nobody in for a call that is there already."""

    def obstacle(self) -> str | None:
        return super().obstacle() or "it has a connection"


class ClosedCall(Call):
    redial_class = ClosedDoor


class RefusesRedials(Endpoint):
    call_class = ClosedCall


class MovesAnyway(Endpoint):
    """Asked to migrate, it does: whatever the handshake is at, without asking the new path."""

    def migrate(self, call: str, path: str, now: int) -> None:
        active = self._find(call).connection.core.active_path
        active.addr = Address(path, active.addr[1], active.addr[2])


class NeverEndingRedial(Redial):
    """A window that does not close."""

    def handle_timer(self, now: int) -> None:
        pass

    def timer(self) -> int | None:
        return self._again


class StubbornCall(Call):
    redial_class = NeverEndingRedial


class NeverGivesUp(Endpoint):
    call_class = StubbornCall


ENDPOINTS: dict[str, type[Endpoint]] = {
    "impatient": Impatient,
    "hoards": Hoards,
    "never-redials": NeverRedials,
    "redials-anew": RedialsAnew,
    "forgets": Forgets,
    "refuses-redials": RefusesRedials,
    "moves-anyway": MovesAnyway,
    "never-gives-up": NeverGivesUp,
}
