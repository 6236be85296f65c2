"""What a call wants (``MediaConstraints``), what a peer offers (``MediaCapabilities``), and whether the two meet.

Each side checks only that the other's offer meets what it wants itself: an offer says what a side can do, not what it insists on.
Wanting is checked in a fixed order, so that the same mismatch always gives the same reason: audio first, then video or screen.
A peer that offers more than is wanted is fine.  The bandwidth in use is the smaller of the two sides' figures.
"""

from __future__ import annotations

import msgspec

VIDEO_KBPS = 2500
AUDIO_KBPS = 128


class MediaConstraints(msgspec.Struct, frozen=True):
    """The media that one side wants in a call.  Use the three named constructors where they say what is meant."""

    audio: bool = True
    video: bool = False
    screen_share: bool = False

    @classmethod
    def audio_only(cls) -> MediaConstraints:
        """Voice and nothing else."""
        return cls()

    @classmethod
    def video_call(cls) -> MediaConstraints:
        """Voice and camera."""
        return cls(video=True)

    @classmethod
    def screen_sharing(cls) -> MediaConstraints:
        """Voice and a screen."""
        return cls(screen_share=True)

    def __or__(self, other: MediaConstraints) -> MediaConstraints:
        """The media of either."""
        return MediaConstraints(self.audio or other.audio, self.video or other.video, self.screen_share or other.screen_share)


NOTHING = MediaConstraints(audio=False)
"""No medium at all: what an endpoint demands of its peers, and offers beyond what it wants, unless told otherwise."""


class MediaCapabilities(msgspec.Struct, frozen=True):
    """What one side offers, as it travels in ``capability_exchange``; ``max_bandwidth_kbps`` in kbit/s of media."""

    audio: bool
    video: bool
    data_channel: bool
    max_bandwidth_kbps: int

    @classmethod
    def of(cls, constraints: MediaConstraints, *, data_channel: bool = True) -> MediaCapabilities:
        """The offer of a side that can do exactly ``constraints``: video stands for camera or screen; 2500 kbit/s with either, else 128."""
        moving = constraints.video or constraints.screen_share
        return cls(constraints.audio, moving, data_channel, VIDEO_KBPS if moving else AUDIO_KBPS)


def mismatch(wanted: MediaConstraints, offered: MediaCapabilities) -> str | None:
    """Why ``offered`` does not meet ``wanted``, or None if it does."""
    if wanted.audio and not offered.audio:
        return "audio is wanted and not offered"
    if (wanted.video or wanted.screen_share) and not offered.video:
        return "video is wanted and not offered"
    return None


def agreed(mine: MediaCapabilities, theirs: MediaCapabilities) -> MediaCapabilities:
    """What both sides can do: the media of both, the smaller bandwidth."""
    return MediaCapabilities(
        audio=mine.audio and theirs.audio,
        video=mine.video and theirs.video,
        data_channel=mine.data_channel and theirs.data_channel,
        max_bandwidth_kbps=min(mine.max_bandwidth_kbps, theirs.max_bandwidth_kbps),
    )
