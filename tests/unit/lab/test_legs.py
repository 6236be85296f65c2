"""A call judged in legs comes to what it comes to when it is judged whole, wherever it is cut."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.agent.messages import MediaStart
from harness.agent.remote import AskedRequest
from harness.call.roq import FLOW_IDS, encode_varint
from harness.errors import HarnessError, SpecError
from harness.fabric.pcapng import Reader, Writer
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.lab import legs, owed
from harness.lab.decrypted import Packet
from harness.lab.evidence import Evidence
from harness.lab.frames import Frame
from harness.lab.legs import SETTLED, Leg, Legs
from harness.lab.media_flows import FlowEnds, media_packets
from harness.lab.path_delay import PathDelays
from harness.lab.wire_view import CallEnds, view
from harness.media import records
from harness.media.figure import Gap
from harness.media.measures import Heard
from harness.media.records import checksum
from harness.media.schedule import AUDIO, Schedule
from harness.rotation import VARIABLE, RotatedFile, part, parts
from harness.rtp.packet import RtpPacket
from harness.spec.link import Impairment
from harness.spec.topology import Host, Link, Topology
from harness.units import Count, Duration, ms
from tests.examples import examples

MS, S = 1_000_000, 1_000_000_000
AHEAD = 1_789_000_000_000_000_000
WAY = 30 * MS
BEGAN = 100 * S
DELAYED = Impairment(delay=30 * ms)
TOPOLOGY = Topology("two", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "192.0.2.0/24", a_to_b=DELAYED, b_to_a=DELAYED),))


class Readable:
    """Opens the datagrams of this module, which are not encrypted: ``@``, the sender, a packet number, one DATAGRAM frame."""

    def add(self, secrets: Iterable[object]) -> None:
        assert not list(secrets)

    def of_quic(self, udp: UdpPacket) -> bool:
        return True

    def open(self, udp: UdpPacket) -> Packet | None:
        if udp.payload[:1] != b"@":
            return None
        number = int.from_bytes(udp.payload[2:6], "big")
        return Packet(
            udp, "client" if udp.payload[1:2] == b"c" else "server", "one", number, b"", (Frame("DATAGRAM", {"data": udp.payload[6:]}),)
        )


@pytest.fixture(autouse=True)
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "Opener", Readable)


class GoesOn(list[Any]):
    """What an agent says, which comes while a leg is read: only the thread to which it comes may look at it."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = threading.get_ident()

    def __iter__(self) -> Any:
        assert threading.get_ident() == self.owner
        return super().__iter__()


class Side:
    """One agent: writes its records and its host's capture, as both would."""

    cut_short = False
    past: tuple[()] = ()

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.remote = SimpleNamespace(events=GoesOn())
        self.requests = [AskedRequest(BEGAN, BEGAN, MediaStart(id=1, call="c", flow="audio"))]
        self.records = RotatedFile(folder / f"{name}.media.jsonl")
        (folder / "capture").mkdir(exist_ok=True)
        self.file = (folder / "capture" / f"{name}.eth.pcapng").open("wb", buffering=0)
        self.writer = Writer(self.file, [f"{name}/eth"], 2048)
        self.writer.statistics(0, AHEAD, received=0, dropped=0, written=0, offset=AHEAD)

    @property
    def clock_stepped(self) -> bool:
        return any(self.remote.events)

    async def inventory(self) -> None:
        self.records.flush()

    def wire(self, at: int, payload: bytes, *, outgoing: bool) -> None:
        header = bytes(12) + b"\x08\x00" + b"\x45" + bytes(8) + b"\x11" + bytes(2) + bytes([192, 0, 2, 1]) + bytes([192, 0, 2, 2])
        udp = (5000).to_bytes(2, "big") + (4433).to_bytes(2, "big") + (len(payload) + 8).to_bytes(2, "big") + bytes(2)
        frame = header + udp + payload
        self.writer.packet(0, AHEAD + at, frame, len(frame), outgoing)


class Conversation:
    """A call of two sides with a packet each way every 20 ms; ``lost``, ``late`` (ms more), ``twice``: by number."""

    def __init__(self, folder: Path) -> None:
        self.alice, self.bob = Side(folder, "alice"), Side(folder, "bob")
        self.folder = folder
        self.now = BEGAN
        self.packets = 0
        sides = (self.alice, self.bob), (self.bob, self.alice)
        self.call: Any = SimpleNamespace(
            id="c", caller=self.alice, callee=self.bob, sides=sides, asked=BEGAN - S, opened=BEGAN, closed=None
        )
        network = SimpleNamespace(topology=TOPOLOGY, carrier=lambda end: "relay", flushed=1 << 62)
        self.lab: Any = SimpleNamespace(
            folder=folder,
            network=network,
            moves=[],
            receipts=[],
            now=lambda: self.now,
            final={},
            peers={},
            switching=[],
            faults=[],
            port=4433,
            settle=self.settle,
            history=dict,
            queue_samples=dict,
            forget_queue_samples=lambda before: None,
            gather_keys=lambda: folder / "keys.log",
        )
        self.lab.evidence = Evidence(self.lab)
        self.legs = Legs(self.lab, self.call, RotatedFile(folder / "media.jsonl"))
        self.waiting: list[tuple[int, Side, bytes, records.ArrivedRecord]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.legs.close()
        for side in (self.alice, self.bob):
            side.records.close()
            side.file.close()

    async def settle(self) -> None:
        for side in (self.alice, self.bob):
            side.writer.statistics(0, AHEAD + self.now, received=0, dropped=0, written=0, offset=AHEAD)
            side.writer.flush()
        self.meanwhile()

    def meanwhile(self) -> None:
        """What happens between the captures' flush and the reading of them."""

    def say(self, number: int, *, lost: bool = False, late: int = 0, twice: bool = False, behind: int = 0) -> None:
        """Packet ``number`` of both sides at its time or ``behind`` (ms) it, and what has come by then."""
        self.until(BEGAN + (number * 20 + behind) * MS)
        for ssrc, (speaker, listener) in enumerate(self.call.sides, 1):
            seq = (65_500 + number) & 0xFFFF
            rtp = RtpPacket(
                payload_type=111, sequence=seq, timestamp=number * 960, ssrc=ssrc, payload=number.to_bytes(8, "big") + b"speech" * 12
            ).encode()
            about: dict[str, Any] = {
                "call": "c", "flow": "audio", "ssrc": ssrc, "seq": seq, "rtp": number * 960, "pt": 111, "frame": number, "marker": False,
                "size": len(rtp), "crc": checksum(rtp), "udp": len(rtp) + 7, "path": "eth", "remote": "x:1", "mode": "datagram",
            }  # fmt: skip
            for copy in range(2 if twice else 1):
                self.packets += 1
                payload = (
                    b"@"
                    + (b"c" if speaker is self.alice else b"s")
                    + self.packets.to_bytes(4, "big")
                    + encode_varint(FLOW_IDS["audio"])
                    + rtp
                )
                speaker.records.write(records.encode(records.SentRecord(**about, offered=self.now, sent=self.now, done=self.now)))
                speaker.wire(self.now, payload, outgoing=True)
                if not lost:
                    arrived = self.now + WAY + late * MS + copy * MS
                    self.waiting.append((arrived, listener, payload, records.ArrivedRecord(**about, arrived=arrived)))

    def until(self, at: int) -> None:
        """It becomes ``at``."""
        self.now = at
        due = sorted((one for one in self.waiting if one[0] <= at), key=lambda one: one[0])
        self.waiting = [one for one in self.waiting if one[0] > at]
        for arrived, side, payload, record in due:
            side.records.write(records.encode(record))
            side.wire(arrived, payload, outgoing=False)

    def leg(self) -> Leg:
        return trio.run(self.legs.end_leg)


def whole(talk: Conversation, speaker: Side, listener: Side) -> Heard:
    """Everything of one direction, judged at once."""
    captured = {}
    for side in (talk.alice, talk.bob):
        packets = udp_packets(Reader(talk.folder / "capture" / f"{side.name}.eth.pcapng"))
        captured[side.name] = sorted((one for one in packets if one.monotonic is not None), key=lambda one: one.time)
    opener = Readable()
    opened = [one for packets in captured.values() for udp in packets if udp.outgoing and (one := opener.open(udp)) is not None]
    ends = CallEnds("c", "alice", "bob", BEGAN - S, talk.now + S)
    found = view(captured, sorted(opened, key=lambda one: one.at), (), calls=(ends,), held={}, samples={}, quiet_until=BEGAN)
    schedule = Schedule(AUDIO, owed.spans("c", "audio", speaker.name, speaker.requests, ()))
    flow = FlowEnds("c", "audio", speaker.name, listener.name)
    packets_ = media_packets(flow, found.packets("c", speaker.name), (), schedule, PathDelays(TOPOLOGY), talk.call.closed)
    return Heard(packets_, "", BEGAN, talk.call.closed, Duration(200 * MS), free=schedule.free())


@pytest.mark.long
@settings(max_examples=examples(30))
@given(
    cuts=st.sets(st.integers(20, 230), min_size=1, max_size=5),
    lost=st.sets(st.integers(0, 249), max_size=40),
    late=st.dictionaries(st.integers(0, 249), st.integers(1, 900), max_size=20),
    twice=st.sets(st.integers(0, 249), max_size=10),
    behind=st.dictionaries(st.integers(1, 249), st.integers(1, 19), max_size=100),
)
def test_in_legs_it_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    cuts: set[int],
    lost: set[int],
    late: dict[int, int],
    twice: set[int],
    behind: dict[int, int],
) -> None:
    with Conversation(tmp_path_factory.mktemp("call")) as talk:
        legs: list[Leg] = []
        for number in range(250):
            talk.say(number, lost=number in lost, late=late.get(number, 0), twice=number in twice, behind=behind.get(number, 0))
            if number in cuts:
                legs.append(talk.leg())
        talk.call.closed = talk.now + 1
        talk.until(talk.now + 2 * S)
        legs.append(talk.leg())
        checked = 500 - len(lost) + len(twice) + len(twice - lost)
        assert talk.legs.rest() == {name: {"checked": checked, "breaches": []} for name in ("alice", "bob")}
        assert talk.lab.evidence.errors == []
        assert [leg.number for leg in legs] == list(range(1, len(legs) + 1))
        assert [leg.began for leg in legs[1:]] == [leg.ended for leg in legs[:-1]]
        told = [msgspec.json.decode(line, type=records.MediaLine) for line in (talk.folder / "media.jsonl").read_bytes().splitlines()]
        for speaker, listener in talk.call.sides:
            at_once = whole(talk, speaker, listener)
            expected = at_once.packets
            mine = [line for line in told if line.sender == speaker.name]
            assert [line.offered for line in mine] == [packet.offered for packet in expected]
            assert [line.index - mine[0].index for line in mine] == list(range(250))
            # what comes more than SETTLED after a leg's end was lost by then; it is past every deadline
            cut = [leg.ended for leg in legs[:-1]]
            for line, packet in zip(mine, expected, strict=True):
                known = next((end for end in cut if packet.offered < end), None)
                if packet.arrived is None or known is None or packet.arrived < known + SETTLED.ns:
                    assert line.arrived == packet.arrived
                else:
                    assert line.arrived is None or line.arrived == packet.arrived
            heard = [leg.heard[listener.name] for leg in legs]
            assert sum(one.delivery().offered for one in heard) == 250
            assert _longest([gap for one in heard for gap in one.longest_gap().gaps]) == _longest(at_once.longest_gap().gaps)


def _longest(gaps: Iterable[Gap]) -> int:
    """Of those that ended: the last of each leg runs to its end, and on into the next."""
    return max((gap.excess.ns for gap in gaps if gap.recovered), default=0)


def test_a_silence_over_the_cut_is_one_silence(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        for number in range(300):
            talk.say(number, lost=90 <= number < 130)
            if number == 120:
                talk.leg()
        second = talk.leg()
        (gap,) = [gap for gap in second.heard["bob"].longest_gap().gaps if gap.excess.ns > 100 * MS]
        assert gap.excess.ns == 40 * 20 * MS


def test_a_frame_that_departs_just_after_the_cut_was_sent(tmp_path: Path) -> None:
    """Due before the leg's end, it left its host after it: the leg sees it on its way, and does not call it never sent."""
    with Conversation(tmp_path) as talk:
        for number in range(95):
            talk.say(number, behind=5 if number else 0)
        talk.until(BEGAN + 80 * 20 * MS + SETTLED.ns + 2 * MS)
        first = talk.leg()
        for number in range(95, 150):
            talk.say(number, behind=5)
        second = talk.leg()
        for leg in (first, second):
            assert [leg.heard[name].unheard().value for name in ("alice", "bob")] == [Count(0), Count(0)]


def test_what_an_agent_makes_up_is_found_in_its_leg(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        for number in range(200):
            talk.say(number)
        forged = msgspec.structs.replace(talk.waiting[0][3], seq=40_000, arrived=talk.now - 57 * MS)
        talk.bob.records.write(records.encode(forged))
        talk.leg()
        talk.legs.rest()
        said = [str(error) for error in talk.lab.evidence.errors]
        assert said == ["agent bob: 1 media record of 399 match no packet; the first: audio packet 40000 arrived"]


def test_handshakes_are_counted_over_all_legs(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        for number in range(300):
            talk.say(number)
            if number in (5, 200):
                talk.alice.wire(talk.now, b"\xc0\0\0\0\1".ljust(1200, b"\0"), outgoing=True)
            if number == 100:
                talk.leg()
        talk.leg()
        assert len(talk.legs.long_headers(talk.alice)) == 2  # type: ignore[arg-type]  # a side made by hand


def test_a_leg_that_is_longer_than_what_is_kept_is_no_leg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.05")
    with Conversation(tmp_path) as talk:
        for number in range(500):
            talk.say(number)
        with pytest.raises(
            HarnessError, match=r"agent alice: alice.media.2.jsonl was let go before it was read: a leg is longer than what is kept"
        ):
            talk.leg()


def test_nothing_grows_with_the_legs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.2")
    with Conversation(tmp_path) as talk:
        kept = []
        for number in range(1500):
            talk.say(number)
            if number % 60 == 59:
                talk.leg()
                kept.append(max(len(end.packets) + len(talk.legs._opened) for end in talk.legs._ends.values()))
        assert max(kept[-5:]) <= max(kept[6:11])
        assert sum(part.stat().st_size for part in parts(tmp_path / "media.jsonl")) <= 0.2 * (1 << 20)


def test_what_is_left_of_a_capture_is_read_only_by_those_who_know(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        for number in range(100):
            talk.say(number)
        trio.run(talk.settle)
        path = tmp_path / "capture" / "alice.eth.pcapng"
        part(path, 3).write_bytes(path.read_bytes())
        evidence, alice = talk.lab.evidence, cast("Any", talk.alice)
        with pytest.raises(HarnessError, match=r"needs all that was captured, and alice.eth.pcapng: part 2 of 3 was let go"):
            evidence.captured(alice)
        assert len(evidence.captured(alice, whole=False)) == 2 * len(list(Reader(path)))
        part(tmp_path / "alice.media.jsonl", 3).touch()
        with pytest.raises(HarnessError, match=r"not all that agent alice recorded is there: alice.media.jsonl: part 2 of 3 was let go"):
            evidence._match(alice)


def test_only_the_one_call_of_a_run_with_audio_alone_is_judged_in_legs(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        alice, bob = (SimpleNamespace(name=side.name, calls=[talk.call], folder=tmp_path) for side in (talk.alice, talk.bob))
        talk.lab.peers = {"alice": alice, "bob": bob}
        talk.call.flows = ("audio", "video")
        with pytest.raises(SpecError, match="has audio and nothing else; this one has audio, video"):
            talk.lab.evidence.legs(talk.call)
        alice.calls.append(SimpleNamespace(id="another"))
        with pytest.raises(SpecError, match="is the only one of its run"):
            talk.lab.evidence.legs(talk.call)


def test_what_an_agent_writes_while_the_captures_are_read_is_matched_with_the_next_leg(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:

        def goes_on() -> None:
            talk.say(150)
            for side in (talk.alice, talk.bob):
                side.records.flush()  # as agents do twice a second; what was captured of it is not in the file yet

        for number in range(150):
            talk.say(number)
        talk.meanwhile = goes_on  # type: ignore[method-assign]
        talk.leg()
        talk.meanwhile = lambda: None  # type: ignore[method-assign]
        for number in range(151, 200):
            talk.say(number)
        talk.leg()
        assert {name: told["breaches"] for name, told in talk.legs.rest().items()} == {"alice": [], "bob": []}


def test_a_move_that_the_captures_have_little_of_yet_is_looked_for_in_the_next_leg(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        seen = {"early": False, "late": False}
        talk.legs._receipt = lambda move: SimpleNamespace(of=move.path, taken=seen[move.path])  # type: ignore[method-assign, assignment, return-value]
        for number in range(200):
            talk.say(number)
        at = talk.now - SETTLED.ns - 2 * S
        talk.lab.moves += [SimpleNamespace(call=talk.call, at=at - 1, path="early"), SimpleNamespace(call=talk.call, at=at, path="late")]
        talk.leg()
        assert [(one.of, one.taken) for one in talk.lab.receipts] == [("early", False)]
        talk.until(talk.now + S)
        seen["late"] = True
        talk.leg()
        assert [(one.of, one.taken) for one in talk.lab.receipts] == [("early", False), ("late", True)]
        assert talk.lab.moves == []
