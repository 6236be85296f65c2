"""A whole call on a good network: set up, talked, hung up, and nothing left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.agent.messages import Options
from harness.fabric.network import Network
from harness.lab import Lab, control, needs
from harness.lab.decrypted import SIGNALLING_STREAM, Signal
from harness.lab.moments import of_packets
from harness.lab.outside import bound_sockets, descriptors, namespace, processes_in
from harness.lab.path_bounds import frames_in, restarted
from harness.lab.peer import Peer
from harness.media.figure import Moment, counted
from harness.media.measures import Heard
from harness.media.records import MediaPacket
from harness.rtp.rtcp import Report, SenderReport, parse_compound_untrusted
from harness.units import ms, s
from topologies.two_homes import DELAY, two_homes

FRAME = 34 * ms
"""From one video frame to the next: what was offered just before a source stops may leave as late."""
SILENCE = 60 * ms
"""No longer than an audible clip (G.711 appendix I)."""


def judge_whole(lab: Lab, heard: Heard, flow: str) -> None:
    """Nothing of a flow is missing, none of it comes late, and a picture does not freeze.

    On a long way a picture waits at first, when the initial congestion window is used up, for the first acknowledgement.
    """
    wait = 0 * ms if flow == "audio" else restarted(lab.path())
    lab.at_most(f"{flow} unheard", heard.unheard(), frames_in(wait, FRAME))
    lab.at_most(f"longest {flow} silence", heard.longest_gap(), SILENCE + wait)
    if flow != "audio":
        lab.at_most(f"longest {flow} freeze", heard.longest_freeze(), SILENCE + FRAME + wait)


@control("alice", "leaks-sockets", caught_by="left behind at alice")
@needs("video")
async def test_lifecycle(lab: Lab) -> None:
    """Alice calls Bob with video; both see and hear each other; Alice hangs up; neither is left with anything of the call.

    Field story: none; it is what every other scenario takes for granted.
    Fault: none.
    Bounds: both ways every frame of sound and picture is heard in time (the network loses none); no silence is longer than an audible clip
    (60 ms, G.711 appendix I), and no picture freezes (W3C) for longer than that and a frame; what each agent holds afterwards (sockets,
    tasks, sources, streams, calls, descriptors) is what it held before; one handshake.
    Control: an agent that leaks a socket with every call.
    """
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    before = {peer: await peer.inventory() for peer in (alice, bob)}
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=3 * s)
    for listener in (alice, bob):
        for flow in ("audio", "video"):
            judge_whole(lab, listener.heard(flow), flow)
        lab.equal(f"left behind at {listener.name}", await lab.left_behind(listener, before[listener]), 0)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@control("bob", "understates", caught_by="wrong in connection_confirm")
@control("alice", "hasty", caught_by="media packets before connection_ready")
@needs("video")
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
        at = signal.packet.at if signal is not None else lab.now()
        lab.equal(f"wrong in {wanted['type']}", counted((Moment(at, one) for one in wrong), "; ".join(wrong)), 0)
    ended = [wire.stream(connection, sender, SIGNALLING_STREAM).ended for sender in ("client", "server")]
    lab.equal("ends of the signalling stream", sum(ended), 2)
    ready = next((one.packet for one in said if one.message["type"] == "connection_ready"), None)
    early = [
        packet for packet in wire.packets if (packet.has_media or packet.having("DATAGRAM")) and (ready is None or packet.at < ready.at)
    ]
    lab.equal("media packets before connection_ready", counted(of_packets(early)), 0)


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
        pytest.param(
            refused, marks=(pytest.mark.long, control("bob", "leaks-sockets", caught_by="left behind at bob", also=("descriptors",)))
        ),
        pytest.param(
            broken, marks=(pytest.mark.long, control("bob", "leaks-files", caught_by="descriptors left at bob", also=("left behind",)))
        ),
        pytest.param(
            crashed, marks=(pytest.mark.long, control("alice", "leaks-files", caught_by="descriptors left at alice", also=("left behind",)))
        ),
    ],
)
async def test_cleanup(lab: Lab, ends: Callable[[Lab, Network, Peer, Peer], Awaitable[None]]) -> None:
    """However a call ends (hung up, refused, broken by a dead line, Bob's process killed), nothing of it is left anywhere.

    Field story: a phone that was busy all day takes no more calls, because each one that was refused has left a socket open.
    Fault: Alice's line is down until both have given up, or SIGKILL to Bob's agent.  Receipts: both ends of the line down; the keeper,
    whose child the agent is, saw it end of signal 9, and Bob's host sent until then and nothing afterwards.
    Bounds: each agent that lives holds what it held before the call: by its own account (sockets, tasks, sources, streams, calls,
    descriptors) and by the kernel's (descriptors, bound sockets); no process is in its host that was not
    there before, and none at all where it was killed.
    Control: an agent that leaks a socket with every call that it ends or refuses, one that leaks a file with every call that fails.
    """
    net = await lab.build(two_homes())
    impatient = Options(auto_answer=ends is not refused, suspected_ms=300, disconnected_ms=600, failed_ms=1000, redial_window_ms=0)
    alice, bob = await lab.agents("alice", "bob", options=impatient)
    homes = {peer: namespace(peer.process) for peer in (alice, bob)}
    running = {peer: processes_in(homes[peer]) for peer in (alice, bob)}
    told = {peer: await peer.inventory() for peer in (alice, bob)}
    seen = {peer: (len(descriptors(peer.process)), bound_sockets(peer.process)) for peer in (alice, bob)}
    await ends(lab, net, alice, bob)
    for peer in (alice, bob):
        alive = peer.crashed is None
        if alive:
            lab.equal(f"left behind at {peer.name}", await lab.left_behind(peer, told[peer]), 0)
            lab.at_most(f"descriptors left at {peer.name}", max(0, len(descriptors(peer.process)) - seen[peer][0]), 0)
            sockets = bound_sockets(peer.process) - seen[peer][1]
            lab.equal(f"sockets left at {peer.name}", len(sockets), 0, note=", ".join(sorted(sockets)))
        lab.equal(f"processes left at {peer.name}", len(processes_in(homes[peer]) - (running[peer] if alive else set())), 0)


@control("alice", "stops-nothing", caught_by="audio on the wire while stopped", also=("video on the wire", "screen on the wire"))
@needs("video", "screen")
async def test_media_streams(lab: Lab) -> None:
    """Alice stops and restarts her audio, her camera and her screen, one after the other, while the rest of the call goes on.

    Field story: the camera light is off and the picture still goes out; or the microphone is on again and nobody hears it.
    Fault: none.
    Bounds: of a stopped flow nothing leaves Alice's host, decrypted there, from one video frame (34 ms) after the stop on; a restarted one
    is heard within its way of 10 ms and 60 ms more; meanwhile no frame of another flow is unheard, none is silent for 60 ms and no picture
    freezes, either way.
    Control: an agent that says it has stopped a source, and has not.
    """
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    spans: dict[str, tuple[int, int, int]] = {}
    async with lab.call(alice, bob, video=True, screen=True) as call:
        for flow in call.flows:
            await alice.mute(flow)
            stopped = lab.now()
            await call.heard_both_ways(for_=500 * ms)
            again = lab.now()
            await alice.speak(flow)
            await call.heard_both_ways(for_=500 * ms)
            spans[flow] = stopped, again, lab.now()
    wire = lab.evidence.decrypted(alice)
    for flow, (stopped, again, until) in spans.items():
        strays = (packet for packet, _ in wire.datagrams(flow) if packet.udp.outgoing and stopped + FRAME.ns <= packet.at < again)
        lab.equal(f"{flow} on the wire while stopped", counted(of_packets(strays)), 0)
        lab.at_most(f"{flow} heard again", bob.heard(flow).recovery(after=again), DELAY + SILENCE)
        for other in call.flows:
            for listener in (alice, bob) if other != flow else (alice,):
                heard = listener.heard(other)
                lab.equal(f"{other} unheard while {flow} stops", heard.unheard(since=stopped, until=until), 0)
                lab.at_most(f"longest silence of {other} while {flow} stops", heard.longest_gap(since=stopped, until=until), SILENCE)
                if other != "audio":
                    frozen = heard.longest_freeze(since=stopped, until=until)
                    lab.at_most(f"longest freeze of {other} while {flow} stops", frozen, SILENCE + FRAME)


@control("bob", "reports-nothing", caught_by="flows that bob reports on")
@control("alice", "miscounts", caught_by="reports of alice that miscount what left")
@needs("video")
async def test_bidirectional_media(lab: Lab) -> None:
    """Both send audio and video; each direction is whole, and each side's RTCP says of it what really happened.

    Field story: an app that adapts to reports that are not true: it lowers the picture for losses that never were.
    Fault: none.
    Bounds: per direction no frame unheard or unseen, no silence of 60 ms, no freeze; at least two sender reports a flow in 3 s (one a
    second); each count of packets sent, and each highest sequence number and number missing, within two packets of what the records say for
    that moment: what may lie between a record's stamp and the capture's.
    Control: a callee that reports on nothing that it hears; a caller whose reports count every packet twice.
    """
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=3 * s)
    for speaker, listener in call.sides:
        said, answered = reports(lab, speaker), reports(lab, listener)
        packets = [packet for flow in call.flows for packet in listener.heard(flow).packets]
        for flow in call.flows:
            heard = listener.heard(flow)
            judge_whole(lab, heard, flow)
            mine = {packet.ssrc for packet in heard.packets}
            told = sum(isinstance(report, SenderReport) and report.ssrc in mine for _, report in said)
            lab.at_least(f"sender reports of {speaker.name}'s {flow}", told, 2)
        sources = {packet.ssrc for packet in packets}
        blocks = [(at, block) for at, report in answered for block in report.blocks if block.ssrc in sources]
        lab.equal(f"flows that {listener.name} reports on", len({block.ssrc for _, block in blocks}), len(call.flows))
        counts = [(at, report) for at, report in said if isinstance(report, SenderReport)]
        off = [abs(report.packets - len(left(packets, report.ssrc, at))) for at, report in counts]
        lab.equal(f"reports of {speaker.name} that miscount what left", sum(one > 2 for one in off), 0, note=listed(off))
        off = [(block.highest - max(came(packets, block.ssrc, at), default=0)) & 0xFFFF for at, block in blocks]
        behind = [min(one, 0x10000 - one) for one in off]
        lab.equal(f"reports of {listener.name} that mistake what came", sum(one > 2 for one in behind), 0, note=listed(behind))
        wrong = [abs(block.lost - missing(came(packets, block.ssrc, at))) for at, block in blocks]
        lab.equal(f"reports of {listener.name} that mistake what is missing", sum(one > 2 for one in wrong), 0, note=listed(wrong))


def listed(off: list[int]) -> str:
    """By how much each report was off."""
    return f"off by {', '.join(map(str, off))}"


def reports(lab: Lab, peer: Peer) -> list[tuple[int, Report]]:
    """The RTCP reports that left ``peer``'s host, decrypted there, and when."""
    sent = [(packet.at, data) for packet, data in lab.evidence.decrypted(peer).datagrams("rtcp") if packet.udp.outgoing]
    return [(at, report) for at, data in sent for report in parse_compound_untrusted(data)]


def left(packets: list[MediaPacket], ssrc: int, at: int) -> list[int]:
    """The sequence numbers, without wrap, of the packets of ``ssrc`` that had left by ``at``."""
    return [packet.index for packet in packets if packet.ssrc == ssrc and packet.sent is not None and packet.sent <= at]


def came(packets: list[MediaPacket], ssrc: int, at: int) -> list[int]:
    """The same of those that had come."""
    return [packet.index for packet in packets if packet.ssrc == ssrc and packet.arrived is not None and packet.arrived <= at]


def missing(numbers: list[int]) -> int:
    """Numbers between the first and the last that are not there (RFC 3550 §6.4.1: a packet that its sender gave up is missing too)."""
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0
