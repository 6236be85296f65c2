from __future__ import annotations

import pytest

from harness.call.capabilities import MediaCapabilities, MediaConstraints, agreed, mismatch


def test_what_constraints_offer() -> None:
    assert MediaCapabilities.of(MediaConstraints.audio_only()) == MediaCapabilities(True, False, True, 128)
    assert MediaCapabilities.of(MediaConstraints.video_call()) == MediaCapabilities(True, True, True, 2500)
    assert MediaCapabilities.of(MediaConstraints.screen_sharing()) == MediaCapabilities(True, True, True, 2500)


@pytest.mark.parametrize(
    ("wanted", "offered", "reason"),
    [
        (MediaConstraints(True, True), MediaCapabilities(False, False, True, 128), "audio is wanted and not offered"),
        (MediaConstraints(True, True), MediaCapabilities(True, False, True, 128), "video is wanted and not offered"),
        (MediaConstraints(True, False, True), MediaCapabilities(True, False, True, 128), "video is wanted and not offered"),
        (MediaConstraints(False, True), MediaCapabilities(False, True, True, 128), None),
        (MediaConstraints(True), MediaCapabilities(True, True, True, 2500), None),
    ],
)
def test_order_of_validation(wanted: MediaConstraints, offered: MediaCapabilities, reason: str | None) -> None:
    assert mismatch(wanted, offered) == reason


def test_agreement_is_the_smaller_of_both() -> None:
    video, audio = MediaCapabilities.of(MediaConstraints.video_call()), MediaCapabilities.of(MediaConstraints.audio_only())
    assert agreed(video, audio) == agreed(audio, video) == audio


def test_media_of_either() -> None:
    assert MediaConstraints(audio=True) | MediaConstraints(audio=False, screen_share=True) == MediaConstraints.screen_sharing()
