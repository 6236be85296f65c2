"""What goes wrong is told by name, in time, and to nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from harness.agent.messages import (
    CallEnded,
    CallRejected,
    ConnectionEstablished,
    ConnectionFailed,
    Event,
    IncomingCall,
    MediaSet,
    Options,
    PathChanged,
    StateChanged,
    VideoAdapted,
)
from harness.agent.remote import EventMissed
from harness.lab import Lab, control, needs, outside, refusal
from harness.lab.conversation import Call
from harness.lab.decrypted import Decrypted, Signal
from harness.lab.lab import NO_MEDIA, FaultMark
from harness.lab.media_flows import NEVER_DEPARTED
from harness.lab.moments import of_packets, of_signals
from harness.lab.path_bounds import frames_in
from harness.lab.peer import Peer
from harness.media.figure import Figure, Moment, between, counted, over
from harness.media.measures import Heard
from harness.spec.link import Impairment
from harness.units import Duration, kbit, ms, percent, s
from topologies.side_by_side import side_by_side
from topologies.two_homes import DELAY, two_homes

SILENCE = 60 * ms
"""What nobody hears of an undisturbed call (call_flow, lifecycle)."""
FIFTY_HANDSHAKES = 2 * s
"""What fifty TLS handshakes may take in Python, at both ends on the same two cores, and with them the call in progress."""
LIMIT = 10
"""``max_concurrent_calls`` where nobody says otherwise (call-stack.md §2)."""


_RETRY = 0xF0
"""The bits of a first byte that only a Retry has all set (RFC 9000 §17.2.5)."""


async def _refused_as_busy(call: Call) -> bool:
    """Whether the call ends at its caller because the callee has no room."""
    how = await call.over(call.caller)
    return isinstance(how, CallRejected) and how.reason == "busy"


def _told_busy(lab: Lab, callee: Peer) -> list[Moment]:
    """When ``callee`` said so on the wire, to a connection each: ``bye``, read from its capture with the run's keys."""
    said = {"type": "bye", "reason": "busy"}
    return _first_of_each(lab, callee, lambda one: one.sender == "server" and said.items() <= one.message.items())


def _talked(lab: Lab, callee: Peer) -> list[Moment]:
    """When connections got as far as ``connection_ready``, read in the same way."""
    return _first_of_each(lab, callee, lambda one: one.message["type"] == "connection_ready")


def _first_of_each(lab: Lab, callee: Peer, is_it: Callable[[Signal], bool]) -> list[Moment]:
    """Of each connection the first message that ``is_it``."""
    wire = lab.evidence.decrypted(callee)
    firsts = [next(filter(is_it, wire.signals(connection)), None) for connection in wire.connections]
    return sorted(of_signals(one for one in firsts if one is not None), key=lambda moment: moment.at)


async def _eleventh(lab: Lab) -> None:
    await lab.build(two_homes())
    usual = Options(auto_answer=True)
    alice, bob = await lab.agents("alice", "bob", options={"alice": Options(max_concurrent_calls=LIMIT + 1), "bob": usual})
    async with lab.call(alice, bob) as first:
        more = [await lab.dial(alice, bob) for _ in range(LIMIT - 1)]
        for call in more:
            await call.connected()
        since = lab.now()
        refused = await _refused_as_busy(await lab.dial(alice, bob))
        await more[0].hang_up()
        await (await lab.dial(alice, bob)).connected()
        await first.heard_both_ways(for_=1 * s)
    lab.equal("eleventh call refused as busy", int(refused), 1)
    lab.equal("bye busy on the wire", counted(_told_busy(lab, bob)), 1)
    for listener in (alice, bob):
        heard = listener.heard("audio", first)
        lab.equal("audio unheard in the first call", heard.unheard(since=since), 0)
        lab.at_most("longest silence in the first call", heard.longest_gap(since=since), 100 * ms)


async def _fifty_at_once(lab: Lab) -> None:
    await lab.build(two_homes(delay=150 * ms))
    options = {"alice": Options(max_concurrent_calls=51), "bob": Options(auto_answer=True, retry_above=4)}
    alice, bob = await lab.agents("alice", "bob", options=options)
    async with lab.call(alice, bob) as first:
        since = lab.now()
        calls = [await lab.dial(alice, bob) for _ in range(50)]
        refused = sum([await _settled(call) for call in calls])
        await first.heard_both_ways(for_=1 * s)
    connected = _talked(lab, bob)
    lab.never("calls connected beyond Bob's lines", connected[LIMIT:])
    lab.equal("calls refused as busy", refused, 50 - (LIMIT - 1))
    lab.equal("calls that connected on the wire", counted(connected), LIMIT)
    proofs = [p for p in lab.evidence.captured(bob) if p.outgoing and p.payload and p.payload[0] & _RETRY == _RETRY]
    lab.at_least("Retry packets from bob", len(proofs), 1)
    lab.equal("bye busy on the wire", counted(_told_busy(lab, bob)), 50 - (LIMIT - 1))
    for listener in (alice, bob):
        heard = listener.heard("audio", first)
        lab.equal("audio lost in the first call", heard.network_loss(since=since), 0 * percent)
        lab.at_most("audio unheard in the first call", heard.unheard(since=since), frames_in(FIFTY_HANDSHAKES))
        lab.at_most("longest silence in the first call", heard.longest_gap(since=since), FIFTY_HANDSHAKES)


async def _no_descriptors(lab: Lab) -> None:
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    before = {peer: await peer.inventory() for peer in (alice, bob)}
    async with lab.call(alice, bob) as first:
        since = lab.now()
        held = outside.descriptors(alice.process)
        async with lab.fault("Alice has no file descriptor left"):
            with outside.no_more_descriptors(lab, alice):
                refused = await refusal(lab.dial(alice, bob))
                opened = set(outside.descriptors(alice.process)) - set(held)
                await first.heard_both_ways(for_=500 * ms)
        async with lab.fault("Bob has no file descriptor left"):
            with outside.no_more_descriptors(lab, bob):
                second = await lab.dial(alice, bob)
                await first.heard_both_ways(for_=500 * ms)
                rang = any(isinstance(said.message, IncomingCall) and said.message.call == second.id for said in bob.remote.events)
        await second.connected(within=3 * s)
        await second.hang_up()
    lab.refused("a call without a descriptor is refused", refused, "TransportError", "EMFILE")
    lab.equal("descriptors opened by the refused call", len(opened), 0)
    lab.equal("calls that rang without a descriptor", int(rang), 0)
    lab.equal("QUIC connections on the wire", len(lab.evidence.decrypted(bob).connections), 2)
    for listener in (alice, bob):
        heard = listener.heard("audio", first)
        lab.equal("audio unheard in the first call", heard.unheard(since=since), 0)
        lab.at_most("longest silence in the first call", heard.longest_gap(since=since), 100 * ms)
        lab.equal(f"left behind at {listener.name}", await lab.left_behind(listener, before[listener]), 0)
    await net.flush()


async def _queue_full(lab: Lab) -> None:
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob", options=Options(auto_answer=True, queue_limit=8, adapt=False))
    async with lab.call(alice, bob, video=True) as call:
        await alice.mute("video")
        async with lab.fault("Alice's line takes less than her camera gives") as fault:
            await net.link("home_a/wan").impair(a_to_b=Impairment(delay=5 * ms, rate=300 * kbit))
            await alice.speak("video", bitrate_kbps=1000)
            await call.heard_both_ways(for_=2 * s)
    video, audio = bob.heard("video"), bob.heard("audio")
    why = Counter(packet.unsent for packet in video.packets if packet.sent is None and packet.offered >= fault.began)
    told = ", ".join(f"{count} {reason or 'without a reason'}" for reason, count in why.items())
    lab.at_least("video pushed out of the full queue", why["queue full"], 50, note=told)
    lab.equal("video given up without a reason", why[NEVER_DEPARTED], 0)
    lab.equal("video lost on the way", video.lost(since=fault.began), 0)
    lab.equal("audio never sent", audio.expired(since=fault.began), 0)
    lab.equal("audio lost on the way", audio.lost(since=fault.began), 0)


async def _settled(call: Call) -> bool:
    """Waits until the call is either connected or refused; whether it was refused as busy."""

    def is_it(event: Event) -> bool:
        return isinstance(event, CallRejected | ConnectionEstablished) and event.call == call.id

    event = await call.caller.remote.wait_for(is_it, within=10 * s, doing="one of fifty calls settled")
    return isinstance(event, CallRejected) and event.reason == "busy"


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(
            _eleventh,
            id="eleventh",
            marks=control("bob", "one-too-many", caught_by="eleventh call refused as busy", also=("bye busy", "call over at alice")),
        ),
        pytest.param(
            _fifty_at_once,
            id="fifty at once",
            marks=(
                pytest.mark.long,
                control(
                    "bob",
                    "counts-late",
                    caught_by="calls connected beyond Bob's lines",
                    also=("calls refused as busy", "bye busy", "calls that connected"),
                ),
            ),
        ),
        pytest.param(
            _no_descriptors, id="descriptors", marks=(pytest.mark.long, control("alice", "half-builds", caught_by="left behind at alice"))
        ),
        pytest.param(
            _queue_full,
            id="media queue",
            marks=(
                pytest.mark.long,
                control(
                    "alice", "drops-in-silence", caught_by="video pushed out of the full queue", also=("video given up without a reason",)
                ),
            ),
        ),
    ],
)
async def test_exhaustion(lab: Lab, story: Callable[[Lab], Awaitable[None]]) -> None:
    """More is asked of an agent than it has: what is too much is refused by name, and what was there before does not notice.

    Field story: a conference bridge, or an attacker, calls more often than there are lines; a process leaks until it can open nothing more;
    a camera gives more than the line takes.
    Fault: "eleventh": one call beyond the limit of 10.  "fifty at once": 50 calls beside one in progress, many under way before the
    first of them can be answered (300 ms round trip); above 4 that wait Bob has them prove their address (a Retry, in his capture).
    "descriptors": first Alice, then Bob can open no file descriptor beyond those held (RLIMIT_NOFILE, set and read from outside).
    "media queue": Alice's line takes 300 kbit/s, her camera gives 1000, and her queue holds 8 packets.
    Bounds: exactly as many calls connect as there are lines, and every other is told ``busy``, as the decrypted capture shows; in the call
    in progress no frame is unheard, either way, and no silence is longer than 100 ms; beside fifty handshakes, which may take 2 s
    in Python, nothing is lost, and no silence is longer than that.  A line that is free again is given to the next caller.
    "descriptors": Alice's second call is refused with EMFILE and opens nothing; Bob answers nobody, and the caller who is still there as
    soon as he can again; nothing is left behind.  "media queue": at least 50 of the video packets are pushed out, each with that reason in
    its record; audio is sent, and arrives, without exception (how late, is degradation's to judge: here the line's own buffer is without
    bound).
    Control: "eleventh": a callee that counts one too few; "fifty at once": a callee that counts a call once it is connected;
    "descriptors": a caller that keeps half of the refused call; "media queue": a sender that says nothing of what its queue gave up.
    """
    await story(lab)


PATIENCE = 2 * s
PROMPT = 150 * ms
"""What a timer, the agent's pipe and a busy machine may add to a stated time."""


def states(peer: Peer, call: Call) -> list[str]:
    """The states that ``call`` went through at ``peer``, as its agent told them."""
    moves = [said.message for said in peer.remote.events if isinstance(said.message, StateChanged) and said.message.call == call.id]
    return [*(move.old for move in moves[:1]), *(move.new for move in moves)]


# -- nobody answers ------------------------------------------------------------------------------------------------------------------------


PATIENT = control(
    "alice", "patient", caught_by="time until alice gives up", also=("given up as", "states at", "call over at", "left behind at")
)

ENDS_SILENTLY = ("signalled", "call over at bob", "states at bob", "left behind at bob")


@pytest.mark.parametrize(
    "why",
    [
        pytest.param("unreachable", marks=PATIENT),
        pytest.param("silent", marks=(pytest.mark.long, PATIENT)),
        pytest.param(
            "unanswered",
            marks=(pytest.mark.long, control("alice", "ends-silently", caught_by="given up as CallTimeout", also=ENDS_SILENTLY)),
        ),
    ],
)
async def test_dial_timeout(lab: Lab, why: str) -> None:
    """Alice calls and nobody answers: she is told so in the stated time, as a timeout, and nothing is left of the call anywhere.

    Field story: a phone that is switched off, a phone that hangs, a phone that rings in an empty room; and an app that shows "calling" for
    ever.
    Fault: "unreachable": Bob's link is down.  "silent": Bob's agent is stopped (SIGSTOP, seen in /proc), so his host takes her packets and
    says nothing.  "unanswered": none; his agent rings, and nobody picks up.
    Bounds: not before the 2 s that were asked for (dial_timeout, answer_timeout) and at most 150 ms after them; CallTimeout by name;
    Calling → Failed → Idle, by way of Connecting where it rang; all that both agents held before, and no more, 3 s later; in Bob's capture
    nothing came, nothing went, or a bye that says why.
    Control: a caller that waits for a minute; one whose calls end without a word of the reason.
    """
    net = await lab.build(two_homes())
    patience = Options(dial_timeout_ms=int(PATIENCE.ms), answer_timeout_ms=int(PATIENCE.ms))
    longer = Options(answer_timeout_ms=int((PATIENCE + 1 * s).ms))  # else both give up at once, and either may be the first to say so
    alice, bob = await lab.agents("alice", "bob", options={"alice": patience, "bob": longer})
    before = {peer: await peer.inventory() for peer in (alice, bob)}
    async with no_answer(lab, net_down=net.link("bob/eth").down, bob=bob, why=why):
        asked = lab.now()
        call = await lab.dial(alice, bob)
        if why == "unanswered":
            await call.rings()
        how = await call.over(alice, within=PATIENCE + 2 * s)
        gave_up = how.at if how is not None else lab.now()
        if why == "unanswered":
            await call.over(bob, within=1 * s)
    took = between(asked, gave_up)
    lab.at_least("time that alice waits", took, PATIENCE)
    lab.at_most("time until alice gives up", took, PATIENCE + PROMPT)
    lab.same("given up as CallTimeout", _ended(how), "CallTimeout", at=gave_up)
    rang = ["Connecting"] if why == "unanswered" else []
    lab.same("states at alice", states(alice, call), ["Idle", "Calling", *rang, "Failed", "Idle"])
    lab.same("states at bob", states(bob, call), ["Idle", "Calling", "Failed", "Idle"] if rang else [])
    for peer in (alice, bob):
        lab.equal(f"left behind at {peer.name}", await lab.left_behind(peer, before[peer]), 0)
    await net.flush()
    came, went = ([packet for packet in lab.evidence.captured(bob) if packet.outgoing is outgoing] for outgoing in (False, True))
    if why == "unreachable":
        lab.equal("packets that reached bob", counted(of_packets(came)), 0)
    else:
        lab.at_least("packets that reached bob", len(came), 1)
    if why == "silent":
        early = [packet for packet in went if packet.monotonic is not None and packet.monotonic < gave_up]
        lab.equal("packets from bob while he stood still", counted(of_packets(early)), 0)
    if why == "unanswered":
        wire = lab.evidence.decrypted(bob)
        lab.same("signalled", signalled(wire), ["capability_exchange", f"bye: no answer within {PATIENCE}"])


@asynccontextmanager
async def no_answer(lab: Lab, *, net_down: Callable[[], Awaitable[None]], bob: Peer, why: str) -> AsyncIterator[None]:
    """Bob answers nothing for the length of the block."""
    if why == "unanswered":
        yield
    elif why == "silent":
        async with lab.fault("Bob's phone hangs"), outside.frozen(lab, bob):
            yield
    else:
        async with lab.fault("Bob's phone is off the network"):
            await net_down()
            yield


def _ended(how: CallRejected | ConnectionFailed | CallEnded | None) -> str | None:
    """By which error a call ended; in words where it was none."""
    if how is None:
        return None
    if isinstance(how, ConnectionFailed):
        return how.error
    return f"{type(how).__name__}: {how.reason}"


def signalled(wire: Decrypted) -> list[str]:
    """The signalling messages of the only connection, in order, with the reasons of those that give one."""
    said = [signal.message for connection in wire.connections for signal in wire.signals(connection)]
    return [f"{one['type']}: {one['reason']}" if one.get("reason") else str(one["type"]) for one in said]


# -- nobody answers any more ---------------------------------------------------------------------------------------------------------------

LOST, WINDOW = 2 * s, 1500 * ms
IN_FLIGHT = 50 * ms
"""The last packet before the path died was heard at most a packet interval and the way through the network from the fault."""


@control(
    "alice",
    "never-gives-up",
    caught_by="time until alice gives up",
    also=("call over at alice", "alice gave up as", "states at alice", "left behind at alice", "time until alice falls silent"),
)
@needs("redial")
async def test_midcall_timeout(lab: Lab) -> None:
    """The path dies in mid-call and never comes back: both are told how it stands, and at last that the call is over.

    Field story: a battery dies, a cable is cut; and an app goes on showing a call for as long as its user looks at it.
    Fault: the line beyond Alice's router loses everything from then on, proven by the executor's own account.
    Bounds: suspected, disconnected, redialling, in that order; the call is Failed with CallTimeout on both sides 2 s (until the connection
    counts as lost) and 1.5 s (the redial window) after the last packet, and at most 150 ms later; by then the last packet has left either
    host, in its capture; 3 s later the agents hold what they held before.
    Control: a caller whose redial window never closes.
    """
    net = await lab.build(two_homes())
    quick = Options(
        auto_answer=True, suspected_ms=1000, disconnected_ms=1500, failed_ms=LOST.ns // 1_000_000, redial_window_ms=WINDOW.ns // 1_000_000
    )
    alice, bob = await lab.agents("alice", "bob", options=quick)
    before = {peer: await peer.inventory() for peer in (alice, bob)}
    call = await lab.dial(alice, bob)
    await call.connected()
    await call.talk()
    await call.heard_both_ways(for_=1 * s)
    async with lab.fault("the path dies for good") as fault:
        await net.link("home_a/wan").dark()
    for peer in (alice, bob):
        how = await call.over(peer, within=LOST + WINDOW + 1 * s)
        took = between(fault.began, how.at if how is not None else lab.now())
        lab.at_least(f"time that {peer.name} waits", took, LOST + WINDOW - IN_FLIGHT)
        lab.at_most(f"time until {peer.name} gives up", took, LOST + WINDOW + IN_FLIGHT + PROMPT)
        lab.same(f"{peer.name} gave up as", _ended(how), "CallTimeout")
        words = [said.message.kind for said in peer.remote.events if isinstance(said.message, PathChanged)]
        lab.same(f"{peer.name} was told", words, ["suspected", "disconnected", "redialling"])
        way = ["Idle", "Calling", "Connecting", "Connected", "Failed", "Idle"]
        lab.same(f"states at {peer.name}", states(peer, call), way)
    await call.conclude()
    for peer in (alice, bob):
        lab.equal(f"left behind at {peer.name}", await lab.left_behind(peer, before[peer]), 0)
    await net.flush()
    for peer in (alice, bob):
        last = max(packet.monotonic or 0 for packet in lab.evidence.captured(peer) if packet.outgoing)
        lab.at_most(f"time until {peer.name} falls silent", between(fault.began, last), LOST + WINDOW + IN_FLIGHT + PROMPT)


# -- what one wants and the other has not --------------------------------------------------------------------------------------------------

AUDIO, VIDEO = MediaSet(audio=True), MediaSet(audio=True, video=True)
NO_VIDEO = "capability mismatch: video is wanted and not offered"


@dataclass(frozen=True)
class Offers:
    """What the two sides of a call want and have, and what must come of it: ``refused`` at the callee, ``ends`` (alice, bob), messages."""

    options: Options
    wants_video: bool = False
    optional: MediaSet = NO_MEDIA
    refused: str | None = None
    ends: tuple[tuple[str, str], ...] = ()
    signalled: tuple[str, ...] = ()


REQUIRED_BY_CALLEE = Offers(
    Options(requires=VIDEO),
    refused="CapabilityMismatch",
    ends=(("CallRejected", NO_VIDEO), ("CallRejected", NO_VIDEO)),
    signalled=("capability_exchange", f"bye: {NO_VIDEO}"),
)
WANTED_BY_CALLER = Offers(
    Options(accepts=AUDIO),
    wants_video=True,
    ends=(("ConnectionFailed", NO_VIDEO), ("CallEnded", NO_VIDEO)),
    signalled=("capability_exchange", "connection_confirm", f"bye: {NO_VIDEO}"),
)
OPTIONAL = Offers(
    Options(accepts=AUDIO),
    optional=VIDEO,
    signalled=("capability_exchange", "connection_confirm", "connection_ready", "bye: ended"),
)
NOT_REFUSED = ("ended at", "signalled", "times Connected", "call over at")


@pytest.mark.parametrize(
    "offers",
    [
        pytest.param(
            REQUIRED_BY_CALLEE, id="callee", marks=control("bob", "accepts-anything", caught_by="bob's refusal", also=NOT_REFUSED)
        ),
        pytest.param(
            WANTED_BY_CALLER,
            id="caller",
            marks=(pytest.mark.long, control("alice", "accepts-anything", caught_by="ended at alice", also=NOT_REFUSED)),
        ),
        pytest.param(
            OPTIONAL,
            id="optional",
            marks=(
                pytest.mark.long,
                control(
                    "alice",
                    "insists",
                    caught_by="connected at alice",
                    also=("connected at bob", "signalled", "clean hang-up", "video", "audio heard by"),
                ),
            ),
        ),
    ],
)
async def test_capability_mismatch(lab: Lab, offers: Offers) -> None:
    """One side insists on video that the other has not: the call is refused by name; where video was only an offer, it is an audio call.

    Field story: a desk phone without a camera and a conference app that will not do without; the call must not come up half.
    Fault: none; "callee": Bob's agent requires video, and Alice offers audio.  "caller": Alice wants video, and Bob has none.  "optional":
    Alice offers video without insisting on it.
    Bounds: who insists is who refuses (CapabilityMismatch), the other is told why, nobody is ever Connected, and the decrypted capture
    holds exactly the messages of such a refusal.  "optional": Connected, audio heard both ways without a frame unheard or 60 ms of
    silence, no video agreed, and none can be started.
    Control: "callee" and "caller": a stack that takes whatever is offered; "optional": a caller that insists on all that it offers.
    """
    net = await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob", options=offers.options)
    before = {peer: await peer.inventory() for peer in (alice, bob)}
    call = await lab.dial(alice, bob, video=offers.wants_video, optional=offers.optional)
    await call.rings()
    refused = await refusal(call.answer())
    lab.same("bob's refusal", refused and refused.kind, offers.refused, at=lab.now())
    if offers.ends:
        for peer, wanted in zip((alice, bob), offers.ends, strict=True):
            how = await call.over(peer, within=2 * s)
            lab.same(f"ended at {peer.name}", how and (type(how).__name__, how.reason), wanted, at=how.at if how is not None else lab.now())
            lab.equal(f"times Connected at {peer.name}", states(peer, call).count("Connected"), 0)
        await refusal(alice.remote.end(call.id))  # if it came up all the same
    else:
        await call.connected(within=2 * s)
        await call.talk()
        await call.heard_both_ways(for_=1 * s)
        for peer in (alice, bob):
            lab.refused(f"video at {peer.name}", await refusal(peer.speak("video")), "ConfigError", "was not agreed", at=lab.now())
        await call.hang_up()
        for peer in (alice, bob):
            heard = peer.heard("audio")
            lab.at_least(f"audio heard by {peer.name}", heard.arrived(), 45)
            lab.equal("audio unheard", heard.unheard(), 0)
            lab.at_most("longest silence", heard.longest_gap(), SILENCE)
    for peer in (alice, bob):
        lab.equal(f"left behind at {peer.name}", await lab.left_behind(peer, before[peer]), 0)
    await net.flush()
    lab.same("signalled", signalled(lab.evidence.decrypted(bob)), list(offers.signalled))


# -- not enough room for video -------------------------------------------------------------------------------------------------------------

UNDER_WAY = 500 * ms
NARROW = Impairment(delay=DELAY / 2, rate=150 * kbit, queue=50)
"""Audio takes about 85 kbit/s of it, video would take 430; 50 packets are a small router's queue, up to 3 s of it in video's packets."""
WIDE = Impairment(delay=DELAY / 2)
PAUSE = 1 * s
"""A source that offers nothing for so long was stopped; a frame comes every 33 ms."""
PICTURE = 34 * ms
"""From one frame of video to the next."""
RETURNS = 60 * s
"""How long after there is room again video may take to be back: rows of good windows that each failed probe has doubled, and a probe."""
PROBED = 2 * s
"""How long a probe lasts: two windows of quality."""


async def _adapts(call: Call, what: Callable[[VideoAdapted], bool], since: dict[Peer, int], within: Duration, doing: str) -> None:
    """Wait until both stacks have told such a decision about their video; a failed verdict for each that has not."""
    for peer in (call.caller, call.callee):
        if not call.broken:
            try:
                await peer.remote.wait_for(VideoAdapted, where=what, since=since[peer], within=within, doing=f"{doing} at {peer.name}")
            except EventMissed as missed:
                call.miss(f"{doing} at {peer.name}", missed)


def _pauses(video: Heard) -> list[tuple[int, int]]:
    """From when to when (ns) no ``video`` left its sender's host for ``PAUSE``; the call's end ends one too."""
    left = [*sorted(packet.sent for packet in video.packets if packet.sent is not None), video.closed]
    return [(before, after) for before, after in pairwise(left) if after - before >= PAUSE.ns]


def _kbps(sizes: Iterable[int], since: int, until: int) -> int:
    """So many bytes in that time (ns), in kbit/s."""
    return sum(sizes) * 8_000_000 // max(1, until - since)


def _sizes(video: Heard, since: int, until: int) -> Iterable[int]:
    """Bytes of RTP of each packet of ``video`` that left its sender's host in that time."""
    return (packet.size for packet in video.packets if packet.sent is not None and since <= packet.sent < until)


def _rate(video: Heard, since: int, until: int) -> Figure:
    """How much of ``video`` left its sender's host in that time, kbit/s of RTP."""
    return over(_kbps(_sizes(video, since, until), since, until), since, until)


def _padded(lab: Lab, speaker: Peer, since: int, until: int) -> Figure:
    """What ``speaker``'s host sent in that time besides audio and what is as small, kbit/s of UDP payload, read from its capture."""
    sent = (one for one in lab.evidence.captured(speaker) if one.outgoing and since <= (one.monotonic or 0) < until)
    return over(_kbps((one.size for one in sent if one.size > 250), since, until), since, until)


def judge_picture(lab: Lab, call: Call, speaker: Peer, listener: Peer, fall: FaultMark, lifted: FaultMark) -> None:
    """While the link is narrow, and until video is back within ``RETURNS``, the picture may stop; before and after it may not."""
    back = listener.heard("video").recovery(after=lifted.began)
    lab.at_most("video back once there is room", back, RETURNS)
    returned = min(back.gaps[0].end if back.gaps else lifted.began, lifted.began + RETURNS.ns)
    call.may_adapt("video", floor=None, since=fall.began, until=returned, by=speaker)
    video = listener.heard("video")
    lab.at_most("longest video silence", video.longest_gap(), lab.picture_bound(SILENCE, video))
    lab.at_most("longest video freeze before the fall", video.longest_freeze(until=fall.began), SILENCE + PICTURE)
    lab.equal("video unheard before the fall", video.unheard(until=fall.began - IN_FLIGHT.ns), 0)
    if returned + IN_FLIGHT.ns < video.closed:
        lab.at_most("longest video freeze once it is back", video.longest_freeze(since=returned + 1), SILENCE + PICTURE)
        lab.equal("video unheard once it is back", video.unheard(since=returned), 0)


WITHOUT_STEPS = (
    *("video stops at", "a probe fails at", "video returns at", "alice's video", "bob's video", "times bob's video stopped"),
    *("video back", "longest video", "video unheard"),
)


@control("alice", "never-adapts", caught_by="times alice's video stopped", also=WITHOUT_STEPS)
@control(
    "bob",
    "never-yields",
    caught_by="audio lost while the link is narrow",
    also=(*WITHOUT_STEPS, "times alice's video stopped", "audio lost", "audio heard", "video heard", "clean hang-up", "longest silence"),
)
@needs("adapt", "video")
@pytest.mark.long
async def test_degradation(lab: Lab) -> None:
    """Alice's access falls to 150 kbit/s: video steps down, then stops, and audio goes on; when there is room again video returns, once.

    Field story: the train leaves town; a neighbour's backup fills the uplink.  A call that clings to its video loses its voice, and one
    that takes it back too soon flaps.
    Fault: the rate of Alice's access falls to 150 kbit/s in both directions, behind a queue of 50 packets, and is lifted once both stacks
    have stopped their video and one probe of each has failed.  Receipts: the impairment that the executor has in force, both times.
    Bounds: audio's playout loss is at most 2 % from the fall to the end, and at most 2 % within either part of it: wide again, and narrow
    (but for the first half second: a key frame of 5 kB that is under way when the link narrows to 150 kbit/s takes 270 ms of it, whatever
    its sender does then); no silence of audio is longer than that half second.  Video may stop from the fall on and until it is back, a
    minute after there is room again at most; before and after that its picture is that of an undisturbed call (60 ms, no freeze, no frame
    unseen); before it stops, video was at most 60 % of what it was (it is halved; a key frame more or less); each
    sender pauses its video exactly once; before it comes back the host's capture shows padding of at least half of video's bitrate for the
    probe's 2 s (it swells for one of them); each side signals exactly two media_updates, read from the decrypted capture; the call is
    never in another state than Connected.
    Control: a stack that never adapts, whose video does not stop; one that does not yield to delay, whose video queues up before audio.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=2 * s)
        since = {peer: peer.remote.mark() for peer in (alice, bob)}
        async with lab.fault("Alice's access falls to 150 kbit/s") as fall:
            await net.link("home_a/wan").impair(NARROW)
        await _adapts(call, lambda told: told.kbps == 0, since, 15 * s, "video stops")
        await _adapts(call, lambda told: told.kbps == 0 and "probe failed" in told.why, since, 20 * s, "a probe fails")
        since = {peer: peer.remote.mark() for peer in (alice, bob)}
        async with lab.fault("there is room again") as lifted:
            await net.link("home_a/wan").impair(WIDE)
        await _adapts(call, lambda told: told.kbps > 0, since, 60 * s, "video returns")
        await call.heard_both_ways(for_=2 * s)
    for speaker, listener in call.sides:
        audio, video = listener.heard("audio"), listener.heard("video")
        judge_picture(lab, call, speaker, listener, fall, lifted)
        lab.at_most("longest silence", audio.longest_gap(since=fall.began), UNDER_WAY)
        lab.at_most("audio lost from the fall on", audio.loss(since=fall.began), 2 * percent)
        lab.at_most("audio lost while the link is narrow", audio.loss(since=fall.began + UNDER_WAY.ns, until=lifted.began), 2 * percent)
        lab.at_most("audio lost once it is wide again", audio.loss(since=lifted.began), 2 * percent)
        pauses = _pauses(video)
        lab.equal(
            f"times {speaker.name}'s video stopped", counted(Moment(since, f"for {Duration(until - since)}") for since, until in pauses), 1
        )
        stopped, returned = pauses[0] if pauses else (lifted.began, call.closed or 0)
        usual = _kbps(_sizes(video, call.opened, fall.began), call.opened, fall.began)
        lab.at_most(f"{speaker.name}'s video before it stopped, kbit/s", _rate(video, stopped - PROBED.ns, stopped), usual * 6 // 10)
        lab.at_least(f"{speaker.name}'s video at last, kbit/s", _rate(video, returned, call.closed or 0), usual * 8 // 10)
        lab.at_least(f"{speaker.name}'s video probed in vain, kbit/s", _padded(lab, speaker, stopped + PAUSE.ns, lifted.began), 1)
        lab.at_least(f"{speaker.name}'s video probed, kbit/s", _padded(lab, speaker, returned - PROBED.ns, returned), usual // 2)
        lab.same(f"states at {speaker.name}", states(speaker, call)[-3:], ["Connected", "Ending", "Idle"])
    lab.equal("QUIC handshakes", call.handshakes(), 1)
    wire = lab.evidence.decrypted(bob)
    said = [one for connection in wire.connections for one in wire.signals(connection)]
    for sender, peer in (("client", alice), ("server", bob)):
        updates = [one.message["video"] for one in said if one.sender == sender and one.message["type"] == "media_update"]
        lab.same(f"{peer.name}'s video, as signalled", updates, [False, True])
