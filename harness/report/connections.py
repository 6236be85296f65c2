"""What the qlog files tell of the QUIC connections: round trips, congestion window, bytes in flight, losses, path validation."""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from harness.report.artifacts import Artifacts
from harness.report.clock import Clock
from harness.report.story import Connection, Mark, delta

_PROBES = {"path_challenge": "challenge", "path_response": "response"}


class Event(msgspec.Struct):
    """A qlog event; ``time`` in ms of the trace's clock, which is CLOCK_MONOTONIC."""

    time: float
    name: str
    data: dict[str, Any]


_MOST = 2.0**53
"""What a figure may be at most: beyond it a page's numbers are no longer exact."""
_FIGURES = ("latest_rtt", "smoothed_rtt", "congestion_window", "bytes_in_flight")


def _wanted(line: bytes) -> bool:
    return b"recovery:" in line or b'"path_' in line


def read(artifacts: Artifacts, since_zero: Clock) -> tuple[list[Connection], dict[str, list[Mark]]]:
    """Every end of every connection that left a qlog, and per peer its PATH_CHALLENGE and PATH_RESPONSE frames."""
    found: list[Connection] = []
    probes: dict[str, list[Mark]] = {}
    for name in artifacts.names("qlog/*.sqlog"):
        peer, _, rest = name.removeprefix("qlog/").removesuffix(".sqlog").partition("-")
        odcid, _, role = rest.partition("-")
        metrics: dict[str, Any] = {}
        rtt: list[tuple[int, int, int]] = []
        window: list[tuple[int, int]] = []
        flight: list[tuple[int, int]] = []
        lost: list[int] = []
        marks = probes.setdefault(peer, [])

        def fit(event: Event) -> str:
            if not isfinite(event.time * 1e6) or not since_zero.inside(round(event.time * 1e6)):
                return f"time {event.time} is not of this run"
            figures = [(one, event.data[one]) for one in _FIGURES if event.name == "recovery:metrics_updated" and one in event.data]
            return next((f"{one} {value!r:.40} is no figure" for one, value in figures if not _figure(value)), "")

        for event in artifacts.lines(name, Event, wanted=_wanted, fit=fit):
            at = since_zero(round(event.time * 1e6))
            if event.name == "recovery:metrics_updated":
                metrics.update(event.data)
                if "latest_rtt" in event.data or "smoothed_rtt" in event.data:
                    rtt.append((at, _us(metrics.get("latest_rtt")), _us(metrics.get("smoothed_rtt"))))
                size = event.data.get("congestion_window")
                if size is not None and (not window or window[-1][1] != size):
                    window.append((at, int(size)))
                if "bytes_in_flight" in event.data:
                    flight.append((at, int(event.data["bytes_in_flight"])))
            elif event.name == "recovery:packet_lost":
                lost.append(at)
            elif event.name in ("transport:packet_sent", "transport:packet_received"):
                marks += _probes(at, event)
        found.append(
            Connection(
                peer=peer,
                role=role,
                odcid=odcid,
                rtt_at=delta(at for at, _, _ in rtt),
                rtt=[latest for _, latest, _ in rtt],
                smoothed=[smoothed for _, _, smoothed in rtt],
                cwnd_at=delta(at for at, _ in window),
                cwnd=[value for _, value in window],
                in_flight_at=delta(at for at, _ in flight),
                in_flight=[value for _, value in flight],
                lost_at=delta(lost),
            )
        )
    return found, probes


def _figure(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value * 1000 <= _MOST


def _us(ms: float | None) -> int:
    return -1 if ms is None else round(ms * 1000)


def _probes(at: int, event: Event) -> list[Mark]:
    frames = event.data.get("frames")
    found = []
    for frame in frames if isinstance(frames, list) else ():
        kind = _PROBES.get(str(frame.get("frame_type"))) if isinstance(frame, dict) else None
        if kind is not None:
            sent = event.name.endswith("sent")
            found.append(Mark(at=at, kind=kind, text=f"PATH_{kind.upper()} {'sent' if sent else 'received'}", detail="qlog"))
    return found
