"""Agents that can be had by an attacker on the wire: see ``sabotage``."""

from __future__ import annotations

from typing import Any

import msgspec
from aioquic.quic.connection import QuicNetworkPath

from harness.call.connection import Connection
from harness.call.discards import Discards, Why
from harness.call.events import Address, Transmit
from harness.call.quic import Core, _Window
from harness.call.session import Endpoint


class ResetConnection(Connection):
    """Takes whatever it cannot open for a stateless reset: it does not look at the token."""

    def receive(self, data: bytes, address: Address, now: int) -> Why | None:
        why = super().receive(data, address, now)
        if why == "not authentic" and self.core.handshake_confirmed:
            self.abandon("stateless reset", now)
        return why


class BelievesResets(Endpoint):
    connection_class = ResetConnection


class AnswersEverybody(Endpoint):
    """Tells everybody at length that it does not know them."""

    def receive(self, data: bytes, address: Address, *, now: int, arrived: int) -> None:
        before = self.discards().discarded.total()
        super().receive(data, address, now=now, arrived=arrived)
        if self.discards().discarded.total() > before:
            self._replies += [Transmit(bytes(1000), address)] * 4


class NoticesNothing(Endpoint):
    """Counts nothing of what it drops."""

    def discards(self) -> Discards:
        return Discards()


class ForgetfulWindow(_Window):
    """No packet number has ever been there before."""

    def __contains__(self, packet_number: int) -> bool:
        self.current = packet_number
        return False


class ForgetfulCore(Core):
    window_class = ForgetfulWindow


class ForgetfulConnection(Connection):
    core_class = ForgetfulCore


class TakesDuplicates(Endpoint):
    connection_class = ForgetfulConnection


class CredulousConnection(Connection):
    """Sends to wherever a packet of its peer's came from last, new or not."""

    def receive(self, data: bytes, address: Address, now: int) -> Why | None:
        why = super().receive(data, address, now)
        if why == "duplicate from another address":
            paths = self.core._network_paths
            paths[:] = [QuicNetworkPath(address, is_validated=True), *paths][:8]
        return why


class FollowsCopies(Endpoint):
    connection_class = CredulousConnection


class RobbedConnection(Connection):
    """Follows its peer to a new address, and takes all that comes from then on to come from there."""

    first: Address | None = None
    newest: Address | None = None

    def source_of(self, address: Address) -> Address:
        self.first = self.first or address
        if address != self.first:
            self.newest = address
        return self.newest or address


class StaysWithTheThief(Endpoint):
    connection_class = RobbedConnection


class AsksLate(Endpoint):
    """Makes a connection for every Initial until it holds more than a hundred."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, retry_above=100, half_open_limit=1_000), **rest)


ENDPOINTS: dict[str, type[Endpoint]] = {
    "believes-resets": BelievesResets,
    "answers-everybody": AnswersEverybody,
    "notices-nothing": NoticesNothing,
    "takes-duplicates": TakesDuplicates,
    "follows-copies": FollowsCopies,
    "stays-with-the-thief": StaysWithTheThief,
    "asks-late": AsksLate,
}
