"""The conversation with an agent of protocol 3, recorded in a run of rebind_port: this version still reads and says every line of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.agent.lines import decode_agent_line, decode_ok, decode_request
from harness.agent.messages import PROTOCOL, Answer, Event, Hello, Request

LINES: list[dict[str, Any]] = [
    msgspec.json.decode(line) for line in (Path(__file__).parent / "fixtures" / "protocol-3.jsonl").read_bytes().splitlines()
]


def test_the_agent_is_of_the_version_that_is_spoken() -> None:
    hello = decode_agent_line(msgspec.json.encode(LINES[0]["line"]))
    assert isinstance(hello, Hello)
    assert hello.protocol == PROTOCOL == 3


@pytest.mark.parametrize("number", range(len(LINES)))
def test_every_line_is_understood_as_it_was(number: int) -> None:
    told = LINES[number]
    line = msgspec.json.encode(told["line"])
    message: Request | Answer | Event = decode_request(line) if told["to_agent"] else decode_agent_line(line)
    assert msgspec.json.decode(msgspec.json.encode(message)) == told["line"]


def test_every_answer_is_what_its_request_wants() -> None:
    asked: dict[int, type[Request]] = {}
    answered = 0
    for told in LINES:
        line = msgspec.json.encode(told["line"])
        if told["to_agent"]:
            asked[told["line"]["id"]] = type(decode_request(line))
        elif isinstance(answer := decode_agent_line(line), Answer):
            decode_ok(answer, asked[answer.id].answer)
            answered += 1
    assert answered == len(asked) > 5
