"""The scenario's handle on any agent: requests out, answers and events in, and never a wait without a limit.

Theory.  One task (``run``) reads the agent's lines for as long as there are any.  An answer wakes the one who asked; an event is appended
to ``events``, which is never reordered and loses only old figures, and wakes all who wait.  The first breach of the protocol (garbage,
another version, an answer to nothing, a line without end, death) is kept as the agent's one ``AgentError``: all who wait get it at once,
and so does everyone who asks later.  After a breach the pipe is still drained, so that an agent that goes on can at least end in peace.

Whose fault: ``AgentError`` is a broken contract; ``AgentRefused`` is an answer (the stack said no, which may be what the scenario wants);
``EventMissed`` is a live agent in which something awaited did not happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar, overload

import msgspec
import trio

from harness.agent.event_log import EventLog, Said
from harness.agent.lines import BadLine, LineSplitter, decode_agent_line, decode_ok, encode
from harness.agent.messages import (
    Accept,
    Answer,
    CallStats,
    Configure,
    Dial,
    Dialled,
    Discarded,
    Discards,
    Done,
    End,
    Event,
    Fail,
    Failure,
    Flow,
    Hello,
    Hold,
    Holdings,
    Inventory,
    Listen,
    Listening,
    Media,
    MediaSet,
    MediaStart,
    MediaStop,
    Migrate,
    Mode,
    Options,
    PathSpec,
    QualityChanged,
    Redial,
    Reject,
    Request,
    Resume,
    Shutdown,
    Stats,
)
from harness.errors import AgentError, BlamedError
from harness.units import Duration, ms, s

SOON = 5 * s
POLL = 50 * ms
_CHUNK = 65536
_SLOW = 1_000_000

E = TypeVar("E", bound=Event)
A = TypeVar("A", bound=msgspec.Struct)


class AgentDied(AgentError):  # noqa: N818 - reads as a sentence
    """The agent closed its pipe after its hello, unasked: its process has ended, or goes on without a word; that is for others to see."""


class AgentRefused(BlamedError):  # noqa: N818 - an answer, not a fault of the harness
    """The agent answered a request with an error: ``kind`` is its class there (InvalidState, CallNotFound …)."""

    blame = "product"

    def __init__(self, agent: str, op: str, failure: Failure) -> None:
        self.agent = agent
        self.op = op
        self.kind = failure.kind
        self.message = failure.message
        self.call = failure.call
        super().__init__(f"agent {agent}: {op} refused, {failure.kind}: {failure.message}")


class EventMissed(BlamedError):  # noqa: N818 - reads as a sentence
    """An awaited event did not come from an agent that is alive, though it was waited for from ``began`` to ``ended`` (ns)."""

    blame = "product"

    def __init__(self, text: str, began: int, ended: int) -> None:
        self.began = began
        self.ended = ended
        super().__init__(text)


class AskedRequest(NamedTuple):
    """A request as it went to the agent: stamped before its line was written, and when the line was whole in the pipe (ns)."""

    began: int
    written: int
    request: Request


UNDONE = (AgentRefused, EventMissed, AgentDied)
"""What was asked for or waited for was not done: the stack refused, did not do it in time, or is gone."""


class _Asked:
    """A request on its way: what it was, and its answer when there is one."""

    def __init__(self, request: Request) -> None:
        self.op = _op(request)
        self.answered = trio.Event()
        self.answer: Answer | None = None


class RemoteAgent:
    """One agent, over two streams that the keeper made.  Start ``run`` in a nursery first; use from one trio run only.

    ``tee`` gets every message both ways, in order, for the timeline; it must not block or raise.
    """

    def __init__(
        self,
        name: str,
        to_agent: trio.abc.SendStream,
        from_agent: trio.abc.ReceiveStream,
        *,
        tee: Callable[[Said], None] | None = None,
    ) -> None:
        self.name = name
        self.events = EventLog(name)
        self.requests: list[AskedRequest] = []
        """Those of media, holds and ends that the agent did not refuse, in the order in which they were written."""
        self.hello_said: Hello | None = None
        self.slow: list[tuple[int, int]] = []
        """Requests that this process took more than ``_SLOW`` to write into the agent's pipe: from when to when, ns."""
        self._to_agent = to_agent
        self._from_agent = from_agent
        self._tee = tee
        self._send_lock = trio.Lock()
        self._asked: dict[int, _Asked] = {}
        self._given_up: set[int] = set()
        self._last_id = 0
        self._news = trio.Event()
        self._failure: AgentError | None = None
        self.shut_down = False
        """Whether it has answered a shutdown: from then on it may end."""
        self.closed = trio.Event()
        """Set when its pipe has been read to its end."""
        self._media: dict[tuple[str, str], Media] = {}

    @classmethod
    def from_fds(cls, name: str, to_agent_fd: int, from_agent_fd: int, *, tee: Callable[[Said], None] | None = None) -> RemoteAgent:
        """Over two file descriptors, which this handle then owns and closes."""
        return cls(name, trio.lowlevel.FdStream(to_agent_fd), trio.lowlevel.FdStream(from_agent_fd), tee=tee)

    # -- reading ---------------------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the agent closes its pipe.  Never raises for what the agent does: that is kept for those who ask."""
        splitter = LineSplitter()
        try:
            while chunk := await self._from_agent.receive_some(_CHUNK):
                if self._failure is None:
                    self._read(splitter.feed(bytes(chunk)))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._fail(f"its pipe broke: {error}")
        if self._failure is None:
            if self.shut_down:
                self._fail("was shut down")
            elif self.hello_said is None:
                self._fail("closed its pipe before its hello (it died, or was never an agent)")
            else:
                self.died("closed its pipe: it died" + (f" in the middle of the line {splitter.rest!r}" if splitter.rest else ""))
        self.closed.set()

    def _read(self, lines: Iterable[bytes | BadLine]) -> None:
        for line in lines:
            try:
                if isinstance(line, BadLine):
                    raise line
                message = decode_agent_line(line)
            except BadLine as bad:
                self._fail(str(bad))
                return
            said = Said(time.monotonic_ns(), self.name, False, message)
            if self._tee is not None:
                self._tee(said)
            if isinstance(message, Answer):
                self._take_answer(message)
            else:
                self._take_event(said, message)
            if self._failure is not None:
                return
        news, self._news = self._news, trio.Event()
        news.set()

    def _take_answer(self, answer: Answer) -> None:
        asked = self._asked.pop(answer.id, None)
        if asked is not None:
            asked.answer = answer
            if asked.op == "shutdown":
                self.shut_down = True
            asked.answered.set()
        elif answer.id in self._given_up:
            self._given_up.discard(answer.id)
        elif answer.id == 0 and isinstance(answer.error, Failure):
            self._fail(f"could not read a line of ours: {answer.error.kind}: {answer.error.message}")
        else:
            self._fail(f"answered request {answer.id}, which nobody asked")

    def _take_event(self, said: Said, event: Event) -> None:
        if (self.hello_said is None) != isinstance(event, Hello):
            name = type(event).__struct_config__.tag
            self._fail("said hello a second time" if isinstance(event, Hello) else f"said {name} before its hello")
            return
        if isinstance(event, Hello):
            self.hello_said = event
        elif isinstance(event, Media):
            self._media[event.call, event.flow] = event
        self.events.append(said)

    def died(self, what: str) -> None:
        """Let everybody who waits, or asks from now on, know that it is gone; a breach that came before it stays."""
        self._fail(what, AgentDied)

    def _fail(self, what: str, kind: type[AgentError] = AgentError) -> None:
        """Keep the first breach and wake everyone."""
        if self._failure is None:
            self._failure = kind(self.name, what)
        for asked in self._asked.values():
            asked.answered.set()
        self._asked.clear()
        news, self._news = self._news, trio.Event()
        news.set()

    @property
    def alive(self) -> bool:
        """Whether the agent has kept its contract and its pipe so far."""
        return self._failure is None

    @property
    def dead(self) -> bool:
        """Whether it closed its pipe unasked."""
        return isinstance(self._failure, AgentDied)

    def check(self) -> None:
        """Raise the agent's AgentError if it has one: its own copy, so that tracebacks do not grow into each other."""
        if self._failure is not None:
            raise type(self._failure)(self._failure.agent, self._failure.what)

    # -- asking ----------------------------------------------------------------------------------------------------------------------------

    async def hello(self, within: Duration = SOON) -> Hello:
        """The agent's hello; AgentError when it does not come, is not the first line or tells another protocol version."""
        with trio.move_on_after(within.s):
            while self.hello_said is None:
                self.check()
                await self._news.wait()
        self.check()
        if self.hello_said is None:
            raise AgentError(self.name, f"no hello within {within}")
        return self.hello_said

    async def request(self, request: Request, within: Duration = SOON) -> msgspec.Struct:
        """The answer to ``request`` (of the request's own answer type); its id is given here.

        AgentRefused when the agent answers with an error; AgentError when it gives no answer in time, or a wrong one, or dies; BadLine when
        the request is too long to be sent.
        """
        self.check()
        self._last_id += 1
        request = msgspec.structs.replace(request, id=self._last_id)
        line = encode(request)
        asked = self._asked[request.id] = _Asked(request)
        with trio.move_on_after(within.s):
            await self._send(request, line, within)
            await asked.answered.wait()
        self.check_answered(asked)
        if asked.answer is None:
            self._asked.pop(request.id, None)
            self._given_up.add(request.id)
            raise AgentError(self.name, f"no answer to {asked.op} (request {request.id}) within {within}")
        if isinstance(asked.answer.error, Failure):
            self.requests = [one for one in self.requests if one.request is not request]
            raise AgentRefused(self.name, asked.op, asked.answer.error)
        try:
            return decode_ok(asked.answer, type(request).answer)
        except BadLine as bad:
            self._fail(f"{asked.op}: {bad}")
            raise AgentError(self.name, f"{asked.op}: {bad}") from None

    def check_answered(self, asked: _Asked) -> None:
        """Raise the agent's error, unless the answer had come before it."""
        if asked.answer is None and self._failure is not None:
            raise type(self._failure)(self.name, f"{self._failure.what}; {asked.op} was not answered")

    async def _send(self, request: Request, line: bytes, within: Duration) -> None:
        began = time.monotonic_ns()
        async with self._send_lock:
            closed = False
            # Whoever no longer waits for the answer does not cut the line in two: that would end the conversation, and blame the agent.
            began = time.monotonic_ns()
            with trio.move_on_after(within.s, shield=True) as writing:
                try:
                    await self._to_agent.send_all(line)
                    if (ended := time.monotonic_ns()) - began > _SLOW:
                        self.slow.append((began, ended))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    closed = True
                    if self._failure is None:
                        await self._news.wait()  # the reader is about to say what happened, and knows more
            if closed:
                self._fail("closed its standard input", AgentDied)
            elif writing.cancelled_caught:
                self._fail(f"does not read its standard input: {_op(request)} could not be written within {within}")
            else:
                self._wrote(began, request)

    def _wrote(self, began: int, request: Request) -> None:
        written = time.monotonic_ns()
        if isinstance(request, MediaStart | MediaStop | Hold | Resume | Migrate | Redial | End | Fail):
            self.requests.append(AskedRequest(began, written, request))
        if self._tee is not None:
            self._tee(Said(written, self.name, True, request))

    async def _ask(self, request: Request, kind: type[A], within: Duration) -> A:
        answer = await self.request(request, within)
        assert isinstance(answer, kind)
        return answer

    # -- waiting for events ----------------------------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """The place in ``events`` where the next one will be: pass it as ``since`` to see only what comes from now on."""
        return self.events.end

    @overload
    async def wait_for(
        self, what: type[E], *, within: Duration, since: int = 0, where: Callable[[E], bool] | None = None, doing: str = ""
    ) -> E: ...
    @overload
    async def wait_for(self, what: str | Callable[[Event], bool], *, within: Duration, since: int = 0, doing: str = "") -> Event: ...
    async def wait_for(
        self,
        what: type[Event] | str | Callable[[Event], bool],
        *,
        within: Duration,
        since: int = 0,
        where: Callable[[E], bool] | None = None,
        doing: str = "",
    ) -> Event:
        """The first event at or after ``since`` that is a ``what`` (message class, event name or predicate) and passes ``where``.

        Events that have already come count.  ``doing`` says in the error what the wait was for.  EventMissed when none comes within
        ``within``; AgentError at once when the agent dies.
        """
        matches = _matcher(what, where)
        place = since
        began = time.monotonic_ns()
        with trio.move_on_after(within.s):
            while True:
                for said in self.events.since(place):
                    event = said.message
                    assert isinstance(event, Event)
                    if matches(event):
                        return event
                place = self.events.end
                self.check()
                await self._news.wait()
        wanted = doing or (what if isinstance(what, str) else getattr(what, "__name__", "event"))
        others = [_op(said.message) for said in self.events.since(since) if not isinstance(said.message, Media | QualityChanged)][-5:]
        text = f"agent {self.name}: no {wanted} within {within}; last events: {', '.join(others) or 'none'}"
        raise EventMissed(text, began, time.monotonic_ns())

    def media(self, call: str, flow: str) -> Media | None:
        """The newest ``media`` event of that flow: packets sent and heard so far."""
        return self._media.get((call, flow))

    async def heard(self, call: str, flow: str, count: int, *, within: Duration) -> Media:
        """Wait until at least ``count`` packets of ``flow`` have been heard in all."""
        return await self.wait_for(
            Media,
            within=within,
            where=lambda event: event.call == call and event.flow == flow and event.heard >= count,
            doing=f"{count} {flow} packets heard",
        )

    async def sent(self, call: str, flow: str, count: int, *, within: Duration) -> Media:
        """Wait until at least ``count`` packets of ``flow`` have been sent in all."""
        return await self.wait_for(
            Media,
            within=within,
            where=lambda event: event.call == call and event.flow == flow and event.sent >= count,
            doing=f"{count} {flow} packets sent",
        )

    # -- the requests, typed ---------------------------------------------------------------------------------------------------------------

    async def configure(
        self,
        *,
        paths: Iterable[PathSpec],
        folder: str,
        name: str | None = None,
        seed: int = 0,
        certificate: str | None = None,
        key: str | None = None,
        ca: str | None = None,
        server_name: str = "",
        options: Options | None = None,
        within: Duration = SOON,
    ) -> None:
        """Tell the agent who it is; ``name`` defaults to this handle's."""
        request = Configure(
            name=name or self.name,
            paths=tuple(paths),
            folder=folder,
            seed=seed,
            certificate=certificate,
            key=key,
            ca=ca,
            server_name=server_name,
            options=options or Options(),
        )
        await self._ask(request, Done, within)

    async def listen(self, port: int = 0, within: Duration = SOON) -> Listening:
        """Open a socket on every path and take calls."""
        return await self._ask(Listen(port=port), Listening, within)

    async def dial(
        self,
        ip: str,
        port: int,
        path: str,
        *,
        audio: bool = True,
        video: bool = False,
        screen_share: bool = False,
        optional: MediaSet | None = None,
        server_name: str | None = None,
        within: Duration = SOON,
    ) -> str:
        """Call; returns the call's id at once, before anything was answered over there."""
        request = Dial(
            ip=ip,
            port=port,
            path=path,
            audio=audio,
            video=video,
            screen_share=screen_share,
            optional=optional or MediaSet(),
            server_name=server_name,
        )
        return (await self._ask(request, Dialled, within)).call

    async def accept(self, call: str, within: Duration = SOON) -> None:
        """Take an incoming call."""
        await self._ask(Accept(call=call), Done, within)

    async def reject(self, call: str, reason: str = "rejected", within: Duration = SOON) -> None:
        """Refuse an incoming call."""
        await self._ask(Reject(call=call, reason=reason), Done, within)

    async def end(self, call: str, reason: str = "ended", within: Duration = SOON) -> None:
        """Hang up, or cancel."""
        await self._ask(End(call=call, reason=reason), Done, within)

    async def hold(self, call: str, within: Duration = SOON) -> None:
        """Hold a call."""
        await self._ask(Hold(call=call), Done, within)

    async def resume(self, call: str, within: Duration = SOON) -> None:
        """Let go of the hold."""
        await self._ask(Resume(call=call), Done, within)

    async def fail(self, call: str, reason: str = "failed", within: Duration = SOON) -> None:
        """Give a call up as broken."""
        await self._ask(Fail(call=call, reason=reason), Done, within)

    async def redial(self, call: str, ip: str, port: int, path: str, within: Duration = SOON) -> None:
        """Begin to move a call to a new connection, to another address."""
        await self._ask(Redial(call=call, ip=ip, port=port, path=path), Done, within)

    async def migrate(self, call: str, path: str, within: Duration = SOON) -> None:
        """Begin to move a call to another path."""
        await self._ask(Migrate(call=call, path=path), Done, within)

    async def media_start(
        self,
        call: str,
        flow: Flow,
        *,
        bitrate_kbps: int | None = None,
        payload_bytes: int | None = None,
        mode: Mode = "datagram",
        within: Duration = SOON,
    ) -> None:
        """Start a source."""
        await self._ask(MediaStart(call=call, flow=flow, bitrate_kbps=bitrate_kbps, payload_bytes=payload_bytes, mode=mode), Done, within)

    async def media_stop(self, call: str, flow: Flow, within: Duration = SOON) -> None:
        """Stop a source."""
        await self._ask(MediaStop(call=call, flow=flow), Done, within)

    async def stats(self, call: str, within: Duration = SOON) -> CallStats:
        """A call's figures as the stack sees them."""
        return await self._ask(Stats(call=call), CallStats, within)

    async def inventory(self, within: Duration = SOON) -> Holdings:
        """All that the agent holds."""
        return await self._ask(Inventory(), Holdings, within)

    async def discards(self, within: Duration = SOON) -> Discarded:
        """What came to the agent and was of no use."""
        return await self._ask(Discards(), Discarded, within)

    async def settled(self, as_before: Holdings, within: Duration = SOON) -> Holdings:
        """Ask until the agent holds what it held in ``as_before``; returns the last answer, equal or not: a difference is a leak."""
        with trio.move_on_after(within.s):
            while (holdings := await self.inventory()) != as_before:  # noqa: ASYNC110 - the agent is asked; it has no event for this
                await trio.sleep(POLL.s)
            return holdings
        return await self.inventory()

    async def shutdown(self, within: Duration = 2 * SOON) -> None:
        """End all calls, have all files written; the agent exits with 0 after its answer."""
        await self._ask(Shutdown(), Done, within)

    async def aclose(self) -> None:
        """Close both pipes; an agent that still runs sees end of file and ends."""
        await self._to_agent.aclose()
        await self._from_agent.aclose()


def _op(message: Request | Answer | Event) -> str:
    return str(type(message).__struct_config__.tag)


def _matcher(what: type[Event] | str | Callable[[Event], bool], where: Callable[[E], bool] | None) -> Callable[[Event], bool]:
    if isinstance(what, str):
        return lambda event: _op(event) == what
    if isinstance(what, type):
        kind = what
        # where takes what the overloads of wait_for tie it to: the very class that was asked for
        return lambda event: isinstance(event, kind) and (where is None or where(event))  # type: ignore[arg-type]
    return what
