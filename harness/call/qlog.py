"""qlog as a stream: JSON-SEQ records (RFC 7464) to a sink, stamped with the stack's own clock, nothing kept.

aioquic's logger keeps every event until the connection ends (31 MB a minute, lost on a kill) and stamps ``time.time()``.  It also logs a
received packet before it has read the frames, and fills their list in afterwards: so records wait in ``_waiting`` for ``flush``, which the
connection calls whenever it has finished with a datagram.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

from harness.call.events import QlogSink

MILLISECOND = 1_000_000


class StreamingTrace(QuicLoggerTrace):
    """One connection's trace.  ``now`` (nanoseconds) is set by the connection before it does anything."""

    def __init__(self, *, is_client: bool, odcid: bytes, sink: QlogSink) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        self.now = 0
        self._sink = sink
        self._waiting: list[dict[str, Any]] = []
        self._write(
            {
                "qlog_version": QLOG_VERSION,
                "qlog_format": "JSON-SEQ",
                "trace": {
                    "vantage_point": {"name": "harness", "type": "client" if is_client else "server"},
                    "common_fields": {"ODCID": odcid.hex(), "time_format": "absolute", "reference_time": 0, "clock": "CLOCK_MONOTONIC"},
                },
            }
        )

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        """Take one event from aioquic, to be written at the next ``flush``; its time is in ms."""
        self._waiting.append({"time": self.now / MILLISECOND, "name": f"{category}:{event}", "data": data})

    def flush(self) -> None:
        """Write what is waiting."""
        for record in self._waiting:
            self._write(record)
        self._waiting.clear()

    def close(self) -> None:
        """Write the rest and close the sink."""
        self.flush()
        self._sink.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._sink.write("\x1e" + json.dumps(record, separators=(",", ":")) + "\n")


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
