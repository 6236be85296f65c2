"""Text of unknown origin made fit to show and to keep: an agent's garbage must neither move the cursor nor make a whole file unreadable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


def printable(text: str) -> str:
    """``text`` with every control character but tab and newline replaced (XML 1.0 has none, and ESC would command a terminal)."""
    return "".join(char if char in "\t\n" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def json(value: Any, enc_hook: Callable[[Any], Any]) -> bytes:
    """``value`` as JSON.  Lone surrogates, which the name of a file that is no UTF-8 has and UTF-8 cannot say, are replaced by "?"."""
    try:
        return msgspec.json.encode(value, enc_hook=enc_hook)
    except UnicodeEncodeError:
        return msgspec.json.encode(_sayable(msgspec.to_builtins(value, enc_hook=enc_hook)))


def _sayable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_sayable(key): _sayable(one) for key, one in value.items()}
    return [_sayable(one) for one in value] if isinstance(value, list | tuple) else value
