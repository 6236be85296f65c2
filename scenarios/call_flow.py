"""A whole call on a good network: set up, talked, hung up, and nothing left."""

from __future__ import annotations

from harness.lab import Lab, control
from harness.units import ms, percent, s
from topologies.two_homes import two_homes


@control("alice", "leaks-sockets", caught_by="left behind at alice")
async def test_lifecycle(lab: Lab) -> None:
    """Alice calls Bob with video; both see and hear each other; Alice hangs up; neither is left with anything of the call.

    Field story: none; it is what every other scenario takes for granted.  Bounds: every packet arrives in time (the network loses none),
    and what each agent holds afterwards (sockets, tasks, sources, streams, calls, descriptors) is what it held before.  Control: an agent
    that leaks a socket with every call.
    """
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    before = {peer: await peer.inventory() for peer in (alice, bob)}
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=3 * s)
    for listener in (alice, bob):
        for flow in ("audio", "video"):
            heard = listener.heard(flow)
            lab.equal(f"{flow} lost", heard.network_loss(), 0 * percent)
            lab.at_most(f"longest {flow} silence", heard.longest_gap(), 60 * ms)
        lab.equal(f"left behind at {listener.name}", await lab.left_behind(listener, before[listener]), 0)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
