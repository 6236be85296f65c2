from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.lines import BadLine, LineSplitter, decode_agent_line, decode_ok, decode_request, encode, ok
from harness.agent.messages import (
    EVENTS,
    MAX_LINE,
    REQUESTS,
    Answer,
    CallStats,
    Dial,
    Dialled,
    Done,
    Event,
    Failure,
    Hello,
    Holdings,
    IncomingCall,
    Lag,
    Listening,
    Offer,
    PathChanged,
    Request,
)


def filled(kind: type[Any], **given: Any) -> Any:
    """A ``kind`` with something in every required field."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.required:
            values[field.name] = sample(field.type)
    return kind(**{**values, **given})


def sample(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return filled(kind)
    described = msgspec.json.schema(kind)
    if "anyOf" in described:
        return None
    if "enum" in described:
        return described["enum"][0]
    if described.get("type") == "array":
        return ()
    return {"string": "word", "integer": max(1, described.get("minimum", 0)), "number": 1.5, "boolean": True, "object": {}}[
        described["type"]
    ]


@pytest.mark.parametrize("kind", REQUESTS.values(), ids=REQUESTS)
def test_every_request_comes_back_as_it_went(kind: type[Request]) -> None:
    request = filled(kind, id=7)
    line = encode(request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_request(line) == request


@pytest.mark.parametrize("kind", EVENTS.values(), ids=EVENTS)
def test_every_event_comes_back_as_it_went(kind: type[Event]) -> None:
    given = {"protocol": 3} if kind is Hello else {}
    event = filled(kind, **given)
    assert decode_agent_line(encode(event)) == event


@pytest.mark.parametrize("kind", sorted({request.answer for request in REQUESTS.values()}, key=lambda kind: kind.__name__))
def test_every_answer_comes_back_as_it_went(kind: type[msgspec.Struct]) -> None:
    answer = filled(kind)
    line = decode_agent_line(encode(ok(3, answer)))
    assert isinstance(line, Answer)
    assert (line.id, decode_ok(line, kind)) == (3, answer)


def test_the_shapes_on_the_wire_are_those_of_the_protocol_page() -> None:
    assert encode(Dial(id=1, ip="192.0.2.1", port=4433, path="wifi")) == (
        b'{"op":"dial","id":1,"ip":"192.0.2.1","port":4433,"path":"wifi","audio":true,"video":false,"screen_share":false,'
        b'"optional":{"audio":false,"video":false,"screen_share":false},"server_name":null}\n'
    )
    assert encode(ok(1, Dialled(call="c"))) == b'{"id":1,"ok":{"call":"c"}}\n'
    assert encode(ok(2, Done())) == b'{"id":2,"ok":{}}\n'
    assert encode(Answer(id=1, error=Failure(kind="InvalidState", message="no", call="c"))) == (
        b'{"id":1,"error":{"kind":"InvalidState","message":"no","call":"c"}}\n'
    )
    assert encode(Lag(at=5, late_ns=6)) == b'{"event":"lag","at":5,"late_ns":6,"behind":"timer"}\n'
    offer = Offer(audio=True, video=False, data_channel=False, max_bandwidth_kbps=128)
    assert encode(IncomingCall(at=1, call="c", capabilities=offer, path="eth", remote="192.0.2.1:5")) == (
        b'{"event":"incoming_call","at":1,"call":"c",'
        b'"capabilities":{"audio":true,"video":false,"data_channel":false,"max_bandwidth_kbps":128},"path":"eth","remote":"192.0.2.1:5"}\n'
    )


BAD_REQUESTS = {
    "unknown op": (b'{"id":1,"op":"dance"}', 1, 'unknown op "dance"; known are accept, configure'),
    "op of another type": (b'{"id":1,"op":["end"]}', 1, 'unknown op ["end"]'),
    "no op": (b'{"id":4,"call":"c"}', 4, "there is no field op"),
    "unknown field": (b'{"id":1,"op":"end","call":"c","loud":1}', 1, "request end: object contains unknown field `loud`"),
    "missing field": (b'{"id":1,"op":"end"}', 1, "request end: object missing required field `call`"),
    "wrong type": (b'{"id":1,"op":"dial","ip":5,"port":1,"path":"x"}', 1, "field ip is 5: expected `str`, got `int`"),
    "wrong type, nested": (
        b'{"id":1,"op":"configure","name":"a","folder":"x","paths":[{"name":"a"},{"name":3}]}',
        1,
        "field paths[1].name is 3: expected `str`, got `int`",
    ),
    "unknown field, nested": (
        b'{"id":1,"op":"configure","name":"a","folder":"x","paths":[{"name":"a","v5":1}]}',
        1,
        'field paths[0] is {"name":"a","v5":1}: object contains unknown field `v5`',
    ),
    "out of range": (b'{"id":2,"op":"listen","port":99999}', 2, "field port is 99999: expected `int` <= 65535"),
    "a number as text": (
        b'{"id":2,"op":"configure","name":"a","paths":[],"folder":"x","options":{"keepalive_ms":"1"}}',
        2,
        'field options.keepalive_ms is "1": expected `int | null`, got `str`',
    ),
    "no such word": (b'{"id":3,"op":"media_start","call":"c","flow":"smell"}', 3, 'field flow is "smell": invalid enum value'),
    "no id": (b'{"op":"inventory"}', 0, "field id is null: expected an int of 1 or more"),
    "id 0": (b'{"id":0,"op":"inventory"}', 0, "field id is 0"),
    "id as text": (b'{"id":"1","op":"inventory"}', 0, 'field id is "1"'),
    "id as truth": (b'{"id":true,"op":"inventory"}', 0, "field id is true"),
    "not JSON": (b"hello\xff\x07", 0, r"not JSON (JSON is malformed: invalid character (byte 0)): 'hello\xff\x07'"),
    "two objects": (b'{"id":1,"op":"inventory"}{}', 0, "not JSON"),
    "bad UTF-8": (b'{"id":1,"op":"\xff"}', 0, "not JSON"),
    "not an object": (b"[1,2]", 0, "not a JSON object: '[1,2]'"),
    "nothing": (b"", 0, "not JSON"),
    "too deep": (b"[" * 100_000, 0, "not JSON"),
}


@pytest.mark.parametrize(("line", "id", "what"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_told_with_its_field_and_value(line: bytes, id: int, what: str) -> None:
    with pytest.raises(BadLine) as caught:
        decode_request(line)
    assert what in str(caught.value)
    assert caught.value.id == id
    assert len(str(caught.value)) < 500


BAD_AGENT_LINES = {
    "unknown event": (b'{"event":"weather","at":1}', 'unknown event "weather"; known are call_accepted'),
    "event of another type": (b'{"event":7}', "unknown event 7"),
    "unknown field": (b'{"event":"lag","at":1,"late_ns":2,"mood":3}', "event lag: object contains unknown field `mood`"),
    "wrong type": (b'{"event":"lag","at":"now","late_ns":2}', 'event lag: field at is "now": expected `int`, got `str`'),
    "another version": (b'{"event":"hello","protocol":99,"dialect":1}', "hello: the agent speaks protocol 99, this harness speaks 3"),
    "a version as truth": (b'{"event":"hello","protocol":true}', "the agent speaks protocol true"),
    "no version": (b'{"event":"hello"}', "the agent speaks protocol null"),
    "neither answer nor event": (b'{"ok":{}}', 'neither an answer (no id) nor an event (no event): {"ok":{}}'),
    "an answer with neither": (b'{"id":3}', "answer 3: exactly one of ok and error is needed"),
    "an answer with both": (b'{"id":3,"ok":{},"error":{"kind":"x","message":"y"}}', "has both"),
    "an error without a message": (
        b'{"id":3,"error":{"kind":"x"}}',
        'field error is {"kind":"x"}: object missing required field `message`',
    ),
    "a request": (b'{"id":3,"op":"end","call":"c"}', "answer: object contains unknown field `op`"),
    "garbage": (b"Segmentation fault", "not JSON"),
}


@pytest.mark.parametrize(("line", "what"), BAD_AGENT_LINES.values(), ids=BAD_AGENT_LINES)
def test_a_bad_line_from_an_agent_is_told_with_its_field_and_value(line: bytes, what: str) -> None:
    with pytest.raises(BadLine) as caught:
        decode_agent_line(line)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "raw", "what"),
    [
        (Dialled, b'{"call":3}', "answer 9, ok: field call is 3: expected `str`, got `int`"),
        (Done, b'{"extra":1}', "answer 9, ok: object contains unknown field `extra`"),
        (Listening, b'{"sockets":[{"path":"a","family":"v5","ip":"x","port":1}]}', 'field sockets[0].family is "v5"'),
        (CallStats, b"[]", "answer 9, ok: expected `object`, got `array`"),
        (Holdings, b"{}", "object missing required field `sockets`"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_told(kind: type[msgspec.Struct], raw: bytes, what: str) -> None:
    answer = decode_agent_line(b'{"id":9,"ok":' + raw + b"}")
    assert isinstance(answer, Answer)
    with pytest.raises(BadLine) as caught:
        decode_ok(answer, kind)
    assert what in str(caught.value)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(BadLine) as caught:
        decode_request(b'{"id":1,"op":"' + b"x" * 5000 + b'"}')
    assert len(str(caught.value)) < 500
    assert "(5002 characters)" in str(caught.value)


def test_a_line_too_long_to_send_is_refused() -> None:
    with pytest.raises(BadLine, match=f"at most {MAX_LINE} is allowed"):
        encode(Dial(id=1, ip="x" * MAX_LINE, port=1, path="eth"))


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    splitter = LineSplitter()
    found: list[bytes | BadLine] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == lines
    assert splitter.rest == b"rest"


def test_a_line_too_long_is_told_at_once_and_the_next_one_is_read() -> None:
    splitter = LineSplitter()
    found: list[bytes | BadLine] = []
    for _ in range(33):
        found += splitter.feed(b"x" * 65536)
    assert len(found) == 1
    assert str(found[0]).startswith(f"the line is longer than {MAX_LINE} bytes; it begins 'xxx")
    assert splitter.feed(b"xx\nnext\n") == [b"next"]


def test_the_longest_line_allowed_is_read() -> None:
    event = PathChanged(at=1, call="c", kind="probing", detail="")
    event = msgspec.structs.replace(event, detail="x" * (MAX_LINE - len(encode(event))))
    line = encode(event)
    assert len(line) == MAX_LINE
    assert LineSplitter().feed(line) == [line[:-1]]
