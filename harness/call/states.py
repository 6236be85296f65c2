"""The states of a call and the ten legal moves between them.

Everything that can change a call's state goes through ``step``; nothing else assigns one.  The other 26 of the 36 pairs, self-loops
included, are errors.  Path health is not a state: a call whose path is silent, being validated or migrating stays ``Connected``.
``Idle`` is the state before and after; an ended call leaves the call table once it is back there.
"""

from __future__ import annotations

from enum import StrEnum

from harness.call.errors import InvalidState


class State(StrEnum):
    """A call's state; the value is the word used in messages and reports."""

    IDLE = "Idle"
    CALLING = "Calling"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    ENDING = "Ending"
    FAILED = "Failed"


LEGAL: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.CALLING, State.CONNECTING}),
    State.CALLING: frozenset({State.CONNECTING, State.FAILED}),
    State.CONNECTING: frozenset({State.CONNECTED, State.FAILED}),
    State.CONNECTED: frozenset({State.ENDING, State.FAILED}),
    State.ENDING: frozenset({State.IDLE}),
    State.FAILED: frozenset({State.IDLE}),
}


def step(call: str, old: State, new: State) -> State:
    """``new`` if a call may go there from ``old``; else InvalidState that names both and what is allowed."""
    if new not in LEGAL[old]:
        allowed = " or ".join(sorted(LEGAL[old]))
        raise InvalidState(call, f"cannot go from {old} to {new}; from {old} it can go to {allowed}")
    return new


def require(call: str, state: State, *allowed: State, operation: str) -> None:
    """InvalidState that names ``operation`` unless ``state`` is one of ``allowed``."""
    if state not in allowed:
        raise InvalidState(call, f"{operation} needs the state {' or '.join(allowed)}; the call is {state}")
