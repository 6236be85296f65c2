"""The instrument, checked by mutation: a flow on the wire with one known fault gives exactly that figure, and leaves every other as it was.

Each row takes the datagrams of a sound flow as captures and keys show them, does one thing to them, and reads them as a run does: matched
between the hosts, RTP read, every frame put into the lab's schedule.  ``moved`` is the whole difference from the sound table of figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.lab.crossings import Crossing
from harness.lab.media_flows import NEVER_DEPARTED, FlowEnds, media_packets
from harness.lab.path_delay import PathDelays
from harness.lab.wire_media import wire_packets
from harness.media.measures import Heard
from harness.media.records import SentRecord
from harness.media.schedule import AUDIO, Schedule, Span
from harness.units import Count, Duration, Quantity, ms, percent
from tests.unit.lab.wire import MS, Wire, datagram, rtp, udp
from topologies.two_homes import two_homes

COUNT, INTERVAL, WAY, DEADLINE = 200, 20 * MS, 30 * MS, 150 * ms
START = 65_436
"""The first sequence number: it wraps at packet 100."""


@dataclass
class Run:
    """200 frames, 20 ms apart, each 30 ms on its way, over a path of 30 ms; ``taken``: when, by packet number, if not on arrival."""

    wire: Wire = field(default_factory=Wire)
    records: list[SentRecord] = field(default_factory=list)
    taken: dict[int, int | None] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=lambda: [Span(0, 0, COUNT * INTERVAL)])

    def __post_init__(self) -> None:
        for number in range(COUNT):
            self.wire.send(number * INTERVAL, datagram(rtp(START + number)), came=number * INTERVAL + WAY)

    def lose(self, *numbers: int) -> None:
        """The network drops these."""
        gone = {packet.udp.payload for packet in self.wire.sent if packet.number in numbers}
        self.wire.came = [(host, packet) for host, packet in self.wire.came if packet.payload not in gone]

    def hold_back(self, *numbers: int) -> None:
        """The sender never sends these."""
        self.lose(*numbers)
        self.wire.sent = [packet for packet in self.wire.sent if packet.number not in numbers]

    def heard(self) -> Heard:
        """What the captures say bob heard."""

        def taken(one: Crossing) -> int | None:
            return self.taken.get(one.packet.number, one.arrived)

        schedule = Schedule(AUDIO, self.spans)
        ends, until = FlowEnds("c", "audio", "alice", "bob"), COUNT * INTERVAL + WAY
        delays = PathDelays(two_homes(delay=Duration(WAY)))
        packets = media_packets(ends, wire_packets(self.wire.crossed(), taken), self.records, schedule, delays, until)
        return Heard(packets, "a → b audio", 0, until, DEADLINE, free=schedule.free())


def table(run: Run) -> dict[str, Quantity | int | None]:
    heard = run.heard()
    names = ("longest_gap", "unheard", "loss", "network_loss", "lost", "not_taken", "late", "expired", "duplicates", "reordered")
    figures: dict[str, Quantity | int | None] = {name: getattr(heard, name)().value for name in (*names, "corrupted", "arrived")}
    return figures | {"offered": len(heard.packets), "delay_p50": heard.delay_p50().value}


def lost(*numbers: int) -> Callable[[Run], None]:
    return lambda run: run.lose(*numbers)


def held_back(*numbers: int) -> Callable[[Run], None]:
    return lambda run: run.hold_back(*numbers)


def delayed(number: int, by: int) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.lose(number)
        run.wire.arrive(run.wire.sent[number], number * INTERVAL + WAY + by)

    return change


def taken(number: int, at: int | None) -> Callable[[Run], None]:
    return lambda run: run.taken.update({number: at})


def expired_by_record(run: Run) -> None:
    run.hold_back(50)
    fields: dict[str, Any] = {"call": "c", "flow": "audio", "ssrc": 7, "pt": 111, "size": 92, "udp": None, "path": None, "remote": None}
    at = 50 * INTERVAL
    run.records.append(
        SentRecord(
            **fields, seq=START + 50, rtp=(START + 50) * 960, frame=50, marker=False, crc=1, offered=at, sent=None, done=None,
            mode="datagram", unsent="expired",
        )
    )  # fmt: skip


def twice(run: Run) -> None:
    """The stack sends packet 50 a second time, in a datagram of its own."""
    run.wire.send(51 * INTERVAL - MS, datagram(rtp(START + 50)), came=51 * INTERVAL - MS + WAY)


def replayed(run: Run) -> None:
    """Somebody in the network sends packet 50's datagram again."""
    run.wire.arrive(run.wire.sent[50], 50 * INTERVAL + WAY + MS)


def sent_again(run: Run) -> None:
    """The stack sends the very same datagram again, packet number included."""
    run.wire.send(50 * INTERVAL + MS, *run.wire.sent[50].frames, number=50, came=50 * INTERVAL + MS + WAY)


def changed_copy(run: Run) -> None:
    run.wire.send(51 * INTERVAL - MS, datagram(rtp(START + 50, payload=b"something else")), came=51 * INTERVAL - MS + WAY)


def changed_on_the_way(run: Run) -> None:
    run.lose(50)
    run.wire.came.append(("bob", udp("bob", 50 * INTERVAL + WAY, b"c1 alice 5O", outgoing=False)))


def blank(run: Run) -> None:
    old = run.wire.sent[50]
    run.hold_back(50)
    run.wire.send(old.at, datagram(rtp(START + 50, payload=bytes(83))), number=50, came=old.at + WAY)


def from_nowhere(run: Run) -> None:
    run.wire.came.append(("bob", udp("bob", 50 * INTERVAL, b"an attacker's", outgoing=False, peer=("203.0.113.66", 9))))


def muted(run: Run) -> None:
    run.hold_back(*range(50, 60))
    run.spans = [Span(0, 0, 50 * INTERVAL), Span(60 * INTERVAL, 60 * INTERVAL, COUNT * INTERVAL)]


def leaks(run: Run) -> None:
    """The source goes on through a mute of ten frames: more packets than were owed, and none of them missing."""
    run.spans = [Span(0, 0, 50 * INTERVAL), Span(60 * INTERVAL, 60 * INTERVAL, COUNT * INTERVAL)]


ONE: dict[str, Quantity | int] = {"unheard": Count(1), "loss": 0.5 * percent, "longest_gap": 20 * ms}
LOST = ONE | {"lost": Count(1), "network_loss": 0.5 * percent, "arrived": Count(199)}
TEN: dict[str, Quantity | int] = {"unheard": Count(10), "loss": 5 * percent, "arrived": Count(190), "longest_gap": 200 * ms}


@pytest.mark.parametrize(
    ("mutation", "moved"),
    [
        pytest.param(lambda run: None, {}, id="nothing"),
        pytest.param(lambda run: run.wire.sent.reverse(), {}, id="packets opened in another order"),
        pytest.param(lost(50), LOST, id="one loss"),
        pytest.param(lost(*range(50, 60)), TEN | {"lost": Count(10), "network_loss": 5 * percent}, id="a gap of ten"),
        pytest.param(held_back(50), ONE | {"expired": Count(1), "arrived": Count(199)}, id="one never sent"),
        pytest.param(expired_by_record, ONE | {"expired": Count(1), "arrived": Count(199)}, id="one expired, as its record says"),
        pytest.param(held_back(*range(50, 60)), TEN | {"expired": Count(10)}, id="the source pauses"),
        pytest.param(muted, {"offered": 190, "arrived": Count(190)}, id="the source pauses when asked to"),
        pytest.param(leaks, {}, id="the source goes on when asked to pause"),
        pytest.param(twice, {"duplicates": Count(1)}, id="one duplicate"),
        pytest.param(replayed, {}, id="one replayed"),
        pytest.param(sent_again, {}, id="one datagram sent again"),
        pytest.param(changed_copy, {"corrupted": Count(1)}, id="a changed copy of what came whole"),
        pytest.param(changed_on_the_way, LOST, id="one changed on the way, which no key opens"),
        pytest.param(blank, LOST | {"corrupted": Count(1)}, id="one blanked by its sender"),
        pytest.param(delayed(50, 25 * MS), {"reordered": Count(1), "longest_gap": 20 * ms}, id="one overtaken"),
        pytest.param(delayed(50, 10 * MS), {"longest_gap": 10 * ms}, id="one held up, and not overtaken"),
        pytest.param(delayed(50, 150 * MS), {"reordered": Count(1), "longest_gap": 20 * ms}, id="one at its deadline"),
        pytest.param(delayed(50, 151 * MS), ONE | {"late": Count(1), "reordered": Count(1)}, id="one late"),
        pytest.param(taken(50, None), ONE | {"not_taken": Count(1)}, id="one not taken"),
        pytest.param(taken(50, 50 * INTERVAL + WAY + 15 * MS), {"longest_gap": 15 * ms}, id="one taken a little later"),
        pytest.param(taken(50, 50 * INTERVAL + WAY + 151 * MS), ONE | {"late": Count(1)}, id="one taken too late"),
        pytest.param(from_nowhere, {}, id="one that nobody sent"),
    ],
)
def test_one_fault_moves_its_figure_and_no_other(mutation: Callable[[Run], None], moved: dict[str, Quantity | int]) -> None:
    run = Run()
    mutation(run)
    assert table(run) == SOUND | moved


SOUND: dict[str, Quantity | int | None] = {
    "longest_gap": Duration(0),
    "loss": 0 * percent,
    "network_loss": 0 * percent,
    **dict.fromkeys(("unheard", "lost", "not_taken", "late", "expired", "duplicates", "reordered", "corrupted"), Count(0)),
    "arrived": Count(COUNT),
    "offered": COUNT,
    "delay_p50": 30 * ms,
}
"""The table of the sound flow."""


@pytest.mark.parametrize(("mutation", "why"), [(held_back(50), NEVER_DEPARTED), (expired_by_record, "expired")])
def test_why_a_packet_never_left_is_its_senders_record_where_there_is_one(mutation: Callable[[Run], None], why: str) -> None:
    run = Run()
    mutation(run)
    (packet,) = [packet for packet in run.heard().packets if packet.sent is None]
    assert (packet.unsent, packet.offered) == (why, 50 * INTERVAL)
