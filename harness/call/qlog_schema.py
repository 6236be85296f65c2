"""Aioquic's qlog events in the words of the schema version that it names, 0.3 (draft-ietf-quic-qlog-main-schema-02, -quic-events-02).

aioquic 1.7.2 calls some fields otherwise, and qvis looks for them by the schema's names: the congestion window, what was lost.

* A sent packet's padding is left out: the schema wants its length, and aioquic does not tell it.  A received one's ``quic`` measures.
* ``key_updated`` has an empty ``new``: the secrets are in the key log, and not here.
* A reason to drop a packet that the schema has no word for stands beside the event, as ``trigger_detail``.
* DATAGRAM frames (RFC 9221) are newer than the schema; they keep the name that later drafts give them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Data = dict[str, Any]

DROPPED = {
    "key_unavailable",
    "unknown_connection_id",
    "header_parse_error",
    "payload_decrypt_error",
    "protocol_violation",
    "dos_prevention",
    "unsupported_version",
    "unexpected_packet",
    "unexpected_source_connection_id",
    "unexpected_version",
    "duplicate",
    "invalid_initial",
}
"""The schema's words for why a packet is dropped."""


def metrics_updated(data: Data) -> Data:
    """With the congestion window under its name."""
    if "cwnd" in data:
        data["congestion_window"] = data.pop("cwnd")
    return data


def packet_sent(data: Data) -> Data:
    """Without padding, which stands last in a packet."""
    frames = data["frames"]
    if frames and frames[-1]["frame_type"] == "padding":
        data["frames"] = frames[:-1]
    return data


def packet_lost(data: Data) -> Data:
    """With the packet's type and number in a header."""
    return {"header": {"packet_type": data["type"], "packet_number": data["packet_number"]}}


def version_information(data: Data) -> Data:
    """With versions in hex, and those that there are."""
    return {key: _version(value) if isinstance(value, int) else [*map(_version, value)] for key, value in data.items() if value}


def _version(number: int) -> str:
    return f"{number:08x}"


def alpn_information(data: Data) -> Data:
    """With those that there are."""
    return {key: value for key, value in data.items() if value is not None}


def key_updated(data: Data) -> Data:
    """With a secret that is empty."""
    return {**data, "new": ""}


def parameters_set(data: Data) -> Data:
    """With its token as one."""
    if "stateless_reset_token" in data:
        data["stateless_reset_token"] = reset_token(data["stateless_reset_token"])
    return data


def reset_token(data: str) -> Data:
    """A stateless reset token, in hex."""
    return {"type": "stateless_reset", "length": len(data) // 2, "data": data}


CONFORMING: dict[str, Callable[[Data], Data]] = {
    function.__name__: function
    for function in (
        metrics_updated,
        packet_sent,
        packet_lost,
        version_information,
        alpn_information,
        key_updated,
        parameters_set,
    )
}
"""By event what becomes of its data; all others are as they should be."""
