"""qlog as a stream: JSON-SEQ records (RFC 7464) to a sink, stamped with the stack's own clock, nothing kept.

aioquic's logger keeps every event until the connection ends (31 MB a minute, lost on a kill) and stamps ``time.time()``.  It also logs a
received packet before it has read the frames, and fills their list in afterwards: so records wait in ``_waiting`` until aioquic has done
with the datagram, and then for a batch to be full or for ``flush``: encoded together they cost half as much.

What aioquic says in words of its own is put into the schema's (``qlog_schema``), so that other tools read it.

Of aioquic's ``metrics_updated`` those are left out that tell only of bytes in flight, one for every packet sent: ``packet_sent`` tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

from harness.call.events import QlogSink
from harness.call.qlog_schema import CONFORMING, DROPPED, reset_token

MILLISECOND = 1_000_000
BATCH = 64

_encoder = msgspec.json.Encoder()


class StreamingTrace(QuicLoggerTrace):
    """One connection's trace.  The connection calls ``proceed`` before it does anything."""

    def __init__(self, *, is_client: bool, odcid: bytes, sink: QlogSink) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        self._time = 0.0
        self._sink = sink
        self._metrics: dict[str, Any] = {}
        self._waiting: list[dict[str, Any]] = []
        header = {
            "qlog_version": QLOG_VERSION,
            "qlog_format": "JSON-SEQ",
            "trace": {
                "vantage_point": {"name": "harness", "type": "client" if is_client else "server"},
                "common_fields": {
                    "ODCID": odcid.hex(),
                    "protocol_type": ["QUIC"],
                    "time_format": "absolute",
                    "reference_time": 0.0,
                    "clock": "CLOCK_MONOTONIC",
                },
            },
        }
        self._write([header])

    def proceed(self, now: int) -> None:
        """It is ``now`` (nanoseconds), and aioquic has nothing to add to what it has logged."""
        self._time = now / MILLISECOND
        if len(self._waiting) >= BATCH:
            self.flush()

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        """Take one event from aioquic, to be written later; its time is in ms."""
        conforming = CONFORMING.get(event)
        if conforming is not None:
            data = conforming(data)
        if event == "metrics_updated":
            before, self._metrics = self._metrics, data
            if before.keys() >= data.keys() and all(value == before[key] for key, value in data.items() if key != "bytes_in_flight"):
                return
        record = {"time": self._time, "name": f"{category}:{event}", "data": data}
        if event == "packet_dropped" and data.get("trigger") not in DROPPED:
            record["trigger_detail"] = data.pop("trigger", None)
        self._waiting.append(record)

    def encode_new_connection_id_frame(
        self, connection_id: bytes, retire_prior_to: int, sequence_number: int, stateless_reset_token: bytes
    ) -> dict[str, Any]:
        """As the schema has it."""
        return {
            "frame_type": "new_connection_id",
            "sequence_number": sequence_number,
            "retire_prior_to": retire_prior_to,
            "connection_id_length": len(connection_id),
            "connection_id": connection_id.hex(),
            "stateless_reset_token": reset_token(stateless_reset_token.hex()),
        }

    def encode_new_token_frame(self, token: bytes) -> dict[str, Any]:
        """As the schema has it."""
        return {"frame_type": "new_token", "token": {"type": "resumption", "length": len(token), "data": token.hex()}}

    def flush(self) -> None:
        """Write what is waiting."""
        if self._waiting:
            self._write(self._waiting)
            self._waiting.clear()

    def close(self) -> None:
        """Write the rest and close the sink."""
        self.flush()
        self._sink.close()

    def _write(self, records: list[dict[str, Any]]) -> None:
        lines = _encoder.encode_lines(records)
        self._sink.write(b"\x1e" + lines[:-1].replace(b"\n", b"\n\x1e") + b"\n")  # JSON escapes the newlines within


class StreamingLogger(QuicLogger):
    """Makes the trace of the one connection that it is given to; ``open_sink`` is called with "<odcid>-client" or "-server"."""

    def __init__(self, open_sink: Callable[[str], QlogSink]) -> None:
        super().__init__()
        self._open = open_sink
        self.trace: StreamingTrace | None = None

    def start_trace(self, is_client: bool, odcid: bytes) -> StreamingTrace:
        """Aioquic's connection begins."""
        sink = self._open(f"{odcid.hex()}-{'client' if is_client else 'server'}")
        self.trace = StreamingTrace(is_client=is_client, odcid=odcid, sink=sink)
        return self.trace

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """Aioquic's connection has ended."""
        if isinstance(trace, StreamingTrace):
            trace.close()
