"""What the stack writes as qlog, in calls to which everything happens, against the rules of the schema that it names."""

from __future__ import annotations

import inspect
import json
import re
import sys
from typing import Any

import pytest
from aioquic.quic import recovery
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicTransportParameters

from harness.call.events import Address
from harness.call.qlog import StreamingTrace
from harness.spec.link import Impairment
from harness.units import percent

from .conftest import Identity
from .qlog_rules import EVENTS, faults
from .test_quic import Sink
from .world import MS, Path, S, World, connect


def records(sink: Sink) -> list[dict[str, Any]]:
    return [json.loads(record.strip(b"\x1e\n")) for record in sink.records]


def kinds(traces: list[list[dict[str, Any]]]) -> set[str]:
    """The events in them, and the frames."""
    events = {record["name"] for trace in traces for record in trace[1:]}
    packets = [record["data"] for trace in traces for record in trace[1:] if record["name"].startswith("transport:packet_")]
    return events | {frame["frame_type"] for data in packets for frame in data.get("frames", [])}


@pytest.mark.parametrize("mode", ["datagram", "stream"])
def test_a_call_with_everything_is_valid(identity: Identity, mode: str) -> None:
    world = World(identity)
    sinks: dict[str, Sink] = {}
    both = {"qlog": lambda name: sinks.setdefault(name, Sink())}
    alice = world.host("alice", Path("wifi", "192.0.2.1", 5000, 10 * MS), Path("lte", "198.51.100.1", 6000, 30 * MS), **both)
    bob = world.host("bob", Path("eth", "203.0.113.1", 4433, 10 * MS), auto_answer=True, retry_above=0, **both)
    call = connect(world, alice, bob, over="wifi")
    for host in (alice, bob):
        world.talk(host, call, flow="video", every=30 * MS, size=1000, mode=mode)
    alice.paths["wifi"].impair(Impairment(loss=10 * percent), world.now)
    world.run(2 * S)
    first = next(transmit for _, transmit in alice.sent if transmit.media)
    for data in (first.data, first.data[:9] + bytes(30), b"\xc3\0\0\0\1\x08", b"\xc3" + bytes(1300)):
        bob.endpoint.receive(data, Address("eth", "192.0.2.1", 5000), now=world.now, arrived=world.now)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(2 * S)
    alice.endpoint.end(call, "", world.now)
    world.run(3 * S)
    traces = [records(sink) for sink in sinks.values()]
    assert len(traces) == 2
    for trace in traces:
        assert faults(trace) == []
    seen = kinds(traces)
    assert {
        "recovery:metrics_updated",
        "recovery:packet_lost",
        "security:key_updated",
        "security:key_retired",
        "transport:parameters_set",
        "transport:version_information",
        "ack",
        "crypto",
        "stream",
        "padding",
        "new_connection_id",
        "retire_connection_id",
        "path_challenge",
        "path_response",
        "connection_close",
        "handshake_done",
    } <= seen
    windows = [r["data"]["congestion_window"] for t in traces for r in t[1:] if "congestion_window" in r["data"]]
    assert len(set(windows)) > 3


def trace() -> tuple[StreamingTrace, Sink]:
    sink = Sink()
    return StreamingTrace(is_client=False, odcid=b"12345678", sink=sink), sink


def test_what_a_call_seldom_meets_is_valid_too() -> None:
    one, sink = trace()
    log = one.log_event
    frames = [
        one.encode_new_token_frame(b"token"),
        one.encode_stop_sending_frame(7, 4),
        one.encode_reset_stream_frame(7, 100, 4),
        one.encode_streams_blocked_frame(True, 5),
        one.encode_stream_data_blocked_frame(5, 4),
        one.encode_data_blocked_frame(5),
        one.encode_connection_close_frame(10, 6, "reason"),
        one.encode_padding_frame(),
    ]
    header = {"packet_number": 1, "packet_type": "1RTT", "scid": "", "dcid": "aa"}
    log(category="transport", event="packet_sent", data={"frames": frames, "header": header, "raw": {"length": 9}})
    retry = {"packet_type": "retry", "scid": "aa", "dcid": "bb"}
    log(category="transport", event="packet_received", data={"frames": [], "header": retry, "raw": {"length": 9}})
    for trigger in ("duplicate", "unknown_server_address", "initial_packet_datagram_too_small"):
        log(category="transport", event="packet_dropped", data={"trigger": trigger, "raw": {"length": 9}})
    versions = {"server_versions": [1, 0x6B3343CF], "client_versions": [1], "chosen_version": None}
    log(category="transport", event="version_information", data=versions)
    log(category="transport", event="alpn_information", data={"client_alpns": ["x"], "server_alpns": ["x"], "chosen_alpn": None})
    parameters = QuicTransportParameters(stateless_reset_token=bytes(16), disable_active_migration=True, max_idle_timeout=3)
    log(category="transport", event="parameters_set", data=one.encode_transport_parameters("remote", parameters))
    log(category="security", event="key_updated", data={"key_type": "client_1rtt_secret", "trigger": "remote_update"})
    one.close()
    written = records(sink)
    assert faults(written) == []
    assert [record.get("trigger_detail") for record in written[1:] if record["name"] == "transport:packet_dropped"] == [
        None,
        "unknown_server_address",
        "initial_packet_datagram_too_small",
    ]
    (versions_told,) = (record["data"] for record in written[1:] if record["name"] == "transport:version_information")
    assert versions_told == {"server_versions": ["00000001", "6b3343cf"], "client_versions": ["00000001"]}


WRONG = [
    ("recovery:metrics_updated", {"cwnd": 12000}),
    ("recovery:metrics_updated", {"congestion_window": 12000.5}),
    ("recovery:metrics_updated", {"latest_rtt": "3ms"}),
    ("recovery:packet_lost", {"type": "1RTT", "packet_number": 3}),
    ("transport:version_information", {"chosen_version": 1}),
    ("transport:packet_sent", {"header": {"packet_type": "1RTT"}}),
    ("transport:packet_sent", {"header": {"packet_type": "1RTT", "packet_number": 1}, "frames": [{"frame_type": "padding"}]}),
    ("transport:packet_sent", {"header": {"packet_type": "1RTT", "packet_number": 1}, "frames": [{"frame_type": "who knows"}]}),
    ("transport:packet_dropped", {"trigger": "mood"}),
    ("security:key_updated", {"key_type": "client_1rtt_secret"}),
    ("transport:something", {}),
]


@pytest.mark.parametrize(("name", "data"), WRONG)
def test_the_rules_find_what_is_wrong(name: str, data: dict[str, Any]) -> None:
    one, sink = trace()
    one.close()
    head = records(sink)
    assert faults(head) == []
    assert len(faults([*head, {"time": 1.0, "name": name, "data": data}])) == 1
    assert faults([{**head[0], "qlog_format": "JSON"}]) != []
    late = {"name": "connectivity:spin_bit_updated", "data": {"state": True}}
    assert len(faults([*head, {**late, "time": 2.0}, {**late, "time": 1.0}])) == 1


def test_every_event_of_this_aioquic_has_its_rule() -> None:
    sources = inspect.getsource(sys.modules[QuicConnection.__module__]) + inspect.getsource(recovery)
    written = set(re.findall(r'category="(\w+)",\s*event="(\w+)"', sources))
    assert {f"{category}:{event}" for category, event in written} == EVENTS.keys()
    assert "self._handle_padding_frame" in sources, "aioquic no longer calls it, so amending it changes nothing"
