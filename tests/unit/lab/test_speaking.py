"""A source that there is not is the author's mistake, told before any agent is asked."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import SpecError
from harness.lab.peer import _check_source


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"flow": "vidoe"}, "speak, flow: 'vidoe' is not known; allowed are audio, video, screen"),
        ({"mode": "carrier pigeon"}, "speak, mode: 'carrier pigeon' is not known; allowed are datagram, stream"),
        ({"flow": "video", "payload_bytes": 200}, "speak, payload_bytes: 200 for video; allowed is it for audio alone"),
        ({"kbps": 64, "payload_bytes": 200}, "speak, payload_bytes: 200 beside bitrate_kbps 64; allowed is one of them"),
        ({"payload_bytes": 4}, "speak, payload_bytes: 4 is out of range; allowed is 16 to 8192"),
        ({"kbps": 0}, "speak, bitrate_kbps: 0 is out of range; allowed is 1 or more"),
    ],
)
def test_it_is_refused_with_the_field_the_value_and_what_is_allowed(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        _check_source(**{"flow": "audio", "kbps": None, "payload_bytes": None, "mode": "datagram"} | given)
    assert str(caught.value).startswith(says)
    assert caught.value.blame == "author"


def test_what_an_agent_can_send_passes() -> None:
    _check_source("audio", None, 1188, "stream")
    _check_source("screen", 1000, None, "datagram")
