"""A call between two agents as a scenario drives it: opened with media both ways, judged, hung up cleanly.

A wait that the stack fails is recorded as a failed verdict and the scenario goes on to its own verdicts: the figure that it exists for
should be in the table of a red run too.  Once that has happened further waits return at once, and what begins then is not measured.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from harness import verdict
from harness.agent.messages import (
    CallEnded,
    CallEvent,
    CallRejected,
    ConnectionEstablished,
    ConnectionFailed,
    Event,
    IncomingCall,
    Media,
    MediaSet,
    Mode,
)
from harness.agent.remote import UNDONE, AgentDied, AgentRefused, EventMissed
from harness.errors import SpecError
from harness.lab import severed
from harness.media.figure import Figure, Gap, Moment, counted
from harness.media.measures import Heard
from harness.media.schedule import SECOND, Leave, pace_of
from harness.media.silence import Free
from harness.units import Count, Duration, ms, s
from harness.verdict import Blame

if TYPE_CHECKING:
    from harness.lab.lab import Lab
    from harness.lab.peer import Peer

E = TypeVar("E", bound=CallEvent)

PLAYOUT = 200 * ms
"""By how much a packet may be late, beyond its path's own delay, and still be played: what a listener's jitter buffer holds."""
_ENDINGS: tuple[type[CallRejected | ConnectionFailed | CallEnded], ...] = (CallRejected, ConnectionFailed, CallEnded)
_STALE = 500 * ms
"""A flow of which nothing was heard for so long is not being heard."""
_DRAIN_WITHIN = PLAYOUT + 100 * ms
"""What has not come by then is lost or late; the agents tell their counts every 100 ms."""


def direction(speaker: Peer, listener: Peer, flow: str) -> str:
    """What a flow from the one to the other is called."""
    return f"{speaker.name} → {listener.name} {flow}"


class Call:
    """One call.  ``asked``: when it was dialled, ns; ``opened``/``closed``: the time in which media is judged."""

    def __init__(self, lab: Lab, caller: Peer, callee: Peer, flows: tuple[str, ...], version: int, optional: MediaSet) -> None:
        self.lab = lab
        self.caller = caller
        self.callee = callee
        self.version = version
        self.id = ""
        self.flows = flows
        self.optional = optional
        self.asked = 0
        self.path = ""
        """By which of the caller's paths it was to be dialled, if the scenario named one."""
        self.remote: tuple[str, int] = ("", 0)
        """The address and port that was dialled."""
        self.opened = 0
        self.closed: int | None = None
        self.broken_at: int | None = None
        """When a wait was missed first, ns: from then on waits return at once, and what begins is not measured."""
        self.free: dict[str, Free] = {}
        """By direction, when nothing was due in the flows that were audited."""
        self._leaves: list[tuple[str, Peer | None, Leave]] = []
        self._sending: dict[Peer, list[str]] = {caller: [], callee: []}
        self._marks: dict[Peer, int] = {}

    @property
    def broken(self) -> bool:
        """Whether a wait was missed."""
        return self.broken_at is not None

    def _break(self) -> None:
        self.broken_at = self.broken_at or time.monotonic_ns()

    @property
    def sides(self) -> tuple[tuple[Peer, Peer], tuple[Peer, Peer]]:
        """(speaker, listener) of both directions."""
        return (self.caller, self.callee), (self.callee, self.caller)

    def flows_of(self, peer: Peer) -> list[str]:
        """The flows that ``peer`` sends now."""
        return self._sending[peer]

    def told(self) -> dict[str, Any]:
        """The call as a line of ``calls.jsonl`` (``report.flows.CallLine``)."""
        return {
            "call": self.id,
            "caller": self.caller.name,
            "callee": self.callee.name,
            "flows": self.flows,
            "asked": self.asked,
            "opened": self.opened,
            "closed": self.closed,
            "deadline": PLAYOUT.ns,
            "free": self.free,
        }

    def may_adapt(
        self, flow: str, *, floor: int | None, since: int, until: int, settling: Duration = 0 * ms, by: Peer | None = None
    ) -> None:
        """Leave for ``flow``, either way or of one side, to send no more than ``floor`` frames a second, or to stop (None).

        Give it for a condition of the lab's links that began at ``since`` (ns) and ended at ``until``, with the time that the stacks may
        take to be back at their usual rate.  Nothing that a stack says gives leave.  SpecError for audio, and for a floor that is not below
        the flow's own rate.
        """
        pace = pace_of(flow)
        if flow == "audio":
            raise SpecError("call.may_adapt", "audio owes a frame every 20 ms whatever the links do")
        if floor is not None and not 0 < floor < pace.clock / pace.ticks:
            raise SpecError("call.may_adapt", f"the floor is {floor} frames a second; it lies between 0 and the {flow}'s own rate")
        interval = None if floor is None else SECOND // floor
        self._leaves.append((flow, by, Leave(since, until + settling.ns, interval)))

    def leaves(self, flow: str, speaker: Peer) -> list[Leave]:
        """When ``flow`` from ``speaker`` may adapt."""
        return [leave for name, by, leave in self._leaves if name == flow and by in (None, speaker)]

    # -- opening and closing -----------------------------------------------------------------------------------------------------------

    async def ask(self, path: str | None) -> None:
        """Dial, and wait for nothing."""
        network = self.caller.network
        ip, port = network.reach(self.caller.name, self.callee.name, self.lab.port, self.version)
        paths = [port_.name for port_ in network.topology.ports(self.caller.name) if (port_.v4 if self.version == 4 else port_.v6)]
        self._marks = {peer: peer.remote.mark() for peer in (self.caller, self.callee)}
        self.path, self.remote = path or "", (ip, port)
        self.asked = time.monotonic_ns()
        self.id = await self.caller.remote.dial(
            ip,
            port,
            path or paths[0],
            audio="audio" in self.flows,
            video="video" in self.flows,
            screen_share="screen" in self.flows,
            optional=self.optional,
            server_name=self.callee.name,
        )
        for peer in (self.caller, self.callee):
            peer.calls.append(self)

    async def rings(self, within: Duration = 5 * s) -> IncomingCall | None:
        """Wait until the callee has the call; a failed verdict, and None, when it does not come."""
        return await self._await(self.callee, (IncomingCall,), within, f"rings at {self.callee.name}")

    async def answer(self) -> None:
        """Have the callee take the call.  AgentRefused when its stack does not want to."""
        await self.callee.remote.accept(self.id)

    async def refuse(self, reason: str = "rejected") -> None:
        """Have the callee refuse the call.  AgentRefused when its stack does not want to."""
        await self.callee.remote.reject(self.id, reason)

    async def connected(self, within: Duration = 10 * s) -> None:
        """Wait until both sides are Connected, from when on media is judged; a failed verdict for each that is not."""
        for peer in (self.caller, self.callee):
            await self._await(peer, (ConnectionEstablished,), within, f"connected at {peer.name}")
        self.opened = time.monotonic_ns()
        if not self.broken:
            self.lab.timeline.note("lab", "call", f"{self.caller.name} and {self.callee.name} are connected", aloud=True, call=self.id)

    async def over(self, peer: Peer, within: Duration = 5 * s) -> CallRejected | ConnectionFailed | CallEnded | None:
        """Wait until the call is over at ``peer``: how it ended there; a failed verdict, and None, when it does not end."""
        return await self._await(peer, _ENDINGS, within, f"call over at {peer.name}")

    async def _await(self, peer: Peer, kinds: tuple[type[E], ...], within: Duration, doing: str) -> E | None:
        def is_it(event: Event) -> bool:
            return isinstance(event, kinds) and event.call == self.id

        try:
            event = await peer.remote.wait_for(is_it, within=within, since=self._marks[peer], doing=doing)
        except (EventMissed, AgentDied) as error:
            self.miss(doing, error)
            return None
        assert isinstance(event, kinds)
        return event

    async def talk(self, mode: Mode = "datagram") -> None:
        """Start every flow on both sides; the judged time begins when both have heard each of them."""
        if self.broken:
            return
        for peer in (self.caller, self.callee):
            for flow in self.flows:
                try:
                    await peer.speak(flow, call=self, mode=mode)
                except AgentDied as died:
                    self.miss(f"{flow} starts at {peer.name}", died)
        await self._listen(0 * ms, self.lab.orders.patience, "first media")
        self.opened = time.monotonic_ns()

    async def hang_up(self, by: Peer | None = None) -> None:
        """Stop the sources, let what is under way arrive, have ``by`` (the caller) end the call, and see it over on both sides."""
        self.closed = time.monotonic_ns()
        for peer in (self.caller, self.callee):
            try:
                await peer.mute(call=self)
            except (AgentRefused, AgentDied) as error:
                self.miss("sources stop", error)
        await self._drain()
        marks = {peer: peer.remote.mark() for peer in (self.caller, self.callee)}
        try:
            await (by or self.caller).remote.end(self.id)
            for peer in (self.caller, self.callee):
                await peer.remote.wait_for(
                    CallEnded,
                    where=lambda event: event.call == self.id,
                    within=3 * s,
                    since=marks[peer],
                    doing=f"call ended at {peer.name}",
                )
        except UNDONE as error:
            self.miss("clean hang-up", error)
        await self.conclude()
        self.lab.timeline.note("lab", "call", f"{self.caller.name} and {self.callee.name} have hung up", aloud=True, call=self.id)

    async def conclude(self) -> None:
        """End the judged time (if it has not ended) without touching the call, and have both agents write what they know of it."""
        self.closed = self.closed or time.monotonic_ns()
        for peer in (self.caller, self.callee):
            if not peer.cut_short:
                with contextlib.suppress(AgentDied):
                    await peer.inventory()  # its answer says that the records so far are in the file
        await self.lab.settle()

    async def _drain(self) -> None:
        """Wait until everything sent has been heard, or long enough that the rest is lost."""
        with trio.move_on_after(_DRAIN_WITHIN.s):
            for speaker, listener in self.sides:
                for flow in self.flows:
                    sent = speaker.remote.media(self.id, flow)
                    if sent is not None and sent.sent:
                        with contextlib.suppress(EventMissed, AgentDied):
                            await listener.remote.heard(self.id, flow, sent.sent, within=_DRAIN_WITHIN)

    # -- conditions --------------------------------------------------------------------------------------------------------------------

    async def heard_both_ways(self, for_: Duration, *, within: Duration | None = None) -> None:
        """Wait until every running flow has been heard for ``for_`` on the side that it goes to, and is being heard still.

        A flow that is not heard so ``within`` (default: ``--patience`` beyond ``for_``) is a failed verdict, and the call counts as broken.
        """
        await self._listen(for_, within or for_ + self.lab.orders.patience, f"heard for {for_}")

    async def silent_both_ways(self, for_: Duration, *, within: Duration | None = None) -> None:
        """Wait until no running flow has been heard for ``for_``; a failed verdict for one heard still ``within`` (``for_`` and 3 s)."""
        async with trio.open_nursery() as nursery:
            for speaker, listener in self.sides:
                for flow in self._sending[speaker]:
                    nursery.start_soon(self._hear_nothing, listener, flow, for_, within or for_ + 3 * s)

    async def _hear_nothing(self, listener: Peer, flow: str, for_: Duration, within: Duration) -> None:
        def silent(event: Media) -> bool:
            mine = event.call == self.id and event.flow == flow and event.last_heard is not None
            return mine and event.at - (event.last_heard or 0) >= for_.ns

        doing = f"{flow} silent for {for_} at {listener.name}"
        try:
            await listener.remote.wait_for(Media, where=silent, within=within, since=listener.remote.mark(), doing=doing)
        except (EventMissed, AgentDied) as error:
            self.miss(doing, error)

    async def _listen(self, for_: Duration, within: Duration, what: str) -> None:
        if self.broken:
            return
        began = time.monotonic_ns()
        async with trio.open_nursery() as nursery:
            for speaker, listener in self.sides:
                for flow in self._sending[speaker]:
                    nursery.start_soon(self._hear, speaker, listener, flow, began, for_, within, what)

    async def heard_count(self, listener: Peer, flow: str, count: int, *, within: Duration = 10 * s) -> None:
        """Wait until ``listener`` has heard ``count`` packets of ``flow`` in all; a failed verdict when it has not ``within`` the time."""
        try:
            await listener.remote.heard(self.id, flow, count, within=within)
        except (EventMissed, AgentDied) as error:
            self.miss(f"{count} {flow} packets at {listener.name}", error)

    async def _hear(self, speaker: Peer, listener: Peer, flow: str, began: int, for_: Duration, within: Duration, what: str) -> None:
        before = listener.remote.media(self.id, flow)
        base = before.heard if before is not None else 0

        def enough(event: Media) -> bool:
            fresh = event.last_heard is not None and event.last_heard >= event.at - _STALE.ns
            mine = event.call == self.id and event.flow == flow
            return mine and fresh and event.at >= began + for_.ns and event.heard > base

        try:
            await listener.remote.wait_for(Media, where=enough, within=within, since=listener.remote.mark(), doing=f"{flow} {what}")
        except AgentDied as died:
            self.miss(f"{flow} {what} at {listener.name}", died)
        except EventMissed:
            self._break()
            newest = listener.remote.media(self.id, flow)
            since = newest.last_heard if newest is not None and newest.last_heard is not None else began
            silent = Gap(Duration(time.monotonic_ns() - since), since, time.monotonic_ns(), recovered=False)
            name = f"{flow} {what} at {listener.name} within {within}: silent at last"
            figure = Figure(
                silent.excess,
                direction(speaker, listener, flow),
                (silent,),
                "the condition was not reached",
                yields=flow != "audio",
                call=self.id,
                speaker=speaker.name,
                listener=listener.name,
            )
            self.lab.add(verdict.at_most(name, figure, _STALE))

    def miss(self, name: str, error: AgentRefused | EventMissed | AgentDied) -> None:
        """Record that the stack did not do what the scenario waited for; of one that has died, that it could not be measured."""
        self._break()
        if isinstance(error, AgentDied):  # why it died, and whose doing that was, is told for the whole run
            self.lab.add(verdict.equal(name, Figure(None, note=f"not measured: {error}", call=self.id), 1, blame=Blame.AGENT))
            return
        if isinstance(error, EventMissed):
            when: dict[str, Any] = {"where": Gap(Duration(error.ended - error.began), error.began, error.ended)}
        else:
            when = {"moments": (Moment(time.monotonic_ns(), "refused"),)}
        self.lab.add(verdict.equal(name, Figure(Count(0), note=str(error), call=self.id, **when), 1))

    # -- figures -----------------------------------------------------------------------------------------------------------------------

    def heard_by(self, listener: Peer, flow: str) -> Heard:
        """Every packet of ``flow`` that the other side offered, and its fate at ``listener``; only once the call has been hung up."""
        if self.closed is None:
            raise SpecError("lab.call", "figures are there after the call's block, when both agents have written their records")
        speaker = self.callee if listener is self.caller else self.caller
        heard = self.lab.evidence.heard(self, speaker, listener, flow)
        return heard if self.broken_at is None else severed.cut(heard, self.broken_at)

    def handshakes(self) -> Figure:
        """How many QUIC handshakes the caller began with the callee for this call, counted in both hosts' captures."""
        return counted(self.lab.evidence.handshakes(self))
