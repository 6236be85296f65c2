"""A phone changes networks in mid-call: active migration (RFC 9000 §9), from Wi-Fi to LTE and back."""

from __future__ import annotations

import pytest

from harness.lab import Lab, control
from harness.units import ms, s
from topologies.phone_two_radios import LTE_ROUND_TRIP, phone_two_radios


@control("bob", "never-follows", caught_by="longest silence, Alice walks out of the door", silent=True)
@pytest.mark.parametrize(("version", "video"), [(4, True), (6, False)], ids=["ipv4-video", "ipv6-audio"])
async def test_wifi_to_lte_and_back(lab: Lab, version: int, video: bool) -> None:
    """Alice walks out of the door and home again: both radios are alive each time the call moves, so nobody hears it.

    Field story: make-before-break handover.  The fault is the move itself, and the old radio switched off once the call has moved: a stack
    that goes on using the old path is found out.  Control: a callee that never follows a new path.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=video, path="wifi", version=version) as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("Alice walks out of the door") as out:
            await alice.migrate("lte")
            await call.heard_both_ways(for_=500 * ms)
            await net.link("alice/wifi").down()
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("Alice comes home") as home:
            await net.link("alice/wifi").up()
            await alice.migrate("wifi")
            await call.heard_both_ways(for_=500 * ms)
            await net.link("alice/lte").down()
        await call.heard_both_ways(for_=2 * s)
    for fault in (out, home):
        for listener in (alice, bob):
            heard = listener.heard("audio")
            lab.at_most(f"longest silence, {fault.name}", heard.longest_gap(since=fault.began, until=fault.until), 100 * ms)
            lab.at_most(f"audio packets lost, {fault.name}", heard.lost(since=fault.began, until=fault.until), 1)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "redials", caught_by="QUIC handshakes", silent=True, also=("alice migrates to lte",))
async def test_wifi_dies_first(lab: Lab) -> None:
    """Alice's Wi-Fi is gone before the call moves: it has to find its way over LTE without help from the old path.

    Field story: break-before-make handover; the phone left the house faster than it noticed.  Bound: the new path's two round trips and
    60 ms after the switch is asked for.  Control: a caller that redials instead of migrating.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("Wi-Fi dies, then the call moves"):
            await net.link("alice/wifi").down()
            switch = lab.now()
            await alice.migrate("lte")
        await call.heard_both_ways(for_=3 * s)
    for listener in (alice, bob):
        lab.at_most("first fresh audio after the switch", listener.heard("audio").recovery(after=switch), 2 * LTE_ROUND_TRIP + 60 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
