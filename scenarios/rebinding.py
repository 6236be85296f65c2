"""The NAT forgets who Alice is in mid-call: her packets come from a new port, or a new address and port (RFC 9000 §9.3, RFC 4787)."""

from __future__ import annotations

import pytest

from harness.agent.messages import Options
from harness.lab import Lab, control, needs
from harness.lab.conversation import Call
from harness.lab.lab import FaultMark
from harness.lab.path_bounds import INTERVAL, REBOUND, frames_in, rebound, restarted
from harness.units import Duration, ms, s
from harness.verdict import Blame
from topologies.carrier_grade import carrier_grade
from topologies.two_homes import two_homes

KEEPALIVE = 1 * s
PICTURE = 34 * ms
"""From one frame of video to the next."""
REBOOT = 500 * ms
SLOW = 125 * ms
"""One way, where there must be time between a PATH_CHALLENGE and its answer."""


def judge_silence(lab: Lab, call: Call, fault: FaultMark, *, dark: Duration = 0 * ms, suffix: str = "") -> None:
    """One round trip is lost of what was under way to the old mapping, and what a ``dark`` router dropped, and nothing else."""
    bound = dark + rebound(lab.path())
    since, until = fault.began, fault.until
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio")
        lab.at_most(f"longest silence{suffix}", heard.longest_gap(since, until), bound, beyond=REBOUND)
        lab.at_most(f"audio unheard{suffix}", heard.unheard(since, until), frames_in(bound))
        if "video" in call.flows:
            seen = listener.heard("video")
            unseen = lab.picture_bound(bound + restarted(lab.path()) + PICTURE - INTERVAL, seen)
            lab.at_most(f"longest video silence{suffix}", seen.longest_gap(since, until), unseen, beyond=REBOUND)
            lab.at_most(f"longest video freeze{suffix}", seen.longest_freeze(since, until), unseen + PICTURE)
            lab.at_most(f"video unheard{suffix}", seen.unheard(since, until), frames_in(unseen, PICTURE))


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@pytest.mark.parametrize("version", [pytest.param(4, id="ipv4"), pytest.param(6, id="ipv6", marks=pytest.mark.long)])
async def test_rebind_port(lab: Lab, version: int) -> None:
    """Alice's router gives her flow a new port while both talk.

    Field story: home routers reuse ports and reboot; the other side goes silent in the middle of a sentence.
    Fault: a new mapping in force, the old one dead at once, no ICMP to tell anyone; conntrack shows both.
    Bounds: both ways, the round trip (what was under way to the old port is lost), 20 ms until Alice's next packet shows the new port, 20
    ms until the one after it (Bob's PATH_CHALLENGE has used up what he may send there: three times what came, RFC 9000 §8.1), and 20 ms for
    scheduling: 80 ms; as many frames unheard; one handshake.
    Control: a callee that never follows a new path: silent for good.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, version=version) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the router gives Alice a new port") as fault:
            await net.nat("home_a").rebind("alice")
        await call.heard_both_ways(for_=1 * s)
    judge_silence(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@needs("video")
async def test_rebind_address(lab: Lab) -> None:
    """Alice's router gives her flow a new address and port while both talk, with video.

    Field story: a carrier moves a subscriber to another address of its pool.
    Fault: as for rebind_port, with another address of the router's; conntrack shows both.
    Bounds: as for rebind_port; of the picture the same and 14 ms, by which its frames are further apart, and no freeze (W3C) longer than
    that and a frame.
    Control: a callee that never follows a new path: silent for good.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the router gives Alice a new address and port") as fault:
            await net.nat("home_a").rebind("alice", address=True)
        await call.heard_both_ways(for_=1 * s)
    judge_silence(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "follows-once", caught_by="first fresh audio after the second rebind", silent=True)
async def test_rebind_during_validation(lab: Lab) -> None:
    """Alice's router gives her a new port, and while Bob is still validating that path, another one.

    Field story: a router that is short of ports, or two of them that fail over, rebinds twice in a moment; the stack waits for an answer
    from a path that is gone.
    Fault: the second rebind comes while Bob's PATH_CHALLENGE to the first new port is out, which his capture shows, decrypted; conntrack
    shows both rebinds.
    Bounds: first fresh audio, both ways, within one round trip (250 ms here) of the second rebind and 60 ms, as for rebind_port; as many
    frames unheard from then on; one handshake.
    Control: a callee that follows to one new address and to no other.
    """
    net = await lab.build(two_homes(delay=SLOW))
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the router rebinds twice") as fault:
            await net.nat("home_a").rebind("alice")
            await bob.challenges(since=fault.began, within=2 * s)
            second = await net.nat("home_a").rebind("alice")
            lab.expect_unanswered(bob, since=fault.began, at=second.at)
        await call.heard_both_ways(for_=1 * s)
    bound = rebound(lab.path())
    for listener in (alice, bob):
        heard = listener.heard("audio")
        lab.at_most("first fresh audio after the second rebind", heard.recovery(after=second.at), bound, beyond=REBOUND)
        lab.at_most("audio unheard", heard.unheard(since=second.at), frames_in(bound))
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
async def test_rebind_lingering(lab: Lab) -> None:
    """Alice's router gives her flow a new port, and goes on letting in what Bob sends to the old one for half a second.

    Field story: routers keep the entry of a flow beside the new one until it times out; what was under way arrives, and hides for a while
    that the other side does not follow.
    Fault: a new mapping in force while the old one still lets packets in, and half a second later no more; conntrack shows the new one, the
    kernel's own clock the end of the old.
    Bounds: as for rebind_port, but that Alice misses no frame; one handshake.
    Control: a callee that never follows a new path: silent as soon as the old mapping is gone.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the router gives Alice a new port and lets the old one in a while longer") as fault:
            await net.nat("home_a").rebind("alice", linger=500 * ms)
        await call.heard_both_ways(for_=1 * s)
    judge_silence(lab, call, fault)
    lab.equal("audio unheard by Alice", alice.heard("audio").unheard(since=fault.began), 0)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
async def test_nat_reboot(lab: Lab) -> None:
    """Alice's router restarts in the middle of the call: nothing passes for half a second, and it has forgotten all its mappings.

    Field story: the power blinks, or the provider pushes firmware at night; the router comes back with other ports.
    Fault: the router's outside link is down for 500 ms, which rtnetlink shows, and all its mappings are lost meanwhile, which conntrack
    shows; its ports are given out at random, so that Alice gets another.
    Bounds: for as long as the restart took the lab, from before its link was told to go down until it was seen to be up again, and what
    rebind_port allows (80 ms), both ways; as many frames unheard; one handshake.
    Control: a callee that never follows a new path: silent for good.
    """
    net = await lab.build(two_homes(ports="random"))
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the router restarts") as fault:
            await net.nat("home_a").reboot(dark=REBOOT)
        await call.heard_both_ways(for_=1 * s)
    judge_silence(lab, call, fault, dark=Duration((fault.ended or fault.began) - fault.began))
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@pytest.mark.parametrize("router", ["carrier", pytest.param("home", marks=pytest.mark.long)])
async def test_rebind_behind_cgnat(lab: Lab, router: str) -> None:
    """Alice is behind two NATs in a row, and one of them gives her a new port: the carrier's, of which her own knows nothing, or her own.

    Field story: mobile and cable carriers rebind their subscribers as they please; nothing at home shows it.
    Fault: as for rebind_port, at one of the two; conntrack shows it, and that the home's NAT has not changed when the carrier's has.
    Bounds: the round trip (40 ms here) and 60 ms, as for rebind_port, both ways; as many frames unheard; one handshake.
    Control: a callee that never follows a new path: silent for good.
    """
    net = await lab.build(carrier_grade())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        at_home = await net.nat("home").mappings()
        async with lab.fault(f"the {router}'s NAT gives Alice a new port") as fault:
            await net.nat(router).rebind("alice")
        await call.heard_both_ways(for_=1 * s)
        moved = set(await net.nat("home").mappings()) != set(at_home)
        lab.equal("rebinds that the home NAT noticed", int(moved), int(router == "home"), blame=Blame.HARNESS)
    judge_silence(lab, call, fault)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "follows-once", caught_by="longest silence, rebind 2", silent=True)
@control("bob", "burns-ids", caught_by="connection ids that Bob has to spare")
@pytest.mark.long
async def test_rebind_every_second(lab: Lab) -> None:
    """Alice's router gives her a new port ten times, once a second; every time the call goes on.

    Field story: a router with a mapping timeout of a second or an overloaded carrier; each rebind costs the stack something until it has
    nothing left.
    Fault: ten rebinds as for rebind_port, each with its own receipt from conntrack.
    Bounds: after each as for rebind_port; at the end the callee has connection ids left for yet another path (RFC 9000 §5.1.1), read from
    the packets; one handshake.
    Control: a callee that follows to one new address and to no other; a callee that takes a connection id for every move and gives none
    back.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    rebinds = []
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        for number in range(1, 11):
            async with lab.fault(f"rebind {number}") as fault:
                await net.nat("home_a").rebind("alice")
            rebinds.append(fault)
            await call.heard_both_ways(for_=1 * s)
    for fault in rebinds:
        judge_silence(lab, call, fault, suffix=f", {fault.name}")
    wire = lab.evidence.decrypted(bob)
    spare = [ids for one in wire.connections if (ids := wire.spare_ids(one, "server")) is not None]
    if spare or not wire.connections:
        lab.at_least("connection ids that Bob has to spare", min(spare, default=0), 1)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "no-keepalive", caught_by="longest silence", silent=True)
@needs("keepalive", of="alice")
async def test_rebind_while_muted(lab: Lab) -> None:
    """Alice listens with her microphone off when her router restarts and gives her a new port: only her keepalive can tell Bob.

    Field story: the muted participant of a long meeting goes deaf.
    Fault: the router is dark for 300 ms, so that not even an acknowledgement that was under way shows her new port, and then maps her anew;
    rtnetlink shows the dark, conntrack the mappings.
    Bounds: one keepalive period, two round trips and 100 ms, the dark included; as many frames unheard by Alice (Bob is owed none); one
    handshake.
    Control: a caller that sends neither PING nor RTCP while it is muted.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob", options=Options(auto_answer=True, keepalive_ms=1000))
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        await alice.mute()
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the router restarts and gives the muted Alice a new port") as fault:
            await net.nat("home_a").rebind("alice", dark=300 * ms)
        await call.heard_both_ways(for_=2 * s)
    bound = KEEPALIVE + 2 * lab.path().round_trip() + 100 * ms
    heard = alice.heard("audio")
    lab.at_most("longest silence", heard.longest_gap(since=fault.began), bound, beyond="a keepalive every second (§10.1.2)")
    lab.at_most("audio unheard", heard.unheard(since=fault.began), frames_in(bound))
    lab.equal("QUIC handshakes", call.handshakes(), 1)
