"""What a page lets one hear and see: the recordings that ``heard.json`` tells of, embedded as far as there is room."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from pathlib import PurePath

import msgspec

from harness.errors import HarnessError
from harness.media.recording import FILE, Recording, decode
from harness.report.artifacts import Artifacts
from harness.report.story import Sound, Story

PAGE = 1_000_000
"""Bytes that a page has at most because of the recordings in it."""
FRAME = 240_000
"""Bytes that a page has without any story: styles, scripts, the verdict table."""
_TYPES = {".ogg": "audio/ogg", ".png": "image/png", ".webm": "video/webm"}
_ORDER = ("ogg", "spectrogram", "sheet", "film")
"""What goes first where there is not room for all."""


def room(story: Story) -> int:
    """How many bytes of recordings there is room for beside ``story``, which a page holds deflated and in base64."""
    return max(0, (PAGE - FRAME) * 3 // 4 - len(zlib.compress(msgspec.json.encode(story), 6)))


def read(artifacts: Artifacts, since_zero: Callable[[int], int], beside: Story) -> tuple[list[Sound], list[str]]:
    """The recordings in the order of ``heard.json``, and what is to be said of them: why there is none, or what a page had no room for.

    ``beside``: all else that the page shows.
    """
    if not artifacts.names(FILE):
        return [], []
    try:
        recordings = decode((artifacts.folder / FILE).read_bytes())
    except (HarnessError, OSError) as error:
        artifacts.unread.append(f"{FILE}: {error}")
        return [], []
    notes = [f"{_name(one)}: {one.note}" for one in recordings if one.note]
    embedded: dict[tuple[int, str], str] = {}
    left = room(beside)
    for kind in _ORDER:
        for place, one in enumerate(recordings):
            data = _bytes(artifacts, one.files[kind], left, notes) if kind in one.files else None
            if data is not None:
                left -= len(data[1])
                embedded[place, kind] = f"data:{data[0]};base64,{base64.b64encode(data[1]).decode()}"
    sounds = [
        Sound(
            speaker=one.speaker,
            listener=one.listener,
            flow=one.flow,
            since=since_zero(one.starts_ns),
            length=one.duration_ns // 1000,
            audio=embedded.get((place, "ogg"), ""),
            picture=embedded.get((place, "spectrogram"), embedded.get((place, "sheet"), "")),
            film=embedded.get((place, "film"), ""),
            concealed=[[since_zero(since), since_zero(until)] for since, until in one.concealed],
        )
        for place, one in enumerate(recordings)
        if one.files
    ]
    return sounds, notes


def _name(one: Recording) -> str:
    return f"{one.speaker} → {one.listener} {one.flow}"


def _bytes(artifacts: Artifacts, name: str, room: int, notes: list[str]) -> tuple[str, bytes] | None:
    """The file's media type and content; None, with a note, when it is of no known kind, not in the folder itself, or too big."""
    kind = _TYPES.get(PurePath(name).suffix)
    path = artifacts.folder / name
    try:
        if kind is None or PurePath(name).name != name or "\0" in name or path.is_symlink():
            notes.append(f"{name} is no recording of this run")
            return None
        size = path.stat().st_size
        if size > room:
            notes.append(f"{name} ({size / 1000:.0f} kB) is not in this page, which would grow too big; it lies in the run's folder")
            return None
        return kind, path.read_bytes()
    except OSError as error:
        artifacts.unread.append(f"{name}: {error.strerror}")
        return None
