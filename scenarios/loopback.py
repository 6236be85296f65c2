"""The media path alone, on one wire: what is offered here arrives there, whole, in order and once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from harness.agent.messages import Mode
from harness.lab import Lab, control, needs, outside, refusal
from harness.lab.decrypted import Decrypted
from harness.media.measures import Heard
from harness.media.source import AUDIO_PAYLOAD_TYPE
from harness.rtp.packet import AUDIO_CLOCK, RtpPacket, parse_rtp_untrusted
from harness.units import ms, s
from topologies.side_by_side import side_by_side

RTP_HEADER = 12
SILENCE, PICTURE = 60 * ms, 34 * ms
"""What nobody hears of an undisturbed call (call_flow, lifecycle), and from one frame of video to the next."""
MTU = 1500


def whole(lab: Lab, heard: Heard, what: str) -> None:
    """Every frame of a flow was heard in time: none held back, lost or late; and no packet was changed, doubled or overtaken."""
    lab.equal(f"{what} unheard", heard.unheard(), 0)
    lab.equal(f"{what} corrupted", heard.corrupted(), 0)
    lab.equal(f"{what} duplicated", heard.duplicates(), 0)
    lab.equal(f"{what} reordered", heard.reordered(), 0)


def unbroken(lab: Lab, heard: Heard, what: str) -> None:
    """A flow was never silent for longer than nobody hears, and no picture froze."""
    lab.at_most(f"longest {what} silence", heard.longest_gap(), SILENCE)
    if what != "audio":
        lab.at_most(f"longest {what} freeze", heard.longest_freeze(), SILENCE + PICTURE)


def breaks(packets: Sequence[RtpPacket], ticks: int) -> int:
    """Neighbours whose sequence numbers are not one apart, or whose timestamps are not ``ticks`` apart."""
    return sum(
        (after.sequence - before.sequence) & 0xFFFF != 1 or (after.timestamp - before.timestamp) & 0xFFFFFFFF != ticks
        for before, after in pairwise(packets)
    )


def media_streams(wire: Decrypted) -> set[tuple[str, int]]:
    """The unidirectional streams of both sides (RFC 9000 §2.1: the second bit of their number)."""
    frames = [(packet.sender, frame.fields["stream"]) for packet in wire.packets for frame in packet.having("STREAM")]
    return {(sender, number) for sender, number in frames if number & 2}


@pytest.mark.parametrize("version", [pytest.param(4, id="ipv4"), pytest.param(6, id="ipv6", marks=pytest.mark.long)])
@control("alice", "duplicates", caught_by="audio duplicated", also=("RTP packets on the wire", "breaks in sequence"))
async def test_rtp_data_path(lab: Lab, version: int) -> None:
    """Alice speaks, Bob listens: the RTP packets of one source arrive as what they are, each once.

    Field story: none; what a stack gets wrong here it gets wrong everywhere.
    Fault: none.
    Bounds: every frame heard in time, at most 60 ms of silence; nothing lost, changed, doubled or overtaken, since the wire does none of
    it; on the wire, decrypted at Bob's host: one SSRC, payload type 111, sequence numbers one apart, timestamps 960 apart (20 ms of RTP's
    48 kHz audio clock, RFC 7587).
    Control: a sender that sends some packets twice.
    """
    await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob")
    call = await lab.dial(alice, bob, version=version)
    await call.connected()
    await alice.speak("audio")
    await call.heard_both_ways(for_=2 * s)
    await call.hang_up()
    heard = bob.heard("audio")
    whole(lab, heard, "audio")
    unbroken(lab, heard, "audio")
    lab.at_least("audio heard", heard.arrived(), 95)
    wire = [parse_rtp_untrusted(data) for _, data in lab.evidence.decrypted(bob).datagrams("audio")]
    lab.equal("RTP packets on the wire beyond those offered", len(wire) - len(heard.packets), 0)
    lab.equal("sources of audio on the wire", len({packet.ssrc for packet in wire}), 1)
    lab.equal("packets of another payload type", sum(packet.payload_type != AUDIO_PAYLOAD_TYPE for packet in wire), 0)
    lab.equal("breaks in sequence or timestamp", breaks(wire, AUDIO_CLOCK // 50), 0)
    lab.equal("heard from the silent side", alice.heard("audio").arrived(), 0)


@control("alice", "newest-first", caught_by="video reordered", also=("video unheard", "longest video"))
@control("alice", "blanks", caught_by="video corrupted", also=("video unheard", "longest video", "video packets heard"))
@needs("video")
@pytest.mark.alone
async def test_multiple_packets(lab: Lab) -> None:
    """Alice sends more than a thousand packets of video as fast as a call ever does: all arrive, in order, byte for byte.

    Field story: a frame whose packets come in the wrong order, or with one byte changed, is a frame that cannot be decoded.
    Fault: none.
    Bounds: at least 1000 packets, and of these none lost, changed (other bytes than the first copy, or a payload that is one
    byte over and over), doubled or overtaken: a wire has one order and TLS lets no byte change.  Every frame is seen in time, at most 60 ms
    without one, no freeze (W3C).
    Control: a sender that sends the newest of what waits first, so that the oldest wait until they are worth nothing whenever the
    congestion window is closed for a moment; a sender that blanks the payload of some packets.
    """
    await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob")
    call = await lab.dial(alice, bob, video=True)
    await call.connected()
    await alice.speak("video", bitrate_kbps=4000)
    await call.heard_count(bob, "video", 1000)
    await call.hang_up()
    heard = bob.heard("video")
    whole(lab, heard, "video")
    unbroken(lab, heard, "video")
    lab.at_least("video packets heard", heard.arrived(), 1000)


@control("bob", "falls-silent", caught_by="audio heard by alice", silent=True)
async def test_bidirectional(lab: Lab) -> None:
    """Alice and Bob speak at the same time: each hears all that the other says, and nothing of itself.

    Field story: one-way audio, the oldest complaint there is.
    Fault: none.
    Bounds: each direction by itself: at least 95 of the 100 packets that 2 s hold, every frame in time, at most 60 ms of silence; none
    lost, changed, doubled or overtaken; no SSRC is used by both sides (RFC 3550 §8).
    Control: a callee that sends nothing any more after its first 20 packets.
    """
    await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=2 * s)
    for listener in (alice, bob):
        heard = listener.heard("audio")
        lab.at_least(f"audio heard by {listener.name}", heard.arrived(), 95)
        whole(lab, heard, "audio")
        unbroken(lab, heard, "audio")
    mine, theirs = ({packet.ssrc for packet in listener.heard("audio").packets} for listener in (alice, bob))
    lab.equal("SSRCs in use on both sides", len(mine & theirs), 0)


@control("alice", "truncates", caught_by="one byte more is refused", also=("audio corrupted", "audio unheard", "longest audio silence"))
@needs("datagram", "stream")
async def test_large_packet(lab: Lab) -> None:
    """Alice sends the largest packet that fits a QUIC datagram, one byte more, and one of the whole MTU on streams.

    Field story: a stack that cuts, or silently drops, what does not fit: sound in the lab, silence with another codec.
    Fault: none.
    Bounds: the largest (by the stack's own word, and of the size of what was then sent) arrives whole; one byte more is refused as
    PacketTooLarge that names both sizes; no frame that is owed is unheard, and none late (60 ms of silence at most); 1500 bytes of RTP
    arrive whole in stream mode (RFC 9221 §5: a DATAGRAM is never fragmented).
    Control: a sender that cuts what is too large instead of refusing it.
    """
    await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob")
    call = await lab.dial(alice, bob)
    await call.connected()
    largest = (await alice.remote.stats(call.id)).max_rtp_packet or 0
    await alice.speak("audio", payload_bytes=largest - RTP_HEADER)
    await call.heard_both_ways(for_=1 * s)
    await alice.mute()
    beyond = await refusal(alice.speak("audio", payload_bytes=largest + 1 - RTP_HEADER))
    lab.refused("one byte more is refused", beyond, "PacketTooLarge", f"{largest + 1} bytes", f"{largest} bytes", at=lab.now())
    await alice.mute()
    await alice.speak("audio", payload_bytes=MTU - RTP_HEADER, mode="stream")
    await call.heard_both_ways(for_=1 * s)
    await call.hang_up()
    heard = bob.heard("audio")
    whole(lab, heard, "audio")
    unbroken(lab, heard, "audio")
    for size, mode in ((largest, "datagram"), (MTU, "stream")):
        came = sum(packet.size == size and packet.mode == mode and bool(packet.arrivals) for packet in heard.packets)
        lab.at_least(f"packets of the full size heard, {mode}", came, 45)


@pytest.mark.parametrize(
    "mode", [pytest.param("datagram", marks=needs("datagram")), pytest.param("stream", marks=(needs("stream"), pytest.mark.long))]
)
@control("bob", "starves-screen", caught_by="screen unheard", also=("longest screen",))
@needs("video", "screen")
async def test_concurrent_streams(lab: Lab, mode: Mode) -> None:
    """Alice and Bob send audio, camera and screen at once, all in datagrams or all on streams: none is at the cost of another.

    Field story: sharing a screen makes the voice stutter.
    Fault: none.
    Bounds: of each of the six flows all that was owed is heard in time, whole and once, with at most 60 ms of silence and no freeze (W3C).
    On the wire, decrypted at Bob's host: in datagram mode a DATAGRAM frame for each packet and no stream; in stream mode none, and a
    unidirectional stream for each RTP frame (draft-ietf-avtcore-rtp-over-quic §5.2).
    Control: a callee that gives up every tenth packet of its screen while it sends others.
    """
    await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True, screen=True, mode=mode) as call:
        await call.heard_both_ways(for_=2 * s)
    packets, frames = 0, 0
    for listener in (alice, bob):
        for flow in call.flows:
            heard = listener.heard(flow)
            lab.at_least(f"{flow} heard by {listener.name}", heard.arrived(), 95)
            whole(lab, heard, flow)
            unbroken(lab, heard, flow)
            sent = [packet for packet in heard.packets if packet.sent is not None]
            packets += len(sent)
            frames += len({packet.rtp for packet in sent})
    wire = lab.evidence.decrypted(bob)
    lab.equal("media packets in DATAGRAM frames", len(wire.datagrams(*call.flows)), packets if mode == "datagram" else 0)
    lab.equal("streams that carried media", len(media_streams(wire)), frames if mode == "stream" else 0)


@pytest.mark.parametrize("version", [pytest.param(4, id="ipv4"), pytest.param(6, id="ipv6", marks=pytest.mark.long)])
@control("bob", "deaf-at-first", caught_by="QUIC handshake")
@control("bob", "listens-twice", caught_by="a second listen is refused")
@control("bob", "half-listens", caught_by="sockets beside those asked for, port taken")
async def test_setup(lab: Lab, version: int) -> None:
    """Two agents open their sockets where they are told and nowhere else, say so when they cannot, and one reaches the other quickly.

    Field story: an endpoint that listens on another port than it says, or on all of them, is found by nobody or by everybody.
    Fault: another program has taken Bob's IPv6 port; the receipt is its bind.
    Bounds: the sockets of each host, read from /proc/<pid>/net, are the two that were asked for; Bob's first listen fails naming
    EADDRINUSE and leaves none; a second listen is refused; from the first Initial to the first packet under the final keys at most 150 ms:
    a round trip of the wire and two TLS flights in Python take 30, the first repetition (PTO, RFC 9002 §6.2.2) comes after 200.
    Control: a callee that overlooks a caller's first packet; one that says yes to a second listen; one that keeps the
    socket of one address when it could not have the other's.
    """
    net = await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob", listen=False)
    own = {peer: {f"udp {ip} {lab.port}" for path in peer.paths() for ip in (path.v4, path.v6)} for peer in (alice, bob)}
    taken = bob.paths()[0].v6
    assert taken is not None
    async with lab.fault("Bob's port is taken"), net.port_taken("bob", taken, lab.port):
        refused = await refusal(bob.remote.listen(lab.port))
        lab.refused("a taken port is told", refused, "TransportError", taken, str(lab.port), "EADDRINUSE", at=lab.now())
        others = outside.bound_sockets(bob.process) - {f"udp {taken} {lab.port}"}
        lab.equal("sockets beside those asked for, port taken", len(others), 0, note=", ".join(sorted(others)))
    for peer in (alice, bob):
        await peer.remote.listen(lab.port)
        second = await refusal(peer.remote.listen(lab.port + 1))
        lab.refused("a second listen is refused", second, "BadRequest", "already listening", at=lab.now())
    call = await lab.dial(alice, bob, version=version)
    await call.connected()
    for peer in (alice, bob):
        bound = outside.bound_sockets(peer.process)
        lab.equal(f"sockets missing at {peer.name}", len(own[peer] - bound), 0)
        lab.equal(f"sockets beside those asked for at {peer.name}", len(bound - own[peer]), 0, note=", ".join(sorted(bound - own[peer])))
    await call.talk()
    await call.hang_up()
    await net.flush()
    lab.at_most("QUIC handshake", lab.evidence.handshake_took(call), 150 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
