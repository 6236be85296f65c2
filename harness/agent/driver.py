"""The reference agent: the sans-IO call stack, driven by trio.

Theory.  Everything that can change the stack (a datagram, a timer, a source's packet, a request) ends in ``pump``: send what the stack
wants sent, tell what happened, set the alarm for whatever is due next.  There is no other path to the wire, so each datagram is stamped in
one place. One task sleeps until the alarm; one task per socket reads it; one reads requests.  To be woken costs a process as much as to
send a packet, so what is periodic is done in the wake-up for something else that comes shortly before it is due.

Stamps are ``time.monotonic_ns()``, and the alarm is on the same clock.  A wake-up that comes late sends what is due and stamps it with the
true time; the schedule does not move.  Lateness above ``LAG`` is told, because the judge must know whose silence it was.

A driver can be subclassed, and the stack that it drives can be given (``harness.agent.process.run``): that is how the sabotaged agents of
tests/controls are made, and why the seams here are methods.
"""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
import trio

from harness.agent import messages, translate
from harness.agent.alarm import Alarm
from harness.agent.clock import StampClock
from harness.agent.files import AgentFiles
from harness.agent.holdings import open_descriptors, task_names
from harness.agent.interfaces import Interfaces
from harness.agent.lines import BadLine, LineSplitter, decode_request, ok
from harness.agent.sockets import Family, PathSocket, SocketTable, canonical, errno_name
from harness.agent.sources import Repertoire, SourceRefused
from harness.agent.stdio import Output
from harness.agent.studio import Studio
from harness.call.capabilities import MediaConstraints
from harness.call.errors import CallError, InvalidState, TransportError
from harness.call.events import Address, CallHeld, CallResumed, Event, MediaExpired, MediaReceived, StateChanged, Transmit, VideoAdapted
from harness.call.session import Endpoint
from harness.call.states import State
from harness.media import kinds

CAPABILITIES = (
    "datagram",
    "stream",
    "migrate",
    "audio",
    "video",
    "screen",
    "ipv4",
    "ipv6",
    "keepalive",
    "auto_answer",
    "hold",
    "redial",
    "adapt",
    "discards",
)
CODECS = kinds.CAPABILITIES["video"]
"""What it can do besides where the libraries are there."""
LAG = 10_000_000
YOUNG = 10_000  # objects before the collector looks at them: 700, its own choice, are a few packets' worth, all of which die by themselves
TURN = 5_000_000
"""How long what has come is read before what is due is done, ns: a handshake takes as long, and in a flood there are dozens at once."""
LAST_WORDS = 2  # seconds for the harness to read them
MS = 1_000_000
TICK = 100 * MS
EARLY = 20 * MS
FLUSH_EVERY = 5  # ticks

EndpointFactory = Callable[..., Endpoint]


class BadRequest(Exception):  # noqa: N818 - the protocol's word
    """A request that makes no sense to this agent now; its text is the answer."""


class Driver:
    """One agent.  ``run`` is its life: hello, requests until shutdown, end of file or ``stop``; then everything is closed and written."""

    def __init__(
        self, output: Output, *, endpoint_factory: EndpointFactory = Endpoint, agent: str = "reference", version: str = "0"
    ) -> None:
        self.output = output
        self.agent = agent
        self.version = version
        self.capabilities: tuple[str, ...] = CAPABILITIES + (() if kinds.lacking() else CODECS)
        self.clock = StampClock()
        self.configuration: messages.Configure | None = None
        self.endpoint: Endpoint
        self.files: AgentFiles | None = None
        self.studio: Studio
        self.sockets: SocketTable
        self.calls: dict[str, State] = {}
        self.listening = False
        self._endpoint_factory = endpoint_factory
        self._nursery: trio.Nursery
        self._serving = trio.CancelScope()
        self._alarm: Alarm
        self._interfaces: Interfaces | None = None
        self._alarm_at = 0
        self._stack_due: int | None = None
        self._work_due: int | None = None
        self._tick_at = 0
        self._ticks = 0
        self._send_errors: dict[tuple[str, str], int] = {}

    # -- life ------------------------------------------------------------------------------------------------------------------------------

    async def run(self, requests: trio.abc.ReceiveStream) -> None:
        """Serve ``requests`` until there are no more.  Whatever ends it, calls are closed and files written before it returns or raises."""
        self.tell(messages.Hello(protocol=messages.PROTOCOL, agent=self.agent, version=self.version, capabilities=self.capabilities))
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self.output.run, name="output")
                with self._serving:
                    await self._serve(requests)
                self.close()
                nursery.cancel_scope.cancel()
        finally:
            self.close()
        with trio.move_on_after(LAST_WORDS):
            await self.output.drain()

    def stop(self) -> None:
        """End as at end of file, from another task; ``run`` returns soon after."""
        self._serving.cancel()

    def close(self) -> None:
        """End all calls, send what that takes, write and close all files, close all sockets.  Harmless the second time."""
        files, self.files = self.files, None
        if files is None:
            return
        try:
            self.endpoint.close(time.monotonic_ns())
            self._exchange(time.monotonic_ns())
        finally:
            self.studio.abandon()
            self.endpoint.write_logs()
            self.sockets.close_all()
            self._alarm.close()
            if self._interfaces is not None:
                self._interfaces.close()
            files.close()

    async def _serve(self, requests: trio.abc.ReceiveStream) -> None:
        splitter = LineSplitter()
        while chunk := await requests.receive_some(65536):
            for line in splitter.feed(bytes(chunk)):
                try:
                    if isinstance(line, BadLine):
                        raise line
                    request = decode_request(line)
                except BadLine as bad:
                    self._refuse(bad.id, "BadRequest", bad.what)
                    continue
                self._answer(request)
                if isinstance(request, messages.Shutdown):
                    return

    def _answer(self, request: messages.Request) -> None:
        """Do ``request`` and answer it; nothing that goes wrong in it ends the agent."""
        try:
            answer = self.perform(request)
        except CallError as error:
            self.output.tell(messages.Answer(id=request.id, error=translate.failure(error)))
        except (BadRequest, SourceRefused) as error:
            self._refuse(request.id, "BadRequest", str(error))
        except Exception as error:  # a bug here, or in a stack under test: it is one request's failure
            traceback.print_exc()
            self._refuse(request.id, type(error).__name__, f"{error} (a bug in the agent; its log has the traceback)")
        else:
            self.output.tell(ok(request.id, answer))
        self.pump()

    def _refuse(self, id: int, kind: str, message: str) -> None:
        self.output.tell(messages.Answer(id=id, error=messages.Failure(kind=kind, message=message)))

    # -- telling ---------------------------------------------------------------------------------------------------------------------------

    def tell(self, *events: messages.Event) -> None:
        """Push events."""
        self.output.tell(*events)

    def log(self, level: Literal["info", "warning", "error"], message: str) -> None:
        """Push a line for the timeline, and the log."""
        print(f"{level}: {message}", file=sys.stderr, flush=True)
        self.tell(messages.Log(at=time.monotonic_ns(), level=level, message=message))

    # -- the hot path ----------------------------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what the stack wants sent, tell what happened, set the alarm."""
        if self.files is None:
            return
        now = time.monotonic_ns()
        self._exchange(now)
        if now >= self._tick_at - EARLY:
            self._do_the_periodic(now)
        due = self._stack_due = self.endpoint.timer()
        source = self.studio.due
        if source is not None and (due is None or source < due):
            due = source
        self._work_due = due
        if due is None or self._tick_at < due:
            due = self._tick_at
        if due != self._alarm_at:
            self._alarm_at = due
            self._alarm.set(due)

    def _exchange(self, now: int) -> None:
        for transmit in self.endpoint.transmit(now):
            self.send(transmit)
        for event in self.endpoint.events():
            self.happened(event)

    def send(self, transmit: Transmit) -> None:
        """Send one datagram and record the media in it."""
        data, address = transmit.data, transmit.address
        socket = self.sockets.of(address.path, address.ip) or self._opened_for(address)
        sent = time.monotonic_ns()
        kind = "NoSocket" if socket is None else ""
        error = None if socket is None else socket.send(data, address.ip, address.port)
        if error is not None:
            kind = errno_name(error)
        if kind:
            self._send_failed(address, kind, error)
            for token in transmit.media:
                self.studio.unsent(token, kind, address)
        elif transmit.media:
            self.studio.departed(transmit.media, address, udp=len(data), sent=sent, done=time.monotonic_ns())

    def _opened_for(self, address: Address) -> PathSocket | None:
        """A socket for a path that the stack has chosen by itself; None when there is none to be had."""
        if self.files is None:
            return None  # closing: nothing new is begun
        with contextlib.suppress(BadRequest, TransportError):
            return self.open_socket(address.path, "v6" if ":" in address.ip else "v4")
        return None

    def _send_failed(self, address: Address, kind: str, error: OSError | None) -> None:
        key = address.path, kind
        count = self._send_errors[key] = self._send_errors.get(key, 0) + 1
        if count & (count - 1) == 0:  # told at 1, 2, 4, 8 …: often enough to see it go on, never a flood
            message = f"{translate.remote(address)}: {error.strerror if error else 'no socket is open on that path'}"
            self.tell(messages.SendError(at=time.monotonic_ns(), path=address.path, kind=kind, count=count, message=message))

    def happened(self, event: Event) -> None:
        """Record or tell one event of the stack."""
        if isinstance(event, MediaReceived):
            self.studio.heard(event)
            return
        if isinstance(event, MediaExpired):
            self.studio.unsent(event.token, event.why)
            return
        message = translate.event(event)
        if message is not None:
            self.tell(message)
        if isinstance(event, CallHeld):
            self.studio.pause(event.call)
        elif isinstance(event, CallResumed) and event.flows:
            now = time.monotonic_ns()
            self.studio.go_on(event.call, now)
            for transmit in self.endpoint.transmit(now):  # somebody waits for it: not with the next wake-up
                self.send(transmit)
        elif isinstance(event, VideoAdapted):
            self.studio.adapt(event.call, event.kbps, time.monotonic_ns())
        elif isinstance(event, StateChanged):
            self.calls[event.call] = event.new
            if event.old is State.CONNECTED:
                self.studio.stop_all(event.call)
            if event.new is State.IDLE:
                del self.calls[event.call]
                self.tell(*self.studio.call_over(event.call, event.at))

    def receive(self, socket: PathSocket) -> None:
        """Read what waits in ``socket``, for ``TURN`` at most, then pump."""
        dropped = socket.dropped
        oldest = 0
        ends = time.monotonic_ns() + TURN
        path, endpoint = socket.path, self.endpoint
        for datagram in socket.drain():
            now = time.monotonic_ns()
            oldest = max(oldest, now - datagram.arrived)
            endpoint.receive(datagram.data, Address(path, datagram.ip, datagram.port), now=now, arrived=datagram.arrived)
            if now >= ends:  # the rest stays in the socket until sources and timers have had their turn
                break
        if oldest > LAG:
            self.tell(messages.Lag(at=time.monotonic_ns(), late_ns=oldest, behind="receive"))
        if socket.dropped != dropped:
            self.tell(messages.Overflow(at=time.monotonic_ns(), path=path, dropped=socket.dropped - dropped))
        self.pump()

    # -- tasks -----------------------------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Sleep until the alarm, do what is due, again."""
        while True:
            try:
                await self._alarm.wait()
            except trio.ClosedResourceError:
                return
            if self.files is None:
                return
            now, due = time.monotonic_ns(), self._work_due
            if due is not None and now - due > LAG:
                self.tell(messages.Lag(at=now, late_ns=now - due, behind="timer"))
            if self._stack_due is not None and self._stack_due <= now:
                self.endpoint.handle_timer(now)
            self.studio.offer(now)
            self._alarm_at = -1  # pump must set the alarm even if the same thing is due again
            self.pump()
            if self._alarm_at <= now:
                self._alarm.set(now + MS)  # a stack that asks for the past must not spin

    def _do_the_periodic(self, now: int) -> None:
        """Tell figures every TICK; sample the clock and flush the files a few times a second; let go of sockets that nobody needs."""
        self._tick_at = max(self._tick_at, now - EARLY) + TICK  # what a stall has missed is not made up for
        self._ticks += 1
        self.tell(*self.studio.figures(now))
        self.release_sockets()
        if self._ticks % FLUSH_EVERY == 0:
            self._sample_clock(now)
            self._flush()

    def _flush(self) -> None:
        """Hand all records so far to the kernel."""
        if self.files is not None:
            self.endpoint.write_logs()
            self.files.flush()

    def _sample_clock(self, now: int) -> None:
        step = self.clock.sample()
        if step:
            self.tell(messages.ClockStep(at=now, step_ns=step))

    def watch_interfaces(self, paths: tuple[messages.PathSpec, ...]) -> None:
        """Tell the stack which paths could be used, now and after each change."""
        try:
            self._interfaces = Interfaces(paths)
            self.endpoint.paths_usable(self._interfaces.usable(), time.monotonic_ns())
        except OSError as error:
            self.log("warning", f"changes of the network are not seen, rtnetlink refuses: {errno_name(error)}")
            return
        self._nursery.start_soon(self._follow_interfaces, self._interfaces, name="interfaces")

    async def _follow_interfaces(self, interfaces: Interfaces) -> None:
        while True:
            try:
                await interfaces.changed()
            except trio.ClosedResourceError:
                return
            with contextlib.suppress(OSError):  # no answer: what was said before stands
                self.endpoint.paths_usable(interfaces.usable(), time.monotonic_ns())
            self.pump()

    async def _read_socket(self, socket: PathSocket) -> None:
        try:
            while True:
                await socket.readable()
                self.receive(socket)
        except trio.ClosedResourceError:
            return

    # -- sockets ---------------------------------------------------------------------------------------------------------------------------

    def open_socket(self, path: str, family: Family, port: int = 0, *, before_it_is_up: bool = False) -> PathSocket:
        """The socket of ``path`` and ``family``, opened if it is not; TransportError that names path and address when it cannot be."""
        socket = self.sockets.get(path, family)
        if socket is None:
            try:
                socket = self.sockets.open(path, family, port, before_it_is_up=before_it_is_up)
            except ValueError as error:
                raise BadRequest(str(error)) from None
            except OSError as error:
                ip = self.sockets.address(path, family)
                raise TransportError("", f"path {path}: {ip} port {port} cannot be bound, {errno_name(error)}: {error.strerror}") from None
            self._nursery.start_soon(self._read_socket, socket, name=f"read {path}/{family}")
        return socket

    @contextlib.contextmanager
    def _socket_for(self, path: str, family: Family) -> Iterator[None]:
        """The socket of ``path`` for what the block asks of the stack; one opened for this is closed when the stack refuses."""
        was_open = self.sockets.get(path, family) is not None
        self.open_socket(path, family)
        try:
            yield
        except BaseException:
            if not was_open:
                self.sockets.close(path, family)
            raise

    @staticmethod
    def _remote(path: str, ip: str, port: int) -> tuple[Family, Address]:
        try:
            family, ip = canonical(ip)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return family, Address(path, ip, port)

    def release_sockets(self) -> None:
        """Close all sockets when nothing needs them: no call, no connection that still drains, nobody listens."""
        if not self.listening and self.sockets and not self.calls and not any(self.endpoint.inventory().values()):
            self.sockets.close_all()

    # -- requests --------------------------------------------------------------------------------------------------------------------------

    def perform(self, request: messages.Request) -> msgspec.Struct:
        """Do ``request``; returns its answer.  Raises CallError, BadRequest, SourceRefused."""
        if isinstance(request, messages.Configure):
            return self.configure(request)
        if isinstance(request, messages.Shutdown):
            self.close()
            return messages.Done()
        if self.files is None:
            raise BadRequest("the first request must be configure" if self.configuration is None else "the agent is shutting down")
        handler: Callable[[Any], msgspec.Struct] = getattr(self, str(type(request).__struct_config__.tag))
        return handler(request)

    def configure(self, request: messages.Configure) -> messages.Done:
        """Become somebody."""
        if self.configuration is not None:
            raise BadRequest(f"already configured as {self.configuration.name}")
        try:
            sockets = SocketTable(request.paths, request.options.receive_buffer, self.clock)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        if not request.name or set(request.name) & set("/\0"):
            raise BadRequest(f"name {request.name!r} cannot be used for files")
        kind = request.options.media
        if kind != "synthetic" and (lacking := kinds.lacking()):
            raise BadRequest(f"options.media {kind!r}: {lacking}")
        repertoire = Repertoire(kind)
        try:
            files = AgentFiles(request.folder, request.name)
        except OSError as error:
            raise BadRequest(f"folder {request.folder}: {error.strerror}") from None

        def generator(purpose: str) -> random.Random:
            return random.Random(f"{request.seed} {request.name} {purpose}")

        try:
            self.endpoint = self._endpoint_factory(translate.config(request), rng=generator("endpoint"), keylog=files.keys, qlog=files.qlog)
        except BaseException:
            files.close()
            raise
        self._alarm, self._tick_at = Alarm(), time.monotonic_ns() + TICK
        self.configuration, self.files, self.sockets = request, files, sockets
        self.studio = Studio(
            self.endpoint,
            files.records,
            generator=generator,
            expiry=request.options.media_expiry_ms * MS,
            complain=lambda line: self.log("warning", line),
            repertoire=repertoire,
            kept=None if kind == "synthetic" else files.heard(),
        )
        self._nursery.start_soon(self._keep_time, name="timer")
        self.watch_interfaces(request.paths)
        gc.collect()
        gc.set_threshold(YOUNG)
        gc.freeze()  # what was imported lives as long as the process: looking through it again would be a stall in the middle of a call
        return messages.Done()

    def listen(self, request: messages.Listen) -> messages.Listening:
        """Open all sockets, or none.  A path that is down is listened on too, and heard as soon as it is up."""
        if self.listening:
            raise BadRequest("already listening")
        new = [place for place in self.sockets.places if self.sockets.get(*place) is None]
        try:
            for path, family in new:
                self.open_socket(path, family, request.port, before_it_is_up=True)
        except BaseException:
            for path, family in new:
                self.sockets.close(path, family)
            raise
        self.listening = True
        return messages.Listening(sockets=self.sockets.bound)

    def dial(self, request: messages.Dial) -> messages.Dialled:
        """Start a call."""
        family, to = self._remote(request.path, request.ip, request.port)
        wanted = MediaConstraints(audio=request.audio, video=request.video, screen_share=request.screen_share)
        optional = translate.constraints(request.optional)
        with self._socket_for(request.path, family):
            call = self.endpoint.initiate(to, wanted, now=time.monotonic_ns(), server_name=request.server_name, optional=optional)
        return messages.Dialled(call=call)

    def accept(self, request: messages.Accept) -> messages.Done:
        """Take a call."""
        self.endpoint.accept(request.call, time.monotonic_ns())
        return messages.Done()

    def reject(self, request: messages.Reject) -> messages.Done:
        """Refuse a call."""
        self.endpoint.reject(request.call, request.reason, time.monotonic_ns())
        return messages.Done()

    def end(self, request: messages.End) -> messages.Done:
        """Hang up."""
        self.endpoint.end(request.call, request.reason, time.monotonic_ns())
        return messages.Done()

    def hold(self, request: messages.Hold) -> messages.Done:
        """Hold a call."""
        self.endpoint.hold(request.call, time.monotonic_ns())
        return messages.Done()

    def resume(self, request: messages.Resume) -> messages.Done:
        """Let go of the hold."""
        self.endpoint.resume(request.call, time.monotonic_ns())
        return messages.Done()

    def fail(self, request: messages.Fail) -> messages.Done:
        """Give a call up."""
        self.endpoint.fail(request.call, request.reason, time.monotonic_ns())
        return messages.Done()

    def migrate(self, request: messages.Migrate) -> messages.Done:
        """Open the new path's socket, then let the stack probe it."""
        family, _ = canonical(self.endpoint.stats(request.call).address.ip)
        with self._socket_for(request.path, family):
            self.endpoint.migrate(request.call, request.path, time.monotonic_ns())
        return messages.Done()

    def redial(self, request: messages.Redial) -> messages.Done:
        """Open the path's socket, then let the stack dial again."""
        family, to = self._remote(request.path, request.ip, request.port)
        with self._socket_for(request.path, family):
            self.endpoint.redial(request.call, to, time.monotonic_ns())
        return messages.Done()

    def media_start(self, request: messages.MediaStart) -> messages.Done:
        """Start a source; its first packet is offered at once, so that its errors are this request's."""
        state = self.endpoint.stats(request.call).state
        if state is not State.CONNECTED:
            raise InvalidState(request.call, f"media cannot start in {state.value}; it can in {State.CONNECTED.value}")
        now = time.monotonic_ns()
        self.studio.start(
            request.call,
            request.flow,
            bitrate_kbps=request.bitrate_kbps,
            payload_bytes=request.payload_bytes,
            mode=request.mode,
            now=now,
        )
        return messages.Done()

    def media_stop(self, request: messages.MediaStop) -> messages.Done:
        """Stop a source."""
        self.endpoint.stats(request.call)  # CallNotFound for a call that is not there
        self.studio.stop(request.call, request.flow)
        return messages.Done()

    def stats(self, request: messages.Stats) -> messages.CallStats:
        """A call's figures."""
        return translate.stats(self.endpoint.stats(request.call))

    def discards(self, request: messages.Discards) -> messages.Discarded:
        """What came and was of no use."""
        return translate.discarded(self.endpoint.discards())

    def inventory(self, request: messages.Inventory) -> messages.Holdings:
        """All that this process holds; once it is answered, the records of everything before it are in the file."""
        self._flush()
        return messages.Holdings(
            sockets=self.sockets.bound,
            tasks=tuple(sorted(task_names(self._nursery))),
            sources=self.studio.sources,
            calls=tuple(self.calls),
            stack=dict(self.endpoint.inventory()),
            descriptors=tuple(open_descriptors()),
        )
