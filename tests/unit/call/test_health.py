from __future__ import annotations

from harness.call.config import EndpointConfig
from harness.call.health import PathHealth

MS = 1_000_000


def test_words_at_their_bounds_and_back() -> None:
    health = PathHealth(EndpointConfig(name="a"), 0)
    assert health.next_change() == 2500 * MS
    assert health.observe(0, 2499 * MS) == []
    assert health.observe(0, 2500 * MS) == ["suspected"]
    assert health.next_change() == 5000 * MS
    assert health.observe(0, 5000 * MS) == ["disconnected"]
    assert health.next_change() == 15_000 * MS
    assert health.observe(6000 * MS, 6000 * MS) == ["healthy"]
    assert health.next_change() == 8500 * MS
    assert health.observe(6000 * MS, 30_000 * MS) == ["suspected", "disconnected", "failed"]
    assert health.next_change() is None


def test_heard_and_silent_again_between_two_looks() -> None:
    health = PathHealth(EndpointConfig(name="a"), 0)
    assert health.observe(0, 5000 * MS) == ["suspected", "disconnected"]
    assert health.observe(6000 * MS, 9000 * MS) == ["healthy", "suspected"]
