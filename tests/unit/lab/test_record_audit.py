"""What contradicts the wire in an agent's records, one packet and one record at a time."""

from __future__ import annotations

import pytest

from harness.lab.record_audit import RecordAudit
from harness.lab.wire_media import Arrival, Rtp, WirePacket
from harness.media.records import ArrivedRecord, Mode, SentRecord

MS = 1_000_000
RTP = Rtp(7, 100, 0, 111, False, 172, 99, False)


def packet(mode: Mode = "datagram", *, came: int | None = None) -> WirePacket:
    arrivals = [] if came is None else [Arrival(came, "eth", "192.0.2.1:4433", 230)]
    return WirePacket("c", "alice", "bob", "audio", RTP, 100, 10 * MS, "wifi", "192.0.2.2:4433", 230, mode, arrivals, departures=1)


def sent(mode: Mode = "datagram", *, unsent: str | None = None, refused: bool = False) -> SentRecord:
    left = unsent is None
    return SentRecord(
        call="x", flow="audio", ssrc=7, seq=100, rtp=0, pt=111, frame=0, marker=False, size=172, crc=99, offered=9 * MS,
        sent=10 * MS if left else None, done=10 * MS if left else None, udp=230 if left else None,
        path="wifi" if left or refused else None, remote="192.0.2.2:4433" if left or refused else None, mode=mode, unsent=unsent,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("records", "wire", "says"),
    [
        pytest.param([sent()], [packet()], "", id="one of each"),
        pytest.param([], [packet()], "1 packet that left has no record", id="no record"),
        pytest.param([sent()], [], "1 media record of 1 match no packet; the first: audio packet 100 sent", id="no packet"),
        pytest.param([sent(unsent="expired")], [], "", id="given up, and not there"),
        pytest.param([sent(unsent="expired")], [packet()], "1 packet left that records say never left; the first: packet 100", id="denied"),
        pytest.param([sent("stream", unsent="expired")], [packet("stream")], "1 packet left that records say never left", id="of a stream"),
        pytest.param([sent("stream", unsent="ENETUNREACH", refused=True)], [packet("stream")], "", id="refused, then repeated by QUIC"),
        pytest.param([sent("stream", unsent="ENETUNREACH", refused=True)], [], "", id="refused, and not repeated"),
        pytest.param([sent(unsent="ENETUNREACH", refused=True)], [packet()], "1 packet left that", id="no stream repeats it"),
    ],
)
def test_records_against_the_wire(records: list[SentRecord], wire: list[WirePacket], says: str) -> None:
    audit = RecordAudit(sent_too=True, swallowed=lambda path, since, until: False)
    audit.take([*records, *([] if records else [ARRIVED])], wire, [packet(came=20 * MS)] if not records else [])
    found = "; ".join(audit.breaches())
    assert found.startswith(says) and bool(found) == bool(says)


ARRIVED = ArrivedRecord(
    call="x", flow="audio", ssrc=7, seq=100, rtp=0, pt=111, frame=0, marker=False, size=172, crc=99, arrived=20 * MS,
    udp=230, path="eth", remote="192.0.2.1:4433", mode="datagram",
)  # fmt: skip
