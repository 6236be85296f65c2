"""Agents that are broken in exactly one way: ``python -m tests.controls.sabotage NAME``.

Each is the reference agent with one method replaced.  A scenario that such an agent can pass would be worthless.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, TextIO

import msgspec

from harness.agent import messages
from harness.agent.driver import Driver
from harness.agent.process import run
from harness.call.capabilities import MediaConstraints
from harness.call.connection import Connection
from harness.call.dialog import Call
from harness.call.events import Address, ConnectionFailed, Event
from harness.call.media_queue import Waiting
from harness.call.session import Endpoint
from harness.call.signaling import ConnectionConfirm, ConnectionReady, Message
from tests.controls import (
    broken_calls,
    broken_defences,
    broken_endurance,
    broken_limits,
    broken_media,
    broken_paths,
    broken_redial,
    broken_setup,
)


class StayingConnection(Connection):
    """A callee that takes every packet to come from where the first one came from, so it never answers to anywhere else."""

    first: Address | None = None

    def source_of(self, address: Address) -> Address:
        self.first = self.first or address
        return self.first


class NeverFollows(Endpoint):
    connection_class = StayingConnection


class FollowsOnceConnection(Connection):
    """A callee that follows its peer to one new address, and to no other."""

    known: tuple[Address, ...] = ()

    def source_of(self, address: Address) -> Address:
        if address not in self.known and len(self.known) < 2:
            self.known = (*self.known, address)
        return address if address in self.known else self.known[-1]


class FollowsOnce(Endpoint):
    connection_class = FollowsOnceConnection


class BurningConnection(Connection):
    """A callee that takes another connection id each time its peer moves, and never gives the old one back."""

    def _watch_path(self, now: int) -> None:
        told = len(self.changes)
        super()._watch_path(now)
        if any(change.kind == "peer_moved" for change in self.changes[told:]):
            self.core.change_connection_id()
            self.core._retire_later.clear()


class BurnsIds(Endpoint):
    connection_class = BurningConnection


class OneMoveConnection(Connection):
    """A caller that says yes to a second move while one is under way, and goes on with the first."""

    def begin_migration(self, path: str, now: int) -> None:
        if self._probe is None:
            super().begin_migration(path, now)


class OneMoveAtATime(Endpoint):
    connection_class = OneMoveConnection


class ProbesOnce(Endpoint):
    """A PATH_CHALLENGE that gets no answer is not repeated."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, probe_retry=config.probe_give_up), **rest)


class SilentConnection(Connection):
    """A caller that sends no PING, whatever it was told."""

    def keepalive_after(self) -> int | None:
        return None


class NoKeepalive(Endpoint):
    """Neither PING nor RTCP: once muted it sends only acknowledgements."""

    connection_class = SilentConnection

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, rtcp=None), **rest)


class NeverAdapts(Endpoint):
    """Sends all its video, whatever becomes of it."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, adapt=False), **rest)


class QueueingConnection(Connection):
    """Sends video for as long as its window has room, however long packets queue on the way."""

    def yields(self, entry: Waiting, now: int) -> bool:
        return False


class NeverYields(Endpoint):
    connection_class = QueueingConnection


class Redials(Endpoint):
    """Asked to migrate, it hangs up and calls again over the new path: a new connection, a new handshake."""

    def migrate(self, call: str, path: str, now: int) -> None:
        address = self.stats(call).address._replace(path=path)
        self.end(call, "moving", now)
        self.initiate(address, MediaConstraints(audio=True), now=now, server_name="bob")


class UnderstatingCall(Call):
    """A callee that confirms another bandwidth than it has and uses."""

    def say(self, message: Message, now: int, connection: Connection | None = None) -> None:
        if isinstance(message, ConnectionConfirm):
            message = msgspec.structs.replace(message, max_bandwidth_kbps=64)
        super().say(message, now, connection)


class Understates(Endpoint):
    call_class = UnderstatingCall


class HastyCall(Call):
    """A caller whose ``connection_ready`` comes only once it has sent its first report."""

    withheld: Message | None = None

    def say(self, message: Message, now: int, connection: Connection | None = None) -> None:
        if isinstance(message, ConnectionReady):
            self.withheld = message
        else:
            super().say(message, now, connection)

    def handle_timer(self, now: int) -> None:
        super().handle_timer(now)
        if self.withheld is not None and self.connection.sent.get("rtcp"):
            super().say(self.withheld, now)
            self.withheld = None


class Hasty(Endpoint):
    call_class = HastyCall


class LeaksSockets(Driver):
    """Leaves a socket open with every call that it ends or refuses."""

    leaked: tuple[socket.socket, ...] = ()

    def end(self, request: messages.End) -> messages.Done:
        self.leaked += (socket.socket(socket.AF_INET, socket.SOCK_DGRAM),)
        return super().end(request)

    def reject(self, request: messages.Reject) -> messages.Done:
        self.leaked += (socket.socket(socket.AF_INET, socket.SOCK_DGRAM),)
        return super().reject(request)


class LeaksFiles(Driver):
    """Leaves a file open with every call that fails."""

    leaked: tuple[TextIO, ...] = ()

    def happened(self, event: Event) -> None:
        super().happened(event)
        if isinstance(event, ConnectionFailed):
            self.leaked += (open("/dev/null"),)  # noqa: SIM115 - that is what is wrong with it


ENDPOINTS: dict[str, type[Endpoint]] = {
    "never-follows": NeverFollows,
    "never-adapts": NeverAdapts,
    "never-yields": NeverYields,
    "follows-once": FollowsOnce,
    "burns-ids": BurnsIds,
    "one-move-at-a-time": OneMoveAtATime,
    "probes-once": ProbesOnce,
    "no-keepalive": NoKeepalive,
    "redials": Redials,
    "understates": Understates,
    "hasty": Hasty,
    **broken_calls.ENDPOINTS,
    **broken_defences.ENDPOINTS,
    **broken_media.ENDPOINTS,
    **broken_limits.ENDPOINTS,
    **broken_paths.ENDPOINTS,
    **broken_redial.ENDPOINTS,
    **broken_setup.ENDPOINTS,
}
DRIVERS: dict[str, type[Driver]] = {
    "leaks-sockets": LeaksSockets,
    "leaks-files": LeaksFiles,
    **broken_calls.DRIVERS,
    **broken_endurance.DRIVERS,
    **broken_media.DRIVERS,
    **broken_setup.DRIVERS,
}


def main(name: str) -> int:
    return run(
        [],
        endpoint_factory=ENDPOINTS.get(name, Endpoint),
        driver_factory=DRIVERS.get(name, Driver),
        agent=f"sabotaged: {name}",
    )


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {*ENDPOINTS, *DRIVERS}:
        sys.exit(f"usage: python -m tests.controls.sabotage {'|'.join([*ENDPOINTS, *DRIVERS])}")
    sys.exit(main(sys.argv[1]))
