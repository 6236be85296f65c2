"""What a capture shows of a hold: made of packets that were never on a wire."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.call.roq import FLOW_IDS, encode_varint
from harness.errors import HarnessError
from harness.lab.decrypted import Decrypted, Packet, Sender
from harness.lab.frames import Frame
from harness.lab.holds import OnHold, on_hold
from harness.units import ms

from .test_decrypted import udp

MS = 1_000_000
UNTIL = 10_000 * MS


class Wire:
    """Packets of one connection, at the callee's host; times in ms."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._offset: dict[Sender, int] = {"client": 0, "server": 0}

    def add(self, at: int, sender: Sender, frame: Frame, connection: str = "c1") -> None:
        packet = udp(b"", at * MS, outgoing=sender == "server")
        self.packets.append(Packet(packet, sender, connection, len(self.packets), b"", (frame,)))

    def say(self, at: int, sender: Sender, kind: str, call: str = "X") -> None:
        body = msgspec.json.encode({"type": kind, "session_id": call})
        data = encode_varint(len(body)) + body
        fields: dict[str, Any] = {"stream": 0, "offset": self._offset[sender], "data": data, "fin": False}
        self.add(at, sender, Frame("STREAM", fields))
        self._offset[sender] += len(data)

    def media(self, sender: Sender, *times: int, flow: str = "audio", connection: str = "c1") -> None:
        for at in times:
            self.add(
                at,
                sender,
                Frame("DATAGRAM", {"data": bytes([FLOW_IDS[flow], 0x80, 200 if flow == "rtcp" else 111]) + bytes(20)}),
                connection,
            )

    def read(self) -> list[OnHold]:
        return on_hold(Decrypted(sorted(self.packets, key=lambda packet: packet.at), []), "X", UNTIL, "bob → alice")


def test_media_that_goes_on_after_the_hold_and_comes_back_after_the_resume_is_measured() -> None:
    wire = Wire()
    wire.say(100, "client", "hold")
    wire.say(1000, "client", "resume")
    wire.media("server", 80, 113, 1007, 1027)
    (hold,) = wire.read()
    assert (hold.overrun().value, hold.comeback().value) == (13 * ms, 7 * ms)
    (gap,) = hold.overrun().gaps
    assert (gap.start, gap.end) == (100 * MS, 113 * MS)


def test_what_the_other_side_sends_rtcp_and_another_connection_are_not_this_hosts_media() -> None:
    wire = Wire()
    wire.say(100, "client", "hold")
    wire.say(1000, "client", "resume")
    wire.media("client", 150)
    wire.media("server", 200, flow="rtcp")
    wire.media("server", 300, connection="c2")
    wire.media("server", 1010)
    (hold,) = wire.read()
    assert hold.overrun().value == 0 * ms
    assert hold.comeback().value == 10 * ms


def test_it_is_on_hold_for_as_long_as_either_side_holds() -> None:
    wire = Wire()
    for at, sender, kind in ((100, "client", "hold"), (200, "server", "hold"), (300, "client", "resume"), (400, "server", "resume")):
        wire.say(at, sender, kind)  # type: ignore[arg-type]
    wire.say(600, "server", "hold")
    wire.say(700, "server", "resume")
    wire.media("server", 350, 405, 500, 710)
    first, second = wire.read()
    assert (first.began, first.ended, second.began, second.ended) == (100 * MS, 400 * MS, 600 * MS, 700 * MS)
    assert (first.overrun().value, second.overrun().value) == (250 * ms, 0 * ms)


def test_media_that_never_comes_back_is_missing_until_the_end() -> None:
    wire = Wire()
    wire.say(100, "client", "hold")
    wire.say(1000, "client", "resume")
    wire.media("server", 90)
    (hold,) = wire.read()
    figure = hold.comeback()
    assert (figure.value, figure.note, figure.gaps[0].recovered) == (9000 * ms, "never came back", False)


def test_a_hold_that_was_never_let_go_has_no_end_to_judge() -> None:
    wire = Wire()
    wire.say(100, "client", "hold")
    assert wire.read() == []


def test_a_call_that_is_not_in_the_capture_is_told() -> None:
    wire = Wire()
    wire.say(100, "client", "hold", call="another")
    with pytest.raises(HarnessError, match="bob → alice: the capture has no connection of call X"):
        wire.read()
