"""One agent in several calls: at once, waiting, on hold, with peers that leave, die or lose packets; no call may harm another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import pytest
import trio

from harness.agent.messages import Options
from harness.lab import Lab, control, needs
from harness.lab.conversation import Call
from harness.lab.peer import Peer
from harness.media.figure import Figure, Gap, Moment, counted
from harness.spec.link import Impairment
from harness.units import Duration, ms, percent, s
from topologies.five_homes import DELAY, ROUND_TRIP, access, five_homes

PACKET_INTERVAL = 20 * ms
SILENCE = 60 * ms
PICTURE = 34 * ms
"""From one frame of video to the next."""
ANSWER_TIMEOUT = 1500 * ms
FAILED = 2 * s


Reaction = Callable[[Lab, Peer, Call, Call], Awaitable[str]]


async def all_heard(calls: Iterable[Call], for_: Duration) -> None:
    """Wait until every running flow of every one of ``calls`` has been heard for ``for_``."""
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call.heard_both_ways, for_)


def judge_unharmed(lab: Lab, *calls: Call, stops: int = 0) -> None:
    """The bounds of an undisturbed call (call_flow, lifecycle) for every flow of ``calls``; a source that pauses unasked is silent.

    ``stops``: how often it was put on hold, at each of which a frame may be due and not leave any more.
    """
    for call in calls:
        for _, listener in call.sides:
            for flow in call.flows:
                heard = listener.heard(flow, call)
                lab.at_most(f"{flow} unheard", heard.unheard(), stops)
                lab.at_most(f"longest {flow} silence", heard.longest_gap(), SILENCE)
                if flow != "audio":
                    lab.at_most(f"longest {flow} freeze", heard.longest_freeze(), SILENCE + PICTURE)


def judge_hold(lab: Lab, call: Call, times: int) -> None:
    """On the wire of either host: media stops with the hold, and is back with the resume, each time."""
    for speaker, _ in call.sides:
        holds = lab.evidence.on_hold(call, speaker)
        lab.equal(f"times on hold at {speaker.name}", counted(Moment(hold.began, "held") for hold in holds), times)
        for hold in holds:
            lab.at_most("media after the hold", hold.overrun(), PACKET_INTERVAL)
            lab.at_most("media back after the resume", hold.comeback(), PACKET_INTERVAL)


@control("alice", "one-call-wide", caught_by="longest audio silence", silent=True, also=("longest", "first"))
@needs("video")
@pytest.mark.alone
async def test_simultaneous_calls(lab: Lab) -> None:
    """Alice calls Bob, Carol, Dave and Erin at once, with video, and all of them see and hear her, and she them.

    Field story: the host of a small conference without a server is in as many calls as there are guests.
    Fault: none.
    Bounds: those of a single undisturbed call (call_flow, lifecycle) for each of the sixteen flows: no frame unheard or unseen, at most
    60 ms of silence, no freeze (W3C) beyond that and a frame; a source that pauses unasked is silent.
    Control: a caller whose sending budget is that of one call; what it does not allow is never sent.
    """
    await lab.build(five_homes())
    alice, *others = await lab.agents("alice", "bob", "carol", "dave", "erin")
    async with lab.calls(alice, *others, video=True) as calls:
        await all_heard(calls, 2 * s)
    judge_unharmed(lab, *calls)
    lab.equal("QUIC handshakes", counted(one for call in calls for one in call.handshakes().moments), 4)


async def take_it(lab: Lab, bob: Peer, first: Call, waiting: Call) -> str:
    """Bob holds the first call, takes the other until it is over, and goes back to the first."""
    await bob.hold(first)
    await waiting.answer()
    await waiting.connected()
    await waiting.talk()
    await waiting.heard_both_ways(for_=1 * s)
    await waiting.hang_up()
    await bob.resume(first)
    return "ended"


async def refuse_it(lab: Lab, bob: Peer, first: Call, waiting: Call) -> str:
    """Bob refuses the other call."""
    await waiting.refuse("in a call")
    return "in a call"


async def ignore_it(lab: Lab, bob: Peer, first: Call, waiting: Call) -> str:
    """Bob lets the other call ring."""
    return f"no answer within {ANSWER_TIMEOUT}"


@pytest.mark.parametrize(
    "react",
    [
        pytest.param(
            take_it,
            id="answered",
            marks=(
                needs("hold", of=("alice", "bob")),
                control("bob", "takes-one-call", caught_by="times on hold at alice", silent=True, also=("times on hold", "bob resumes")),
            ),
        ),
        pytest.param(
            refuse_it,
            id="refused",
            marks=(
                pytest.mark.long,
                control("bob", "hangs-up-the-wrong-call", caught_by="longest audio silence", silent=True, also=("byes",)),
            ),
        ),
        pytest.param(
            ignore_it,
            id="unanswered",
            marks=(pytest.mark.long, control("bob", "falls-together", caught_by="longest audio silence", silent=True)),
        ),
    ],
)
async def test_call_waiting(lab: Lab, react: Reaction) -> None:
    """Bob talks with Alice when Carol calls him: he takes her call and holds Alice's, he refuses it, or he lets it ring until it times out.

    Field story: the second call makes the first one stutter, or what is done to the one is done to the other.
    Fault: none.
    Bounds: Alice's and Bob's audio is that of an undisturbed call (call_flow, lifecycle), silent for at most 60 ms and no frame unheard but
    on hold; a hold stops media within one packet interval (20 ms) of passing a host, and a resume brings it back within one; a bye tells
    Carol how it ended, and when nobody answers it comes when the time to answer (1.5 s from the offer) is over, not earlier and at most 100
    ms later.
    Control: a callee that ends its other calls when it takes one; one that, asked to refuse a call, ends the other; one that ends every
    call when one is over.
    """
    await lab.build(five_homes("bob", "carol"))
    alice, bob, carol = await lab.agents("alice", "bob", "carol", options=Options(answer_timeout_ms=ANSWER_TIMEOUT.ns // 1_000_000))
    first = await lab.dial(alice, bob)
    await first.rings()
    await first.answer()
    await first.connected()
    await first.talk()
    await first.heard_both_ways(for_=500 * ms)
    waiting = await lab.dial(carol, bob)
    await waiting.rings()
    await first.heard_both_ways(for_=300 * ms)
    reason = await react(lab, bob, first, waiting)
    await waiting.over(carol)
    await waiting.conclude()
    await first.heard_both_ways(for_=1 * s)
    await first.hang_up()

    judge_unharmed(lab, first, stops=1 if react is take_it else 0)
    if react is take_it:
        judge_unharmed(lab, waiting)
        judge_hold(lab, first, times=1)
    wire = lab.evidence.decrypted(carol)
    said = wire.signals(wire.connections[0])
    byes = [signal.packet.at for signal in said if signal.message["type"] == "bye" and signal.message["reason"] == reason]
    lab.at_least("byes that say why", len(byes), 1, note=reason)
    if react is ignore_it and byes:
        dialled = min(packet.monotonic or 0 for packet in lab.evidence.captured(carol) if packet.outgoing)
        offered = said[0].packet.at
        ringing = Figure(Duration(byes[0] - offered), "", (Gap(Duration(byes[0] - offered), offered, byes[0]),))
        lab.at_least("from dialling to giving up", Duration(byes[0] - dialled), ANSWER_TIMEOUT)
        lab.at_most("ringing", ringing, ANSWER_TIMEOUT + 100 * ms)


@control("bob", "holds-in-name", caught_by="media after the hold")
@control("bob", "never-resumes", caught_by="media back after the resume", silent=True, also=("first audio after",))
@needs("hold")
async def test_call_switching(lab: Lab) -> None:
    """Alice talks with Bob and Carol in turns: one call is on hold, then they change places, and at the end she lets both of them speak.

    Field story: a held party is still heard, or hears what is not meant for it; or a call that was on hold stays silent.
    Fault: none.
    Bounds: by the decrypted packets at each of the hosts, media stops within one packet interval (20 ms) of the hold's passing there, both
    ways, and starts again within one of the resume's; it is heard on the other side a round trip and 60 ms after the resume was asked for;
    while nothing is on hold each call keeps the bounds of an undisturbed one (call_flow, lifecycle).
    Control: a callee that says that the call is on hold and goes on sending; a callee whose sources stay silent after a resume.
    """
    await lab.build(five_homes("bob", "carol"))
    alice, bob, carol = await lab.agents("alice", "bob", "carol")
    resumed: list[tuple[Call, int]] = []

    async def resume(call: Call) -> None:
        resumed.append((call, lab.now()))
        await alice.resume(call)

    async with lab.calls(alice, bob, carol) as (to_bob, to_carol):
        await all_heard((to_bob, to_carol), 500 * ms)
        await alice.hold(to_bob)
        await to_carol.heard_both_ways(for_=700 * ms)
        await alice.hold(to_carol)
        await resume(to_bob)
        await to_bob.heard_both_ways(for_=700 * ms)
        await alice.hold(to_bob)
        await resume(to_carol)
        await to_carol.heard_both_ways(for_=700 * ms)
        await resume(to_bob)
        await all_heard((to_bob, to_carol), 500 * ms)
    for call, times in ((to_bob, 2), (to_carol, 1)):
        judge_hold(lab, call, times)
        judge_unharmed(lab, call, stops=times)
    for call, asked in resumed:
        for _, listener in call.sides:
            lab.at_most("first audio after the resume", listener.heard("audio", call).recovery(after=asked), ROUND_TRIP + SILENCE)


@control("alice", "falls-together", caught_by="longest audio silence", silent=True)
async def test_peer_leaves(lab: Lab) -> None:
    """Alice talks with Bob, Carol and Dave; Carol hangs up, and the others go on as if nothing had happened.

    Field story: one guest leaves and the conference is over.
    Fault: none.
    Bounds: those of an undisturbed call (call_flow, lifecycle), in the two calls that stay, and in
    Carol's until she hangs up.
    Control: a caller that ends every call when one is over.
    """
    await lab.build(five_homes("bob", "carol", "dave"))
    alice, bob, carol, dave = await lab.agents("alice", "bob", "carol", "dave")
    async with lab.calls(alice, bob, carol, dave) as (to_bob, to_carol, to_dave):
        await all_heard((to_bob, to_carol, to_dave), 500 * ms)
        await to_carol.hang_up(by=carol)
        await all_heard((to_bob, to_dave), 1500 * ms)
    judge_unharmed(lab, to_bob, to_carol, to_dave)


@control("alice", "never-notices", caught_by="last packet to Carol", also=("call over at alice",))
async def test_peer_crashes(lab: Lab) -> None:
    """Alice talks with Bob, Carol and Dave; Carol's process dies; Alice notices in time, and the other calls go on.

    Field story: a guest's app is killed, and the host goes on talking to nobody for minutes, or the host's app dies with it.
    Fault: SIGKILL to Carol's agent while all talk.  Receipts: the keeper, whose child it is, saw it end of signal 9; her host sent until
    then, and nothing afterwards.
    Bounds: Alice's host sends nothing more to Carol's 2 s (the time after which a silent call has failed, as configured), a round trip and
    100 ms after the kill; the other calls keep the bounds of an undisturbed one.
    Control: a caller that never finds a silent call failed.
    """
    net = await lab.build(five_homes("bob", "carol", "dave"))
    patience = Options(auto_answer=True, suspected_ms=500, disconnected_ms=1000, failed_ms=FAILED.ns // 1_000_000, redial_window_ms=0)
    alice, bob, carol, dave = await lab.agents("alice", "bob", "carol", "dave", options=patience)
    async with lab.calls(alice, bob, carol, dave) as (to_bob, to_carol, to_dave):
        await all_heard((to_bob, to_carol, to_dave), 500 * ms)
        async with lab.fault("Carol's process is killed") as fault:
            await carol.crash()
        await to_carol.over(alice, within=FAILED + 2 * s)
        await to_carol.conclude()
        await all_heard((to_bob, to_dave), 500 * ms)
    judge_unharmed(lab, to_bob, to_dave)
    carols = net.reach("alice", "carol", lab.port)
    last = max(packet.monotonic or 0 for packet in lab.evidence.captured(alice) if packet.outgoing and packet.destination == carols)
    took = Figure(Duration(last - fault.began), "alice → carol", (Gap(Duration(last - fault.began), fault.began, last),))
    lab.at_most("last packet to Carol", took, FAILED + ROUND_TRIP + 100 * ms)


@control("alice", "one-call-wide", caught_by="longest screen silence", silent=True, also=("longest",))
@needs("video", "screen")
@pytest.mark.alone
async def test_concurrent_media(lab: Lab) -> None:
    """Alice is in two calls at once, each with sound, picture and a shared screen in both directions.

    Field story: the screen is shared, and the voice breaks up.
    Fault: none.
    Bounds: those of an undisturbed call (call_flow, lifecycle) for each of the twelve flows, freezes of the pictures included.
    Control: a caller whose sending budget is that of one call with video.
    """
    await lab.build(five_homes("bob", "carol"))
    alice, bob, carol = await lab.agents("alice", "bob", "carol")
    async with lab.calls(alice, bob, carol, video=True, screen=True) as calls:
        await all_heard(calls, 2 * s)
    judge_unharmed(lab, *calls)


@control(
    "alice", "stalls-together", caught_by="longest audio silence", silent=True, also=("longest video silence", "longest pause of video")
)
@needs("video")
@pytest.mark.alone
async def test_isolation(lab: Lab) -> None:
    """Alice has video calls with Bob, Carol and Dave when Bob's line begins to lose almost a third of all packets; only he suffers.

    Field story: one guest on a bad line makes the picture freeze for everybody.
    Fault: 30 % of the packets are lost on Bob's access link, both ways.  Receipts: the impairment in force, and the link's drop counter.
    Bounds: the other calls keep the bounds of an undisturbed one (call_flow, lifecycle), for sound and for picture; a tenth or more of his
    audio is lost, both ways.
    Control: a caller with one queue for all calls: while it holds something for one of them, nothing is sent to the others.  If that
    lasts, it takes their paths for bad ones and stops their video, too.
    """
    net = await lab.build(five_homes("bob", "carol", "dave"))
    alice, bob, carol, dave = await lab.agents("alice", "bob", "carol", "dave")
    line = net.link(access("bob"))
    async with lab.calls(alice, bob, carol, dave, video=True) as (to_bob, to_carol, to_dave):
        await all_heard((to_bob, to_carol, to_dave), 500 * ms)
        dropped = await line.drops()
        async with lab.fault("Bob's line loses 30 %") as fault:
            await line.impair(Impairment(delay=DELAY, loss=30 * percent))
            await all_heard((to_carol, to_dave), 2500 * ms)
            await line.show_drops(since=dropped)
            await line.impair(Impairment(delay=DELAY))
        await all_heard((to_bob, to_carol, to_dave), 300 * ms)
    judge_unharmed(lab, to_carol, to_dave)
    for _, listener in to_bob.sides:
        lab.at_least("audio lost on the bad line", listener.heard("audio", to_bob).network_loss(fault.began, fault.ended), 10 * percent)
