"""Inputs made of inputs: bytes changed without regard, and JSON, lines and framed messages changed so that most of them stays in order.

Pure bytes hardly get past a JSON parser.  So a document is taken apart, one place of it is changed, and it is written again; now and then
bytes are changed all the same.  Everything is drawn from the generator that is passed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.target import Kind

Change = Callable[[bytes, int], bytes]
"""Bytes changed without regard, at most so many: atheris's own, or ``scramble``."""

NUMBERS = [0, 1, -1, 2, 255, 65_535, 65_536, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1]
NUMBERS += [10**30, 1_000 * 10**9, 1_001 * 10**9, 10**400, -(10**400)]
FLOATS = [0.5, -0.0, 1e308, -1e308, 5e-324, 1e18]
WORDS = [
    "",
    "a",
    "\0",
    "\x1b[2J",
    "\ud800",
    "é",
    "a" * 300,
    "a" * 5000,
    "9" * 4299,
    "9" * 5000,
    "1e400",
    "-1",
    "../..",
    "/etc/passwd",
    "%s",
]
WORDS += ["20ms", "5mbit", "1%", "-1ms", "1e9s", "9" * 4290 + "s", "192.0.2.0/24", "0.0.0.0/0", "fd00::/64", "::/0", "fe80::1%eth0/64"]
WORDS += ["alice", "alice/wifi", "Connected", "</script>", "eJwDAAAAAAE=", "type", "event", "op", "session_id"]
BYTES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"{", b"[", b'"', b"\xed\xa0\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xc0\xff\xff\xff"]


def scramble(rng: Random, data: bytes, longest: int) -> bytes:
    """``data`` with one to eight changes that know nothing of what it is."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(8):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + rng.choice((1, 2, 4, 16, 64))]
            case 3:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 4:
                changed[at : at + 4] = rng.choice(BYTES)
            case 5:
                size = rng.choice((2, 4, 8, 32))
                where = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[where : where + size]
            case 6:
                del changed[at:]
            case _:
                size = rng.choice((1, 2, 4, 8))
                value = rng.choice(NUMBERS[:11])
                changed[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, rng.choice(("big", "little")))
    return bytes(changed[:longest])


def wild(rng: Random, deep: int = 2) -> Any:
    """Any JSON value."""
    match rng.randrange(9 if deep else 6):
        case 0:
            return rng.choice((None, True, False))
        case 1 | 2:
            return rng.choice(NUMBERS)
        case 3:
            return rng.choice(FLOATS)
        case 4 | 5:
            return rng.choice(WORDS)
        case 6:
            return [wild(rng, deep - 1) for _ in range(rng.randrange(3))]
        case 7:
            return {rng.choice(WORDS): wild(rng, deep - 1) for _ in range(rng.randrange(3))}
        case _:
            nested: Any = 1
            for _ in range(rng.choice((3, 40, 300, 700))):
                nested = [nested] if rng.random() < 0.5 else {"a": nested}
            return nested


def edited(rng: Random, value: Any) -> Any:
    """A JSON value with one place of it changed."""
    inside = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not inside or rng.random() < 0.15:
        return _replaced(rng, value)
    where = rng.choice(inside)
    action = rng.random()
    if action < 0.7:
        new = edited(rng, value[where])
        if isinstance(value, dict):
            return {key: new if key == where else one for key, one in value.items()}
        return [*value[:where], new, *value[where + 1 :]]
    if isinstance(value, dict):
        rest = {key: one for key, one in value.items() if key != where}
        if action < 0.8:
            return rest
        if action < 0.9:
            return rest | {rng.choice([*inside, *WORDS]): value[where]}
        return value | {rng.choice(WORDS): wild(rng)}
    if action < 0.8:
        return [*value[:where], *value[where + 1 :]]
    if action < 0.9:
        return [*value, value[where]] * rng.choice((1, 1, 1, 30))
    return [*value[:where], wild(rng), *value[where:]]


def _replaced(rng: Random, value: Any) -> Any:
    if isinstance(value, bool) or value is None or rng.random() < 0.4:
        return wild(rng)
    if isinstance(value, int):
        return value + rng.choice((1, -1, 10**3, 10**6, -(10**9), 2**32)) if rng.random() < 0.6 else -value
    if isinstance(value, float):
        return value * rng.choice((-1, 1e3, 1e300))
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        return rng.choice((value[:at], value[at:], value * 2, value[:at] + rng.choice(WORDS) + value[at:], value.upper()))
    return wild(rng)


def _document(rng: Random, data: bytes, longest: int, change: Change) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _text(rng, data) if rng.random() < 0.4 else change(data, longest)
    try:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            value = edited(rng, value)
        return json.dumps(value, separators=rng.choice(((",", ":"), (", ", ": ")))).encode()
    except RecursionError:  # it was nested deeper still
        return change(data, longest)


def _text(rng: Random, data: bytes) -> bytes:
    """A line that is no JSON with one of its words or numbers replaced."""
    tokens = re.split(rb"([\s,:;/=]+)", data)
    at = rng.randrange(0, len(tokens), 2)
    return b"".join([*tokens[:at], str(rng.choice([*WORDS, *NUMBERS, *FLOATS])).encode(errors="surrogatepass"), *tokens[at + 1 :]])


def _parts(rng: Random, parts: list[bytes], longest: int, change: Change) -> list[bytes]:
    """One of several messages or lines changed, doubled, left out or moved."""
    if not parts:
        return [change(b"", longest)]
    at = rng.randrange(len(parts))
    match rng.randrange(10):
        case 0:
            return [*parts[:at], *parts[at + 1 :]]
        case 1:
            return [*parts[: at + 1], *parts[at:]]
        case 2:
            other = rng.randrange(len(parts))
            return [*parts[:at], parts[other], *parts[at:]]
        case _:
            return [*parts[:at], _document(rng, parts[at], longest, change), *parts[at + 1 :]]


def _frames(data: bytes) -> list[bytes]:
    """The messages of a stream, each behind its length; written here once more, since the reader itself is what is tried."""
    found, at = [], 0
    while at < len(data):
        size = 1 << (data[at] >> 6)
        length = int.from_bytes(data[at : at + size], "big") & ((1 << 8 * size - 2) - 1)
        found.append(data[at + size : at + size + length])
        at += size + length
    return found


def _framed(message: bytes) -> bytes:
    return (0x8000_0000 | len(message)).to_bytes(4, "big") + message


def mutated(rng: Random, kind: Kind, data: bytes, longest: int, change: Change | None = None) -> bytes:
    """Another input, at most ``longest`` bytes of it."""
    blind = change if change is not None else lambda old, size: scramble(rng, old, size)
    if kind == "bytes" or rng.random() < 0.2:
        return blind(data, longest)[:longest]
    if kind == "json":
        return _document(rng, data, longest, blind)[:longest]
    if kind == "framed":
        parts = _parts(rng, _frames(data), longest, blind)
        return b"".join(_framed(part) for part in parts)[:longest]
    return b"\n".join(_parts(rng, data.split(b"\n"), longest, blind))[:longest]
