from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fabric.ethernet import HEADER, harmed
from harness.spec.link import Impairment
from harness.units import percent
from harness.wire.shaper import Shaper


@given(frame=st.binary(min_size=HEADER + 1, max_size=200), share=st.floats(0, 1, exclude_max=True))
def test_exactly_one_bit_of_the_ip_packet_is_flipped(frame: bytes, share: float) -> None:
    changed = harmed(frame, share)
    assert len(changed) == len(frame)
    assert changed[:HEADER] == frame[:HEADER]
    assert (int.from_bytes(changed, "big") ^ int.from_bytes(frame, "big")).bit_count() == 1


def test_every_bit_can_be_met() -> None:
    packet = bytes(HEADER + 20)
    assert len({harmed(packet, n / 160) for n in range(160)}) == 160


@pytest.mark.parametrize("length", [0, 13, 14])
def test_without_an_ip_packet_there_is_nothing_to_harm(length: int) -> None:
    assert harmed(bytes(length), 0.5) == bytes(length)


def test_the_same_seed_harms_the_same_bits() -> None:
    found = []
    for step in (10, 1000):
        link: Shaper[bytes] = Shaper(Impairment(corrupt=30 * percent), Random(1), harmed=harmed)
        for n in range(50):
            link.push(bytes(100), 86, n * step)
        found.append(link.release(50 * step))
    assert found[0] == found[1]
    assert 2 < len(set(found[0])) < 30
