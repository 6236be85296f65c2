"""The NAT forgets who Alice is in mid-call: her packets come from a new port, or a new address and port (RFC 9000 §9.3, RFC 4787)."""

from __future__ import annotations

import pytest

from harness.agent.messages import Options
from harness.lab import Lab, control
from harness.units import ms, s
from topologies.two_homes import ROUND_TRIP, two_homes

KEEPALIVE = 1 * s


@control("bob", "never-follows", caught_by="longest silence", silent=True)
@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
async def test_rebind_port(lab: Lab, version: int) -> None:
    """Alice's router gives her flow a new port while both talk.

    Field story: home routers reuse ports and reboot.  The old mapping is dead at once and no ICMP tells anyone.  Control: a callee that
    never follows a new path.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, version=version) as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("the router gives Alice a new port") as fault:
            await net.nat("home_a").rebind("alice")
        await call.heard_both_ways(for_=2 * s)
    for listener in (alice, bob):
        lab.at_most("longest silence", listener.heard("audio").longest_gap(since=fault.began), ROUND_TRIP + 60 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "never-follows", caught_by="longest silence", silent=True)
async def test_rebind_address(lab: Lab) -> None:
    """Alice's router gives her flow a new address and port while both talk.

    Field story: a carrier moves a subscriber to another address of its pool.  Control: a callee that never follows a new path.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("the router gives Alice a new address and port") as fault:
            await net.nat("home_a").rebind("alice", address=True)
        await call.heard_both_ways(for_=2 * s)
    for listener in (alice, bob):
        lab.at_most("longest silence", listener.heard("audio").longest_gap(since=fault.began), ROUND_TRIP + 60 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("alice", "no-keepalive", caught_by="longest silence", silent=True)
async def test_rebind_while_muted(lab: Lab) -> None:
    """Alice listens with her microphone off when her router restarts and gives her a new port: only her keepalive can tell Bob.

    Field story: the muted participant of a long meeting goes deaf.  The router is dark for 300 ms, so that not even an acknowledgement that
    was under way shows her new port.  Bound: one keepalive period, two round trips and 100 ms, the dark included.  Control: a caller that
    sends neither PING nor RTCP while it is muted.
    """
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob", options=Options(auto_answer=True, keepalive_ms=1000))
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1 * s)
        await alice.mute()
        await call.heard_both_ways(for_=2 * s)
        async with lab.fault("the router restarts and gives the muted Alice a new port") as fault:
            await net.nat("home_a").rebind("alice", dark=300 * ms)
        await call.heard_both_ways(for_=3 * s)
    lab.at_most("longest silence", alice.heard("audio").longest_gap(since=fault.began), KEEPALIVE + 2 * ROUND_TRIP + 100 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
