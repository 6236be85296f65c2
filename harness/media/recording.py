"""``heard.json``: what a run with real media left to listen to and to look at, one ``Recording`` per call, direction and flow.

The seam between whoever makes recordings (``harness.lab.recordings``) and whoever shows them (the run's page).  Names of files are relative
to the run's folder.  ``files`` has, of audio, ``wav`` (48 kHz, 16 bit, mono), ``ogg`` (Opus, at most 4 KB a second, to be embedded) and
``spectrogram`` (PNG, its whole width the whole duration); of video, ``film`` (WebM) and ``sheet`` (PNG).
"""

from __future__ import annotations

import msgspec

from harness.errors import HarnessError

FILE = "heard.json"


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``listener`` heard or saw of one ``flow`` of ``speaker`` in ``call``.

    ``starts_ns``: when its first sample or picture was, CLOCK_MONOTONIC as everywhere in a run; ``duration_ns``: how long it goes on,
    without a hole: what happened at t is at ``t - starts_ns`` in it.  ``concealed``: stretches (from, to; CLOCK_MONOTONIC) in which it is
    not what was sent: audio that was made up, a picture that stood still.  ``damaged``: stretches of video whose pictures built on one
    that never came.
    ``figures``: counts.  ``note``: why there are no files, or what is left out of them; empty when there is nothing to say.
    """

    listener: str
    speaker: str
    call: str
    flow: str
    starts_ns: int
    duration_ns: int
    files: dict[str, str] = {}
    concealed: tuple[tuple[int, int], ...] = ()
    damaged: tuple[tuple[int, int], ...] = ()
    figures: dict[str, int] = {}
    note: str = ""


def encode(recordings: list[Recording]) -> bytes:
    """The text of ``heard.json``."""
    return msgspec.json.format(msgspec.json.encode(recordings), indent=1) + b"\n"


def decode(text: bytes) -> list[Recording]:
    """What ``encode`` wrote; HarnessError for anything else."""
    try:
        return msgspec.json.decode(text, type=list[Recording])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HarnessError(f"{FILE}: {error}") from None
