"""Stacks that die, make another connection instead of moving, or lack what a scenario needs (rows 6, 7 and 10)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import replace
from typing import Any, ClassVar

from harness.agent import messages
from harness.agent.driver import BadRequest, Driver
from harness.call.connection import Connection
from harness.call.events import Address, Event, PathEvent
from harness.call.quic import Core
from harness.call.session import Endpoint
from tests.cheats.seams import Cheating


class Segfaults(Cheating):
    """Dies of SIGSEGV."""

    def strike(self) -> None:
        ctypes.string_at(0)


class Aborts(Cheating):
    """Dies of SIGABRT."""

    def strike(self) -> None:
        os.abort()


class Exits(Cheating):
    """Ends without a word, as if nothing were wrong."""

    def strike(self) -> None:
        os._exit(0)


class ExitsRed(Cheating):
    """Ends with a code of its own."""

    def strike(self) -> None:
        os._exit(3)


class Raises(Cheating):
    """Dies of an exception of its own."""

    def strike(self) -> None:
        raise RuntimeError("the path has changed, and nobody had thought of that")


class SameIdCore(Core):
    """A client connection whose source connection id is the one that the process used before."""

    used: ClassVar[bytes] = b""

    def __init__(self, configuration: Any, **rest: Any) -> None:
        super().__init__(configuration, **rest)
        if not self._is_client:
            return
        first = self._host_cids[0]
        SameIdCore.used = first.cid = SameIdCore.used or first.cid
        self.host_cid = self._local_initial_source_connection_id = first.cid


class SameIdConnection(Connection):
    core_class = SameIdCore


class SecondConnection(Endpoint):
    """Asked to migrate, it makes a second connection under the first one's source connection id, and says that it has moved."""

    connection_class = SameIdConnection

    def migrate(self, call: str, path: str, now: int) -> None:
        found = self._find(call)
        found.redial.ask(found.connection.address._replace(path=path), now)
        self._redial(found, now)

    def receive(self, data: bytes, address: Address, *, now: int, arrived: int) -> None:
        for line in self._lines:  # both have the same id: whose a packet is, the socket tells
            if line.connection.address.path == address.path:
                self._own(line, [SameIdCore.used])
        super().receive(data, address, now=now, arrived=arrived)

    def events(self) -> list[Event]:
        return [moved(event, "probing", "migrated") for event in super().events()]


class TakesSecondConnection(Endpoint):
    """A callee that takes a second connection for a move, and says so."""

    def events(self) -> list[Event]:
        return [moved(event, "validating", "peer_moved") for event in super().events()]


def moved(event: Event, begun: Any, done: Any) -> Event:
    """``event``, where it is one of a redial, as one of a move."""
    kinds = {"redialling": begun, "redialled": done}
    return replace(event, kind=kinds[event.kind]) if isinstance(event, PathEvent) and event.kind in kinds else event


class Hides(Driver):
    """Says that it can do nothing at all."""

    lacks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.capabilities = tuple(one for one in self.capabilities if one not in self.lacks) if self.lacks else ()


class LacksHold(Hides):
    """Can put no call on hold."""

    lacks = ("hold",)

    def hold(self, request: messages.Hold) -> messages.Done:
        raise BadRequest("this agent cannot hold")


class LacksRedial(Hides):
    """Cannot redial."""

    lacks = ("redial",)

    def redial(self, request: messages.Redial) -> messages.Done:
        raise BadRequest("this agent cannot redial")


class LacksStream(Hides):
    """Sends no media on streams."""

    lacks = ("stream",)

    def media_start(self, request: messages.MediaStart) -> messages.Done:
        if request.mode == "stream":
            raise BadRequest("this agent sends datagrams alone")
        return super().media_start(request)


DRIVERS: dict[str, type[Driver]] = {
    "segfaults": Segfaults,
    "aborts": Aborts,
    "exits": Exits,
    "exits-red": ExitsRed,
    "raises": Raises,
    "hides": Hides,
    "lacks-hold": LacksHold,
    "lacks-redial": LacksRedial,
    "lacks-stream": LacksStream,
}
ENDPOINTS: dict[str, type[Endpoint]] = {"second-connection": SecondConnection, "takes-second-connection": TakesSecondConnection}
