"""How deep JSON of other people's making is nested, told before it is decoded.

A decoder gives up only where the interpreter's stack does, a thousand levels down; whoever then walks through what it made needs more of
that stack than it did.  Nothing that is read here has more than a dozen levels.
"""

from __future__ import annotations

import re

DEEPEST = 64
"""Levels of objects and lists within each other that are read."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)


def too_deep(text: bytes | str) -> str:
    """Why ``text``, which may be anything, is nested too deep to be read; "" when it is not."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return ""
    level = 0
    for found in _TOKEN.finditer(data):
        sign = data[found.start()]
        if sign in b"[{":
            level += 1
            if level > DEEPEST:
                return f"it is nested deeper than {DEEPEST} levels, at byte {found.start()}"
        elif sign in b"]}":
            level -= 1
    return ""
