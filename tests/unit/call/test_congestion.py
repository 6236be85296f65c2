"""Video makes room for audio when packets queue on the way, and only then."""

from __future__ import annotations

import pytest
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch

from harness.call.congestion import NAME, Delivered, Shortest, YieldingReno
from harness.spec.link import Impairment
from harness.units import kbit, ms

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, payload_time

PLAYOUT = 200 * MS


def two(identity: Identity, **settings: object) -> tuple[World, Host, Host]:
    """A video call over 10 ms each way: 50 packets/s of audio, 400 kbit/s of video (of which alice's is looked at)."""
    world = World(identity)
    alice = world.host("alice", Path("eth", "10.0.0.1", 4433, 5 * MS), **settings)
    bob = world.host("bob", Path("eth", "10.0.0.2", 4433, 5 * MS), auto_answer=True, **settings)
    call = connect(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call, life=150 * MS)
        world.talk(host, call, flow="video", size=1100, every=22 * MS, life=150 * MS)
    world.run(3 * S)
    return world, alice, bob


def fates(world: World, speaker: Host, listener: Host, flow: str, since: int) -> tuple[int, int]:
    """(offered, played in time) of what was offered from ``since`` until 200 ms ago."""
    until = world.now - PLAYOUT
    size = 92 if flow == "audio" else 1112
    came = [payload_time(e) for e in listener.heard(since) if e.flow == flow and e.arrived - payload_time(e) <= PLAYOUT]
    played = sum(since <= at < until for at in came)
    offered = round((until - since) / (20 * MS if size == 92 else 22 * MS))
    return offered, played


def test_the_shortest_of_lately() -> None:
    shortest = Shortest(4.0)
    assert shortest.value == float("inf")
    shortest.add(0.02, 1.0)
    shortest.add(0.05, 3.0)
    assert shortest.value == 0.02
    shortest.add(0.05, 6.0)
    assert shortest.value == 0.02, "between one and two horizons it may still count"
    shortest.add(0.06, 10.5)
    assert shortest.value == 0.05


def test_what_is_delivered_is_that_of_the_better_of_two_spans() -> None:
    delivered = Delivered(0.5)
    for at in range(20):  # 1000 bytes a second, then 200, then nothing for long
        delivered.add(100 if at < 10 else 20, 1.0 + at / 10)
    assert delivered.rate == pytest.approx(1000)
    delivered.add(20, 3.0)
    assert delivered.rate == pytest.approx(200)
    delivered.add(20, 13.0)
    delivered.add(20, 23.0)
    assert delivered.rate == pytest.approx(2)


def test_what_was_sent_before_it_yielded_does_not_widen_it_again() -> None:
    control = create_congestion_control(NAME, max_datagram_size=1200)
    assert isinstance(control, YieldingReno)
    for sent, window in ((9.9, 1200), (10.0, 1200), (10.1, 2200)):
        packet = QuicSentPacket(Epoch.ONE_RTT, True, True, False, 1, QuicPacketType.ONE_RTT, sent_time=sent, sent_bytes=1000)
        control.yield_to_delay(10.0)
        control.on_packet_acked(now=10.2, packet=packet)
        assert control.congestion_window == window


def test_audio_has_a_window_of_its_own_and_widens_no_other() -> None:
    control = create_congestion_control(NAME, max_datagram_size=1200)
    assert isinstance(control, YieldingReno)
    control.urgent = {1}
    for number, window in ((1, 12_000), (2, 12_150)):
        packet = QuicSentPacket(Epoch.ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, sent_time=1.0, sent_bytes=150)
        control.on_packet_acked(now=1.1, packet=packet)
        assert control.congestion_window == window
    assert control.acknowledged == 300


@pytest.mark.long
@pytest.mark.parametrize("rate", [150, 250])
def test_audio_is_played_while_video_wants_more_than_the_link_has(identity: Identity, rate: int) -> None:
    world, alice, bob = two(identity, adapt=False)
    fall = world.now
    alice.paths["eth"].impair(Impairment(rate=rate * kbit, queue=50), fall)
    world.run(10 * S)
    for speaker, listener in ((alice, bob), (bob, alice)):
        offered, played = fates(world, speaker, listener, "audio", fall)
        assert played >= 0.98 * offered


@pytest.mark.parametrize("rate", [150, 200])
def test_a_key_frame_does_not_queue_up_before_audio_once_the_path_is_known_to_be_narrow(identity: Identity, rate: int) -> None:
    world = World(identity)
    alice = world.host("alice", Path("eth", "10.0.0.1", 4433, 5 * MS))
    bob = world.host("bob", Path("eth", "10.0.0.2", 4433, 5 * MS), auto_answer=True)
    call = connect(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call, life=150 * MS)
        world.talk(host, call, flow="video", size=850, every=66 * MS, life=150 * MS)
        for _ in range(4):
            world.talk(host, call, flow="video", size=1000, every=1 * S, life=150 * MS)
    world.run(3 * S)
    fall = world.now
    alice.paths["eth"].impair(Impairment(rate=rate * kbit, queue=50), fall)
    world.run(8 * S)
    for listener in (alice, bob):
        heard = [e for e in listener.heard(fall + 1 * S) if e.flow == "audio"]
        assert max(e.arrived - payload_time(e) for e in heard) <= 120 * MS


@pytest.mark.long
def test_without_yielding_it_is_lost(identity: Identity) -> None:
    world, alice, bob = two(identity, queue_bound=None, adapt=False)
    fall = world.now
    alice.paths["eth"].impair(Impairment(rate=150 * kbit, queue=50), fall)
    world.run(10 * S)
    offered, played = fates(world, alice, bob, "audio", fall)
    assert played < 0.5 * offered


@pytest.mark.long
@pytest.mark.parametrize(("delay", "jitter"), [(20, 10), (30, 20)])
def test_jitter_without_a_queue_starves_no_video(identity: Identity, delay: int, jitter: int) -> None:
    world, alice, bob = two(identity, adapt=False)
    began = world.now
    alice.paths["eth"].impair(Impairment(delay=delay * ms, jitter=jitter * ms), began)
    world.run(15 * S)
    for speaker, listener in ((alice, bob), (bob, alice)):
        offered, played = fates(world, speaker, listener, "video", began + 5 * S)
        assert played >= 0.98 * offered


@pytest.mark.long
def test_a_path_that_becomes_longer_is_learned(identity: Identity) -> None:
    world, alice, bob = two(identity, adapt=False)
    began = world.now
    alice.paths["eth"].impair(Impairment(delay=80 * ms), began)
    world.run(8 * S)
    offered, played = fates(world, alice, bob, "video", began + 4 * S)
    assert played >= 0.98 * offered
