"""The picture on networks that are narrow one way, far away, or not there for a moment: it goes on, or comes back."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.lab import Lab, control, needs
from harness.lab.conversation import Call
from harness.lab.path_bounds import Way, frames_in
from harness.lab.peer import Peer
from harness.media.figure import Figure, Moment, counted, over
from harness.spec.link import Impairment, Schedule, Step
from harness.spec.presets import preset
from harness.spec.rate_trace import rate_trace
from harness.units import Duration, Ratio, kbit, ms, percent, s
from topologies.two_homes import DELAY, two_homes

NARROW = Impairment(delay=DELAY / 2, rate=150 * kbit, queue=50)
"""Audio takes about 85 kbit/s of it, video would take 430."""
CLEAR = Impairment(delay=DELAY / 2)
DECIDED = 7 * s
"""A stack that blames its own video halves it after three windows of a second, and stops it after three more."""
PACKETS = 50
"""Of audio in a second."""
PAUSE = 1 * s
"""A source that offers nothing for so long was stopped; a frame comes every 33 ms."""
LAST = 2 * s
SILENCE, PICTURE = 60 * ms, 34 * ms
"""What nobody hears or sees of an undisturbed call (call_flow, lifecycle), and from one frame of video to the next."""
HELD = 200 * ms
FIRST_OF_EACH = 8
"""Frames of audio: the first that a hold keeps waits for 200 ms, which is when it is to be played; there are eight holds at most."""
OF_ALL = 21
"""Frames: a tenth of seven seconds of video."""
FRAME_AHEAD = Way(0 * ms, (150 * kbit,)).serialisation(2500)
"""What the narrow uplink takes for a key frame of halved video (134 ms), behind which audio and acknowledgements wait."""
FAR = 600 * ms
UNSEEN = ("longest video", "video unheard")
GEO = preset("geo")
SLOW_START = 3 * s
"""Five round trips of 600 ms: from ten packets in flight (RFC 9002 §7.2) to what video needs, and one more."""
HOLDS = rate_trace([200] * 160 + list(range(201, 1001)), "12 Mbit/s, held for 200 ms of each second")
DROPS = Impairment(
    delay=DELAY / 2,
    schedule=Schedule((Step(400 * ms, Impairment(delay=DELAY / 2, loss=100 * percent)), Step(600 * ms, CLEAR)), every=700 * ms),
)
RESTORED = 12 * s
"""Two seconds of bad windows, five of good ones, two of a probe, until video is whole again; one to spare; and what is judged then."""


async def _goes_on(call: Call, for_: Duration, *, share: Ratio = 98 * percent) -> None:
    """Wait until so much of Alice's audio has been heard as comes in ``for_`` when ``share`` of it gets through; her picture may stop."""
    before = call.callee.remote.media(call.id, "audio")
    packets = round(for_.s * PACKETS * share.percent / 100)
    await call.heard_count(call.callee, "audio", (before.heard if before is not None else 0) + packets, within=for_ + 5 * s)


def _pauses(call: Call, speaker: Peer) -> Figure:
    """How often no video left ``speaker``'s host for ``PAUSE``; the call's end ends a pause too."""
    listener = call.callee if speaker is call.caller else call.caller
    video = listener.heard("video")
    left = [*sorted(packet.sent for packet in video.packets if packet.sent is not None), video.closed]
    found = [(before, after) for before, after in pairwise(left) if after - before >= PAUSE.ns]
    return counted(Moment(before, f"for {Duration(after - before)}") for before, after in found)


def _kbps(call: Call, speaker: Peer, since: int, until: int) -> int:
    """What of ``speaker``'s video left its host in that time (ns), kbit/s of RTP."""
    listener = call.callee if speaker is call.caller else call.caller
    sizes = (packet.size for packet in listener.heard("video").packets if packet.sent is not None and since <= packet.sent < until)
    return sum(sizes) * 8_000_000 // max(1, until - since)


def _judge_whole(lab: Lab, call: Call, speaker: Peer, fault: int) -> None:
    """The picture never stopped, and at last is as large as it was before ``fault``."""
    closed = call.closed or 0
    usual = _kbps(call, speaker, call.opened, fault)
    at_last = over(_kbps(call, speaker, closed - LAST.ns, closed), closed - LAST.ns, closed)
    lab.equal(f"times {speaker.name}'s video stopped", _pauses(call, speaker), 0)
    lab.at_least(f"{speaker.name}'s video at last, kbit/s", at_last, usual * 8 // 10)


def _judge_picture(lab: Lab, listener: Peer, since: int, bound: Duration, most: int, *, until: int | None = None) -> None:
    """From ``since`` (ns) on the picture does not stand still for longer than ``bound``, and at most so many frames are missing."""
    seen = listener.heard("video")
    lab.at_most("longest video silence", seen.longest_gap(since, until), lab.picture_bound(bound, seen))
    lab.at_most("longest video freeze", seen.longest_freeze(since, until), lab.picture_bound(bound, seen) + PICTURE)
    lab.at_most("video unheard", seen.unheard(since, until), most)


def _judge_sound(lab: Lab, listener: Peer, since: int, bound: Duration, most: int) -> None:
    """The same of the sound."""
    heard = listener.heard("audio")
    lab.at_most("longest silence", heard.longest_gap(since=since), bound)
    lab.at_most("audio unheard", heard.unheard(since=since), most)


@control(
    "bob",
    "blames-itself",
    caught_by="bob's video at last, kbit/s",
    also=("times bob's video stopped", "bob's video lost", "video heard", *UNSEEN),
)
@needs("video", "adapt")
@pytest.mark.long
async def test_narrow_uplink(lab: Lab) -> None:
    """Alice's uplink falls to 150 kbit/s, her downlink does not: her own picture gives way, and Bob's goes on.

    Field story: an upload fills the uplink of an ADSL line, and the picture that comes down it freezes as well, because the
    acknowledgements for it wait in the uplink's queue.
    Fault: the rate of Alice's access falls to 150 kbit/s towards the internet, behind a queue of 50 packets.  Receipt: the impairment that
    the executor has in force.
    Bounds: Bob's video is not stopped, is as large at last as before (80 %: a key frame more or less), and loses at most 5 %; of either
    side's audio at most 2 % is lost, but for the first half second, in which a key frame that is under way takes the whole uplink.  From
    then on no silence of audio, nor of Bob's video, is longer than 60 ms and the 134 ms that the uplink takes for a key frame of halved
    video, nor is more unheard or unseen than is due in these, nor a freeze (W3C) longer.  Alice's own picture is whole until the uplink
    narrows, and may stop then.
    Control: a callee that takes the whole delay of its acknowledgements for a queue on its own way.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("Alice's uplink falls to 150 kbit/s") as fall:
            await net.link("home_a/wan").impair(a_to_b=NARROW)
            settled = fall.began + (500 * ms).ns
            await _goes_on(call, DECIDED)
    _judge_whole(lab, call, bob, fall.began)
    lab.at_most("bob's video lost", alice.heard("video").loss(since=settled), 5 * percent)
    _judge_picture(lab, bob, call.opened, SILENCE, 0, until=fall.began)  # from then on it may stop
    _judge_picture(lab, alice, settled, SILENCE + FRAME_AHEAD, frames_in(FRAME_AHEAD, PICTURE))
    for listener in (alice, bob):
        lab.at_most("audio lost", listener.heard("audio").loss(since=settled), 2 * percent)
        _judge_sound(lab, listener, settled, SILENCE + FRAME_AHEAD, frames_in(FRAME_AHEAD))


@control(
    "alice",
    "counts-distance",
    caught_by="alice's video at last, kbit/s",
    also=("times alice's video", "alice's video", "video heard", *UNSEEN),
)
@needs("video", "adapt")
@pytest.mark.long
async def test_satellite(lab: Lab) -> None:
    """Alice calls over a geostationary satellite: 600 ms there and back, and room for her picture.

    Field story: calls from ships and farms have sound and no picture: the stack takes the distance for congestion, or never lets as much
    be under way as a path so long needs.
    Fault: the preset geo on Alice's access, from before the call.  Receipt: the impairment that the executor has in force.
    Bounds: neither picture is stopped; at last each is as large as in the first two seconds (80 %); from five round trips on at most 2 % of
    either is lost on the way, and 40 of some 380 packets expire unsent, and no picture stands still for longer than a round trip and 60 ms;
    no silence of audio is longer than 60 ms, and no frame of it unheard.  The 300 ms that it is under way are the distance, not lateness.
    Control: a caller that takes the whole round trip for a queue.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.fault("Alice's access is a satellite"):
        await net.link("home_a/wan").impair(a_to_b=GEO.up, b_to_a=GEO.down)
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=2 * s)
        spoken = lab.now()
        await call.heard_both_ways(for_=DECIDED)
    for speaker, listener in call.sides:
        _judge_whole(lab, call, speaker, spoken)
        video = listener.heard("video")
        lab.at_most(f"{speaker.name}'s video expired", video.expired(since=call.opened + SLOW_START.ns), 40)
        lab.at_most(f"{speaker.name}'s video lost", video.network_loss(since=call.opened + SLOW_START.ns), 2 * percent)
        _judge_picture(lab, listener, call.opened + SLOW_START.ns, SILENCE + FAR, frames_in(FAR, PICTURE))
        _judge_sound(lab, listener, call.opened, SILENCE, 0)


@control("bob", "panics", caught_by="bob's video at last, kbit/s", also=("times bob's video", "bob's video", "video heard", *UNSEEN))
@needs("video", "adapt")
@pytest.mark.long
async def test_held_uplink(lab: Lab) -> None:
    """Alice's Wi-Fi holds what she sends for 200 ms of each second, and then lets it all go at once; nobody's picture stops.

    Field story: a phone that looks for other networks once a second while it is in a call; the picture of the other side stops for good on
    a link with twenty times the room.
    Fault: Alice's uplink has 12 Mbit/s, and none of it for 200 ms of each second.  Receipt: the impairment that the executor has in force.
    Bounds: neither picture is stopped, each is as large at last as before (80 %), and at most 10 % of it is late, lost or expires.  Neither
    stands still for longer than the 200 ms (Bob's acknowledgements are held as well) and 60 ms; Bob hears Alice within as much, and misses
    one frame of each hold at most, the first, which waits for as long as it may; Alice hears him within 60 ms, and every frame.
    Control: a callee that takes each moment in which acknowledgements are late for a way that is too narrow for its video.
    Needs: the relay; sch_netem has no rate traces.
    """
    net = await lab.build(two_homes(exact=True))
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("Alice's uplink holds what she sends") as fault:
            await net.link("home_a/wan").impair(a_to_b=Impairment(delay=DELAY / 2, rate_trace=HOLDS))
            await call.heard_both_ways(for_=DECIDED)
    for speaker, listener in call.sides:
        _judge_whole(lab, call, speaker, fault.began)
        lab.at_most(f"{speaker.name}'s video lost", listener.heard("video").loss(since=fault.began), 10 * percent)
        _judge_picture(lab, listener, fault.began, SILENCE + HELD, OF_ALL)
        held = speaker is alice
        _judge_sound(lab, listener, fault.began, SILENCE + (HELD if held else 0 * ms), FIRST_OF_EACH if held else 0)


@control(
    "alice",
    "never-restores",
    caught_by="alice's video at last, kbit/s",
    also=("times alice's video stopped", "video heard", *UNSEEN),
)
@needs("video", "adapt")
@pytest.mark.long
async def test_bursts_of_loss(lab: Lab) -> None:
    """For five seconds Alice's line drops everything for 200 ms of each 700; when that is over both pictures come back whole.

    Field story: a microwave oven, a bad cable; it is over, and the picture stays small or black for the rest of the call.
    Fault: a schedule of losses on Alice's access, both ways, then none.  Receipts: what the executor has in force, both times.
    Bounds: at the end of twelve seconds without loss each picture is as large as before (80 %): the second in which the last burst lies and
    the one in which the peer reports it, five good ones and a probe of two, which is nine; and a second to spare.  In the last two seconds
    it is that of an undisturbed call (60 ms, no freeze, no frame unseen); audio is back with the line, at most 260 ms and ten frames of it
    missing.  What video does meanwhile is the stack's own affair: more than a quarter of everything is lost.
    Control: a caller that never gives back what it has taken from its video.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("the line drops everything, again and again") as fault:
            await net.link("home_a/wan").impair(DROPS)
            await _goes_on(call, 5 * s, share=70 * percent)
        async with lab.fault("it is over") as calm:
            await net.link("home_a/wan").impair(CLEAR)
            await _goes_on(call, RESTORED)
    closed = call.closed or 0
    for speaker, listener in call.sides:
        usual = _kbps(call, speaker, call.opened, fault.began)
        at_last = over(_kbps(call, speaker, closed - LAST.ns, closed), closed - LAST.ns, closed)
        lab.at_least(f"{speaker.name}'s video at last, kbit/s", at_last, usual * 8 // 10)
        _judge_picture(lab, listener, closed - LAST.ns, SILENCE, 0)
        _judge_sound(lab, listener, calm.began, SILENCE + HELD, frames_in(HELD))
