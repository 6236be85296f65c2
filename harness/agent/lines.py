"""Messages to and from lines of bytes, strictly, both ways.

An unknown op, event or field, a missing field, a wrong type, a line that is too long or is not JSON is a ``BadLine`` whose text names the
field and the value: the person who reads it wrote an agent in another language and has only that text to go by.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from harness.agent.messages import EVENTS, MAX_LINE, PROTOCOL, REQUESTS, Answer, Event, Hello, Request
from harness.nesting import too_deep

_SHOWN = 120


class BadLine(ValueError):  # noqa: N818 - what it is, as read at every except
    """A line that is not the protocol: its text names the field and the value.  ``id`` is the line's own if it could be read, else 0."""

    def __init__(self, what: str, id: int = 0) -> None:
        self.what = what
        self.id = id
        super().__init__(what)


class LineSplitter:
    """Chunks of bytes in, whole lines (without their newlines) out; never holds more than MAX_LINE bytes of an unfinished one."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._discarding = False

    def feed(self, chunk: bytes) -> list[bytes | BadLine]:
        """The lines that ``chunk`` completes, in order; in place of a line that is too long, a BadLine, as soon as that is known."""
        lines: list[bytes | BadLine] = []
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._extend(end, lines)
            if not self._discarding:
                lines.append(bytes(self._buffer))
            self._buffer.clear()
            self._discarding = False
        self._extend(rest, lines)
        return lines

    def _extend(self, part: bytes, lines: list[bytes | BadLine]) -> None:
        if self._discarding:
            return
        self._buffer += part
        if len(self._buffer) >= MAX_LINE:
            lines.append(BadLine(f"the line is longer than {MAX_LINE} bytes; it begins {_show_bytes(bytes(self._buffer))}"))
            self._buffer.clear()
            self._discarding = True

    @property
    def rest(self) -> bytes:
        """The beginning of the line that is not complete yet."""
        return bytes(self._buffer[:_SHOWN])


R = TypeVar("R")


_encoder = msgspec.json.Encoder()
_plain = msgspec.json.Decoder()
_structs: tuple[type[Any], ...] = (*REQUESTS.values(), *EVENTS.values(), Answer)
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(kind) for kind in _structs}


def encode(message: Request | Answer | Event) -> bytes:
    """``message`` as one line, newline included; BadLine when it is longer than MAX_LINE."""
    line = _encoder.encode(message) + b"\n"
    if len(line) > MAX_LINE:
        raise BadLine(f"the line to send is {len(line)} bytes long; at most {MAX_LINE} is allowed")
    return line


def ok(id: int, answer: msgspec.Struct) -> Answer:
    """A good answer to request ``id``."""
    return Answer(id=id, ok=msgspec.Raw(_encoder.encode(answer)))


def decode_request(line: bytes) -> Request:
    """The request on ``line``; BadLine on anything else."""
    fields = _object(line)
    id = _id(fields)
    op = fields.get("op")
    kind = REQUESTS.get(op) if isinstance(op, str) else None
    if kind is None:
        problem = "there is no field op" if "op" not in fields else f"unknown op {_show(op)}"
        raise BadLine(f"{problem}; known are {', '.join(sorted(REQUESTS))}", id)
    if id == 0:
        raise BadLine(f"request {op}: field id is {_show(fields.get('id'))}: expected an int of 1 or more")
    request: Request = _strictly(kind, line, fields, f"request {op}", id)
    return request


def decode_agent_line(line: bytes) -> Answer | Event:
    """The answer or event on ``line`` from an agent; BadLine on anything else.  A hello's version is the caller's to judge."""
    fields = _object(line)
    if "event" in fields:
        name = fields["event"]
        kind = EVENTS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise BadLine(f"unknown event {_show(name)}; known are {', '.join(sorted(EVENTS))}")
        if kind is Hello:
            _speaks(fields)
        event: Event = _strictly(kind, line, fields, f"event {name}", 0)
        return event
    if "id" not in fields:
        raise BadLine(f"neither an answer (no id) nor an event (no event): {_show(fields)}")
    id = _id(fields)
    answer: Answer = _strictly(Answer, line, fields, "answer", id)
    if (answer.ok is msgspec.UNSET) == (answer.error is msgspec.UNSET):
        has = "both" if "ok" in fields else "neither"
        raise BadLine(f"answer {id}: exactly one of ok and error is needed, {_show(fields)} has {has}", id)
    return answer


def decode_ok(answer: Answer, kind: type[R]) -> R:
    """The ``ok`` of ``answer`` as a ``kind``; BadLine when it is not one."""
    raw = bytes(answer.ok) if isinstance(answer.ok, msgspec.Raw) else b"null"
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise BadLine(f"answer {answer.id}, ok: {_explain(error, _plain.decode(raw))}", answer.id) from None


def _speaks(fields: dict[str, Any]) -> None:
    """Refuse another version before its other fields are judged by this version's rules."""
    theirs = fields.get("protocol")
    if theirs != PROTOCOL or isinstance(theirs, bool):
        raise BadLine(f"hello: the agent speaks protocol {_show(theirs)}, this harness speaks {PROTOCOL}")


def _object(line: bytes) -> dict[str, Any]:
    if deep := too_deep(line):
        raise BadLine(f"not JSON that is read: {deep}: {_show_bytes(line)}")
    try:
        fields = _plain.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadLine(f"not JSON ({error}): {_show_bytes(line)}") from None
    if not isinstance(fields, dict):
        raise BadLine(f"not a JSON object: {_show_bytes(line)}")
    return fields


def _id(fields: dict[str, Any]) -> int:
    id = fields.get("id")
    return id if isinstance(id, int) and not isinstance(id, bool) and id > 0 else 0


def _strictly(kind: type[Any], line: bytes, fields: dict[str, Any], what: str, id: int) -> Any:
    try:
        return _decoders[kind].decode(line)
    except msgspec.ValidationError as error:
        raise BadLine(f"{what}: {_explain(error, fields)}", id) from None


_TEXT = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\.\.\.|\d+)\]")


def _explain(error: msgspec.ValidationError, value: Any) -> str:
    """What msgspec complains of, with the offending value, which msgspec leaves out."""
    match = _TEXT.fullmatch(str(error))
    path = match["path"] if match else None
    if match is None or path is None:
        return f"{_lower(str(error))}: {_show(value)}"
    for name, index in _STEP.findall(path):
        if name and isinstance(value, dict) and name in value:
            value = value[name]
        elif index.isdigit() and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            break  # a dict's value, shown by msgspec as [...]: show the whole dict
    return f"field {path.removeprefix('.')} is {_show(value)}: {_lower(match['what'])}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _show(value: Any) -> str:
    text = _encoder.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _show_bytes(line: bytes) -> str:
    """Bytes from outside, safe to print: escaped, and cut."""
    text = repr(line[:_SHOWN])[1:]
    return text if len(line) <= _SHOWN else f"{text}… ({len(line)} bytes)"
