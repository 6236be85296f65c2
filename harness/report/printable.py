"""Text of unknown origin made fit to show: an agent's garbage must neither move the cursor nor make a whole JUnit file unreadable."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with every control character but tab and newline replaced (XML 1.0 has none, and ESC would command a terminal)."""
    return "".join(char if char in "\t\n" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
