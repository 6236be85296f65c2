"""The handle against agents that break the protocol in every way: each gives one clear error, and no wait outlives its limit."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from harness.agent.event_log import Said
from harness.agent.lines import BadLine
from harness.agent.messages import End, Event, Hello, Hold, Inventory, Lag, Log, Media, MediaStart, MediaStop, PathSpec, Request, Resume
from harness.agent.remote import AgentRefused, EventMissed, RemoteAgent
from harness.errors import AgentError
from harness.units import ms, s
from tests.unit.agent.processes import started, within_deadline

HELLO = 'print(\'{"event":"hello","protocol":3,"agent":"fake","version":"0","capabilities":["datagram"]}\', flush=True)\n'
READ = "import sys, json\nrequest = json.loads(sys.stdin.readline())\n"
IDLE = "sys.stdin.read()\n"
DEVICE = "import sys, json, os\nsay = lambda text: print(text, flush=True)\n"


@asynccontextmanager
async def fake(script: str, heard: list[Said] | None = None) -> AsyncIterator[RemoteAgent]:
    tee = None if heard is None else heard.append
    async with started("bob", (sys.executable, "-c", DEVICE + script), tee=tee) as it:
        yield it.agent


async def fails(agent: RemoteAgent, what: str) -> None:
    """The next request fails with ``what``, and so does everything after it, at once."""
    with pytest.raises(AgentError) as caught:
        await agent.inventory(within=20 * s)
    assert what in str(caught.value)
    assert str(caught.value).startswith("agent bob: ")
    assert caught.value.blame == "agent"
    assert not agent.alive
    for again in (agent.inventory, agent.hello):
        with pytest.raises(AgentError):
            await again(within=20 * s)


BROKEN = {
    "garbage": (
        HELLO + READ + r"say('Segmentation fault \x07')",
        r"not JSON (JSON is malformed: invalid character (byte 0)): 'Segmentation fault \x07'",
    ),
    "a stray print before hello": ("say('starting up...')\n" + IDLE, "not JSON"),
    "an event before hello": ('say(\'{"event":"lag","at":1,"late_ns":1}\')\n' + IDLE, "said lag before its hello"),
    "a second hello": (HELLO + HELLO + IDLE, "said hello a second time"),
    "death in a request": (HELLO + READ + "os._exit(3)", "closed its pipe: it died; inventory was not answered"),
    "death in a line": (HELLO + READ + "sys.stdout.write('{\"id\":')", "it died in the middle of the line b'{\"id\":'"),
    "death before hello": ("sys.exit(1)", "closed its pipe before its hello (it died, or was never an agent)"),
    "version 99": ('say(\'{"event":"hello","protocol":99,"mood":"new"}\')\n' + IDLE, "the agent speaks protocol 99, this harness speaks 3"),
    "a line of 2 MiB": (HELLO + READ + "say('x' * (2 << 20))\n" + IDLE, "the line is longer than 1048576 bytes; it begins 'xxx"),
    "2 MiB without an end": (
        HELLO + READ + "sys.stdout.write('x' * (2 << 20)); sys.stdout.flush()\n" + IDLE,
        "the line is longer than 1048576 bytes",
    ),
    "an answer nobody asked for": (HELLO + READ + 'say(\'{"id":77,"ok":{}}\')\n' + IDLE, "answered request 77, which nobody asked"),
    "an answer of the wrong shape": (
        HELLO + READ + 'say(\'{"id":1,"ok":{"sockets":5}}\')\n' + IDLE,
        "inventory: answer 1, ok: field sockets is 5: expected `array`, got `int`",
    ),
    "an unknown event": (HELLO + READ + 'say(\'{"event":"rain","at":1}\')\n' + IDLE, 'unknown event "rain"'),
    "it could not read us": (
        HELLO + READ + 'say(\'{"id":0,"error":{"kind":"BadRequest","message":"not JSON"}}\')\n' + IDLE,
        "could not read a line of ours: BadRequest: not JSON",
    ),
}


@pytest.mark.parametrize(("script", "what"), BROKEN.values(), ids=BROKEN)
def test_a_broken_agent_gives_one_clear_error(script: str, what: str) -> None:
    async def main() -> None:
        async with fake(script) as agent:
            await fails(agent, what)

    within_deadline(main)


def test_hello_tells_both_versions() -> None:
    async def main() -> None:
        async with fake('say(\'{"event":"hello","protocol":99,"mood":"new"}\')\n' + IDLE) as agent:
            with pytest.raises(AgentError, match="speaks protocol 99, this harness speaks 3"):
                await agent.hello(within=20 * s)

    within_deadline(main)


def test_no_hello_is_told_with_the_time_it_was_given() -> None:
    async def main() -> None:
        async with fake(IDLE) as agent:
            with pytest.raises(AgentError, match=r"^agent bob: no hello within 50ms$"):
                await agent.hello(within=50 * ms)

    within_deadline(main)


def test_a_death_that_the_reader_sees_while_a_request_is_written_is_told_at_once() -> None:
    async def dies() -> None:
        from_agent.put_eof()
        await trio.testing.wait_all_tasks_blocked()
        raise trio.BrokenResourceError

    async def main() -> None:
        agent = RemoteAgent("bob", trio.testing.MemorySendStream(dies), from_agent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run)
            began = trio.current_time()
            await fails(agent, "closed its pipe before its hello (it died, or was never an agent); inventory was not answered")
            assert trio.current_time() == began

    from_agent = trio.testing.MemoryReceiveStream()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_hang_is_told_with_the_request_and_a_late_answer_does_no_harm() -> None:
    script = HELLO + READ + 'sys.stdin.readline()\nsay(\'{"id":1,"ok":{}}\')\nsay(\'{"id":2,"ok":{}}\')\n' + IDLE

    async def main() -> None:
        async with fake(script) as agent:
            await agent.hello(within=20 * s)
            with pytest.raises(AgentError, match=r"^agent bob: no answer to accept \(request 1\) within 50ms$"):
                await agent.accept("c", within=50 * ms)
            assert agent.alive
            await agent.accept("c", within=20 * s)

    within_deadline(main)


def test_an_agent_that_does_not_read_is_told_as_that() -> None:
    async def main() -> None:
        async with fake(HELLO + "import time\ntime.sleep(100)") as agent:
            await agent.hello(within=20 * s)
            with pytest.raises(AgentError, match="does not read its standard input: configure could not be written within 100ms"):
                await agent.configure(paths=[PathSpec(name="lo", v4="127.0.0.1")], folder="x" * 500_000, within=100 * ms)
            assert not agent.alive

    within_deadline(main)


@pytest.mark.parametrize("steps", range(8))
def test_who_gives_up_in_the_middle_of_a_request_does_not_break_the_conversation(steps: int) -> None:
    """However far the request has come: waiting for its turn, being written, being waited for."""
    script = HELLO + "for line in sys.stdin:\n    say(json.dumps({'id': json.loads(line)['id'], 'ok': {}}))\n"

    async def main() -> None:
        async with fake(script) as agent:
            await agent.hello(within=20 * s)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.accept, "given up")
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert agent.alive
            await agent.accept("not given up", within=20 * s)

    within_deadline(main)


def test_what_the_agent_refuses_is_its_answer_and_leaves_it_alive() -> None:
    refusal = '{"id":1,"error":{"kind":"InvalidState","message":"cannot go from Idle to Ending","call":"c1"}}'

    async def main() -> None:
        async with fake(HELLO + READ + f"say('{refusal}')\n" + IDLE) as agent:
            with pytest.raises(AgentRefused) as caught:
                await agent.end("c1", within=20 * s)
            refused = caught.value
            assert (refused.kind, refused.message, refused.call, refused.op) == (
                "InvalidState",
                "cannot go from Idle to Ending",
                "c1",
                "end",
            )
            assert str(refused) == "agent bob: end refused, InvalidState: cannot go from Idle to Ending"
            assert agent.alive

    within_deadline(main)


def test_all_who_wait_are_woken_when_the_agent_dies() -> None:
    async def main() -> None:
        failures: list[str] = []

        async def expect_failure(waiting: Any) -> None:
            with pytest.raises(AgentError) as caught:
                await waiting()
            failures.append(str(caught.value))

        async with fake(HELLO + READ + "sys.stdin.readline()") as agent:
            await agent.hello(within=20 * s)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_failure, lambda: agent.wait_for(Lag, within=50 * s))
                nursery.start_soon(expect_failure, lambda: agent.wait_for("path", within=50 * s))
                nursery.start_soon(expect_failure, lambda: agent.inventory(within=50 * s))
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.start_soon(expect_failure, lambda: agent.stats("c", within=50 * s))
        assert len(failures) == 4
        assert all("closed its pipe: it died" in failure for failure in failures)

    within_deadline(main)


def media(heard: int, flow: str = "audio") -> str:
    return f'say(\'{{"event":"media","at":{heard},"call":"c","flow":"{flow}","sent":0,"heard":{heard},"last_heard":null}}\')\n'


def test_events_are_kept_and_waited_for() -> None:
    lag = 'say(\'{"event":"lag","at":1,"late_ns":20000000}\')\n'
    script = HELLO + lag + media(1) + media(5, "video") + READ + media(7) + lag + IDLE

    async def main() -> None:
        heard: list[Said] = []
        async with fake(script, heard) as agent:
            first = await agent.wait_for(Lag, within=20 * s)
            assert first == Lag(at=1, late_ns=20_000_000)
            assert await agent.wait_for("media", within=20 * s) == Media(at=1, call="c", flow="audio", sent=0, heard=1)
            await agent.wait_for(lambda event: isinstance(event, Media) and event.flow == "video", within=20 * s)
            assert agent.media("c", "video") == Media(at=5, call="c", flow="video", sent=0, heard=5)
            mark = agent.mark()
            with pytest.raises(AgentError, match="no answer to inventory"):
                await agent.inventory(within=30 * ms)
            assert (await agent.heard("c", "audio", 6, within=20 * s)).heard == 7
            assert await agent.wait_for(Lag, within=20 * s, since=mark) == first
            with pytest.raises(EventMissed, match=r"no Log within 30ms; last events: hello, lag, lag$"):
                await agent.wait_for(Log, within=30 * ms)
            with pytest.raises(EventMissed, match=r"no 100 audio packets heard within 30ms; last events: "):
                await agent.heard("c", "audio", 100, within=30 * ms)
            kinds = [type(said.message) for said in agent.events]
            assert kinds == [Hello, Lag, Media, Media, Media, Lag]
            assert [said.at for said in agent.events] == sorted(said.at for said in agent.events)
        assert [said.to_agent for said in heard] == [False, False, False, False, True, False, False]
        assert isinstance(heard[4].message, Inventory)
        assert {said.agent for said in heard} == {"bob"}
        assert all(isinstance(said.message, Event | Request) for said in heard)

    within_deadline(main)


def test_an_agent_asked_to_end_is_not_said_to_have_died() -> None:
    async def main() -> None:
        async with fake(HELLO + READ + 'say(\'{"id":1,"ok":{}}\')') as agent:
            await agent.shutdown(within=20 * s)
            with pytest.raises(AgentError, match="was shut down"):
                await agent.wait_for(Log, within=20 * s)

    within_deadline(main)


def test_a_request_too_long_to_send_harms_nobody() -> None:
    async def main() -> None:
        async with fake(HELLO + READ + 'say(\'{"id":2,"ok":{}}\')\n' + IDLE) as agent:
            with pytest.raises(BadLine, match="at most 1048576 is allowed"):
                await agent.accept("c" * (1 << 20), within=20 * s)
            await agent.accept("c", within=20 * s)

    within_deadline(main)


def test_requests_that_change_what_is_owed_are_kept_with_their_times_unless_they_are_refused() -> None:
    script = (
        HELLO
        + "import sys, json\nfor line in sys.stdin:\n    request = json.loads(line)\n"
        + "    refused = request.get('flow') == 'video'\n"
        + "    error = {'kind': 'InvalidState', 'message': 'no', 'call': None}\n"
        + "    say(json.dumps({'id': request['id'], **({'error': error} if refused else {'ok': {}})}))\n"
    )

    async def main() -> None:
        async with fake(script) as agent:
            await agent.hello()
            before = time.monotonic_ns()
            await agent.media_start("X", "audio")
            with pytest.raises(AgentRefused):
                await agent.media_start("X", "video")
            await agent.hold("X")
            await agent.resume("X")
            await agent.media_stop("X", "audio")
            await agent.end("X")
            after = time.monotonic_ns()
            assert [type(one.request) for one in agent.requests] == [MediaStart, Hold, Resume, MediaStop, End]
            times = [at for one in agent.requests for at in (one.began, one.written)]
            assert times == sorted(times)
            assert before <= times[0]
            assert times[-1] <= after

    within_deadline(main)
