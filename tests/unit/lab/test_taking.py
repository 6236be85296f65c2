"""When a listener took what came: from its sockets' queue and its acknowledgements; the worked examples 8 and 9 of silence, in ms."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lab.crossings import Crossing
from harness.lab.taking import MAX_ACK_DELAY, Amplification, Bounds, first_acks, taken_at, untaken_until, usual_delay
from harness.lab.wire_view import CallEnds, View, view
from harness.media.schedule import AUDIO, Schedule, SentFrame, Span
from harness.media.silence import TakenFrame, longest, silences
from tests.unit.lab.wire import ALICE, BOB, MS, Wire, ack, datagram, piece, rtp, udp

SIZE, TRUE = 130, 832
"""A packet's UDP payload, and what the kernel counts for it in a queue."""
NEW = ("192.0.2.9", 6000)


@dataclass
class Sample:
    """A look at bob's socket."""

    at: int
    rqueue: int
    drops: int = 0
    address: str = "0.0.0.0"
    port: int = BOB[1]
    took: int = 0

    @property
    def by(self) -> int:
        return self.at + self.took


def queued(arrivals: list[int], samples: list[tuple[int, int]], size: int = SIZE, took: int = 0) -> list[int]:
    """``untaken_until`` with all times in ms; ``took``: for how long the sampler read."""
    found = untaken_until([(at * MS, size) for at in arrivals], [Sample(at * MS, rqueue, took=took * MS) for at, rqueue in samples])
    return [at // MS for at in found]


# -- the queue -----------------------------------------------------------------------------------------------------------------------------


def test_an_empty_queue_proves_nothing() -> None:
    assert queued([10, 30, 50], [(5, 0), (15, 0), (35, 0), (55, 0)]) == [0, 0, 0]


def test_what_a_sample_counts_are_the_newest_arrivals() -> None:
    assert queued([10, 30, 50, 70], [(55, 2 * TRUE)]) == [0, 55, 55, 0]


def test_each_datagram_is_untaken_until_the_last_sample_that_counts_it() -> None:
    """A reader that takes one of three at 61: the oldest goes first."""
    assert queued([10, 30, 50], [(55, 3 * TRUE), (60, 3 * TRUE), (65, 2 * TRUE), (70, 0)]) == [60, 65, 65]


def test_what_came_after_a_sample_is_not_in_it() -> None:
    assert queued([10, 30], [(29, TRUE)]) == [29, 0]


def test_what_came_while_a_sample_was_read_may_be_in_it() -> None:
    """A sampler that waits for a core reads late: the one datagram in the queue is not the one that was read long before."""
    assert queued([10, 500], [(499, TRUE)], took=2) == [0, 499]
    assert queued([10, 500], [(499, TRUE)]) == [499, 0]


def test_a_count_of_more_than_ever_came_is_no_error() -> None:
    assert queued([10], [(15, 5 * TRUE)]) == [15]
    assert queued([], [(15, TRUE)]) == []


@pytest.mark.parametrize(("size", "counted"), [(130, 832), (700, 1280), (1200, 2304)])
def test_the_kernel_counts_more_than_the_payload(size: int, counted: int) -> None:
    assert queued([10, 30], [(35, counted)], size) == [0, 35]
    assert queued([10, 30], [(35, counted + 1)], size) == [35, 35]


def test_what_this_kernel_counts_is_learnt_from_the_samples_between_which_one_came() -> None:
    """Here a datagram counts 2,000: with the usual 832 the third sample would be three of them."""
    samples = [(5, 0), (15, 2000), (35, 4000), (55, 2000)]
    assert queued([10, 30, 50], samples) == [35, 35, 55]


def test_a_growth_over_several_arrivals_teaches_nothing() -> None:
    assert queued([10, 30, 50], [(15, TRUE), (55, 3 * TRUE)]) == [55, 55, 55]
    assert queued([10, 30, 50, 70], [(15, TRUE), (55, 9 * TRUE), (75, TRUE)]) == [55, 55, 55, 75]


def test_a_growth_smaller_than_the_payload_teaches_nothing() -> None:
    assert queued([10, 30], [(15, TRUE), (35, TRUE + 1), (40, TRUE)]) == [35, 40]


@given(reads=st.lists(st.integers(0, 400), min_size=1, max_size=20), every=st.integers(1, 30))
def test_a_datagram_is_never_proven_untaken_after_it_was_taken_and_the_error_is_one_sample_at_most(reads: list[int], every: int) -> None:
    arrivals = [number * 20 for number in range(20)]
    readings = sorted({400, *reads})
    taken = [next(at for at in readings if at >= arrived) for arrived in arrivals]
    at_samples = range(0, 401, every)
    samples = [(at, TRUE * sum(arrived <= at < gone for arrived, gone in zip(arrivals, taken, strict=True))) for at in at_samples]
    for arrived, gone, proven in zip(arrivals, taken, queued(arrivals, samples), strict=True):
        assert proven < max(gone, 1)
        assert proven >= gone - every or not any(arrived <= at < gone for at in at_samples)


# -- acknowledgements ----------------------------------------------------------------------------------------------------------------------


def acked(wire: Wire) -> dict[int, int]:
    """When the first ACK of each of alice's packets left bob's host, ms."""
    return {number: at // MS for (_, speaker, number), at in first_acks(wire.crossed()).items() if speaker == "alice"}


def test_the_first_ack_of_each_packet_counts() -> None:
    wire = Wire()
    for number in range(6):
        wire.send(number * 20 * MS, datagram(rtp(number)), came=number * 20 * MS + 10 * MS, number=number)
    for at, ranges in ((40, [(0, 1)]), (60, [(0, 2)]), (110, [(5, 5), (0, 2)]), (130, [(3, 5), (0, 2)])):
        wire.send(at * MS, ack(*ranges), speaker="bob", came=at * MS + 10 * MS, number=at)
    assert acked(wire) == {0: 40, 1: 40, 2: 60, 5: 110, 3: 130, 4: 130}


def test_an_ack_counts_when_it_leaves_even_if_it_is_lost() -> None:
    wire = Wire()
    wire.send(0, datagram(rtp(0)), came=10 * MS, number=0)
    wire.send(20 * MS, ack((0, 0)), speaker="bob", number=0)
    assert acked(wire) == {0: 20}


def test_acks_of_another_connection_and_of_ones_own_packets_are_kept_apart() -> None:
    one, other = Wire(), Wire(connection="c2")
    for wire in (one, other):
        wire.send(0, datagram(rtp(0)), came=10 * MS, number=0)
        wire.send(5 * MS, piece(0, 0, b"x"), speaker="bob", came=15 * MS, number=0)
    one.send(30 * MS, ack((0, 0)), speaker="bob", came=40 * MS, number=1)
    one.send(50 * MS, ack((0, 0)), speaker="alice", came=60 * MS, number=1)
    one.sent += other.sent
    one.came += other.came
    assert first_acks(one.crossed()) == {("c1", "alice", 0): 30 * MS, ("c1", "bob", 0): 50 * MS}


def test_a_listeners_usual_delay_is_its_99th_percentile_and_no_less_than_the_default() -> None:
    assert usual_delay([]) == MAX_ACK_DELAY
    assert usual_delay([1 * MS] * 100) == MAX_ACK_DELAY
    assert usual_delay([*[1 * MS] * 95, *[60 * MS] * 5]) == 60 * MS
    assert usual_delay([*[1 * MS] * 999, 400 * MS]) == MAX_ACK_DELAY, "one stall in a thousand is not its habit"


def test_the_later_evidence_counts_and_nothing_is_taken_before_it_came() -> None:
    assert taken_at(100, Bounds(0, 0), 25) == 100
    assert taken_at(100, Bounds(180, 0), 25) == 180
    assert taken_at(100, Bounds(180, 190), 25) == 180
    assert taken_at(100, Bounds(180, 390), 25) == 365
    assert taken_at(100, Bounds(0, 110), 25) == 100


# -- the anti-amplification limit ----------------------------------------------------------------------------------------------------------


def limit(*packets: tuple[int, bool, int], validated: int | None = None) -> Amplification:
    """Of bob's host: (ms, sent by bob, bytes) from and to a new address."""
    told = [udp("bob", at * MS, b"", outgoing=outgoing, size=size, peer=NEW) for at, outgoing, size in packets]
    return Amplification(told, {} if validated is None else {NEW: validated * MS})


def test_an_unvalidated_address_is_sent_three_times_what_came_from_it() -> None:
    spent = limit((100, False, 30), (101, True, 80), (200, False, 1200))
    assert spent.limits(NEW, 101 * MS, 150 * MS), "10 bytes of 90 are left"
    assert spent.limits(NEW, 150 * MS, 199 * MS)
    assert not spent.limits(NEW, 200 * MS, 300 * MS), "3,610 are left"
    assert not limit((100, False, 1200), (101, True, 80)).limits(NEW, 101 * MS, 150 * MS)


def test_a_validated_address_is_not_limited() -> None:
    assert not limit((100, False, 30), (101, True, 80), validated=90).limits(NEW, 101 * MS, 150 * MS)
    held = limit((100, False, 30), (101, True, 80), validated=140)
    assert held.limits(NEW, 101 * MS, 150 * MS)
    assert not held.limits(NEW, 141 * MS, 150 * MS)


def test_an_address_that_nothing_came_from_is_not_known_to_be_limited() -> None:
    assert not limit().limits(NEW, 0, 100 * MS)


# -- the whole of it: the worked examples --------------------------------------------------------------------------------------------------

STEP, PLAYOUT, WAY, UNTIL = 20, 200, 20, 5990
CALL = CallEnds("X", "alice", "bob", 0, 1 << 60)


def conversation(deaf: tuple[int, int], *, acks: bool = True) -> Wire:
    """Alice speaks for 6 s over 20 ms; bob's stack acknowledges on arrival, but while it is ``deaf`` (ms) no sooner than its end."""
    wire = Wire()
    wire.say(0, "offer", came=WAY * MS)
    for number, at in enumerate(range(0, UNTIL, STEP), 1):
        came = at + WAY
        wire.send(at * MS, datagram(rtp(number)), came=came * MS, number=number, size=SIZE)
        told = deaf[1] if deaf[0] < came < deaf[1] else came
        if acks and told < UNTIL:
            wire.send(told * MS, ack((number, number)), speaker="bob", came=(told + WAY) * MS, number=number)
    wire.sent.sort(key=lambda packet: packet.at)
    return wire


def seen(wire: Wire, samples: list[Sample], quiet_until: int = 1000) -> View:
    return view(wire.captured, wire.sent, [], calls=[CALL], held={}, samples={"bob": samples}, quiet_until=quiet_until * MS)


def figures(found: View) -> tuple[int, int, int, int]:
    """The longest silence (ms), its ends, and how many frames were taken late."""
    schedule, frames = Schedule(AUDIO, [Span(0, 0)]), []
    for packet in found.packets("X", "alice"):
        due = schedule.place(SentFrame(packet.rtp.ssrc, packet.rtp.timestamp, packet.departed, packet.departed))
        if packet.taken is not None:
            frames.append(TakenFrame(due, packet.departed, packet.arrivals[0].at, packet.taken, WAY * MS))
    late = sum(frame.late > PLAYOUT * MS for frame in frames)
    gaps = silences(
        frames, schedule.free(), interval=STEP * MS, since=0, until=UNTIL * MS, deadline=PLAYOUT * MS, delay=WAY * MS
    )  # fmt: skip
    gap = longest(gaps, since=0)
    return gap.excess.ns // MS, gap.start // MS, gap.end // MS, late


def queue_of(wire: Wire, deaf: tuple[int, int], every: int = 5) -> list[Sample]:
    """Bob's socket every 5 ms, one 1 ms before he reads again included: what came while he was ``deaf`` waits in it."""
    came = [packet.monotonic // MS for _, packet in wire.came if not packet.outgoing and packet.interface == "bob/eth" and packet.monotonic]
    times = sorted({*range(1, UNTIL, every), deaf[1] - 1})
    return [Sample(at * MS, TRUE * sum(deaf[0] < at_ <= at for at_ in came) if deaf[0] < at < deaf[1] else 0) for at in times]


def test_a_steady_listener_takes_everything_as_it_comes() -> None:
    nobody = (UNTIL, UNTIL)
    wire = conversation(nobody)
    assert figures(seen(wire, queue_of(wire, nobody))) == (0, 0, 0, 0)


def test_example_8_a_listener_that_reads_nothing_for_400_ms() -> None:
    """He reads again after the sample of 1402, the last that finds something."""
    deaf = (1001, 1403)
    wire = conversation(deaf)
    samples = queue_of(wire, deaf)
    assert sum(sample.rqueue > 0 for sample in samples) == 78
    assert figures(seen(wire, samples)) == (382, 1000, 1402, 10)


def test_example_8_without_acks_or_keys_of_the_listener_rests_on_the_queue_alone() -> None:
    deaf = (1001, 1403)
    wire = conversation(deaf, acks=False)
    assert figures(seen(wire, queue_of(wire, deaf))) == (382, 1000, 1402, 10)


def test_example_9_a_reader_thread_empties_the_socket_and_the_acks_stop() -> None:
    wire = conversation((1001, 1402))
    assert figures(seen(wire, [])) == (357, 1000, 1377, 8)


def test_neither_evidence_is_arrival() -> None:
    assert figures(seen(conversation((1001, 1402), acks=False), [])) == (0, 0, 0, 0)


def test_the_usual_ack_delay_is_of_before_the_first_fault() -> None:
    """A listener that stands still for 400 ms at its start does so by habit only if that was not in a fault."""
    wire = conversation((101, 502))
    quiet = figures(seen(wire, [], quiet_until=90))
    assert quiet[0] == 357
    assert figures(seen(wire, [], quiet_until=5000))[0] < quiet[0]


def test_what_was_in_a_socket_while_it_dropped_and_was_never_acknowledged_was_not_taken() -> None:
    wire = Wire()
    wire.say(0, "offer", came=WAY * MS)
    for number, at in enumerate(range(0, 200, STEP), 1):
        wire.send(at * MS, datagram(rtp(number)), came=(at + WAY) * MS, number=number)
    for number in (1, 2, 3, 5, 8, 9, 10):  # 4, 6 and 7 are never acknowledged; 7 and 8 come while the socket drops
        wire.send((number * STEP + WAY) * MS, ack((number, number)), speaker="bob", came=300 * MS, number=number)
    wire.sent.sort(key=lambda packet: packet.at)
    samples = [Sample(at * MS, 0, drops=(at > 140) + (at > 160)) for at in range(0, 300, 5)]
    taken = {packet.index: packet.taken is not None for packet in seen(wire, samples).packets("X", "alice")}
    assert [number for number, ok in taken.items() if not ok] == [7]


def test_a_socket_is_known_by_its_address_and_port() -> None:
    """Another socket's full queue proves nothing of this one's."""
    wire = conversation((UNTIL, UNTIL), acks=False)
    other = [Sample(at * MS, 9 * TRUE, port=9999) for at in range(1, UNTIL, 5)]
    elsewhere = [Sample(at * MS, 9 * TRUE, address="192.0.2.77") for at in range(1, UNTIL, 5)]
    assert figures(seen(wire, [*other, *elsewhere])) == (0, 0, 0, 0)
    mine = [Sample(at * MS, TRUE if 1001 < at < 1402 else 0, address=BOB[0]) for at in range(1, UNTIL, 5)]
    assert figures(seen(wire, mine))[0] > 0


def test_acks_that_the_amplification_limit_may_hold_back_prove_nothing() -> None:
    """Alice moves to a new address at 1000, of which little has come: bob may not send, and his silence is not deafness."""

    def moved(*, size: int) -> list[Crossing]:
        wire = Wire()
        wire.send(0, piece(0, 0, b""), came=WAY * MS, number=0)
        for number, at in enumerate(range(0, 2000, STEP), 1):
            there = at >= 1000
            wire.send(
                at * MS,
                datagram(rtp(number)),
                came=(at + WAY) * MS,
                number=number,
                size=size if there else 1200,
                peer=NEW if there else None,
            )
            told = at + WAY if not there else max(at + WAY, 1420)
            wire.send(told * MS, ack((number, number)), speaker="bob", came=(told + WAY) * MS, number=number, size=90, peer=ALICE)
        wire.sent.sort(key=lambda packet: packet.at)
        return wire.crossed()

    def longest_wait(size: int) -> int:
        crossed = moved(size=size)
        captured = {"alice": [one.packet.udp for one in crossed if one.speaker == "alice"], "bob": []}
        captured["bob"] = sorted(
            [
                *(one.arrival for one in crossed if one.speaker == "alice" and one.arrival),
                *(one.packet.udp for one in crossed if one.speaker == "bob"),
            ],
            key=lambda packet: packet.time,
        )
        found = view(captured, [one.packet for one in crossed], [], calls=[CALL], held={}, samples={}, quiet_until=1000 * MS)
        return max((packet.taken or 0) - packet.arrivals[0].at for packet in found.packets("X", "alice")) // MS

    assert longest_wait(size=1) == 0, "three times a byte is no room for an ACK"
    assert longest_wait(size=1200) == 375, "420 ms without an ACK, less the 25 that it may wait, and 20 under way"
