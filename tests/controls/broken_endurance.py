"""Agents that a minute's call does not catch: they keep something of everything that happens; see ``sabotage``."""

from __future__ import annotations

import socket

from harness.agent import messages
from harness.agent.driver import Driver
from harness.call.events import Event, PathEvent

KEPT = 1 << 20


class Hoards(Driver):
    """Keeps a little of every path that its peer ever had."""

    hoard: tuple[bytes, ...] = ()

    def happened(self, event: Event) -> None:
        super().happened(event)
        if isinstance(event, PathEvent) and event.kind == "peer_moved":
            self.hoard += (b"\x01" * KEPT,)


class LeavesSockets(Driver):
    """Leaves a socket open with every migration."""

    left: tuple[socket.socket, ...] = ()

    def migrate(self, request: messages.Migrate) -> messages.Done:
        self.left += (socket.socket(socket.AF_INET, socket.SOCK_DGRAM),)
        return super().migrate(request)


DRIVERS: dict[str, type[Driver]] = {"hoards": Hoards, "leaves-sockets": LeavesSockets}
