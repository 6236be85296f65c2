"""Waits for what leaves a host: the time is that of the wire, however long the captures take to be read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from harness.fabric.udp_packets import UdpPacket
from harness.lab.live_wire import LiveWire, Seen
from harness.units import s

S = 1_000_000_000


class SlowWire(LiveWire):
    """A reading takes ``takes`` seconds; a datagram left ``left`` seconds after the wait began."""

    def __init__(self, *, left: int, takes: int) -> None:
        self.now = 100 * S
        lab: Any = SimpleNamespace(now=lambda: self.now)
        super().__init__(lab)
        self._left, self._takes = 100 * S + left * S, takes

    async def _read(self) -> None:
        began, self.now = self.now, self.now + self._takes * S
        if began >= self._left and not self._seen:
            at = ("192.0.2.1", 5000)
            self._seen.append(Seen("alice", UdpPacket("alice/eth", self._left, self._left, True, at, at, 1, b"@"), None))


@pytest.mark.parametrize(
    ("left", "takes", "seen"), [(1, 1, True), (4, 7, True), (5, 7, True), (6, 1, False), (6, 7, False), (60, 1, False)]
)
def test_what_left_in_time_is_seen_however_slow_the_reading(left: int, takes: int, seen: bool) -> None:
    wire = SlowWire(left=left, takes=takes)

    async def wait() -> Seen | None:
        return await wire.wait_for(lambda one: one.peer == "alice", since=100 * S, within=5 * s)

    found = trio.run(wait, clock=MockClock(autojump_threshold=0))
    assert (found is not None) is seen
