"""Video on paths of which only one way is narrow, that are long, or that hold or drop everything for a moment."""

from __future__ import annotations

import pytest

from harness.call.events import VideoAdapted
from harness.spec.link import Impairment
from harness.spec.presets import preset
from harness.spec.rate_trace import RateTrace, pack
from harness.units import kbit

from .conftest import Identity
from .test_congestion import fates, two
from .world import MS, Host, Path, S, World, connect, payload_time

HOLDS = RateTrace("holds 200 ms of each second", pack([200] * 160 + list(range(201, 1001))))
"""12 Mbit/s, in which what was held goes out at once."""


def decided(host: Host) -> list[int]:
    return [event.kbps for event in host.all(VideoAdapted)]


@pytest.mark.long
@pytest.mark.parametrize("way", ["out", "in"])
def test_the_free_directions_video_goes_on(identity: Identity, way: str) -> None:
    world, alice, bob = two(identity)
    narrow, free = Impairment(rate=150 * kbit, queue=50), Impairment()
    fall = world.now
    alice.paths["eth"].impair(narrow if way == "out" else free, fall, inward=free if way == "out" else narrow)
    world.run(7 * S)
    there, back = (alice, bob) if way == "out" else (bob, alice)
    assert decided(there)[-1] == 0
    assert decided(back) == []
    offered, played = fates(world, back, there, "video", fall)
    assert played >= 0.95 * offered
    for speaker, listener in ((alice, bob), (bob, alice)):
        offered, played = fates(world, speaker, listener, "audio", fall)
        assert played >= 0.98 * offered


@pytest.mark.long
def test_video_works_over_a_geostationary_satellite(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice", Path("eth", "10.0.0.1", 4433, 0))
    bob = world.host("bob", Path("eth", "10.0.0.2", 4433, 1 * MS), auto_answer=True)
    geo = preset("geo")
    alice.paths["eth"].impair(geo.up, world.now, inward=geo.down)
    call = connect(world, alice, bob)
    began = world.now
    for host in (alice, bob):
        world.talk(host, call, life=150 * MS)
        world.talk(host, call, flow="video", size=1100, every=22 * MS, life=150 * MS)
    world.run(9 * S)
    assert decided(alice) == decided(bob) == []
    for listener in (alice, bob):
        came = [payload_time(event) for event in listener.heard() if event.flow == "video"]
        until = world.now - 400 * MS
        assert sum(began + 3 * S <= at < until for at in came) >= 0.98 * (until - began - 3 * S) / (22 * MS)


@pytest.mark.long
@pytest.mark.parametrize("ways", ["both", "out"])
def test_what_is_held_for_200_ms_stops_nothing(identity: Identity, ways: str) -> None:
    world, alice, bob = two(identity)
    began = world.now
    held = Impairment(rate_trace=HOLDS)
    alice.paths["eth"].impair(held, began, inward=held if ways == "both" else Impairment())
    world.run(8 * S)
    assert decided(alice) == decided(bob) == []
    for speaker, listener in ((alice, bob), (bob, alice)):
        offered, played = fates(world, speaker, listener, "video", began)
        assert played >= 0.9 * offered


@pytest.mark.long
def test_video_is_back_after_bursts_of_loss(identity: Identity) -> None:
    world, alice, bob = two(identity)
    for _ in range(7):
        for loss, length in ((1.0, 200 * MS), (0.0, 800 * MS)):
            alice.paths["eth"].loss = loss
            world.run(length)
    over = world.now
    world.run(10 * S)
    for speaker, listener in ((alice, bob), (bob, alice)):
        assert decided(speaker)[-1:] in ([], [405])
        offered, played = fates(world, speaker, listener, "video", over + 9 * S)
        assert played >= 0.98 * offered
