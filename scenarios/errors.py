"""What goes wrong is told by name, in time, and to nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from harness.agent.messages import CallRejected, ConnectionEstablished, Event, Options
from harness.lab import Lab, control
from harness.lab.conversation import Call
from harness.lab.peer import Peer
from harness.units import ms, percent, s
from topologies.two_homes import two_homes

LIMIT = 10
"""``max_concurrent_calls`` where nobody says otherwise (call-stack.md §2)."""


async def _refused_as_busy(call: Call) -> bool:
    """Whether the call ends at its caller because the callee has no room."""
    how = await call.over(call.caller)
    return isinstance(how, CallRejected) and how.reason == "busy"


def _told_busy(lab: Lab, callee: Peer) -> int:
    """To how many connections ``callee`` said so on the wire: ``bye``, read from its capture with the run's keys."""
    wire = lab.evidence.decrypted(callee)
    said = [[signal.message for signal in wire.signals(connection) if signal.sender == "server"] for connection in wire.connections]
    return sum(any(one["type"] == "bye" and one.get("reason") == "busy" for one in messages) for messages in said)


def _talked(lab: Lab, callee: Peer) -> int:
    """How many connections got as far as ``connection_ready``, read in the same way."""
    wire = lab.evidence.decrypted(callee)
    return sum(any(one.message["type"] == "connection_ready" for one in wire.signals(connection)) for connection in wire.connections)


async def _eleventh(lab: Lab) -> None:
    await lab.build(two_homes())
    usual = Options(auto_answer=True)
    alice, bob = await lab.agents("alice", "bob", options={"alice": Options(max_concurrent_calls=LIMIT + 1), "bob": usual})
    async with lab.call(alice, bob) as first:
        more = [await lab.dial(alice, bob) for _ in range(LIMIT - 1)]
        for call in more:
            await call.connected()
        since = lab.now()
        refused = await _refused_as_busy(await lab.dial(alice, bob))
        await more[0].hang_up()
        await (await lab.dial(alice, bob)).connected()
        await first.heard_both_ways(for_=1 * s)
    lab.equal("eleventh call refused as busy", int(refused), 1)
    lab.equal("bye busy on the wire", _told_busy(lab, bob), 1)
    for listener in (alice, bob):
        heard = listener.heard("audio", first)
        lab.equal("audio lost in the first call", heard.network_loss(since=since), 0 * percent)
        lab.at_most("longest silence in the first call", heard.longest_gap(since=since), 100 * ms)


async def _fifty_at_once(lab: Lab) -> None:
    await lab.build(two_homes(delay=100 * ms))
    usual = Options(auto_answer=True)
    alice, bob = await lab.agents("alice", "bob", options={"alice": Options(max_concurrent_calls=51), "bob": usual})
    async with lab.call(alice, bob) as first:
        since = lab.now()
        calls = [await lab.dial(alice, bob) for _ in range(50)]
        refused = sum([await _settled(call) for call in calls])
        await first.heard_both_ways(for_=1 * s)
    lab.equal("calls refused as busy", refused, 50 - (LIMIT - 1))
    lab.equal("calls that connected on the wire", _talked(lab, bob), LIMIT)
    lab.equal("bye busy on the wire", _told_busy(lab, bob), 50 - (LIMIT - 1))
    for listener in (alice, bob):
        lab.equal("audio lost in the first call", listener.heard("audio", first).network_loss(since=since), 0 * percent)


async def _settled(call: Call) -> bool:
    """Waits until the call is either connected or refused; whether it was refused as busy."""

    def is_it(event: Event) -> bool:
        return isinstance(event, CallRejected | ConnectionEstablished) and event.call == call.id

    event = await call.caller.remote.wait_for(is_it, within=10 * s, doing="one of fifty calls settled")
    return isinstance(event, CallRejected) and event.reason == "busy"


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(
            _eleventh,
            id="eleventh",
            marks=control("bob", "one-too-many", caught_by="eleventh call refused as busy", also=("bye busy", "call over at alice")),
        ),
        pytest.param(
            _fifty_at_once,
            id="fifty at once",
            marks=control("bob", "counts-late", caught_by="calls refused as busy", also=("bye busy", "calls that connected")),
        ),
    ],
)
async def test_exhaustion(lab: Lab, story: Callable[[Lab], Awaitable[None]]) -> None:
    """More is asked of Bob than he allows: what is too much is refused by name, and what was there before does not notice.

    Field story: a conference bridge, or an attacker, calls more often than there are lines.
    Fault: none in the network.  "eleventh": one call beyond the limit of 10.  "fifty at once": 50 calls beside one in progress, all under
    way before the first of them can be answered (200 ms round trip); above 16 that wait Bob has them prove their address (Retry).
    Bounds: exactly as many calls connect as there are lines, and every other is told ``busy``, as the decrypted capture shows; the call in
    progress loses nothing.  A line that is free again is given to the next caller.
    Control: "eleventh": a callee that counts one too few; "fifty at once": a callee that counts a call once it is connected.
    """
    await story(lab)
