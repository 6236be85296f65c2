"""The network goes away for a while, or the connection is lost for good: the call goes on under its own id."""

from __future__ import annotations

import pytest

from harness.agent.messages import Options, StateChanged
from harness.lab import Lab, control, needs, outside
from harness.lab.conversation import Call
from harness.lab.moments import of_signals
from harness.lab.path_bounds import MOVED_OVER, chance_losses, frames_in, moved_over
from harness.media.figure import Figure, Moment, counted
from harness.spec.link import Impairment, Schedule, Step
from harness.units import Duration, Ratio, mbit, ms, percent, s
from topologies.both_mobile import both_mobile
from topologies.phone_two_radios import phone_two_radios
from topologies.two_homes import DELAY, two_homes

NONE = 0 * percent
BACK_WITHIN = 300 * ms
"""From the network's return to the first fresh audio: the stack probes every 200 ms (a PTO that backs off once), and one way."""
HANDSHAKE_AGAIN = 400 * ms
"""How far apart a redial's Initials are: the PTO before any RTT is known (200 ms, RFC 9002 §6.2), backed off once."""
COMPUTING = 150 * ms
"""Two TLS handshakes in Python, on a busy machine."""
QUICK = Options(auto_answer=True, suspected_ms=1000, disconnected_ms=1500, failed_ms=2500)
"""A connection counts as lost after 2.5 s of silence instead of 15 s."""


SLOW_CELL = 50 * ms
"""What the first cell behind the tunnel adds to the way at most."""
PROBED = "a path is probed every 200 ms however long it was dark; RFC 9002 §6.2.1 doubles the time between probes"
ABOVE = "a redial is the application's, and RFC 9000 knows none"
TUNNEL = Impairment(
    delay=25 * ms,
    jitter=15 * ms,
    loss=10 * percent,
    schedule=Schedule(
        (
            Step(0.5 * s, Impairment(loss=100 * percent)),
            Step(3 * s, Impairment(delay=45 * ms, jitter=10 * ms, rate=1 * mbit)),
            Step(4 * s, Impairment(delay=DELAY / 2)),
        )
    ),
)
TUNNEL_BEGINS, TUNNEL_ENDS, CELL_IS_GOOD = 1, 2, 3


@control("alice", "impatient", caught_by="QUIC handshakes", also=("first fresh", "audio unheard"))
async def test_outage_short(lab: Lab) -> None:
    """Alice's access line is dark for 2 s, somewhere beyond her router, and comes back: the call is simply there again.

    Field story: a lift, a tunnel, a modem that retrains.  The host's own link stays up, so nothing tells the stack when to try again.
    Fault: the line between her router and the internet loses everything for 2 s, both ways, proven by the executor's own account.
    Bounds: fresh audio within 300 ms of the line's return at both ends (the clamped PTO); as many frames unheard from its return on; one
    QUIC handshake; none is played late.
    Control: a stack that takes a second of silence for a lost connection and redials.
    """
    await _outage(lab, NONE, 2 * s)


@control("alice", "hoards", caught_by="audio played past its deadline", also=("first fresh",))
@pytest.mark.long
async def test_outage_long(lab: Lab) -> None:
    """The same line is dark for 12 s, and loses 2 % before and after.

    Field story: a train between two stations.  A stack that backs off finds the network again seconds after it is there; one that keeps
    what it could not send plays the past to whoever waited.
    Fault: the line between Alice's router and the internet loses everything for 12 s, proven by the executor's own account.
    Bounds: as in outage_short, although 12 s are enough for a PTO of 6 s without the clamp; besides, as many frames unheard as chance may
    take of the rest at 2 %; no redial, which 15 s would bring.
    Control: a stack whose media never expires.
    """
    await _outage(lab, 2 * percent, 12 * s)


@control("alice", "impatient", caught_by="QUIC handshakes", also=("first fresh", "audio unheard"))
async def test_train_tunnel(lab: Lab) -> None:
    """Alice calls from a train: the cell fades, a tunnel takes everything for 2.5 s, and a slow cell takes her up behind it.

    Field story: the call is gone at the tunnel's mouth, or comes back seconds after the train has left it, because what the stack had
    learned of the path before it, delay and pace, no longer holds.
    Fault: her line follows a schedule: 0.5 s at five times the delay and 10 % loss, 2.5 s of nothing, then 45 ms each way with jitter and
    1 Mbit/s, and after a second more as before; the executor tells when it took each step, and what it dropped.
    Bounds: fresh audio within 350 ms of the tunnel's end at both ends (300 ms as in outage_short, and 50 ms for the slow cell's way); as
    many frames unheard from then on; one QUIC handshake.
    Control: a stack that takes a second of silence for a lost connection and redials.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    line = net.link("home_a/wan")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        dropped = await line.drops()
        async with lab.fault("a tunnel"):
            await line.impair(TUNNEL)
            await line.stepped(TUNNEL_BEGINS, within=2 * s)
            end = await line.stepped(TUNNEL_ENDS, within=4 * s)
            await line.show_drops(dropped)
            await line.stepped(CELL_IS_GOOD, within=2 * s)
        await call.heard_both_ways(for_=1 * s)
    judge_return(lab, call, "the tunnel", end, BACK_WITHIN + SLOW_CELL, PROBED)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


def judge_return(lab: Lab, call: Call, what: str, after: int, bound: Duration, beyond: str, *, loss: Ratio = NONE) -> None:
    """Fresh audio is back at both ends in time; from then on none is missing but what a line with that ``loss`` takes by chance."""
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio")
        lab.at_most(f"first fresh audio after {what}", heard.recovery(after=after), bound, beyond=beyond)
        by_chance = chance_losses(heard.delivery(since=after).offered, loss)
        lab.at_most("audio unheard", heard.unheard(since=after), frames_in(bound) + by_chance)


async def _outage(lab: Lab, loss: Ratio, length: Duration) -> None:
    net = await lab.build(two_homes(loss=None if loss == NONE else loss))
    alice, bob = await lab.agents("alice", "bob")
    line = net.link("home_a/wan")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault(f"the line is dark for {length}"):
            await line.dark()
            await call.silent_both_ways(for_=length)
            back = await line.light()
        await call.heard_both_ways(for_=1 * s)
    judge_return(lab, call, "the line is back", back, BACK_WITHIN, PROBED, loss=loss)
    for listener in (alice, bob):
        lab.equal("audio played past its deadline", listener.heard("audio").late(), 0)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "redials", caught_by="QUIC handshakes", silent=True, also=("alice migrates to lte",))
@needs("migrate", of="alice")
async def test_network_change_new_address(lab: Lab) -> None:
    """Alice has no network at all for a second; then there is another one, with another address, and the call goes on over it.

    Field story: out of the house and past its Wi-Fi, the phone takes its time to find a cell.
    Fault: both of her radios are down until the silence lasts a second at both ends, then LTE comes up (rtnetlink) and the call is moved.
    Bounds: fresh audio, both ways, within 240 ms of the switch, as when Wi-Fi dies first (migration, break_before_make); as many frames
    unheard from the switch on; one QUIC handshake.
    Control: a caller that hangs up and calls again instead of migrating.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        await net.link("alice/lte").down()  # it carries nothing of the call yet, so it is no fault that the call meets
        async with lab.fault("no network, then another"):
            await net.link("alice/wifi").down()
            await call.silent_both_ways(for_=1 * s)
            await net.link("alice/lte").up()
            switch = lab.now()
            await alice.migrate("lte")
        await call.heard_both_ways(for_=1 * s)
    judge_return(lab, call, "the switch", switch, moved_over(lab.path("lte")), MOVED_OVER)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "never-redials", caught_by="QUIC handshakes", silent=True, also=("offers of this call",))
@control("alice", "redials-anew", caught_by="offers of this call on the wire", silent=True, also=("departures",))
@needs("redial")
async def test_redial_after_loss(lab: Lab) -> None:
    """The silence lasts until both sides give the connection up; when the line is back the call is redialled, and is the same call.

    Field story: a long tunnel; or the peer's host slept.  The connection cannot be saved, and the people should not have to dial.
    Fault: the line beyond Alice's router is dark until both sides have found the connection lost, which takes them 2.5 s here.
    Bounds: fresh audio, both ways, within 400 ms (how far apart a redial's first packets are), five round trips and 150 ms for the
    cryptography, after the line is back; as many frames unheard from then on; a second QUIC handshake, and no third, in the captures; both
    offers on the wire name the same session; neither side leaves Connected.
    Control: a caller that waits for somebody else to redial; a caller that redials under a new call id.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob", options=QUICK)
    line = net.link("home_a/wan")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the line is dark until the connection is lost"):
            await line.dark()
            for peer in (alice, bob):
                await peer.path_event("redialling", within=4 * s)
            back = await line.light()
        await call.heard_both_ways(for_=1 * s)
    bound = HANDSHAKE_AGAIN + 5 * lab.path().round_trip() + COMPUTING
    judge_return(lab, call, "the line is back", back, bound, ABOVE)
    lab.equal("offers of this call on the wire", _offers(lab, call), 2)
    lab.equal("QUIC handshakes", call.handshakes(), 2)
    lab.equal("departures from Connected", _departures(call), 0)


@pytest.mark.parametrize(
    "both",
    [
        pytest.param(
            False,
            id="callee alone",
            marks=control("alice", "never-redials", caught_by="QUIC handshakes", silent=True, also=("offers of this call", "redialled")),
        ),
        pytest.param(
            True,
            id="both at once",
            marks=(
                pytest.mark.long,
                control("bob", "refuses-redials", caught_by="first fresh audio after the redial", silent=True, also=("redialled",)),
            ),
        ),
    ],
)
@needs("redial", of="alice")
async def test_callee_moves(lab: Lab, both: bool) -> None:
    """Bob, who was called, leaves his Wi-Fi for LTE: the call is silent, until Alice's application learns his new address and redials.

    Field story: in QUIC v1 only the client can migrate (RFC 9000 §9), and here the server moves; what saves the call is above QUIC.
    "both at once": Alice leaves her house in the same moment, so that neither finds the other.
    Fault: Bob's Wi-Fi goes down and his LTE comes up (and Alice's Wi-Fi goes down too); the silence lasts a second before Alice is told.
    Bounds: fresh audio, both ways, within five round trips by the path that there is then and 150 ms for the cryptography after the redial;
    as many frames unheard from then on; two QUIC handshakes in the captures, both offers on the wire for the same session; neither side
    leaves Connected.
    Control: "callee alone": a caller that says yes and does not redial; "both at once": a callee that lets nobody into a call that it has.
    """
    net = await lab.build(both_mobile())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("Bob leaves his house, and Alice hers" if both else "Bob leaves his house"):
            await net.link("bob/wifi").down()
            await net.link("bob/lte").up()
            if both:
                await net.link("alice/wifi").down()
            await call.silent_both_ways(for_=1 * s)
            told = lab.now()
            await alice.remote.redial(call.id, *net.reach("alice", "carrier_b", lab.port), "lte" if both else "wifi")
            for peer in (alice, bob):
                await peer.path_event("redialled", within=3 * s)
        await call.heard_both_ways(for_=1 * s)
    bound = 5 * lab.path("lte" if both else "wifi", "lte").round_trip() + COMPUTING
    judge_return(lab, call, "the redial", told, bound, ABOVE)
    lab.equal("offers of this call on the wire", _offers(lab, call), 2)
    lab.equal("QUIC handshakes", call.handshakes(), 2)
    lab.equal("departures from Connected", _departures(call), 0)


UPLINK_DEAD = Impairment(delay=DELAY / 2, loss=100 * percent)
UPLINK = Impairment(delay=DELAY / 2)
NEVER_NOTICES = Options(auto_answer=True, failed_ms=60_000)
"""A phone whose clock stood still with it: CLOCK_MONOTONIC stops in a real sleep, and no process can be made to see that here."""


@pytest.mark.parametrize(
    "callee",
    [pytest.param(QUICK, id="4 s"), pytest.param(Options(auto_answer=True), id="15 s", marks=pytest.mark.long)],
)
@control("bob", "forgets", caught_by="first fresh audio after the uplink is back", silent=True, also=("QUIC handshakes", "offers of this"))
async def test_dead_uplink(lab: Lab, callee: Options) -> None:
    """What Alice sends is lost for so long that Bob gives the connection up, while all that Bob sends reaches her.

    Field story: she hears him and he does not hear her; then nobody hears anybody, although the line is whole again, because each side
    counts its own silence, and she begins to look for him when he has stopped waiting.
    Fault: the line beyond Alice's router loses everything towards Bob until his stack has given the connection up, which takes 2.5 s
    ("4 s") or the usual 15 s ("15 s"); the other way is clear throughout.  Receipt: the impairments that the executor has in force.
    Bounds: as in redial_after_loss: fresh audio within 400 ms, five round trips and 150 ms of the uplink's return; a second handshake and
    no third; the same session; neither side leaves Connected.
    Control: a callee that forgets what it has lost, and answers nobody who still sends to it.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob", options={"bob": callee})
    alice.need("redial")
    line = net.link("home_a/wan")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("Alice's uplink is dead"):
            await line.impair(a_to_b=UPLINK_DEAD)
            await bob.path_event("redialling", within=20 * s)
            await line.impair(a_to_b=UPLINK)
            back = lab.now()
        await call.heard_both_ways(for_=1 * s)
    judge_return(lab, call, "the uplink is back", back, HANDSHAKE_AGAIN + 5 * lab.path().round_trip() + COMPUTING, ABOVE)
    lab.equal("offers of this call on the wire", _offers(lab, call), 2)
    lab.equal("QUIC handshakes", call.handshakes(), 2)
    lab.equal("departures from Connected", _departures(call), 0)


@pytest.mark.parametrize(
    "callee",
    [pytest.param(QUICK, id="4 s"), pytest.param(Options(auto_answer=True), id="15 s", marks=pytest.mark.long)],
)
@control("bob", "forgets", caught_by="first fresh audio after waking", silent=True, also=("QUIC handshakes", "offers of this"))
async def test_asleep(lab: Lab, callee: Options) -> None:
    """Alice's phone sleeps, its radio too, until Bob has given the connection up; it wakes and knows of nothing.

    Field story: the app comes back to the foreground with a call that looks alive and is a zombie.
    Fault: Alice's process is stopped and her link is down until Bob's stack has given the connection up, which takes 2.5 s ("4 s") or the
    usual 15 s ("15 s").  Her own stack would count 60 s of silence, as that of a phone whose clock slept with it.  Receipts: /proc and
    rtnetlink.
    Bounds: as in dead_uplink, both ways, from the moment of waking on, and a round trip more, in which Bob's host says that it has no such
    connection.
    Control: a callee that forgets what it has lost, and answers nobody who still sends to it.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob", options={"alice": NEVER_NOTICES, "bob": callee})
    alice.need("redial")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("Alice's phone sleeps"):
            async with outside.frozen(lab, alice):
                await net.link("alice/eth").down()
                await bob.path_event("redialling", within=20 * s)
                await net.link("alice/eth").up()
            woken = lab.now()
        await call.heard_both_ways(for_=1 * s)
    judge_return(lab, call, "waking", woken, HANDSHAKE_AGAIN + 6 * lab.path().round_trip() + COMPUTING, ABOVE)
    lab.equal("offers of this call on the wire", _offers(lab, call), 2)
    lab.equal("QUIC handshakes", call.handshakes(), 2)
    lab.equal("departures from Connected", _departures(call), 0)


def _departures(call: Call) -> Figure:
    """How often, before it was hung up, either side said that the call left Connected."""
    said = [event.message for peer in (call.caller, call.callee) for event in peer.remote.events]
    left = [one for one in said if isinstance(one, StateChanged) and (one.call, one.old) == (call.id, "Connected")]
    return counted(Moment(one.at, f"{one.old} → {one.new}") for one in left if one.at <= (call.closed or one.at))


def _offers(lab: Lab, call: Call) -> Figure:
    """Over how many connections ``call`` was asked for by its id, read from the callee's capture with the run's keys."""
    wire = lab.evidence.decrypted(call.callee)
    said = [signal for connection in wire.connections for signal in wire.signals(connection) if signal.sender == "client"]
    mine = (one for one in said if one.message["type"] == "capability_exchange" and one.message["session_id"] == call.id)
    return counted(of_signals(mine))
