"""The agent protocol, both ways, and what is made of it: settings of the stack, and a situation on the terminal."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.agent import translate
from harness.agent.lines import BadLine, LineSplitter, decode_agent_line, decode_ok, decode_request, encode
from harness.agent.messages import MAX_LINE, PROTOCOL, REQUESTS, Answer, Configure, Event
from harness.call.errors import ConfigError
from harness.report.printable import json
from harness.report.situation import Situation
from tests.fuzz.target import Ready, need, refusing, target

OFFER = {"audio": True, "video": False, "data_channel": True, "max_bandwidth_kbps": 128}
BOUND = {"path": "eth", "family": "v4", "ip": "10.0.0.1", "port": 4433}
EVENTS: list[dict[str, object]] = [
    {"event": "hello", "protocol": PROTOCOL, "agent": "a", "version": "1", "capabilities": ["hold", "opus"]},
    {"event": "state_changed", "at": 10**12, "call": "c", "old": "Idle", "new": "Calling"},
    {"event": "incoming_call", "at": 10**12, "call": "c", "capabilities": OFFER, "path": "eth", "remote": "10.0.0.1:1"},
    {"event": "connection_established", "at": 10**12, "call": "c", "odcid": "aa", "path": "eth", "remote": "[::1]:1", "agreed": OFFER},
    {"event": "quality_changed", "at": 1, "call": "c", "rtt_ms": 20.5, "packet_loss_percent": 0, "jitter_ms": 1, "bandwidth_kbps": 9}
    | {"word": "good"},
    {"event": "path", "at": 1, "call": "c", "kind": "probing", "path": "lte", "remote": "10.0.0.1:1", "detail": "x"},
    {"event": "media", "at": 10**12, "call": "c", "flow": "audio", "sent": 50, "heard": 49, "last_heard": 10**12 - 5},
    {"event": "call_held", "at": 1, "call": "c", "by": "peer"},
    {"event": "media_updated", "at": 1, "call": "c", "audio": True, "video": True, "screen_share": False, "by": "here"},
    {"event": "log", "at": 1, "level": "error", "message": "m"},
    {"event": "overflow", "at": 1, "path": "eth", "dropped": 3},
]
ANSWERS: list[dict[str, object]] = [
    {"id": 1, "ok": {}},
    {"id": 2, "error": {"kind": "InvalidState", "message": "m", "call": "c"}},
    {"id": 3, "ok": {"sockets": [BOUND]}},
    {"id": 4, "ok": {"call": "c"}},
    {"id": 5, "ok": {"state": "Connected", "role": "caller", "path": "eth", "remote": "a:1", "odcid": "aa", "handshakes": 1, "redials": 0}},
    {
        "id": 6,
        "ok": {"sockets": [], "tasks": ["t"], "sources": [], "calls": [], "stack": {"calls": 0}, "descriptors": [{"fd": 1, "target": "p"}]},
    },
]
CONFIGURE: dict[str, object] = {
    "op": "configure",
    "id": 1,
    "name": "alice",
    "paths": [{"name": "wifi", "v4": "10.0.0.2", "v6": None}],
    "folder": "/nowhere",
    "seed": 7,
    "options": {
        "alpn": "x",
        "auto_answer": True,
        "accepts": {"audio": True},
        "keepalive_ms": 0,
        "idle_timeout_ms": 20000,
        "media": "speech",
    },
}
REQUEST: list[dict[str, object]] = [
    CONFIGURE,
    {"op": "listen", "id": 2, "port": 4433},
    {"op": "dial", "id": 3, "ip": "10.0.0.1", "port": 4433, "path": "wifi", "optional": {"video": True}, "server_name": "peer"},
    {"op": "redial", "id": 4, "call": "c", "ip": "::1", "port": 1, "path": "lte"},
    {"op": "media_start", "id": 5, "call": "c", "flow": "video", "bitrate_kbps": 300, "mode": "stream"},
    {"op": "end", "id": 6, "call": "c", "reason": "done"},
    {"op": "shutdown", "id": 7},
]


def _lines(of: list[dict[str, object]]) -> list[bytes]:
    return [msgspec.json.encode(one) for one in of]


@target("agent_request", "json", share=1.5)
def request(_: Path) -> Ready:
    """A line to an agent: BadLine; its settings: ConfigError; what is taken is written back to an equal request."""

    def run(data: bytes) -> None:
        with refusing(BadLine, ConfigError):
            found = decode_request(data)
            need(decode_request(encode(found)) == found, f"{found} does not come back as itself")
            if isinstance(found, Configure):
                translate.config(found)

    return Ready(run, _lines(REQUEST))


@target("agent_line", "json", share=1.5)
def line(_: Path) -> Ready:
    """A line from an agent: BadLine; what is taken is written back to an equal one, and shown on the terminal without more ado."""
    kinds = {kind.answer for kind in REQUESTS.values()}

    def run(data: bytes) -> None:
        found: Answer | Event | None = None
        with refusing(BadLine):
            found = decode_agent_line(data)
        if isinstance(found, Event):
            need(decode_agent_line(encode(found)) == found, f"{found} does not come back as itself")
            shown = {"at": 10**12, "source": "alice", "kind": "event", "message": found}
            json(shown, str)
            situation = Situation()
            situation.take({"at": 10**12, "source": "lab", "kind": "began"})
            situation.take(shown | {"message": msgspec.to_builtins(found)})
            for call in situation.going_on():
                situation.ways(call, 10**12 + 10**8)
        elif isinstance(found, Answer):
            for kind in kinds:
                with refusing(BadLine):
                    decode_ok(found, kind)

    return Ready(run, _lines(EVENTS + ANSWERS))


@target("agent_pipe", "lines", share=0.2, longest=8192)
def pipe(_: Path) -> Ready:
    """An agent's pipe in pieces, long lines shortened to a limit of their own: no line is longer, and the pieces' sizes do not matter."""

    def run(data: bytes) -> None:
        big = data.replace(b"!", b"x" * (MAX_LINE // 8)) if data.count(b"!") < 20 else data
        whole, parts = LineSplitter(), LineSplitter()
        at_once = whole.feed(big)
        found, step = [], 1 + len(data) % 70_000 * 7
        for at in range(0, len(big), step if len(big) < 10**5 else 65_536):
            found += parts.feed(big[at : at + (step if len(big) < 10**5 else 65_536)])
        plain = [[one if isinstance(one, bytes) else None for one in lines] for lines in (found, at_once)]
        need(plain[0] == plain[1], "in pieces there are other lines")
        need(all(one is None or len(one) < MAX_LINE for one in plain[0]), "a line is too long")
        need(len(whole.rest) <= 200 and len(parts.rest) <= 200, "the rest is too long to show")

    return Ready(run, [b"\n".join(_lines(EVENTS + ANSWERS)) + b"\n", b"!!!!!!!!!\na\n!!!!!!!!!!!!!!!!b", b"\n\n\n"])
