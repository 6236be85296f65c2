"""A whole call on a good network: set up, talked, hung up, and nothing left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.agent.messages import Options
from harness.fabric.network import Network
from harness.lab import Lab, control
from harness.lab.decrypted import SIGNALLING_STREAM, Signal
from harness.lab.outside import bound_sockets, descriptors, namespace, processes_in
from harness.lab.peer import Peer
from harness.units import ms, percent, s
from topologies.two_homes import two_homes


@control("alice", "leaks-sockets", caught_by="left behind at alice")
async def test_lifecycle(lab: Lab) -> None:
    """Alice calls Bob with video; both see and hear each other; Alice hangs up; neither is left with anything of the call.

    Field story: none; it is what every other scenario takes for granted.
    Fault: none.
    Bounds: every packet arrives (the network loses none); no silence is longer than an audible clip (60 ms, G.711 appendix I); what each
    agent holds afterwards (sockets, tasks, sources, streams, calls, descriptors) is what it held before; one handshake.
    Control: an agent that leaks a socket with every call.
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


@control("bob", "understates", caught_by="wrong in connection_confirm")
@control("alice", "hasty", caught_by="media packets before connection_ready")
async def test_capability_signalling(lab: Lab) -> None:
    """Alice calls Bob with video; both say exactly what the protocol asks for, in its order, and no media flows before they have.

    Field story: two vendors' stacks that each work with themselves do not understand each other, because one leaves out a field that the
    other relies on, or sends media while the other is not ready for it.
    Fault: none.
    Bounds: the four messages of docs/architecture.md, each field of them, read from the packets at Bob's host with the run's key log; both
    sides end the signalling stream; every packet can be read, so nothing else was said.
    Control: a callee that confirms another bandwidth than it has; a caller that sends a report before its connection_ready.
    """
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=1 * s)
    offer = {"session_id": call.id, "audio": True, "video": True, "data_channel": True, "max_bandwidth_kbps": 2500}
    expected: list[tuple[str, dict[str, Any]]] = [
        ("client", {"type": "capability_exchange", **offer}),
        ("server", {"type": "connection_confirm", **offer}),
        ("client", {"type": "connection_ready", "session_id": call.id}),
        ("client", {"type": "bye", "session_id": call.id, "reason": "ended"}),
    ]
    wire = lab.evidence.decrypted(bob)
    lab.equal("packets that no key opens", len(wire.sealed), 0)
    lab.equal("QUIC connections", len(wire.connections), 1)
    connection = wire.connections[0]
    said = wire.signals(connection)
    lab.equal("signalling messages", len(said), len(expected), note=", ".join(str(one.message.get("type")) for one in said))
    for signal, (sender, wanted) in zip([*said, *[None] * len(expected)], expected, strict=False):
        wrong = wrong_in(signal, sender, wanted)
        lab.equal(f"wrong in {wanted['type']}", len(wrong), 0, note="; ".join(wrong))
    ended = [wire.stream(connection, sender, SIGNALLING_STREAM).ended for sender in ("client", "server")]
    lab.equal("ends of the signalling stream", sum(ended), 2)
    ready = next((one.packet for one in said if one.message["type"] == "connection_ready"), None)
    early = [packet for packet in wire.packets if packet.having("DATAGRAM") and (ready is None or packet.at < ready.at)]
    lab.equal("media packets before connection_ready", len(early), 0)


def wrong_in(signal: Signal | None, sender: str, wanted: dict[str, Any]) -> list[str]:
    """How a message differs from what is ``wanted`` of ``sender``; a field that is null is absent."""
    if signal is None:
        return ["it was not sent"]
    got = {field: value for field, value in signal.message.items() if value is not None}
    wrong = [f"{field}: {got.get(field)}, not {wanted.get(field)}" for field in {**wanted, **got} if got.get(field) != wanted.get(field)]
    return wrong if signal.sender == sender else [f"sent by the {signal.sender}", *wrong]


async def hung_up(lab: Lab, net: Network, alice: Peer, bob: Peer) -> None:
    """A call that ends as calls do."""
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=500 * ms)


async def refused(lab: Lab, net: Network, alice: Peer, bob: Peer) -> None:
    """A call that Bob does not want."""
    call = await lab.dial(alice, bob)
    await call.rings()
    await call.refuse()
    await call.over(alice)
    await call.conclude()


async def broken(lab: Lab, net: Network, alice: Peer, bob: Peer) -> None:
    """A call that dies with Alice's line."""
    call = await lab.dial(alice, bob)
    await call.connected()
    await call.talk()
    await call.heard_both_ways(for_=500 * ms)
    async with lab.fault("Alice's line is dead"):
        await net.link("home_a/wan").down()
        await call.over(alice)
        await call.over(bob)
        await net.link("home_a/wan").up()
    await call.conclude()


async def crashed(lab: Lab, net: Network, alice: Peer, bob: Peer) -> None:
    """A call in which Bob's process dies."""
    call = await lab.dial(alice, bob)
    await call.connected()
    await call.talk()
    await call.heard_both_ways(for_=500 * ms)
    async with lab.fault("Bob's process is killed"):
        await bob.crash()
    await call.over(alice)
    await call.conclude()


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(hung_up, marks=control("alice", "leaks-sockets", caught_by="left behind at alice", also=("descriptors",))),
        pytest.param(refused, marks=control("bob", "leaks-sockets", caught_by="left behind at bob", also=("descriptors",))),
        pytest.param(broken, marks=control("bob", "leaks-files", caught_by="descriptors left at bob", also=("left behind",))),
        pytest.param(crashed, marks=control("bob", "leaves-a-child", caught_by="processes left at bob")),
    ],
)
async def test_cleanup(lab: Lab, ends: Callable[[Lab, Network, Peer, Peer], Awaitable[None]]) -> None:
    """However a call ends (hung up, refused, broken by a dead line, Bob's process killed), nothing of it is left anywhere.

    Field story: a phone that was busy all day takes no more calls, because each one that was refused has left a socket open.
    Fault: Alice's line is down until both have given up, or SIGKILL to Bob's agent.  Receipts: both ends of the line down; the keeper,
    whose child the agent is, saw it end of signal 9, and Bob's host sent until then and nothing afterwards.
    Bounds: each agent that lives holds what it held before the call: by its own account (sockets, tasks, sources, streams, calls,
    descriptors) and by the kernel's (descriptors, bound sockets); no process but the agent is in its host, and none where it was killed.
    Control: an agent that leaks a socket with every call that it ends or refuses, one that leaks a file with every call that fails, one
    that leaves a child behind when it is killed.
    """
    net = await lab.build(two_homes())
    impatient = Options(auto_answer=ends is not refused, suspected_ms=300, disconnected_ms=600, failed_ms=1000, redial_window_ms=0)
    alice, bob = await lab.agents("alice", "bob", options=impatient)
    homes = {peer: namespace(peer.process) for peer in (alice, bob)}
    told = {peer: await peer.inventory() for peer in (alice, bob)}
    seen = {peer: (len(descriptors(peer.process)), bound_sockets(peer.process)) for peer in (alice, bob)}
    await ends(lab, net, alice, bob)
    for peer in (alice, bob):
        alive = peer.crashed is None
        if alive:
            lab.equal(f"left behind at {peer.name}", await lab.left_behind(peer, told[peer]), 0)
            lab.at_most(f"descriptors left at {peer.name}", max(0, len(descriptors(peer.process)) - seen[peer][0]), 0)
            lab.equal(f"sockets left at {peer.name}", len(bound_sockets(peer.process) - seen[peer][1]), 0)
        lab.equal(f"processes left at {peer.name}", len(processes_in(homes[peer]) - ({peer.process.pid} if alive else set())), 0)
