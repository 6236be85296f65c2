"""What a qlog of version 0.3 must look like, written down from draft-ietf-quic-qlog-main-schema-02 and -quic-events-02 (their CDDL).

Three things in that CDDL cannot be meant, as later drafts say: ``flags`` of a header ("if present", without its ``?``), and the packet
number of a Retry and of a Version Negotiation, which have none.  DATAGRAM frames are newer than it (RFC 9221): named as in later drafts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from harness.call.qlog_schema import DROPPED

Rule = Callable[[Any], bool]


def uint(bits: int) -> Rule:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << bits


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) != float("inf")


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def hexstring(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("([0-9a-f]{2})*", value) is not None


def one_of(*words: str) -> Rule:
    return lambda value: value in words


def some(rule: Rule, least: int = 0) -> Rule:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(rule, value))


def struct(required: dict[str, Rule], optional: dict[str, Rule] | None = None, *, more: bool = False) -> Rule:
    """An object with these fields and no others, unless the draft lets it have ``more``."""

    def rule(value: Any) -> bool:
        known = required | (optional or {})
        return (
            isinstance(value, dict)
            and required.keys() <= value.keys()
            and (more or value.keys() <= known.keys())
            and all(known[name](field) for name, field in value.items() if name in known)
        )

    return rule


U8, U16, U32, U64 = uint(8), uint(16), uint(32), uint(64)
CID = hexstring
TOKEN = struct({}, {"type": one_of("retry", "resumption", "stateless_reset"), "length": U32, "data": hexstring})
RAW = struct({}, {"length": U64, "payload_length": U64, "data": hexstring})
LENGTHS = {"length": U32, "payload_length": U32}
NUMBERED = one_of("initial", "handshake", "0RTT", "1RTT", "stateless_reset", "unknown")
NUMBERLESS = one_of("retry", "version_negotiation")
REST = {"flags": U8, "token": TOKEN, "length": U16, "version": hexstring, "scil": U8, "dcil": U8, "scid": CID, "dcid": CID}
_numbered = struct({"packet_type": NUMBERED, "packet_number": U64}, REST)
_numberless = struct({"packet_type": NUMBERLESS}, REST)
FRAMES: dict[str, Rule] = {
    "padding": struct({"payload_length": U32}, {"length": U32}),
    "ping": struct({}, LENGTHS),
    "ack": struct(
        {},
        {
            "ack_delay": number,
            "acked_ranges": some(lambda pair: some(U64, 1)(pair) and len(pair) <= 2 and pair == sorted(pair), 1),
            **dict.fromkeys(("ect1", "ect0", "ce"), U64),
            **LENGTHS,
        },
    ),
    "reset_stream": struct({"stream_id": U64, "error_code": U32, "final_size": U64}, LENGTHS),
    "stop_sending": struct({"stream_id": U64, "error_code": U32}, LENGTHS),
    "crypto": struct({"offset": U64, "length": U64}, {"payload_length": U32}),
    "new_token": struct({"token": TOKEN}),
    "stream": struct({"stream_id": U64, "offset": U64, "length": U64}, {"fin": flag, "raw": hexstring}),
    "max_data": struct({"maximum": U64}),
    "max_stream_data": struct({"stream_id": U64, "maximum": U64}),
    "max_streams": struct({"stream_type": one_of("unidirectional", "bidirectional"), "maximum": U64}),
    "data_blocked": struct({"limit": U64}),
    "stream_data_blocked": struct({"stream_id": U64, "limit": U64}),
    "streams_blocked": struct({"stream_type": one_of("unidirectional", "bidirectional"), "limit": U64}),
    "new_connection_id": struct(
        {"sequence_number": U32, "retire_prior_to": U32, "connection_id": CID}, {"connection_id_length": U8, "stateless_reset_token": TOKEN}
    ),
    "retire_connection_id": struct({"sequence_number": U32}),
    "path_challenge": struct({}, {"data": hexstring}),
    "path_response": struct({}, {"data": hexstring}),
    "connection_close": struct(
        {},
        {
            "error_space": one_of("transport", "application"),
            "error_code": U32,
            "raw_error_code": U32,
            "reason": text,
            "trigger_frame_type": U64,
        },
    ),
    "handshake_done": struct({}),
    "datagram": struct({}, {"length": U64}),
}


def header(value: Any) -> bool:
    return _numbered(value) or _numberless(value)


def frame(value: Any) -> bool:
    rest = {name: field for name, field in value.items() if name != "frame_type"}
    return value.get("frame_type") in FRAMES and FRAMES[value["frame_type"]](rest)


_PACKET = {"frames": some(frame), "is_coalesced": flag, "raw": RAW, "datagram_id": U32, "retry_token": TOKEN}
_KEY = one_of(*(f"{side}_{stage}_secret" for side in ("server", "client") for stage in ("initial", "handshake", "0rtt", "1rtt")))
_KEYS = {"generation": U32, "trigger": one_of("tls", "remote_update", "local_update")}
_DATAGRAMS = struct({}, {"count": U16, "raw": some(RAW, 1), "datagram_ids": some(U32, 1)})
EVENTS: dict[str, Rule] = {
    "connectivity:spin_bit_updated": struct({"state": flag}),
    "security:key_updated": struct({"key_type": _KEY, "new": hexstring}, {"old": hexstring, **_KEYS}),
    "security:key_retired": struct({"key_type": _KEY}, {"key": hexstring, **_KEYS}),
    "transport:version_information": struct(
        {}, {"server_versions": some(hexstring, 1), "client_versions": some(hexstring, 1), "chosen_version": hexstring}
    ),
    "transport:alpn_information": struct({}, {"server_alpns": some(text), "client_alpns": some(text), "chosen_alpn": text}),
    "transport:parameters_set": struct(
        {},
        {
            "owner": one_of("local", "remote"),
            "disable_active_migration": flag,
            "stateless_reset_token": TOKEN,
            **{f"{name}_connection_id": CID for name in ("original_destination", "initial_source", "retry_source")},
            **dict.fromkeys(("max_idle_timeout", "initial_max_data", "initial_max_streams_bidi", "initial_max_streams_uni"), U64),
            **{f"initial_max_stream_data_{name}": U64 for name in ("bidi_local", "bidi_remote", "uni")},
            "max_udp_payload_size": U32,
            "active_connection_id_limit": U32,
            "ack_delay_exponent": U16,
            "max_ack_delay": U16,
        },
        more=True,
    ),
    "transport:packet_sent": struct({"header": header}, _PACKET),
    "transport:packet_received": struct({"header": header}, _PACKET),
    "transport:packet_dropped": struct({}, {"header": header, "raw": RAW, "datagram_id": U32, "trigger": one_of(*DROPPED)}),
    "transport:datagrams_sent": _DATAGRAMS,
    "transport:datagrams_received": _DATAGRAMS,
    "recovery:metrics_updated": struct(
        {},
        {
            **dict.fromkeys(("min_rtt", "smoothed_rtt", "latest_rtt", "rtt_variance"), number),
            **dict.fromkeys(("congestion_window", "bytes_in_flight", "ssthresh", "packets_in_flight", "pacing_rate"), U64),
            "pto_count": U16,
        },
        more=True,
    ),
    "recovery:packet_lost": struct({"header": header}, {"frames": some(frame), "trigger": text}),
}
HEAD = struct(
    {
        "qlog_format": one_of("JSON-SEQ"),
        "qlog_version": one_of("0.3"),
        "trace": struct(
            {},
            {
                "vantage_point": struct({"type": one_of("client", "server", "network", "unknown")}, {"name": text, "flow": text}),
                "common_fields": struct(
                    {},
                    {"time_format": one_of("absolute", "delta", "relative"), "reference_time": number, "protocol_type": some(text)},
                    more=True,
                ),
                "title": text,
                "description": text,
            },
        ),
    },
    {"title": text, "description": text},
)
NEVER = {"cwnd", "packet_size", "packet_type"}
"""Names of other versions, which tools would look past."""


def faults(records: list[dict[str, Any]]) -> list[str]:
    """What is wrong with a trace: its head and its events."""
    found = [] if HEAD(records[0]) else [f"head: {records[0]}"]
    last = float("-inf")
    for record in records[1:]:
        rule = EVENTS.get(record["name"])
        if rule is None:
            found.append(f"unknown event: {record}")
        elif not rule(record["data"]) or record["data"].keys() & NEVER:
            found.append(f"{record}")
        if not number(record["time"]) or record["time"] < last:
            found.append(f"time: {record}")
        last = record["time"]
    return found
