"""A phone changes networks in mid-call: active migration (RFC 9000 §9)."""

from __future__ import annotations

import pytest

from harness.agent.messages import Options
from harness.lab import Lab, control, needs, refusal
from harness.lab.conversation import Call
from harness.lab.lab import FaultMark
from harness.lab.moments import of_packets
from harness.lab.peer import Peer
from harness.lab.proofs import time_to_move
from harness.media.figure import counted
from harness.spec.link import Impairment, Pick
from harness.units import Duration, ms, s
from topologies.phone_three_radios import phone_three_radios
from topologies.phone_two_radios import CORE_DELAY, LTE_DELAY, LTE_ROUND_TRIP, WIFI_ROUND_TRIP, phone_two_radios
from topologies.two_homes import two_homes

UNHEARD = 100 * ms
"""A packet every 20 ms, up to 15 ms more on the way by LTE, and what scheduling takes: a jitter buffer of 100 ms makes it inaudible."""
PROBE_RETRY = 200 * ms


async def hand_over(lab: Lab, call: Call, phone: Peer, name: str, old: str, new: str) -> FaultMark:
    """Move the call from one radio to another while both are alive, then switch the old one off: what still uses it is found out."""
    async with lab.fault(name) as fault:
        await phone.migrate(new)
        await call.heard_both_ways(for_=500 * ms)
        await phone.network.link(f"{phone.name}/{old}").down()
    await call.heard_both_ways(for_=1 * s)
    return fault


def judge_handover(lab: Lab, call: Call, fault: FaultMark, *, suffix: str = "") -> None:
    """Nobody heard it."""
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio")
        lab.at_most(f"longest silence{suffix}", heard.longest_gap(since=fault.began, until=fault.until), UNHEARD)
        lab.at_most(f"audio packets lost{suffix}", heard.lost(since=fault.began, until=fault.until), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@needs("video")
@needs("migrate", of="alice")
async def test_wifi_to_cellular(lab: Lab) -> None:
    """Alice walks out of the door in a video call; the phone takes it to LTE while the Wi-Fi still reaches her.

    Field story: the picture freezes and the call drops at the garden gate.
    Fault: the call is moved, then the Wi-Fi is switched off; Bob's capture shows the new address, rtnetlink the link that is down.
    Bounds: 100 ms of silence (20 ms between packets, 15 ms more delay by LTE, scheduling; a jitter buffer hides it), one audio packet lost,
    one handshake.
    Control: a callee that never follows a new path: silent for good once the Wi-Fi is gone.
    """
    await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        fault = await hand_over(lab, call, alice, "Alice walks out of the door", "wifi", "lte")
    judge_handover(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@needs("migrate", of="alice")
async def test_cellular_to_wifi(lab: Lab) -> None:
    """Alice comes home; the phone takes the call to the Wi-Fi while LTE still reaches her.  IPv6, audio alone.

    Field story: the call goes on over mobile data at home, or breaks at the moment in which the Wi-Fi icon appears.
    Fault: the call is moved, then LTE is switched off; Bob's capture shows the new address, rtnetlink the link that is down.
    Bounds: as for wifi_to_cellular; the way is shorter now, so packets from the old path may come late, and none may be lost for it.
    Control: a callee that never follows a new path: silent for good once LTE is gone.
    """
    await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="lte", version=6) as call:
        await call.heard_both_ways(for_=1 * s)
        fault = await hand_over(lab, call, alice, "Alice comes home", "lte", "wifi")
    judge_handover(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence, Alice walks out of the door", silent=True)
@needs("migrate", of="alice")
async def test_make_before_break(lab: Lab) -> None:
    """Alice walks out of the door and home again: both radios are alive each time the call moves, so nobody hears it.

    Field story: the way back is where stacks fail: the old path is remembered as dead, or no connection id is left for it.
    Fault: two moves, and after each the radio that was left is switched off; Bob's capture shows each new address.
    Bounds: for each move as for wifi_to_cellular.
    Control: a callee that never follows a new path: silent for good from the first move on.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        out = await hand_over(lab, call, alice, "Alice walks out of the door", "wifi", "lte")
        await net.link("alice/wifi").up()
        home = await hand_over(lab, call, alice, "Alice comes home", "lte", "wifi")
    for fault in (out, home):
        judge_handover(lab, call, fault, suffix=f", {fault.name}")
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "redials", caught_by="QUIC handshakes", silent=True, also=("alice migrates to lte",))
@needs("migrate", of="alice")
async def test_break_before_make(lab: Lab) -> None:
    """Alice's Wi-Fi is gone before the call moves: it has to find its way over LTE without help from the old path.

    Field story: the phone left the house faster than it noticed.
    Fault: the Wi-Fi is switched off, then the call is moved; rtnetlink shows the link down, Bob's capture the new address.
    Bounds: first fresh audio within the new path's two round trips (one to validate it, one to be heard there) and 60 ms; one handshake.
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
    for listener in (alice, bob):
        lab.at_most("first fresh audio after the switch", listener.heard("audio").recovery(after=switch), 2 * LTE_ROUND_TRIP + 60 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "one-move-at-a-time", caught_by="media packets over the radio that was passed by", silent=True, also=("migrated to nr",))
@needs("migrate", of="alice")
async def test_double_handover(lab: Lab) -> None:
    """Alice's phone picks LTE at the edge of its cell, and before that path has answered it picks 5G: the call goes to 5G.

    Field story: a phone that changes its mind at the door; the stack finishes the move that nobody wants any more, or neither.
    Fault: a second move is asked for while the first one's PATH_CHALLENGE is out, which Alice's capture shows, decrypted; then Wi-Fi and
    LTE are switched off.
    Bounds: no media over LTE, ever; 100 ms of silence, as for one move; one handshake.
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
    strays = [p for p in lab.evidence.decrypted(bob).packets if p.udp.source[0] == passed_by and p.having("DATAGRAM")]
    lab.equal("media packets over the radio that was passed by", counted(of_packets(strays)), 0)
    judge_handover(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "probes-once", caught_by="time to move", silent=True, also=("alice migrates to lte",))
@needs("migrate", of="alice")
async def test_lost_path_response(lab: Lab) -> None:
    """Alice's phone moves to LTE, and of all packets the PATH_RESPONSE is lost: the move takes one more try, and nobody hears it.

    Field story: one lost packet at the wrong moment, and the phone stays on a Wi-Fi that is fading, until the call drops.
    Fault: the first datagram that LTE carries towards Alice once the move begins is dropped; the link tells which, and opened in Bob's
    capture with the run's key log it holds the PATH_RESPONSE.
    Bounds: 200 ms until the stack repeats its PATH_CHALLENGE, the LTE round trip, the way to Bob, and 60 ms (a packet interval and
    scheduling); no silence above 100 ms meanwhile, for Wi-Fi goes on; one handshake.
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
    lab.at_most("time to move", moved, PROBE_RETRY + LTE_ROUND_TRIP + LTE_DELAY + CORE_DELAY + 60 * ms)
    judge_handover(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


NOTICED = 250 * ms
"""How long the stack leaves it to the application to say where to go, once an interface is down."""
UNANSWERED = 1 * s
"""How long, beyond a round trip, nothing may be acknowledged before the stack looks for another path although the interface is up."""
FRAME = 20 * ms
TO_MOVE = 2 * LTE_ROUND_TRIP + 60 * ms


@pytest.mark.parametrize(
    ("interface_up", "within"),
    [
        pytest.param(False, NOTICED + TO_MOVE, id="interface down"),
        pytest.param(True, FRAME + WIFI_ROUND_TRIP + UNANSWERED + TO_MOVE, id="uplink dead"),
    ],
)
@control("alice", "stays-put", caught_by="first fresh audio after the loss", silent=True, also=("addresses that Alice",))
async def test_untold_change(lab: Lab, interface_up: bool, within: Duration) -> None:
    """Alice's Wi-Fi is gone and nobody tells her call: it finds LTE by itself.

    Field story: the app's network callback never comes, or the Wi-Fi shows full bars and has no internet behind it; the call is silent for
    good although the phone has another network.
    Fault: "interface down": the Wi-Fi is switched off, which only rtnetlink says.  "uplink dead": it stays up and carries nothing any more,
    either way, proven by the executor's own account.  In neither is the call asked to move.
    Bounds: first fresh audio within two round trips by LTE and 60 ms, as when the move is asked for, and the time in which the stack
    notices: 250 ms from the interface's end, or a second and a round trip without an acknowledgement from the next packet on; one
    handshake, and Alice's packets come from two addresses, in Bob's capture.
    Control: a caller that moves only when it is told to.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    wifi = net.link("alice/wifi")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the Wi-Fi is gone, and nobody says so"):
            await (wifi.dark() if interface_up else wifi.down())
            gone = lab.now()
            await call.heard_both_ways(for_=within + 500 * ms)
        await call.heard_both_ways(for_=1 * s)
    for listener in (alice, bob):
        lab.at_most("first fresh audio after the loss", listener.heard("audio").recovery(after=gone), within)
    came = (packet for packet in lab.evidence.captured(bob) if not packet.outgoing)
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
            marks=control("bob", "never-follows", caught_by="connected at alice", silent=True, also=("connected at bob", "from")),
        ),
    ],
)
async def test_during_handshake(lab: Lab, what: str) -> None:
    """Alice has dialled and is not connected yet: her phone wants to change networks, or her router changes her port under her.

    Field story: the call is made at the door.  Before the handshake is confirmed a client must not migrate (RFC 9000 §9); what a NAT does
    it cannot know, and must survive.
    Fault: "migration asked for": none; the move is asked for while the handshake is on its way, as its end in Alice's capture shows.
    "nat rebind": a new port once the first Initial has passed the router, before the handshake's end (conntrack, Bob's capture).
    Bounds: the move is refused as InvalidState and no packet leaves by the other radio, in the capture; the call comes up and is heard,
    with one QUIC handshake, which came from two ports where the router changed it.
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
