"""Agents that are broken in how they carry media, or in where they listen."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.agent import messages
from harness.agent.driver import Driver
from harness.call.connection import Connection
from harness.call.dialog import Call
from harness.call.errors import TransportError
from harness.call.events import Address
from harness.call.media_queue import MediaQueue, Waiting
from harness.call.quality import CallQuality
from harness.call.session import Endpoint
from harness.rtp.packet import HEADER, RtpPacket


class Duplicates(Endpoint):
    """Sends every tenth packet twice."""

    taken = 0

    def send_rtp(self, call: str, flow: str, packet: bytes, **how: Any) -> int:
        self.taken += 1
        if self.taken % 10 == 0:
            super().send_rtp(call, flow, packet, **how)
        return super().send_rtp(call, flow, packet, **how)


class Blanks(Endpoint):
    """Sends every tenth packet with a payload of zeros."""

    taken = 0

    def send_rtp(self, call: str, flow: str, packet: bytes, **how: Any) -> int:
        self.taken += 1
        if self.taken % 10 == 0:
            packet = packet[: HEADER.size] + bytes(len(packet) - HEADER.size)
        return super().send_rtp(call, flow, packet, **how)


class NewestFirstQueue(MediaQueue):
    """Sends the newest of what waits, not the oldest."""

    def head(self) -> Waiting | None:
        return next((waiting[-1] for waiting in self._classes if waiting), None)


class NewestFirstConnection(Connection):
    queue_class = NewestFirstQueue


class NewestFirst(Endpoint):
    connection_class = NewestFirstConnection


class StarvingQueue(MediaQueue):
    """Gives up every tenth packet of a shared screen."""

    screens = 0

    def put(self, entry: Waiting) -> Waiting | None:
        self.screens += entry.flow == "screen"
        return entry if entry.flow == "screen" and self.screens % 10 == 0 else super().put(entry)


class StarvingConnection(Connection):
    queue_class = StarvingQueue


class StarvesScreen(Endpoint):
    connection_class = StarvingConnection


class FallsSilent(Endpoint):
    """Lets all media expire after the first 20 packets, and says nothing of it."""

    taken = 0

    def send_rtp(self, call: str, flow: str, packet: bytes, *, now: int, expires: int, **how: Any) -> int:
        self.taken += 1
        return super().send_rtp(call, flow, packet, now=now, expires=expires if self.taken <= 20 else now, **how)


class Truncates(Endpoint):
    """Cuts what does not fit a datagram."""

    def send_rtp(self, call: str, flow: str, packet: bytes, **how: Any) -> int:
        largest = self._find(call).connection.max_rtp_packet if how["mode"] == "datagram" else len(packet)
        return super().send_rtp(call, flow, packet[:largest], **how)


class DeafAtFirst(Endpoint):
    """Overlooks the first datagram from every address."""

    known: frozenset[Address] = frozenset()

    def receive(self, data: bytes, address: Address, **when: int) -> None:
        if address in self.known:
            super().receive(data, address, **when)
        self.known |= {address}


class ListensTwice(Driver):
    """Says yes to every listen, whether or not it listens already."""

    def listen(self, request: messages.Listen) -> messages.Listening:
        self.listening = False
        return super().listen(request)


class HalfListens(Driver):
    """Keeps the sockets that it could open when it cannot open all."""

    def listen(self, request: messages.Listen) -> messages.Listening:
        try:
            return super().listen(request)
        except TransportError:
            self.open_socket(*self.sockets.places[0], request.port)
            raise

    def release_sockets(self) -> None:
        """It does not look for what nobody needs either, or what it keeps would be gone before anybody can see it."""


class StopsNothing(Driver):
    """Says that a source has stopped, and stops it only when it is to start again."""

    stopped: frozenset[tuple[str, str]] = frozenset()

    def media_stop(self, request: messages.MediaStop) -> messages.Done:
        self.stopped |= {(request.call, request.flow)}
        return messages.Done()

    def media_start(self, request: messages.MediaStart) -> messages.Done:
        if (request.call, request.flow) in self.stopped:
            self.studio.stop(request.call, request.flow)
        return super().media_start(request)


class ReportsNothingCall(Call):
    """Counts nothing of what it hears."""

    def _connected(self, now: int) -> None:
        super()._connected(now)
        assert self.media.reporter is not None
        self.media.reporter.heard = lambda flow, packet, arrived: None  # type: ignore[method-assign]


class ReportsNothing(Endpoint):
    call_class = ReportsNothingCall


class MiscountingCall(Call):
    """Counts every packet twice that it sends."""

    def _connected(self, now: int) -> None:
        super()._connected(now)
        reporter = self.media.reporter
        assert reporter is not None
        count = reporter.sent

        def twice(flow: str, packet: RtpPacket, now: int) -> None:
            count(flow, packet, now)
            count(flow, packet, now)

        reporter.sent = twice  # type: ignore[method-assign]


class Miscounts(Endpoint):
    call_class = MiscountingCall


class SelfBlamingCall(Call):
    """Takes all the delay of its acknowledgements for a queue on the way of its own media."""

    def _connected(self, now: int) -> None:
        super()._connected(now)
        self.connection.inbound = lambda now: 0.0
        self.media.inbound.standing = lambda: 0.0  # type: ignore[method-assign]


class BlamesItself(Endpoint):
    call_class = SelfBlamingCall


class HastyQuality(CallQuality):
    """Takes every packet that expires here, and every moment in which one waits, for a network that takes no more."""

    def _held_back(self, connection: Connection) -> float:
        expired = connection.expired - (self._expired if connection is self._connection else 0)
        waited = connection.core.yielded_for - self._yielded
        super()._held_back(connection)
        return 100.0 if expired or waited > 0 else 0.0


class PanickingCall(SelfBlamingCall):
    def _connected(self, now: int) -> None:
        self.media.quality_class = HastyQuality  # type: ignore[misc]
        super()._connected(now)


class Panics(Endpoint):
    """Takes each moment in which acknowledgements are late for a way that is too narrow for its video."""

    call_class = PanickingCall


class FarIsFull(CallQuality):
    """Takes a long round trip for a queue."""

    def _queueing(self, now: int, connection: Connection) -> float:
        return connection.core.rtt


class FarIsFullCall(Call):
    def _connected(self, now: int) -> None:
        self.media.quality_class = FarIsFull  # type: ignore[misc]
        super()._connected(now)


class CountsDistance(Endpoint):
    call_class = FarIsFullCall


class NeverRestores(Endpoint):
    """Gives nothing back that it has taken from its video."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, restore_windows=10_000), **rest)


ENDPOINTS: dict[str, type[Endpoint]] = {
    "newest-first": NewestFirst,
    "duplicates": Duplicates,
    "blanks": Blanks,
    "starves-screen": StarvesScreen,
    "falls-silent": FallsSilent,
    "truncates": Truncates,
    "reports-nothing": ReportsNothing,
    "miscounts": Miscounts,
    "blames-itself": BlamesItself,
    "panics": Panics,
    "counts-distance": CountsDistance,
    "never-restores": NeverRestores,
    "deaf-at-first": DeafAtFirst,
}
DRIVERS: dict[str, type[Driver]] = {
    "stops-nothing": StopsNothing,
    "listens-twice": ListensTwice,
    "half-listens": HalfListens,
}
