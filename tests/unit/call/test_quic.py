"""What ``quic`` relies on inside aioquic, and what it adds."""

from __future__ import annotations

import inspect
import io
import json
import sys
from importlib.metadata import version

import pytest
from aioquic.quic.connection import QuicConnection, QuicNetworkPath
from aioquic.quic.logger import QuicLoggerTrace
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace

from harness.call.headers import peek_untrusted, version_negotiation
from harness.call.quic import Core, configuration, nanoseconds, seconds
from harness.call.session import Endpoint

from .conftest import Identity
from .world import MS, Path, S, World, connect, state_of


def core() -> Core:
    settings = configuration(client=True, alpn="x", max_udp_payload=1200, idle_timeout=30.0, server_name="a", keylog=None, logger=None)
    return Core(settings, odcid=None, ack_delay=0.02, urgent_window=4800, trickle=0.1, pto_clamp=1)


def test_the_version_that_this_was_written_for() -> None:
    assert version("aioquic") == "1.7.2"


ATTRIBUTES = """_ack_delay _close_event _close_pending _configuration _crypto_streams _cryptos _datagrams_pending _handshake_complete
    _handshake_confirmed _handshake_done_pending _host_cid_seq _host_cids _is_client _local_max_data _local_max_streams_bidi
    _local_max_streams_uni _local_next_stream_id_uni _loss _max_datagram_size _network_paths _pacing_at _packet_number _peer_cid_available
    _ping_pending _probe_pending _remote_max_datagram_frame_size _remote_max_streams_uni _retire_connection_ids _spaces _state _streams
    _stream_is_discarded _streams_blocked_pending host_cid"""
METHODS = """_add_network_path _close_end _flush_builder _initialize _payload_received _retire_peer_cid _write_ack_frame _write_application
    _write_datagram_frame _write_stream_frame change_connection_id"""


@pytest.mark.parametrize("name", ATTRIBUTES.split())
def test_attributes_of_the_connection_are_there(name: str) -> None:
    settings = configuration(client=True, alpn="x", max_udp_payload=1200, idle_timeout=30.0, server_name="a", keylog=None, logger=None)
    assert hasattr(QuicConnection(configuration=settings), name)


@pytest.mark.parametrize("name", METHODS.split())
def test_methods_that_are_amended_are_there(name: str) -> None:
    assert callable(getattr(QuicConnection, name))
    source = inspect.getsource(sys.modules[QuicConnection.__module__])
    assert f"self.{name}(" in source, f"aioquic no longer calls {name}, so amending it changes nothing"


def test_the_rest_of_what_is_touched() -> None:
    connection = core()
    for name in [
        "_cc",
        "_pacer",
        "_pto_count",
        "_rtt_initial",
        "_rtt_initialized",
        "_rtt_latest",
        "_rtt_min",
        "_rtt_smoothed",
        "max_ack_delay",
    ]:
        assert hasattr(connection._loss, name)
    assert hasattr(connection._loss, "_time_of_last_sent_ack_eliciting_packet")
    for name in ("congestion_window", "bytes_in_flight"):
        assert hasattr(connection._loss._cc, name)
    for name in ("bucket_time", "packet_time", "update_bucket", "_max_datagram_size"):
        assert hasattr(QuicPacketPacer(max_datagram_size=1200), name)
    space = QuicPacketSpace()
    assert hasattr(space, "largest_received_packet")
    assert hasattr(space, "largest_acked_packet")
    assert space.sent_packets == {}
    assert 1 not in space.received_packets
    path = QuicNetworkPath("a")
    assert not path.local_challenge_sent
    assert path.peer_cid is None
    assert callable(QuicLoggerTrace.log_event)
    connection.connect("a", 1.0)
    stream = connection._get_or_create_stream_for_send(2)
    stream.sender.write(b"x")
    assert len(stream.sender._pending) == 1
    assert stream.sender._buffer_stop == 1
    assert stream.sender._pending_eof is False
    assert not stream.sender.buffer_is_empty
    assert (stream.sender.reset_pending, stream.receiver.stop_pending, stream.is_finished) == (False, False, False)
    assert stream.max_stream_data_local == stream.max_stream_data_local_sent == stream.receiver.highest_offset == 0
    limit = connection._local_max_data
    assert limit.value == limit.sent > limit.used == 0
    assert all(isinstance(connection_id.was_sent, bool) for connection_id in connection._host_cids)
    assert len(path.remote_challenges) == 0
    assert not path.is_validated


def test_time_is_never_early() -> None:
    for at in (0.0, 0.1, 1e-9, 123456.789012345, 1e6 + 1 / 3, 5e5 + 1e-7):
        assert seconds(nanoseconds(at)) >= at
        assert nanoseconds(at) - at * 1e9 <= 2
    for at in range(10**15, 10**15 + 100):
        assert abs(nanoseconds(seconds(at)) - at) <= 128


def test_the_two_slips_of_aioquic_are_guarded(identity: Identity) -> None:
    world = World(identity)
    bob = world.host("bob")
    settings = configuration(client=False, alpn="x", max_udp_payload=1200, idle_timeout=30.0, server_name=None, keylog=None, logger=None)
    settings.load_cert_chain(identity.certificate, identity.key)
    server = Core(settings, odcid=b"12345678", ack_delay=0.02, urgent_window=4800, trickle=0.1, pto_clamp=1)
    assert server.flush(1.0) == ([], False)
    server.fire(1.0)
    assert server.next_timer() is None
    # An Initial too broken to start anything leaves nothing behind.
    junk = bytes.fromhex("c00000000108") + bytes(8) + b"\x08" + bytes(8) + b"\x00\x44\x90"
    bob.endpoint.receive(junk + bytes(1200 - len(junk)), _from(), now=world.now, arrived=world.now)
    world.run(1 * S)
    assert bob.endpoint.inventory()["connections"] in (0, 1)
    world.run(40 * S)
    assert bob.endpoint.inventory()["connections"] == 0


def _from() -> object:
    from harness.call.events import Address

    return Address("eth", "198.51.100.1", 1)


def test_peek_survives_anything() -> None:
    for data in (b"", b"\x00", b"\x40", b"\xc0", b"\xc0" + bytes(40), bytes(100), b"\xff" * 50):
        peek_untrusted(data)
    assert peek_untrusted(b"\x40" + b"12345678" + bytes(20)).destination == b"12345678"  # type: ignore[union-attr]


def test_a_version_that_nobody_speaks_is_answered_with_those_that_are_spoken(identity: Identity) -> None:
    world = World(identity)
    bob = world.host("bob")
    packet = bytes.fromhex("c0aabbccdd08") + b"destinat" + b"\x08" + b"source__" + b"\x00\x44\x90"
    bob.endpoint.receive(packet + bytes(1200 - len(packet)), _from(), now=world.now, arrived=world.now)
    world.flush()
    (answer,) = [transmit for _, transmit in bob.sent]
    header = peek_untrusted(answer.data)
    assert header is not None
    assert header.negotiation
    assert header.destination == b"source__"
    assert answer.data[-8:].hex() == "000000016b3343cf"
    bob.endpoint.receive(version_negotiation(header, [1]) + bytes(1200), _from(), now=world.now, arrived=world.now)
    world.flush()
    assert len(bob.sent) == 1


def test_half_open_connections_are_bounded_and_dropped(identity: Identity) -> None:
    world = World(identity)
    bob = world.host("bob", half_open_limit=2)
    callers = [world.host(f"caller{n}") for n in range(5)]
    for caller in callers:
        caller.endpoint.initiate(world.address(bob, "eth", "eth"), _video(), now=world.now)
        world.run(1 * MS)
    world.run(1 * MS + 40 * MS)
    for caller in callers:
        caller.paths["eth"].up = False
    assert bob.endpoint.inventory()["connections"] == 2
    world.run(20 * S)
    assert bob.endpoint.inventory() == {"calls": 0, "connections": 0, "streams": 0}


def _video() -> object:
    from harness.call.capabilities import MediaConstraints

    return MediaConstraints.video_call()


class Sink:
    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.closed = 0

    def write(self, records: bytes, /) -> None:
        self.records += records.splitlines(keepends=True)

    def close(self) -> None:
        self.closed += 1


def test_qlog_is_streamed_with_the_stacks_clock_and_kept_nowhere(identity: Identity) -> None:
    world = World(identity)
    sinks: dict[str, Sink] = {}
    keylog = io.StringIO()

    def open_sink(name: str) -> Sink:
        return sinks.setdefault(name, Sink())

    alice, bob = world.host("alice", qlog=open_sink, keylog=keylog), world.host("bob", auto_answer=True, qlog=open_sink)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    world.run(1 * S)
    odcid = alice.endpoint.stats(call).odcid
    assert set(sinks) == {f"{odcid}-client", f"{odcid}-server"}
    records = [json.loads(record.strip(b"\x1e\n")) for record in sinks[f"{odcid}-client"].records]
    assert all(record[:1] == b"\x1e" and record[-1:] == b"\n" for record in sinks[f"{odcid}-client"].records)
    assert records[0]["qlog_format"] == "JSON-SEQ"
    times = [record["time"] for record in records[1:]]
    assert times == sorted(times)
    assert 1_000_000 <= times[0] <= times[-1] <= world.now / 1e6
    frames = [
        frame["frame_type"] for record in records[1:] if record["name"] == "transport:packet_received" for frame in record["data"]["frames"]
    ]
    assert {"ack", "crypto", "stream"} <= set(frames)
    connection = alice.endpoint._calls[call].connection
    trace = connection.core._quic_logger
    assert trace is not None
    assert len(trace._events) == 0
    alice.endpoint.end(call, "", world.now)
    world.run(3 * S)
    assert [sink.closed for sink in sinks.values()] == [1, 1]
    labels = [line.split()[0] for line in keylog.getvalue().splitlines()]
    assert labels.count("CLIENT_TRAFFIC_SECRET_0") == 1
    assert labels.count("SERVER_HANDSHAKE_TRAFFIC_SECRET") == 1


def test_the_window_begins_anew_on_a_new_path_but_not_behind_a_new_port(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice", Path("wifi", "192.0.2.1", 1, 10 * MS), Path("lte", "198.51.100.1", 1, 30 * MS))
    bob = world.host("bob", Path("eth", "203.0.113.1", 4433, 10 * MS), auto_answer=True)
    call = connect(world, alice, bob, over="wifi")
    for host in (alice, bob):
        world.talk(host, call, flow="video", size=1000, every=10 * MS)
    world.run(3 * S)
    grown = bob.endpoint.stats(call).cwnd
    assert grown > 20_000
    alice.paths["wifi"].port = 2
    world.run(500 * MS)
    assert bob.endpoint.stats(call).address.port == 2
    assert bob.endpoint.stats(call).cwnd >= grown // 4  # a packet of the old mapping was lost, no more
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(150 * MS)
    assert alice.endpoint.stats(call).path == "lte"
    for host in (alice, bob):
        assert host.endpoint.stats(call).cwnd < 20_000
    world.run(3 * S)
    assert abs(alice.endpoint.stats(call).rtt_ns - 80 * MS) < 10 * MS
    assert state_of(alice, call) == "Connected"


@pytest.mark.long
def test_the_timer_never_spins(identity: Identity) -> None:
    """Between two instants of virtual time the timer asks for a bounded number of calls."""
    world = World(identity)
    fired: dict[str, int] = {}

    class Counting(Endpoint):
        def handle_timer(self, now: int) -> None:
            fired[self._config.name] = fired.get(self._config.name, 0) + 1
            super().handle_timer(now)

    alice, bob = world.host("alice", kind=Counting), world.host("bob", kind=Counting, auto_answer=True)
    call = connect(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
        world.talk(host, call, flow="video", size=1100, every=5 * MS)
    alice.paths["eth"].loss = 0.1
    world.run(5 * S)
    alice.paths["eth"].up = False
    world.run(5 * S)
    assert max(fired.values()) < 10_000 / 2
