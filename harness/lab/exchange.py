"""What the peers said to each other, told from the captures alone: handshakes, signalling, path validation, moves, closes, first media.

Every UDP packet that left a peer's host is looked for, by its bytes, at the other hosts: what is not found there never came.  What is
inside is told as far as ``keys.log`` opens it; of a peer whose agent wrote no keys the long headers, sizes and times remain.

``signals.jsonl`` has a line per message (``harness.report.story.Signal``, times in ns of CLOCK_MONOTONIC), and at its end a line with
``notes``: what could not be told, and why.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.packet import QuicErrorCode

from harness.call.roq import FLOW_NAMES
from harness.errors import SpecError
from harness.fabric.plan import reach
from harness.fabric.udp_packets import UdpPacket
from harness.lab.decrypted import SIGNALLING_STREAM, Packet, Stream, decoded, decrypt, read_keys
from harness.lab.frames import PROBING, Frame
from harness.lab.long_headers import Handshakes
from harness.report.story import Signal
from harness.spec.topology import Topology

FILE = "signals.jsonl"
MOST = 4000
"""Messages of one run that are told; a call of an hour whose NAT rebinds every second has as many."""
_LONGEST_WORD = 200
_SLACK = 1_000_000
"""Nanoseconds between two captures of one clock, each with its own samples of the offset to it."""
_CLOSES = ("CONNECTION_CLOSE", "APPLICATION_CLOSE")
_TOLD = {"PATH_CHALLENGE", "PATH_RESPONSE", "HANDSHAKE_DONE", "RESET_STREAM", "STOP_SENDING", "UNREADABLE"}

Resolve = Callable[[str, tuple[str, int]], str]
"""Which peer a speaker's packet to an address is meant for; "" when nobody knows."""


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of the file."""

    notes: list[str]


class _Said(NamedTuple):
    layer: str
    text: str
    detail: str = ""


class _Sent(NamedTuple):
    """A packet that left a host, and where it came to: ``arrival`` is at ``listener``'s host."""

    speaker: str
    udp: UdpPacket
    opened: Packet | None
    listener: str
    arrival: UdpPacket | None

    @property
    def left(self) -> int:
        return self.udp.monotonic or 0


def write(
    folder: Path,
    captured: Mapping[str, list[UdpPacket]],
    resolve: Resolve,
    gone: Sequence[str] = (),
    opened: Callable[[bytes], Packet | None] = lambda payload: None,
) -> str:
    """Write ``signals.jsonl`` into ``folder``; in words what is in it.

    ``captured``: by peer, all of its host's, in order of time.  ``gone``: what of it was let go, in words.  ``opened``: the packet in a
    datagram, by its bytes, if it was opened before; what was not is opened with ``keys.log``.
    """
    log = folder / "keys.log"
    signals, notes = tell(captured, log if log.is_file() else None, resolve, opened)
    notes[:0] = [f"what was said meanwhile is not told: {missing}" for missing in gone]
    encoder = msgspec.json.Encoder()
    (folder / FILE).write_bytes(encoder.encode_lines([*signals, Notes(notes=notes)]))
    return "; ".join([f"{FILE}: {len(signals)} messages", *notes])


def tell(
    captured: Mapping[str, list[UdpPacket]],
    keys: Path | None,
    resolve: Resolve,
    opened: Callable[[bytes], Packet | None] = lambda payload: None,
) -> tuple[list[Signal], list[str]]:
    """The messages in the order in which they left, ``MOST`` at most, and what is to be said about them.

    ValueError for a key log that is none.
    """
    notes: list[str] = [] if keys is not None else ["no keys.log: what is inside the packets cannot be told"]
    sent, sealed = _sent(captured, keys, resolve, opened)
    for peer, count in sealed.items():
        if keys is not None:
            notes.append(f"{count} packets of {peer} are told by their outside alone: no key in keys.log opens them")
    moves, media, messages = _moves(sent), _first_media(sent), _messages(sent)
    found: list[Signal] = []
    handshakes = Handshakes(keys)
    seen_sealed: set[tuple[str, str]] = set()
    for one in sent:
        said = [
            *_handshake(one, handshakes),
            *messages.get(id(one.udp), ()),
            *_frames(one),
            *moves.get(id(one.udp), ()),
            *media.get(id(one.udp), ()),
        ]
        if one.opened is None and not said and (one.speaker, one.listener) not in seen_sealed:
            seen_sealed.add((one.speaker, one.listener))
            said = [_Said("quic", f"first sealed packet, {one.udp.size} bytes", "what is in it cannot be told")]
        if said:
            found += _signals(one, said)
    if len(found) > MOST:
        notes.append(f"{len(found) - MOST} further messages are left out, the last ones: a page shows {MOST}")
    return found[:MOST], notes


def _signals(one: _Sent, said: list[_Said]) -> Iterable[Signal]:
    """One arrow for each layer."""
    way = f"{one.udp.interface}: {_address(one.udp.source)} → {_address(one.udp.destination)}, {one.udp.size} bytes"
    if one.arrival is not None:
        way += f"\n{one.arrival.interface}: {_address(one.arrival.source)} → {_address(one.arrival.destination)}"
    if one.opened is not None:
        way += f"\npacket {one.opened.number}: {', '.join(dict.fromkeys(frame.name for frame in one.opened.frames))}"
    for layer in dict.fromkeys(item.layer for item in said):
        mine = [item for item in said if item.layer == layer]
        yield Signal(
            at=one.left,
            came=None if one.arrival is None else one.arrival.monotonic,
            speaker=one.speaker,
            listener=one.listener,
            layer=layer,
            text=", ".join(dict.fromkeys(item.text for item in mine)),
            detail="\n".join([*dict.fromkeys(item.detail for item in mine if item.detail), way]),
        )


def resolver(topology: Topology, port: int) -> Resolve:
    """By the addresses at which hosts are reached at ``port``, and of two hosts the other; for packets that never came."""
    names = [host.name for host in topology.hosts]
    known: dict[tuple[str, tuple[str, int]], str] = {}
    for speaker, listener, version in product(names, names, (4, 6)):
        if speaker != listener:
            with contextlib.suppress(SpecError):
                known[speaker, reach(topology, speaker, listener, port, version)] = listener

    def resolve(speaker: str, address: tuple[str, int]) -> str:
        others = [name for name in names if name != speaker]
        return known.get((speaker, address), others[0] if len(others) == 1 else "")

    return resolve


# -- packets -------------------------------------------------------------------------------------------------------------------------------


def _sent(
    captured: Mapping[str, list[UdpPacket]], keys: Path | None, resolve: Resolve, before: Callable[[bytes], Packet | None]
) -> tuple[list[_Sent], Counter[str]]:
    """Everything that left a peer's host, in order of time, with its fate; and how many packets of each peer no key opened."""
    arrivals: dict[bytes, list[tuple[str, UdpPacket]]] = defaultdict(list)
    for peer, packets in captured.items():
        for udp in packets:
            if udp.outgoing is False:
                arrivals[udp.payload].append((peer, udp))
    found: list[_Sent] = []
    sealed: Counter[str] = Counter()
    for peer, packets in captured.items():
        outgoing = [udp for udp in packets if udp.outgoing]
        opened = {id(udp): replace(known, udp=udp) for udp in outgoing if (known := before(udp.payload)) is not None}
        if keys is not None:
            wire = decrypt([udp for udp in outgoing if id(udp) not in opened], read_keys(keys))
            opened |= {id(packet.udp): packet for packet in wire.packets}
            if wire.sealed:
                sealed[peer] = len(wire.sealed)
        for udp in outgoing:
            there = arrivals.get(udp.payload, [])
            earliest = (udp.monotonic or 0) - _SLACK
            came = next((one for one in there if one[0] != peer and (one[1].monotonic or 0) >= earliest), None)
            if came is not None:
                there.remove(came)  # the same bytes can be sent again, as a CONNECTION_CLOSE is
            found.append(_Sent(peer, udp, opened.get(id(udp)), came[0] if came else "", came[1] if came else None))
    found.sort(key=lambda one: one.left)
    return _addressed(found, resolve), sealed


def _addressed(found: list[_Sent], resolve: Resolve) -> list[_Sent]:
    """With the listener of what never came: who else was reached there or on that connection, or who is to be reached there."""
    at_address = {(one.speaker, one.udp.destination): one.listener for one in found if one.listener}
    in_connection = {(one.speaker, one.opened.connection): one.listener for one in found if one.listener and one.opened}

    def listener(one: _Sent) -> str:
        known = at_address.get((one.speaker, one.udp.destination), "")
        if not known and one.opened is not None:
            known = in_connection.get((one.speaker, one.opened.connection), "")
        return known or resolve(one.speaker, one.udp.destination)

    return [one if one.listener else one._replace(listener=listener(one)) for one in found]


def _address(of: tuple[str, int]) -> str:
    return f"[{of[0]}]:{of[1]}" if ":" in of[0] else f"{of[0]}:{of[1]}"


def _interface(udp: UdpPacket) -> str:
    return udp.interface.rpartition("/")[2]


# -- what is told of a packet --------------------------------------------------------------------------------------------------------------


def _handshake(one: _Sent, handshakes: Handshakes) -> list[_Said]:
    """The packets with long headers of a datagram, and what closes a connection that was not made yet."""
    names: list[str] = []
    detail: list[str] = []
    closes: list[_Said] = []
    try:
        for packet in handshakes.read_untrusted(one.udp.payload):
            names.append(packet.name + (" (again)" if packet.again else ""))
            frames = "sealed" if packet.frames is None else ", ".join(dict.fromkeys(frame.name for frame in packet.frames))
            detail.append(f"{packet.name} from id {packet.source.hex() or 'none'} to {packet.destination.hex() or 'none'}: {frames}")
            closes += [_close(frame) for frame in packet.frames or () if frame.name in _CLOSES]
    except ValueError as error:
        return [_Said("quic", f"{', '.join(names)} unreadable long header".strip(), str(error))]
    return [_Said("quic", " + ".join(dict.fromkeys(names)), "\n".join(dict.fromkeys(detail))), *closes] if names else []


def _close(frame: Frame) -> _Said:
    error, application = frame.fields["error"], frame.name == "APPLICATION_CLOSE"
    reason = _word(bytes(frame.fields["reason"]).decode(errors="replace"))
    named = f"{error:#x}" + ("" if application else f" {_error(error)}".rstrip())
    text = f"CONNECTION_CLOSE {named}" + (f" “{reason}”" if reason else "")
    return _Said("quic", text, f"{'the application' if application else 'the transport'}'s error {named}, reason: {reason or 'none'}")


def _error(code: int) -> str:
    """The name of a transport error (RFC 9000 §20.1), "" for one without."""
    if 0x100 <= code < 0x200:
        return f"CRYPTO_ERROR, TLS alert {code - 0x100}"
    try:
        return QuicErrorCode(code).name
    except ValueError:
        return ""


def _frames(one: _Sent) -> list[_Said]:
    if one.opened is None:
        return []
    found = []
    for frame in one.opened.frames:
        if frame.name in _CLOSES:
            found.append(_close(frame))
        elif frame.name in ("PATH_CHALLENGE", "PATH_RESPONSE"):
            found.append(_Said("quic", f"{frame.name} over {_interface(one.udp)}", f"{frame.name} {bytes(frame.fields['data']).hex()}"))
        elif frame.name in _TOLD:
            fields = ", ".join(f"{name} {_plain(value)}" for name, value in frame.fields.items())
            found.append(_Said("quic", frame.name, fields))
    return found


def _moves(sent: list[_Sent]) -> dict[int, list[_Said]]:
    """The packets by which a listener sees a connection come from elsewhere: the newest packet so far that is no probe (RFC 9000 §9.3)."""
    found: dict[int, list[_Said]] = {}
    newest: dict[tuple[str, str], tuple[int, tuple[str, int]]] = {}
    came = sorted((one for one in sent if one.arrival is not None and one.opened is not None), key=lambda one: one.arrival.monotonic or 0)  # type: ignore[union-attr]
    for one in came:
        assert one.opened is not None and one.arrival is not None
        key = (one.opened.connection, one.speaker)
        number, source = newest.get(key, (-1, one.arrival.source))
        if one.opened.number <= number or all(frame.name in PROBING for frame in one.opened.frames):
            continue
        newest[key] = (one.opened.number, one.arrival.source)
        if one.arrival.source != source:
            text = f"now from {_address(one.arrival.source)}, over {_interface(one.udp)}"
            found[id(one.udp)] = [_Said("path", text, f"{one.listener} saw it come from {_address(source)} before")]
    return found


def _first_media(sent: list[_Sent]) -> dict[int, list[_Said]]:
    """The first RTP packet of each flow of each connection and direction."""
    found: dict[int, list[_Said]] = defaultdict(list)
    known: set[tuple[str, str, str]] = set()
    for one in sent:
        for frame in one.opened.frames if one.opened is not None else ():
            flow = _flow(frame)
            if flow is None or flow == "rtcp" or one.opened is None or (key := (one.opened.connection, one.speaker, flow)) in known:
                continue
            known.add(key)
            how = "DATAGRAM" if frame.name == "DATAGRAM" else "STREAM"
            found[id(one.udp)].append(_Said("media", f"first {flow} RTP", f"in a {how} frame"))
    return found


def _flow(frame: Frame) -> str | None:
    """The flow whose packets begin in this frame (RTP over QUIC §4.1: each flow's id is one byte)."""
    data: bytes = frame.fields.get("data", b"")
    if frame.name == "DATAGRAM" or (frame.name == "STREAM" and frame.fields["stream"] & 2 and frame.fields["offset"] == 0):
        return FLOW_NAMES.get(data[0]) if data else None
    return None


# -- signalling ----------------------------------------------------------------------------------------------------------------------------


class _Message(NamedTuple):
    """A signalling message and where its bytes stand in their stream."""

    start: int
    end: int
    fields: dict[str, Any]


def _messages(sent: list[_Sent]) -> dict[int, list[_Said]]:
    """Each packet's signalling messages: those that it carries bytes of; "again" when earlier packets had them all."""
    streams: dict[tuple[str, str], Stream] = defaultdict(Stream)
    carriers: dict[tuple[str, str], list[tuple[_Sent, Frame]]] = defaultdict(list)
    for one in sent:
        for frame in one.opened.having("STREAM") if one.opened is not None else ():
            if frame.fields["stream"] == SIGNALLING_STREAM and one.opened is not None:
                streams[one.opened.connection, one.speaker].add(one.opened, frame)
                carriers[one.opened.connection, one.speaker].append((one, frame))
    found: dict[int, list[_Said]] = defaultdict(list)
    for key, stream in streams.items():
        messages = _parse(bytes(stream.data))
        told: Counter[int] = Counter()
        for one, frame in carriers[key]:
            first, last = frame.fields["offset"], frame.fields["offset"] + len(frame.fields["data"])
            for message in messages:
                if first < message.end and message.start < last:
                    size, part = message.end - message.start, min(last, message.end) - max(first, message.start)
                    how = " (again)" if told[message.start] >= size else " (in part)" if part < size else ""
                    told[message.start] += part
                    found[id(one.udp)].append(_Said("call", _headline(message.fields) + how, _detail(message.fields)))
    return found


def _parse(data: bytes) -> list[_Message]:
    """The whole messages at the beginning of a signalling stream: JSON objects, each after its length."""
    buffer = Buffer(data=data)
    found: list[_Message] = []
    while not buffer.eof():
        start = buffer.tell()
        try:
            fields = decoded(buffer.pull_bytes(buffer.pull_uint_var()))
        except ValueError:
            rest = {"type": "what is no signalling message", "bytes": len(data) - start}
            return [*found, _Message(start, len(data), rest)]
        found.append(_Message(start, buffer.tell(), fields))
    return found


def _headline(message: dict[str, Any]) -> str:
    """The message's name and what matters of it."""
    kind = _word(str(message.get("type", "message without a type")))
    media = [name.replace("_", " ") for name in ("audio", "video", "screen_share") if message.get(name) is True]
    said = [", ".join(media)] if media else []
    if kind in ("capability_exchange", "connection_confirm"):
        said += [f"{message['max_bandwidth_kbps']} kbit/s"] if isinstance(message.get("max_bandwidth_kbps"), int) else []
        said += [name for name in ("redial", "held") if message.get(name) is True]
    elif kind == "media_update" and not media:
        said = ["nothing"]
    elif kind == "bye":
        said = [_word(str(message.get("reason") or "no reason"))]
    return f"{kind}: {', '.join(said)}" if said else kind


def _detail(message: dict[str, Any]) -> str:
    return "\n".join(f"{_word(name)}: {_plain(value)}" for name, value in list(message.items())[:20])


def _plain(value: Any) -> str:
    return bytes(value).hex()[:_LONGEST_WORD] if isinstance(value, bytes | bytearray) else _word(str(value))


def _word(text: str) -> str:
    """``text``, which a peer chose, cut to what one would read."""
    return text if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]}… ({len(text)} characters)"
