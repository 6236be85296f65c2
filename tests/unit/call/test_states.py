from __future__ import annotations

import itertools

import pytest

from harness.call.errors import InvalidState
from harness.call.states import LEGAL, State, require, step

TABLE = {
    ("Idle", "Calling"),
    ("Idle", "Connecting"),
    ("Calling", "Connecting"),
    ("Calling", "Failed"),
    ("Connecting", "Connected"),
    ("Connecting", "Failed"),
    ("Connected", "Ending"),
    ("Connected", "Failed"),
    ("Ending", "Idle"),
    ("Failed", "Idle"),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_every_pair(old: State, new: State) -> None:
    if (old.value, new.value) in TABLE:
        assert step("c", old, new) is new
    else:
        with pytest.raises(InvalidState, match=f"cannot go from {old} to {new}") as caught:
            step("c", old, new)
        assert caught.value.call == "c"


def test_ten_of_thirty_six_are_legal() -> None:
    assert sum(len(targets) for targets in LEGAL.values()) == len(TABLE) == 10


def test_require_names_operation_and_state() -> None:
    require("c", State.CALLING, State.CALLING, operation="accept")
    with pytest.raises(InvalidState, match="accept needs the state Calling; the call is Idle"):
        require("c", State.IDLE, State.CALLING, operation="accept")
