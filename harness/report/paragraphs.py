"""A scenario's docstring in its parts: the story in one sentence, then paragraphs that begin with a label and a colon."""

from __future__ import annotations

import inspect
import re


def paragraphs(docstring: str) -> dict[str, str]:
    """Label → text, in their order; the story itself is under ""."""
    parts = re.split(r"^([A-Z][a-z]+(?: [a-z]+)?):\s", docstring, flags=re.MULTILINE)
    return {"": flow(parts[0])} | {label: flow(body) for label, body in zip(parts[1::2], parts[2::2], strict=True)}


def flow(text: str) -> str:
    """A paragraph as it stands by itself: its first letter a capital one."""
    text = inspect.cleandoc(text).strip()
    return text[:1].upper() + text[1:]
