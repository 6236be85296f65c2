"""What a run sends: media whose payload is a numbered stamp (``synthetic``), or what real codecs make, and what each kind needs.

``speech``: audio is Opus, a voice that counts; video stays synthetic.  ``video``: video and screen are VP8 as well.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

MediaKind = Literal["synthetic", "speech", "video"]
KINDS: tuple[MediaKind, ...] = get_args(MediaKind)
CAPABILITIES: dict[MediaKind, tuple[str, ...]] = {"synthetic": (), "speech": ("opus",), "video": ("opus", "vp8")}
"""What an agent must say in its hello to take part."""

_LIBRARIES = {"av": "PyAV", "numpy": "numpy"}


def lacking() -> str:
    """What real media need that is not installed here, and what installs it; empty when all of it is there."""
    missing = [name for module, name in _LIBRARIES.items() if find_spec(module) is None]
    if not missing:
        return ""
    return f"{' and '.join(missing)} cannot be imported; the extra `media` brings what is needed: pip install 'quic-call-harness[media]'"
