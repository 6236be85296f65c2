"""Mallory is on the wire.  She sees every packet of the call, and sends what she likes under whatever address she likes."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from harness.agent.messages import Options
from harness.lab import Lab, control, outside
from harness.lab.attacker import AMPLIFICATION, Attacker
from harness.lab.conversation import Call
from harness.lab.path_bounds import frames_in
from harness.units import ms, s
from topologies.street_corner import HEAD_START, ROUND_TRIP, TAP, street_corner

SILENCE = 60 * ms
"""Two packet intervals and scheduling, as in an undisturbed call (call_flow, lifecycle)."""
ASKED_AGAIN = 200 * ms
"""After so long without an answer on the new path a server asks on the old one again (``EndpointConfig.probe_retry``)."""
HALF_OPEN = 16
GROWTH = 8
"""MiB: half a MiB for each connection that may be half open."""


def judge_undisturbed(lab: Lab, call: Call) -> None:
    """The call is what it would have been without her."""
    for listener in (call.caller, call.callee):
        heard = listener.heard("audio", call)
        lab.at_most("longest silence", heard.longest_gap(), SILENCE)
        lab.equal("audio unheard", heard.unheard(), 0)
        lab.equal("audio heard twice", heard.duplicates(), 0)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


def judge_answers(lab: Lab, mallory: Attacker) -> None:
    """What was sent to her is at most three times what came from her, in bytes."""
    asked = mallory.bytes_asked()
    note = f"{asked} bytes came from addresses of hers"
    lab.at_most("bytes sent to Mallory", mallory.bytes_answered(), AMPLIFICATION * asked, note=note)


def judge_noticed(lab: Lab, mallory: Attacker, others: int = 0) -> None:
    """Every datagram of hers that came was noticed, and besides them only ``others``."""
    for peer, noticed in mallory.noticed.items():
        hers = len(mallory.arrived(peer))
        lab.at_least(f"hostile datagrams noticed by {peer.name}", noticed.count, hers, note=str(noticed))
        lab.at_most(f"others taken for hostile by {peer.name}", max(0, noticed.count - hers), others)


@control("bob", "believes-resets", caught_by="longest silence", silent=True, also=("QUIC handshakes", "hostile datagrams", "others taken"))
@control("bob", "answers-everybody", caught_by="bytes sent to Mallory", also=("others taken",))
@control("bob", "notices-nothing", caught_by="hostile datagrams noticed by bob")
async def test_forged_and_mutated(lab: Lab) -> None:
    """While Alice and Bob talk, Mallory sends both of them forged and mutated datagrams of every kind, each in the other's name.

    Field story: a scanner, a fuzzer or a censor beside the path; a forged reset or close ends the call, or the stack drowns in rubbish.
    Fault: 1,200 datagrams at 600/s, by a seeded generator: random bytes; packets of the call with bits flipped, cut short, with rubbish
    appended, under another connection id; unknown versions; Version Negotiation; Retry and CONNECTION_CLOSE sealed with the keys that
    anybody can derive; CONNECTION_CLOSE in the clear; stateless resets with a wrong token; Handshake packets and RTP full of nothing.  At
    Alice, whose NAT lets in nobody else, all of them bear Bob's address; at Bob three quarters bear Alice's.  The captures show that all
    have come.
    Bounds: those of an undisturbed call (call_flow, lifecycle); one handshake; at most three times what came from Mallory's own address is
    sent there (RFC 9000 §8.1); each peer says of every one of these datagrams, and of no other, why it was of no use.
    Control: a callee that takes what it cannot open for a stateless reset; one that answers everybody at length; one that does not count.
    """
    net = await lab.build(street_corner())
    alice, bob = await lab.agents("alice", "bob")
    mallory = await lab.attacker("mallory", tap=TAP, callee=bob)
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=500 * ms)
        await mallory.watch(alice, bob)
        async with lab.fault("Mallory forges datagrams of every kind"):
            await mallory.forge(count=1200, rate=600)
            await call.heard_both_ways(for_=500 * ms)
            await net.flush()
            lab.observe(mallory.observed(alice, bob))
        await mallory.ask()
    judge_undisturbed(lab, call)
    judge_answers(lab, mallory)
    judge_noticed(lab, mallory)


@control("bob", "takes-duplicates", caught_by="hostile datagrams noticed by bob", also=("bytes sent to Mallory",))
@control("bob", "follows-copies", caught_by="bytes sent to Mallory", silent=True)
async def test_replayed(lab: Lab) -> None:
    """While Alice and Bob talk, Mallory sends packets of their call again: from where they came from, and from sixteen other addresses.

    Field story: a middlebox or an attacker repeats what it has recorded; old words are heard again, or the call is led to a stranger.
    Fault: 900 exact copies at 600/s of packets that passed at least 300 ms before, from the first Initial on: a third to Bob from Alice's
    address, a third to Bob from addresses of Mallory's own, a third to Alice from Bob's.  The captures show that all have come.
    Bounds: those of an undisturbed call (call_flow, lifecycle), nothing heard twice; one handshake; nothing at all is sent to Mallory, not
    even a PATH_CHALLENGE, since only a packet newer than all others says that a peer has moved (RFC 9000 §9.3); each peer tells every copy.
    Control: a callee that does not know a packet number again; one that sends to wherever a packet came from last, new or not.
    """
    net = await lab.build(street_corner())
    alice, bob = await lab.agents("alice", "bob")
    mallory = await lab.attacker("mallory", tap=TAP, callee=bob, addresses=16)
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        await mallory.watch(alice, bob)
        async with lab.fault("Mallory sends packets of the call again"):
            await mallory.replay(count=900, rate=600)
            await call.heard_both_ways(for_=500 * ms)
            await net.flush()
            lab.observe(mallory.observed(alice, bob))
        await mallory.ask()
    judge_undisturbed(lab, call)
    lab.equal("bytes sent to Mallory", mallory.bytes_answered(), 0)
    judge_noticed(lab, mallory)


STAYS = control("bob", "stays-with-the-thief", caught_by="longest silence", silent=True, also=("bytes", "paths", "originals"))


@pytest.mark.parametrize(
    "muted", [pytest.param(False, id="talking", marks=STAYS), pytest.param(True, id="muted", marks=(STAYS, pytest.mark.long))]
)
async def test_hijack(lab: Lab, muted: bool) -> None:
    """Mallory copies a packet of Alice's and sends it on from her own address, and the copy is with Bob before the original: he follows it.

    Field story: an attacker near one end of the path who has a faster line takes the media for herself, and one side goes silent (RFC 9000
    §9.3.3).
    Fault: "talking": one race is won, because the original is under way for 20 ms longer.  "muted": Alice only acknowledges, and the race
    is won for 100 ms, two round trips: so long that she has heard nothing more to acknowledge, and that her answer to Bob's first question
    on the old path is copied too.  Bob's capture shows each copy before its original.
    Bounds: while she talks, silence at Alice for as long as the copy was ahead of its original (20 ms), until her next packet, which shows
    where she is (20 ms), and 40 ms (a packet interval, scheduling).  When she is muted, the time after which Bob asks again on the old path
    (200 ms), a round trip (50 ms) and 60 ms (two packet intervals, scheduling).  Alice misses as many frames; Bob hears all that he is
    owed, as if nothing had happened; at most three times the copies' bytes are sent to Mallory; one handshake; Bob says of each original
    that it had a twin from elsewhere, and that he took the path back.
    Control: a callee that stays where the copy came from.  (One that only does not ask on the path that it leaves is caught in most runs,
    not in all: whatever Alice happens to send, a report or a probe of her own, shows where she is.)
    """
    net = await lab.build(street_corner())
    alice, bob = await lab.agents("alice", "bob")
    mallory = await lab.attacker("mallory", tap=TAP, callee=bob)
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=500 * ms)
        if muted:
            await alice.mute()
            await call.heard_both_ways(for_=300 * ms)
        await mallory.watch(alice, bob)
        async with lab.fault("copies of Alice's packets come from Mallory, and come first") as fault:
            deeds = await mallory.race(for_=2 * ROUND_TRIP if muted else 0 * ms)
            await call.heard_both_ways(for_=1 * s)
            await net.flush()
            lab.observe(mallory.won(bob))
        await mallory.ask()
    bound = ASKED_AGAIN + ROUND_TRIP + SILENCE if muted else HEAD_START + SILENCE
    for listener, longest, most in ((alice, bound, frames_in(bound)), (bob, SILENCE, 1 if muted else 0)):  # one may be due as she mutes
        heard = listener.heard("audio")
        lab.at_most("longest silence", heard.longest_gap(since=fault.began), longest)
        lab.at_most("audio unheard", heard.unheard(), most)
    lab.equal("audio heard twice", bob.heard("audio").duplicates(), 0)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
    judge_answers(lab, mallory)
    noticed = mallory.noticed[bob]
    lab.equal("originals that Bob knew for copied", noticed.discarded.get("duplicate from another address", 0), deeds.count)
    lab.equal("paths that Bob took back", noticed.reclaimed, 1)


@pytest.mark.alone
@control("bob", "asks-late", caught_by="connections that Bob holds", silent=True, also=("MiB", "others taken"))
async def test_flood_of_initials(lab: Lab) -> None:
    """While Alice and Bob talk, Mallory floods Bob with Initials from 64 addresses, and Alice calls him a second time.

    Field story: a flood of handshakes from forged addresses eats a server's processor and memory, and nobody gets through any more.
    Fault: 1,200 Initials at 600/s from ever other ports: half of them good, with Alice's own ClientHello in them, a quarter sealed by
    nobody, a quarter with a token that nobody gave out.  The captures show that all have come.
    Bounds: both calls keep the bounds of an undisturbed one (call_flow, lifecycle), and the second is there; Bob holds no more connections
    than the 16 beyond which he asks for a proof of address (Retry, RFC 9000 §8.1.2), one more, and the two calls, and grows by at most 8
    MiB; at most three times what came from Mallory is sent to her; Bob accounts for each of these Initials, and besides only for Alice's
    own.
    Control: a callee that makes a connection for every Initial, up to a hundred.
    """
    net = await lab.build(street_corner())
    alice, bob = await lab.agents("alice", "bob", options=Options(auto_answer=True, retry_above=HALF_OPEN))
    mallory = await lab.attacker("mallory", tap=TAP, callee=bob, addresses=64)
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=500 * ms)
        await mallory.watch(bob)
        memory = outside.resident(bob.process)
        async with lab.fault("Mallory floods Bob with Initials"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(mallory.flood, count=1200, rate=600))
                await call.heard_both_ways(for_=1 * s)
                second = await lab.dial(alice, bob)
                await second.connected()
                await second.talk()
                await second.heard_both_ways(for_=300 * ms)
                held = await bob.inventory()
            grown = outside.resident(bob.process) - memory
            await second.hang_up()
            await net.flush()
            lab.observe(mallory.observed(bob))
        await mallory.ask()
    for one in (call, second):
        judge_undisturbed(lab, one)
    judge_answers(lab, mallory)
    lab.at_most("connections that Bob holds", held.stack["connections"], HALF_OPEN + 1 + 2)
    lab.at_most("MiB that Bob has grown by", grown >> 20, GROWTH)
    judge_noticed(lab, mallory, others=mallory.initials_of_others(bob))
