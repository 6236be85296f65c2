"""Variants of how an agent behaves towards the harness and its host: what it tells, records and opens, and how it starts."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import msgspec
import trio

from harness.agent import messages
from harness.agent.clock import StampClock
from harness.agent.driver import Driver
from harness.call.session import Endpoint
from harness.media.records import Record, RecordWriter

SLOW_HELLO_S = 4.0
STUN_EVERY_S = 0.5
STUN_PORT = 3478
BINDING_REQUEST = bytes.fromhex("000100002112a442") + bytes(range(12))  # RFC 8489 §5: a header, and no attributes


class OnStreams(Driver):
    """Sends all its media on streams, whatever it was asked for (draft-ietf-avtcore-rtp-over-quic §5.2: the application's choice)."""

    def media_start(self, request: messages.MediaStart) -> messages.Done:
        return super().media_start(msgspec.structs.replace(request, mode="stream"))


class Hushed(Driver):
    """Leaves out events of some kinds."""

    hushed: tuple[type, ...] = ()

    def tell(self, *events: messages.Event) -> None:
        super().tell(*[event for event in events if not isinstance(event, self.hushed)])


class NoLag(Hushed):
    """Does not watch its own loop."""

    hushed = (messages.Lag,)


class NoPath(Hushed):
    """Tells nothing of paths."""

    hushed = (messages.PathChanged,)


class Nowhere(RecordWriter):
    """Writes no record."""

    def write(self, record: Record) -> None:
        pass


class NoRecords(Driver):
    """Keeps no media records; its file is there, and empty."""

    def configure(self, request: messages.Configure) -> messages.Done:
        done = super().configure(request)
        assert self.files is not None
        self.studio._records = Nowhere(self.files._media)
        return done


class NoStamps(StampClock):
    """Takes no stamp of the kernel for plausible, so that arrivals are when the process has read them."""

    def plausible(self, arrived: int, now: int) -> bool:
        return False


class UserSpaceStamps(Driver):
    """Stamps arrivals itself, as a stack does that knows no SO_TIMESTAMPNS."""

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.clock = NoStamps()


def slow_hello() -> None:
    """Need four seconds before the first word."""
    time.sleep(SLOW_HELLO_S)


class HelperSockets(Driver):
    """Has another socket beside QUIC's, from which it sends STUN to its peer now and then."""

    helper: socket.socket | None = None

    def configure(self, request: messages.Configure) -> messages.Done:
        done = super().configure(request)
        own = next((path.v4 for path in request.paths if path.v4 is not None), None)
        if own is not None:
            self.helper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.helper.bind((own, 0))
            self._nursery.start_soon(self._help, self.helper, name="helper")
        return done

    async def _help(self, helper: socket.socket) -> None:
        while self.files is not None:
            for call in self.calls:
                address = self.endpoint.stats(call).address
                if ":" not in address.ip:
                    with contextlib.suppress(OSError):  # the path is down, or the peer refuses: it is a helper
                        helper.sendto(BINDING_REQUEST, (address.ip, STUN_PORT))
            await trio.sleep(STUN_EVERY_S)

    def close(self) -> None:
        super().close()
        if self.helper is not None:
            self.helper.close()


class NoRetry(Endpoint):
    """Asks nobody for a proof of address."""

    def __init__(self, config: Any, **rest: Any) -> None:
        super().__init__(msgspec.structs.replace(config, retry_above=config.half_open_limit), **rest)
