"""RTP, RTCP, RTP over QUIC, and the files of media that agents write."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec

from harness.call.reports import Reporter
from harness.call.roq import (
    RoqError,
    StreamDecoder,
    decode_datagram_untrusted,
    decode_varint_untrusted,
    encode_datagram,
    encode_stream_packet,
    encode_varint,
)
from harness.errors import AgentError
from harness.media import record_join, records, rtpdump
from harness.rtp.packet import PacketError, RtpPacket, parse_rtp_untrusted
from harness.rtp.reception import Reception
from harness.rtp.rtcp import ReceiverReport, ReportBlock, SenderReport, encode_compound, parse_compound_untrusted
from tests.fuzz.target import Ready, Taken, need, refusing, target

S = 10**9


def packet(number: int, size: int = 20, **fields: object) -> bytes:
    """An RTP packet of a synthetic source."""
    given = {"payload_type": 111, "sequence": number, "timestamp": 960 * number, "ssrc": 7, "payload": bytes(size)} | fields
    return RtpPacket(**given).encode()  # type: ignore[arg-type]


def packets() -> list[bytes]:
    """One of every form."""
    return [
        packet(1),
        packet(2, marker=True, csrcs=(1, 2, 3)),
        packet(3, extension=(0xBEDE, bytes(8))),
        packet(4, padding=4),
        packet(0xFFFF, 0, extension=(1, b""), csrcs=tuple(range(15)), padding=255),
    ]


def reports() -> list[bytes]:
    """Compound packets."""
    block = ReportBlock(ssrc=7, fraction_lost=3, lost=-2, highest=70_000, jitter=12)
    sender = SenderReport(ssrc=7, ntp=1 << 40, timestamp=5, packets=6, octets=7, blocks=(block,))
    return [
        encode_compound([sender]),
        encode_compound([ReceiverReport(ssrc=1, blocks=(block,) * 31), sender]),
        encode_compound([ReceiverReport(ssrc=1)]) + b"\x81\xca\0\1\0\0\0\7",
    ]


@target("rtp", share=9)
def rtp(_: Path) -> Ready:
    """``parse_rtp_untrusted``: PacketError; what it takes it writes back to an equal packet."""

    def run(data: bytes) -> None:
        with refusing(PacketError):
            found = parse_rtp_untrusted(data)
            need(parse_rtp_untrusted(found.encode()) == found, f"{found} does not come back as itself")

    return Ready(run, packets())


@target("rtcp", share=7)
def rtcp(_: Path) -> Ready:
    """``parse_compound_untrusted``: PacketError; what it takes it writes back to equal reports."""

    def run(data: bytes) -> None:
        with refusing(PacketError):
            found = parse_compound_untrusted(data)
            need(parse_compound_untrusted(encode_compound(found)) == found, f"{found} do not come back as themselves")

    return Ready(run, reports())


@target("rtcp_state", share=1)
def rtcp_state(_: Path) -> Ready:
    """A call's RTCP state, packets and reports in any order and at any time: PacketError; what it reports next is a compound packet."""
    size = 0

    def run(data: bytes) -> None:
        nonlocal size
        taken, now = Taken(data), 1000 * S
        reporter = Reporter(Random(1), S, now)
        reporter.sent("audio", parse_rtp_untrusted(packet(1)), now)
        while taken:
            kind, length = taken.number(), taken.number()
            now += taken.number(2) * 10**6
            with refusing(PacketError):
                if kind & 1:
                    reporter.heard(("audio", "video", "screen", "data")[kind >> 1 & 3], parse_rtp_untrusted(taken.piece(length)), now)
                else:
                    reporter.heard_rtcp_untrusted(taken.piece(length), now)
            if kind & 0x80:
                reporter.outcome()
                due = reporter.due(now)
                need(due is None or parse_compound_untrusted(due), "it reports nothing")
        size = len(reporter.receptions) + len(reporter.heard_about)

    def step(kind: int, data: bytes) -> bytes:
        return bytes([kind, len(data), 0, 200]) + data

    seeds = [b"".join(step(1 + 0x80, one) for one in packets() if len(one) < 256) + step(0x80, reports()[0]), step(0x80, reports()[2])]
    return Ready(run, seeds, lambda: size)


@target("reception", share=1)
def reception(_: Path) -> Ready:
    """The figures of one source (RFC 3550 appendix A) for any sequence numbers, timestamps and times: nothing is raised."""

    def run(data: bytes) -> None:
        taken, now = Taken(data), 1000 * S
        state = Reception(7, 48_000)
        while taken:
            now += taken.number(2) * 10**5
            state.receive(taken.number(2), taken.number(4), now)
            state.heard_sender_report(taken.number(8), now)
            state.report(now).encode()

    return Ready(run, [bytes(range(64)), b"\0\1\xff\xff" * 20])


@target("roq", share=10)
def roq(_: Path) -> Ready:
    """Varints and DATAGRAM payloads: RoqError; what is taken is written back to the same."""

    def run(data: bytes) -> None:
        found = decode_varint_untrusted(data)
        if found is not None:
            need(
                decode_varint_untrusted(encode_varint(found[0])) == (found[0], len(encode_varint(found[0]))), "a varint does not come back"
            )
        with refusing(RoqError):
            flow, inner = decode_datagram_untrusted(data)
            need(decode_datagram_untrusted(encode_datagram(flow, inner)) == (flow, inner), "a datagram does not come back")

    return Ready(run, [encode_datagram(0x20, one) for one in packets()] + [b"\x40\x20ab", b"\xc0" + bytes(8)])


@target("roq_stream", share=5)
def roq_stream(_: Path) -> Ready:
    """A media stream in pieces of any size: RoqError; the same packets as in one piece, and never more held than one packet and a piece."""
    held = 0

    def run(data: bytes) -> None:
        nonlocal held
        taken = Taken(data)
        sizes = [taken.number() + 1 for _ in range(4)]
        stream = taken.rest()
        whole, parts = StreamDecoder(), StreamDecoder()
        with refusing(RoqError):
            at_once = whole.feed_untrusted(stream)
            found, at = [], 0
            while at < len(stream):
                size = sizes[at % 4]
                found += parts.feed_untrusted(stream[at : at + size])
                at += size
            need(found == at_once, "in pieces it is another stream")
            need(whole.partial == parts.partial, "in pieces it ends elsewhere")
        held = 0

    streams = [encode_varint(0x20) + b"".join(encode_stream_packet(one) for one in packets())]
    return Ready(run, [b"\0\1\2\3" + one for one in streams] + [b"\xff\0\0\0\x40\x21\x05abcde\x80\0\xff\xff"], lambda: held)


def lines() -> list[dict[str, object]]:
    """A packet sent, and heard."""
    same = {"call": "c", "flow": "audio", "ssrc": 7, "seq": 1, "rtp": 960, "pt": 111, "frame": 1, "marker": True, "size": 32, "crc": 9}
    out = same | {"dir": "out", "offered": 10**12, "sent": 10**12 + 5, "done": 10**12 + 9, "udp": 60, "path": "eth", "remote": "10.0.0.1:1"}
    into = same | {"dir": "in", "arrived": 10**12 + 10**7, "udp": 60, "path": "eth", "remote": "10.0.0.2:2"}
    return [out | {"mode": "datagram", "unsent": None}, into | {"mode": "datagram"}]


@target("media_records", "lines", share=1, longest=4096)
def media_records(_: Path) -> Ready:
    """An agent's ``media.jsonl``, joined: AgentError; what is joined can be written to ``media.jsonl`` and read again."""

    def run(data: bytes) -> None:
        with refusing(AgentError):
            found = list(records.read(data.splitlines(keepends=True), "alice", killed=len(data) % 2 == 0))
            sent = [one for one in found if isinstance(one, records.SentRecord)]
            came = [one for one in found if isinstance(one, records.ArrivedRecord)]
            joined = record_join.join(sent, came, sender_killed=len(data) % 3 == 0)
            need(len(joined.packets) == len(sent), "a packet was lost in joining")
            need(all(a.offered <= b.offered for a, b in pairwise(joined.packets)), "packets are out of order")
            for one in joined.packets:
                line = records.media_line(one, sender="alice", receiver="bob")
                need(msgspec.json.decode(line, type=records.MediaLine).offered == one.offered, "a line does not come back")

    text = b"\n".join(msgspec.json.encode(line) for line in lines()) + b"\n"
    return Ready(run, [text, text * 3])


@target("rtpdump", share=4)
def dump(_: Path) -> Ready:
    """What an agent left of what it heard: AgentError; each packet in it is RTP or PacketError."""

    def run(data: bytes) -> None:
        with refusing(AgentError, PacketError):
            for one in rtpdump.read(data, "alice"):
                parse_rtp_untrusted(one)

    class File:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes, /) -> None:
            self.data += data

    file = File()
    writer = rtpdump.RtpDump(file)
    for number, one in enumerate(packets()):
        writer.write(one, number * 10**7)
    return Ready(run, [file.data])
