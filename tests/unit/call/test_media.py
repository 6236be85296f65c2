"""Media on a call: sizes, order, streams, unknown flows, garbage, RTCP."""

from __future__ import annotations

import random

import pytest

from harness.call.errors import ConfigError, PacketTooLarge, TransportError
from harness.call.events import MediaExpired
from harness.call.media_queue import Waiting
from harness.call.roq import RoqCode, encode_stream_packet
from harness.rtp.packet import RtpPacket

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, payload_time, state_of


def rtp(payload: int, *, timestamp: int = 0, sequence: int = 0, marker: bool = False) -> bytes:
    return RtpPacket(payload_type=96, sequence=sequence, timestamp=timestamp, ssrc=1, payload=bytes(payload), marker=marker).encode()


def pair(world: World, **settings: object) -> tuple[Host, Host, str]:
    alice, bob = world.host("alice", **settings), world.host("bob", auto_answer=True, **settings)
    return alice, bob, connect(world, alice, bob)


@pytest.mark.parametrize("payload", [1200, 1452])
def test_the_largest_packet_fits_and_one_more_byte_is_refused_by_name(identity: Identity, payload: int) -> None:
    world = World(identity)
    alice, bob = world.host("alice", max_udp_payload=payload), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.run(500 * MS)
    limit = alice.endpoint.stats(call).max_rtp_packet
    assert limit == payload - 31
    alice.endpoint.send_rtp(call, "video", rtp(limit - 12), now=world.now, expires=world.now + S)
    with pytest.raises(PacketTooLarge, match=f"an RTP packet of {limit + 1} bytes .* at most {limit} bytes") as caught:
        alice.endpoint.send_rtp(call, "video", rtp(limit - 11), now=world.now, expires=world.now + S)
    assert (caught.value.size, caught.value.limit, caught.value.call) == (limit + 1, limit, call)
    world.run(200 * MS)
    assert [len(event.packet) for event in bob.heard()] == [limit]
    assert bob.heard()[0].udp_size == payload


def test_what_cannot_be_sent(identity: Identity) -> None:
    world = World(identity)
    alice, _, call = pair(world)
    for flow, packet, mode, kind in (
        ("audio", b"hello", "datagram", TransportError),
        ("rtcp", rtp(1), "datagram", ConfigError),
        ("smell", rtp(1), "datagram", ConfigError),
        ("audio", rtp(1), "pigeon", ConfigError),
        ("video", rtp(65_536), "stream", PacketTooLarge),
    ):
        with pytest.raises(kind):
            alice.endpoint.send_rtp(call, flow, packet, now=world.now, expires=world.now + S, mode=mode)


def test_the_token_is_on_the_datagram_that_carries_the_packet(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    for index in range(20):
        for flow, size in (("video", 1000), ("audio", 80)):
            alice.endpoint.send_rtp(call, flow, rtp(size, sequence=index), now=world.now, expires=world.now + S)
        world.run(20 * MS)
    world.run(100 * MS)
    sizes = [len(transmit.data) for _, transmit in alice.sent if transmit.media]
    assert sorted(sizes) == sorted(event.udp_size for event in bob.heard())
    assert sorted(token for _, transmit in alice.sent for token in transmit.media) == list(range(1, 41))
    flows = [event.flow for event in bob.heard()]
    assert flows == ["audio", "video"] * 20


def test_a_burst_goes_out_by_priority(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    for flow in ("data", "screen", "video", "audio"):
        for index in range(5):
            alice.endpoint.send_rtp(call, flow, rtp(900, sequence=index), now=world.now, expires=world.now + 5 * S)
    world.run(3 * S)
    assert [event.flow for event in bob.heard()] == ["audio"] * 5 + ["video"] * 5 + ["screen"] * 5 + ["data"] * 5


def test_a_full_queue_drops_the_oldest_and_says_so(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", queue_limit=4), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    tokens = [alice.endpoint.send_rtp(call, "video", rtp(10, sequence=n), now=world.now, expires=world.now + S) for n in range(6)]
    world.run(200 * MS)
    assert [(event.token, event.why) for event in alice.all(MediaExpired)] == [(tokens[0], "queue full"), (tokens[1], "queue full")]
    assert len(bob.heard()) == 4
    assert alice.endpoint.stats(call).expired == 2


def test_hanging_up_reports_what_was_never_sent(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    tokens = [alice.endpoint.send_rtp(call, "video", rtp(1100), now=world.now, expires=world.now + 9 * S) for _ in range(100)]
    world.flush()
    alice.endpoint.end(call, "", world.now)
    world.run(1 * S)
    unsent = [event.token for event in alice.all(MediaExpired)]
    assert {event.why for event in alice.all(MediaExpired)} == {"ended"}
    assert sorted(unsent + list(alice.media_sent)) == tokens
    assert bob.endpoint.inventory()["calls"] == 0


@pytest.mark.long
@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("flow", ["audio", "video"])
def test_stream_mode(identity: Identity, flow: str, loss: float) -> None:
    world = World(identity)
    alice, bob, call = pair(world, adapt=False)
    alice.paths["eth"].loss = loss
    for host in (alice, bob):
        world.talk(host, call, flow=flow, mode="stream", size=2500 if flow == "video" else 80, every=100 * MS, life=2 * S)
    world.run(50 * S)
    for host in (alice, bob):
        world.hush(host)
    world.run(3 * S)
    for host, peer in ((alice, bob), (bob, alice)):
        heard = [event.packet for event in peer.heard()]
        assert {event.mode for event in peer.heard()} == {"stream"}
        assert len(set(heard)) == len(heard)
        assert len(heard) == len(host.offered) == 500
        assert set(host.media_sent) | set(host.expired()) == set(host.offered)
        assert host.endpoint.inventory()["streams"] <= 3


def test_a_frame_of_several_packets_shares_a_stream_and_the_next_has_its_own(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    for frame in range(3):
        for part in range(4):
            packet = rtp(500, timestamp=frame * 3000, sequence=frame * 4 + part, marker=part == 3 and frame != 1)
            alice.endpoint.send_rtp(call, "video", packet, now=world.now, expires=world.now + S, mode="stream")
    world.run(1 * S)
    assert [event.packet[3] for event in bob.heard()] == list(range(12))
    core = alice.endpoint._calls[call].connection.core
    assert core.get_next_available_stream_id(is_unidirectional=True) == 2 + 4 * 3
    assert core.open_streams == 1


def test_a_stream_frame_whose_time_is_over_is_cancelled_and_no_stale_one_arrives(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    world.talk(alice, call, flow="video", mode="stream", size=3000, every=33 * MS, life=150 * MS)
    world.run(1 * S)
    alice.paths["eth"].up = False
    world.run(3 * S)
    alice.paths["eth"].up = True
    world.run(2 * S)
    assert max(event.arrived - payload_time(event) for event in bob.heard()) <= 150 * MS + 40 * MS + 10 * MS
    assert alice.expired()
    world.hush(alice)
    world.run(1 * S)
    assert alice.endpoint.inventory()["streams"] == bob.endpoint.inventory()["streams"] == 1


def test_media_that_overtakes_connection_ready_is_kept(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = alice.endpoint.initiate(world.address(bob, "eth", "eth"), _video(), now=world.now)
    world.run(2 * S, until=lambda: state_of(alice, call) == "Connecting")
    lost = iter([True])
    world.run(2 * S, until=lambda: alice.endpoint._calls[call].state == "Connected" or _arm(alice, lost, world, call))
    world.talk(alice, call)
    world.run(1 * S)
    world.hush(alice)
    world.run(300 * MS)
    assert state_of(bob, call) == "Connected"
    assert len(bob.heard()) == len(alice.offered)
    assert len({event.at for event in bob.heard()}) < len(bob.heard())


def _arm(alice: Host, lost: object, world: World, call: str) -> bool:
    """Lose everything that alice sends in the millisecond in which she becomes connected."""

    def drop(data: bytes, outward: bool) -> bool:
        return outward and state_of(alice, call) == "Connected" and not alice.offered

    alice.paths["eth"].drop = drop
    return False


def test_unknown_flows_and_what_is_not_rtp_are_counted_and_dropped(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    core = alice.endpoint._calls[call].connection.core
    for payload in (b"", b"\x40", b"\x30" + rtp(10), b"\x20not rtp", b"\x23not rtcp", b"\x23\x81\xcb\x00\x00", b"\x20" + rtp(5)):
        core.send_datagram_frame(payload)
        world.now += 1
        core_out = core.datagrams_to_send(world.now / 1e9)
        for data, address in core_out:
            bob.endpoint.receive(data, address._replace(ip="10.0.0.1"), now=world.now, arrived=world.now)
    world.run(300 * MS)
    assert bob.endpoint.stats(call).dropped == 6
    assert [len(event.packet) for event in bob.heard()] == [17]
    assert state_of(bob, call) == "Connected"


def test_an_unknown_flow_on_a_stream_is_stopped(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    core = alice.endpoint._calls[call].connection.core
    number = core.get_next_available_stream_id(is_unidirectional=True)
    core.send_stream_data(number, b"\x30" + encode_stream_packet(rtp(10)))
    world.run(300 * MS)
    assert core._streams.get(number) is None or core._streams[number].sender._reset_error_code == RoqCode.UNKNOWN_FLOW_ID
    assert bob.endpoint.stats(call).dropped == 1
    world.run(300 * MS)
    assert state_of(alice, call) == state_of(bob, call) == "Connected"
    assert bob.endpoint.inventory()["streams"] == 1


def test_media_on_a_bidirectional_stream_closes_the_connection(identity: Identity) -> None:
    world = World(identity)
    alice, _, call = pair(world)
    core = alice.endpoint._calls[call].connection.core
    core.send_stream_data(core.get_next_available_stream_id(), b"\x20")
    world.run(1 * S)
    assert state_of(alice, call) is None
    assert "code 0x4" in alice.log[-1].reason  # type: ignore[attr-defined]


@pytest.mark.long
def test_garbage_on_the_wire_changes_nothing(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(200 * MS)
    noise = random.Random(7)
    genuine = [transmit for at, transmit in alice.sent if at < world.now - 50 * MS]  # none that is still on its way
    for _ in range(2000):
        source = Path("eth", "198.51.100.66", noise.randrange(1, 65536), 0)
        kind = noise.randrange(3)
        if kind == 0:
            data = noise.randbytes(noise.randrange(0, 1400))
        else:
            data = bytearray(noise.choice(genuine).data)
            if kind == 1:
                for _ in range(noise.randrange(1, 5)):
                    data[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
            data = bytes(data)
        for host in (alice, bob):
            host.endpoint.receive(data, _address(source), now=world.now, arrived=world.now)
        world.flush()
    world.run(2 * S)
    world.hush(alice)
    world.hush(bob)
    world.run(500 * MS)
    assert len(bob.heard()) == len(alice.offered)
    assert len(alice.heard()) == len(bob.offered)
    assert bob.path_kinds() == []
    world.run(20 * S)
    assert bob.endpoint.inventory()["connections"] == 1


def _address(path: Path) -> object:
    from harness.call.events import Address

    return Address(path.name, path.ip, path.port)


def _video() -> object:
    from harness.call.capabilities import MediaConstraints

    return MediaConstraints.video_call()


def test_rtcp_once_a_second_tells_the_peer_what_arrived(identity: Identity) -> None:
    world = World(identity)
    alice, _, call = pair(world)
    world.talk(alice, call)
    alice.paths["eth"].loss = 0.1
    world.run(10 * S)
    reporter = alice.endpoint._calls[call].media.reporter
    assert reporter is not None
    (block,) = reporter.heard_about.values()
    assert 20 < block.lost < 80
    assert block.jitter == 0
    assert block.last_sr != 0
    assert alice.endpoint.stats(call).sent["rtcp"] == 10
    assert all(token > 0 for _, transmit in alice.sent for token in transmit.media)


def test_rtcp_is_off_when_told_so(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", rtcp=None), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    world.run(3 * S)
    assert "rtcp" not in alice.endpoint.stats(call).sent


def test_the_newest_audio_goes_first_when_hardly_anything_gets_through(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = pair(world)
    world.talk(alice, call)
    world.run(1 * S)
    bob.paths["eth"].up = False
    world.run(10 * S)
    late = [at - alice.offered[token] for token, at in alice.media_sent.items() if at > world.now - 3 * S]
    assert late
    assert max(late) <= 20 * MS
    assert 25 <= len(late) <= 60
    assert isinstance(alice.endpoint._calls[call].connection.queue.head(), Waiting)
