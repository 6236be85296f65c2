"""A phone changes networks in mid-call: active migration (RFC 9000 §9)."""

from __future__ import annotations

import pytest

from harness.agent.messages import Options
from harness.lab import Lab, control, needs, refusal
from harness.lab.conversation import Call
from harness.lab.lab import FaultMark
from harness.lab.moments import of_packets
from harness.lab.path_bounds import AUDIO, GOES_ON, MOVED_OVER, frames_in, moved_over, restarted, validation
from harness.lab.peer import Peer
from harness.lab.proofs import time_to_move
from harness.media.figure import counted
from harness.spec.link import Impairment, Pick
from harness.units import Duration, ms, s
from topologies.phone_three_radios import phone_three_radios
from topologies.phone_two_radios import LTE_DELAY, phone_two_radios
from topologies.two_homes import two_homes

UNHEARD = 80 * ms
"""One frame lost, and what scheduling takes; with the 15 ms that the way by LTE has more, a jitter buffer of 100 ms makes it inaudible."""
UNDISTURBED = 60 * ms
"""What nobody hears of a call that nothing happens to (call_flow, lifecycle)."""
FRAME, PICTURE = 20 * ms, 34 * ms
"""From one frame of audio to the next, and from one of video."""
PROBE_RETRY = 200 * ms


async def hand_over(lab: Lab, call: Call, phone: Peer, name: str, old: str, new: str) -> FaultMark:
    """Move the call from one radio to another while both are alive, then switch the old one off: what still uses it is found out."""
    async with lab.fault(name) as fault:
        await phone.migrate(new)
        await call.heard_both_ways(for_=500 * ms)
        await phone.network.link(f"{phone.name}/{old}").down()
    await call.heard_both_ways(for_=1 * s)
    return fault


def judge_handover(lab: Lab, call: Call, fault: FaultMark, old: str, by: str, *, suffix: str = "") -> None:
    """Nobody heard the move from ``old``, and where there is video nobody saw it, but for the slow start of a path that is far."""
    bound = lab.bound(UNHEARD, old, by)
    since, until = fault.began, fault.until
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio")
        lab.at_most(f"longest silence{suffix}", heard.longest_gap(since, until), bound, beyond=GOES_ON)
        lab.at_most(f"audio unheard{suffix}", heard.unheard(since, until), 1)
        if "video" in call.flows:
            seen = listener.heard("video")
            anew = restarted(lab.path(by))
            unseen = lab.picture_bound(bound + anew, seen)
            lab.at_most(f"longest video silence{suffix}", seen.longest_gap(since, until), unseen, beyond=GOES_ON)
            lab.at_most(f"longest video freeze{suffix}", seen.longest_freeze(since, until), unseen + PICTURE)
            lab.at_most(f"video unheard{suffix}", seen.unheard(since, until), 1 + frames_in(anew, PICTURE))


def judge_return(lab: Lab, call: Call, what: str, after: int, bound: Duration, beyond: str) -> None:
    """Fresh audio is back at both ends in time, and from then on none is missing."""
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio")
        lab.at_most(f"first fresh audio after {what}", heard.recovery(after=after), bound, beyond=beyond)
        lab.at_most("audio unheard", heard.unheard(since=after), frames_in(bound))


def judge_undisturbed(lab: Lab, call: Call) -> None:
    """Once it is there, the call is one that nothing happens to."""
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio")
        lab.at_most("longest silence", heard.longest_gap(), UNDISTURBED)
        lab.equal("audio unheard", heard.unheard(), 0)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@needs("video")
@needs("migrate", of="alice")
async def test_wifi_to_cellular(lab: Lab) -> None:
    """Alice walks out of the door in a video call; the phone takes it to LTE while the Wi-Fi still reaches her.

    Field story: the picture freezes and the call drops at the garden gate.
    Fault: the call is moved, then the Wi-Fi is switched off; Bob's capture shows the new address, rtnetlink the link that is down.
    Bounds: both ways, for sound and for picture: 80 ms of silence (a frame, scheduling) and the 15 ms that LTE takes longer, which
    a jitter buffer hides; at most one frame unheard or unseen; no freeze (W3C) beyond that silence and a frame of video; one handshake.
    Control: a callee that never follows a new path: silent for good once the Wi-Fi is gone.
    """
    await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        fault = await hand_over(lab, call, alice, "Alice walks out of the door", "wifi", "lte")
    judge_handover(lab, call, fault, "wifi", "lte")
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@needs("migrate", of="alice")
async def test_cellular_to_wifi(lab: Lab) -> None:
    """Alice comes home; the phone takes the call to the Wi-Fi while LTE still reaches her.  IPv6, audio alone.

    Field story: the call goes on over mobile data at home, or breaks at the moment in which the Wi-Fi icon appears.
    Fault: the call is moved, then LTE is switched off; Bob's capture shows the new address, rtnetlink the link that is down.
    Bounds: as for wifi_to_cellular, but 80 ms: the way is shorter now.  Frames from the old path may be overtaken, none may be lost for it.
    Control: a callee that never follows a new path: silent for good once LTE is gone.
    """
    await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="lte", version=6) as call:
        await call.heard_both_ways(for_=1 * s)
        fault = await hand_over(lab, call, alice, "Alice comes home", "lte", "wifi")
    judge_handover(lab, call, fault, "lte", "wifi")
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence, Alice walks out of the door", silent=True)
@needs("migrate", of="alice")
async def test_make_before_break(lab: Lab) -> None:
    """Alice walks out of the door and home again: both radios are alive each time the call moves, so nobody hears it.

    Field story: the way back is where stacks fail: the old path is remembered as dead, or no connection id is left for it.
    Fault: two moves, and after each the radio that was left is switched off; Bob's capture shows each new address.
    Bounds: for each move 80 ms of silence, and 15 ms more for the one to LTE, both ways; at most one frame unheard; one handshake.
    Control: a callee that never follows a new path: silent for good from the first move on.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        out = await hand_over(lab, call, alice, "Alice walks out of the door", "wifi", "lte")
        await net.link("alice/wifi").up()
        home = await hand_over(lab, call, alice, "Alice comes home", "lte", "wifi")
    for fault, old, new in ((out, "wifi", "lte"), (home, "lte", "wifi")):
        judge_handover(lab, call, fault, old, new, suffix=f", {fault.name}")
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "redials", caught_by="QUIC handshakes", silent=True, also=("alice migrates to lte",))
@needs("migrate", of="alice")
async def test_break_before_make(lab: Lab) -> None:
    """Alice's Wi-Fi is gone before the call moves: it has to find its way over LTE without help from the old path.

    Field story: the phone left the house faster than it noticed.
    Fault: the Wi-Fi is switched off, then the call is moved; rtnetlink shows the link down, Bob's capture the new address.
    Bounds: first fresh audio, both ways, within the new path's validation, a round trip to be heard there, what the callee's limit of three
    times what came holds back for a padded probe (three of Alice's packets at most), a frame and scheduling: 240 ms by LTE; as many frames
    unheard; one handshake.
    Control: a caller that redials instead of migrating.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("Wi-Fi dies, then the call moves"):
            await net.link("alice/wifi").down()
            switch = lab.now()
            await alice.migrate("lte")
        await call.heard_both_ways(for_=2 * s)
    judge_return(lab, call, "the switch", switch, moved_over(lab.path("lte")), MOVED_OVER)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "one-move-at-a-time", caught_by="media packets over the radio that was passed by", silent=True, also=("migrated to nr",))
@needs("migrate", of="alice")
async def test_double_handover(lab: Lab) -> None:
    """Alice's phone picks LTE at the edge of its cell, and before that path has answered it picks 5G: the call goes to 5G.

    Field story: a phone that changes its mind at the door; the stack finishes the move that nobody wants any more, or neither.
    Fault: a second move is asked for while the first one's PATH_CHALLENGE is out, which Alice's capture shows, decrypted; then Wi-Fi and
    LTE are switched off.
    Bounds: no media over LTE, ever; 80 ms of silence and the 5 ms that 5G takes longer, both ways; at most one frame unheard; one
    handshake.
    Control: a caller that takes no second move while one is under way, and ends up on LTE.
    """
    net = await lab.build(phone_three_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the phone changes its mind") as fault:
            await alice.start_migrating("lte")
            await alice.start_migrating("nr")
            lab.expect_unanswered(alice, since=fault.began, at=lab.now())
            await alice.moved("nr", since=alice.moves[-1].at, doing="migrated to nr")
            await call.heard_both_ways(for_=500 * ms)
            for left in ("wifi", "lte"):
                await net.link(f"alice/{left}").down()
        await call.heard_both_ways(for_=1 * s)
    passed_by = net.nat("carrier").address()
    strays = [p for p in lab.evidence.decrypted(bob).packets if p.udp.source[0] == passed_by and p.has_media]
    lab.equal("media packets over the radio that was passed by", counted(of_packets(strays)), 0)
    judge_handover(lab, call, fault, "wifi", "nr")
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "probes-once", caught_by="time to move", silent=True, also=("alice migrates to lte",))
@needs("migrate", of="alice")
async def test_lost_path_response(lab: Lab) -> None:
    """Alice's phone moves to LTE, and of all packets the PATH_RESPONSE is lost: the move takes one more try, and nobody hears it.

    Field story: one lost packet at the wrong moment, and the phone stays on a Wi-Fi that is fading, until the call drops.
    Fault: the first datagram that LTE carries towards Alice once the move begins is dropped; the link tells which, and opened in Bob's
    capture with the run's key log it holds the PATH_RESPONSE.
    Bounds: 200 ms until the stack repeats its PATH_CHALLENGE, the LTE round trip, the way to Bob, and 60 ms (a packet interval and
    scheduling); meanwhile, for Wi-Fi goes on, the silence and the frame of wifi_to_cellular, both ways; one handshake.
    Control: a caller that never repeats a PATH_CHALLENGE.
    Needs: the relay; sch_netem cannot drop a packet by its number.
    """
    net = await lab.build(phone_two_radios(exact=True))
    alice, bob = await lab.agents("alice", "bob", options=Options(auto_answer=True, probe_retry_ms=200))
    lte = net.link("alice/lte")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the PATH_RESPONSE is lost") as fault:
            await lte.impair(b_to_a=Impairment(delay=LTE_DELAY, drop=(Pick(1),)))
            await alice.migrate("lte")
            lab.expect_lost(await lte.dropped("b_to_a"), bob, "PATH_RESPONSE")
            await call.heard_both_ways(for_=500 * ms)
            await net.link("alice/wifi").down()
        await call.heard_both_ways(for_=1 * s)
    moved = time_to_move(lab.evidence.decrypted(bob), asked=alice.moves[-1].at)
    by_lte = lab.path("lte")
    bound = PROBE_RETRY + validation(by_lte) + by_lte.there.takes(AUDIO) + 60 * ms
    lab.at_most("time to move", moved, bound, beyond="a PATH_CHALLENGE is repeated after 200 ms; §8.2.1 leaves it to the stack")
    judge_handover(lab, call, fault, "wifi", "lte")
    lab.equal("QUIC handshakes", call.handshakes(), 1)


LEAST_OF_QUIC = 21
"""Bytes (RFC 9000 §10.3); what the lab's own probe of the network has sent is shorter, and may come late on a long way."""
NOTICED = 250 * ms
"""How long the stack leaves it to the application to say where to go, once an interface is down."""
UNANSWERED = 1 * s
"""How long, beyond a round trip, nothing may be acknowledged before the stack looks for another path although the interface is up."""
UNTOLD = f"a caller of whom nobody asked it looks for another path; {MOVED_OVER}"


@pytest.mark.parametrize(
    "interface_up", [pytest.param(False, id="interface down"), pytest.param(True, id="uplink dead", marks=pytest.mark.long)]
)
@control("alice", "stays-put", caught_by="first fresh audio after the loss", silent=True, also=("addresses that Alice",))
async def test_untold_change(lab: Lab, interface_up: bool) -> None:
    """Alice's Wi-Fi is gone and nobody tells her call: it finds LTE by itself.

    Field story: the app's network callback never comes, or the Wi-Fi shows full bars and has no internet behind it; the call is silent for
    good although the phone has another network.
    Fault: "interface down": the Wi-Fi is switched off, which only rtnetlink says.  "uplink dead": it stays up and carries nothing any more,
    either way, proven by the executor's own account.  In neither is the call asked to move.
    Bounds: first fresh audio, both ways, within 240 ms by LTE as in break_before_make, and the time in which the stack notices: 250 ms from
    the interface's end, or a second and a round trip by Wi-Fi without an acknowledgement from the next packet on; as many frames unheard;
    one handshake, and Alice's packets come from two addresses, in Bob's capture.
    Control: a caller that moves only when it is told to.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    wifi = net.link("alice/wifi")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        noticed = FRAME + lab.path("wifi").round_trip() + UNANSWERED if interface_up else NOTICED
        within = noticed + moved_over(lab.path("lte"))
        async with lab.fault("the Wi-Fi is gone, and nobody says so"):
            await (wifi.dark() if interface_up else wifi.down())
            gone = lab.now()
            await call.heard_both_ways(for_=within + 500 * ms)
        await call.heard_both_ways(for_=1 * s)
    judge_return(lab, call, "the loss", gone, within, UNTOLD)
    came = (packet for packet in lab.evidence.captured(bob) if not packet.outgoing and packet.size >= LEAST_OF_QUIC)
    first = {packet.source[0]: packet for packet in reversed([*came])}
    lab.equal("addresses that Alice's packets came from", counted(of_packets(first.values())), 2)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


FAR = 150 * ms
"""One way: far enough for things to happen before the handshake is over."""


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            "migration asked for",
            marks=(
                needs("migrate", of="alice"),
                control("alice", "moves-anyway", caught_by="packets on the new path", silent=True, also=("migrate was",)),
            ),
        ),
        pytest.param(
            "nat rebind",
            marks=(
                pytest.mark.long,
                control("bob", "never-follows", caught_by="connected at alice", silent=True, also=("connected at bob", "from")),
            ),
        ),
    ],
)
async def test_during_handshake(lab: Lab, what: str) -> None:
    """Alice has dialled and is not connected yet: her phone wants to change networks, or her router changes her port under her.

    Field story: the call is made at the door.  Before the handshake is confirmed a client must not migrate (RFC 9000 §9); what a NAT does
    it cannot know, and must survive.
    Fault: "migration asked for": none; the move is asked for while the handshake is on its way, as its end in Alice's capture shows.
    "nat rebind": a new port once the first Initial has passed the router, before the handshake's end (conntrack, Bob's capture).
    Bounds: the move is refused as InvalidState and no packet leaves by the other radio, in the capture; the call comes up and is heard both
    ways as one that nothing happens to (60 ms of silence, no frame unheard), with one QUIC handshake, which came from two ports where the
    router changed it.
    Control: a caller that moves whatever the handshake is at; a callee that answers only to where the first packet came from.
    """
    if what == "nat rebind":
        await _rebound_while_dialling(lab)
    else:
        await _moved_while_dialling(lab)


async def _moved_while_dialling(lab: Lab) -> None:
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    await net.link("alice/wifi").impair(Impairment(delay=FAR))
    call = await lab.dial(alice, bob, path="wifi")
    refused = await refusal(alice.remote.migrate(call.id, "lte"))
    answered = lab.now()
    await _talk_and_hang_up(call)
    lab.same("migrate was answered with", refused.kind if refused else None, "InvalidState", at=answered)
    _, ended = _handshake_of(lab, call)
    lab.at_least("from the answer to the end of the handshake", _between(answered, ended), 0 * ms)
    by_lte = {str(port.v4.ip) for port in net.topology.ports("alice") if port.name == "lte" and port.v4}
    strays = (packet for packet in lab.evidence.captured(alice) if packet.outgoing and packet.source[0] in by_lte)
    lab.equal("packets on the new path", counted(of_packets(strays)), 0)
    judge_undisturbed(lab, call)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


async def _rebound_while_dialling(lab: Lab) -> None:
    net = await lab.build(two_homes(delay=FAR))
    alice, bob = await lab.agents("alice", "bob")
    call = await lab.dial(alice, bob)
    async with lab.fault("the router gives Alice a new port while she dials"):
        await net.nat("home_a").carries("alice")
        rebind = await net.nat("home_a").rebind("alice")
    await _talk_and_hang_up(call)
    began, ended = _handshake_of(lab, call)
    lab.at_least("from the first Initial to the new port", _between(began, rebind.at), 0 * ms)
    lab.at_least("from the new port to the end of the handshake", _between(rebind.at, ended), 0 * ms)
    long = {p.source for p in lab.evidence.captured(bob) if not p.outgoing and p.payload and p.payload[0] & 0x80}
    lab.equal("ports that the handshake came from", len(long), 2)
    judge_undisturbed(lab, call)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


async def _talk_and_hang_up(call: Call) -> None:
    await call.connected()
    await call.talk()
    await call.heard_both_ways(for_=1 * s)
    await call.hang_up()
    await call.caller.network.flush()


def _handshake_of(lab: Lab, call: Call) -> tuple[int | None, int | None]:
    """When the caller's first Initial left, and when the first packet under the final keys came back, ns; None when that never was."""
    gaps = lab.evidence.handshake_took(call).gaps
    return (gaps[0].start, gaps[0].end) if gaps else (None, None)


def _between(began: int | None, ended: int | None) -> Duration | None:
    """How long after the one moment the other was."""
    return None if began is None or ended is None else Duration(ended - began)
