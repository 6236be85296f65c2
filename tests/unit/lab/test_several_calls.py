"""Which call of a peer is meant when none is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import SpecError
from harness.lab.peer import Peer


def peer(*closed: int | None) -> Peer:
    nothing: Any = None
    calls: Any = [SimpleNamespace(closed=one) for one in closed]
    return Peer("alice", nothing, nothing, nothing, nothing, nothing, calls=calls)


def test_the_only_call_that_goes_on_is_meant_or_the_only_one_there_was() -> None:
    alice = peer(5, None, 7)
    assert alice.call is alice.calls[1]
    alice = peer(5)
    assert alice.call is alice.calls[0]


@pytest.mark.parametrize(
    ("closed", "what"), [((), "it has no call"), ((None, None), "it has 2 calls; say which"), ((5, 6), "it has 2 calls")]
)
def test_it_is_never_guessed(closed: tuple[int | None, ...], what: str) -> None:
    with pytest.raises(SpecError, match=what):
        _ = peer(*closed).call
