"""A call that goes on for hours while the network under it never rests."""

from __future__ import annotations

import pytest

from harness.lab import Lab, control, needs, takes
from harness.lab.endurance import Endurance
from harness.lab.path_bounds import frames_in, rebound
from harness.units import ms, percent
from topologies.phone_two_radios import phone_two_radios

NATS = {"wifi": "home", "lte": "carrier"}
OTHER = {"wifi": "lte", "lte": "wifi"}
UNHEARD = 80 * ms
"""As for wifi_to_cellular, to which the delay comes that LTE has more."""


@control("bob", "follows-once", caught_by="longest silence after a rebind by wifi", silent=True, also=("alice migrates to",))
@control("bob", "hoards", caught_by="KiB of memory grown, agent bob")
@control("alice", "leaves-sockets", caught_by="descriptors more, agent alice")
@takes("endurance")
@needs("migrate", of="alice")
@pytest.mark.long
async def test_endurance(lab: Lab) -> None:
    """Alice and Bob talk for hours; her router gives her a new port all the time, and her phone goes from radio to radio.

    Field story: the meeting that lasts the afternoon.  What a minute does not show: a stack that keeps something of every move, gets
    slower, or runs out of what it needs for the next.
    Fault: a new port at the NAT in use (conntrack) every 2 s, and every 4 s a migration (Bob's capture), for 12 s;
    with --endurance=2h every 30 s and every 5 min for two hours.
    Bounds: both ways, after each rebind the round trip by that radio (40 or 70 ms) and 60 ms of silence and as many frames unheard, after
    each migration 80 ms, to LTE 95, and one frame.  Last quarter
    against first, of 16 legs and more: median delay within 2 ms; of half an hour and more: silences within 20 ms, packets lost in a leg
    within 2.  Memory of every process within 2 % of what it was after ten minutes (in less than half an hour 512 KiB for agents and 3 MiB
    for the harness, after the first third), and not one descriptor more; no file above what --keep allows; one handshake.
    Control: a callee that follows to one new address and to no other; one that keeps a little of every path it ever had; a caller that
    leaves a socket behind with every migration.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    radio = "wifi"
    async with lab.call(alice, bob, path=radio) as call:
        run = Endurance(lab, call)
        async for turn in run.turns():
            async with turn.fault(f"rebind by {radio}"):
                await net.nat(NATS[radio]).rebind("alice")
            if turn.moves:
                await turn.middle()
                radio = OTHER[radio]
                async with turn.fault(f"migration to {radio}"):
                    await alice.migrate(radio)
    await run.end()
    for radio in NATS:
        after_rebind, after_move = rebound(lab.path(radio)), lab.bound(UNHEARD, OTHER[radio], radio)
        run.longest_silence(f"rebind by {radio}", after_rebind)
        run.unheard(f"rebind by {radio}", frames_in(after_rebind))
        run.longest_silence(f"migration to {radio}", after_move)
        run.unheard(f"migration to {radio}", 1)
    run.drifts(delay=2 * ms, silence=20 * ms, lost=2)
    run.flat(share=2 * percent, agents_kib=512, others_kib=3072)
    run.bounded()
    lab.equal("QUIC handshakes", call.handshakes(), 1)
