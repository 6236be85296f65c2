"""Any JSON at all, and a JSON value with any part of it replaced: what a file may hold that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.browser import long_run

NUMBERS = [0, -1, 2**31, 2**53 + 1, 2**62, 2**63, 2**64, -(2**63) - 1, 10**30, long_run.ZERO, long_run.ZERO + 10**9]
WORDS = ["alice", "alice/wifi", "Connected", "state_changed", "path", "ruling", "link", "mapping", "</script>", "\x1b[2J", "a" * 5000]
WILD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(NUMBERS),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(WORDS),
)
ANYTHING = st.recursive(
    WILD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value, itself included."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        return [changed(one, path[1:], new) if number == path[0] else one for number, one in enumerate(value)]
    return {name: changed(one, path[1:], new) if name == path[0] else one for name, one in value.items()}
