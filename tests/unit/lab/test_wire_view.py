"""What no key opens: when there is so much of it that it is said, and when figures cannot do without it."""

from __future__ import annotations

import pytest

from harness.fabric.udp_packets import UdpPacket
from harness.lab.wire_view import Sealed

AT = ("192.0.2.1", 5000)


def sealed(sizes: list[int], *, opened: int, missing: int = 0) -> Sealed:
    packets = [UdpPacket("alice/eth", n, n, True, AT, AT, size, b"@" * size) for n, size in enumerate(sizes)]
    return Sealed([(packet, "bob", None) for packet in packets], opened, missing)


@pytest.mark.parametrize(
    ("sizes", "opened", "missing", "many", "hides"),
    [
        pytest.param([200] * 3, 140, 3, True, True, id="three packets of a flow"),
        pytest.param([200] * 3, 140, 0, True, False, id="three that were no packets: no number is missing"),
        pytest.param([200], 10, 1, False, False, id="one alone"),
        pytest.param([200] * 3, 1000, 3, False, False, id="fewer than one in a hundred"),
        pytest.param([200] * 50, 0, 0, True, True, id="a flow of which nothing opens"),
        pytest.param([42] * 10, 700, 10, False, False, id="stateless resets, beside packets that left by a dead interface"),
        pytest.param([], 700, 10, False, False, id="nothing"),
    ],
)
def test_what_no_key_opens(sizes: list[int], opened: int, missing: int, many: bool, hides: bool) -> None:
    found = sealed(sizes, opened=opened, missing=missing)
    assert (found.many, found.hides) == (many, hides)
