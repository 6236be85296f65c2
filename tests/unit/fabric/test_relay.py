"""The relay process itself, with datagram sockets in the place of TAPs: both are read and written a frame at a time."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest

from harness.errors import EnvironmentUnfit, HarnessError, SpecError
from harness.fabric import relay, relay_process, seqpacket, taps
from harness.fabric.ethernet import is_chatter
from harness.fabric.relay import RelayControl, RelayLink
from harness.fabric.relay_process import Lateness
from harness.fabric.relay_way import Line, Way
from harness.spec.link import CLEAR, Impairment, Pick, Schedule, Step
from harness.spec.rate_trace import rate_trace
from harness.units import mbit, ms, percent, s

WAIT = 10.0  # seconds; an upper limit, never slept through


class Wire:
    """A running relay with links made of socket pairs."""

    def __init__(self, count: int = 1, **impairments: Impairment) -> None:
        ours, theirs = seqpacket.pair()
        self.ends: list[tuple[socket.socket, socket.socket]] = []
        far: list[socket.socket] = []
        links = []
        for n in range(count):
            (a, a_far), (b, b_far) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
            a.settimeout(WAIT)
            b.settimeout(WAIT)
            self.ends.append((a, b))
            far += [a_far, b_far]
            links.append(
                RelayLink(
                    name=f"link{n}", fd_a=a_far.fileno(), fd_b=b_far.fileno(), seed_a_to_b=2 * n, seed_b_to_a=2 * n + 1, **impairments
                )
            )
        fds = [theirs.fileno(), *(end.fileno() for end in far)]
        self.process = subprocess.Popen(relay.argv(theirs.fileno()), pass_fds=fds)
        for inherited in (theirs, *far):
            inherited.close()
        self.links = links
        self.raw = ours
        self.control = RelayControl(ours, 20 * s)

    def start(self) -> Wire:
        self.control.start(self.links)
        return self

    def close(self) -> None:
        self.raw.close()
        for a, b in self.ends:
            a.close()
            b.close()
        self.process.wait(WAIT)


def frame(number: int, size: int = 200) -> bytes:
    return b"\2" * 12 + b"\x08\x00" + number.to_bytes(4, "big") + bytes(size - 4)


def numbers(end: socket.socket, count: int) -> list[int]:
    return [int.from_bytes(end.recv(2000)[14:18], "big") for _ in range(count)]


def is_silent(end: socket.socket) -> bool:
    return not select.select([end], [], [], 0)[0]


def datagram(payload: bytes, dont_fragment: bool = False) -> bytes:
    """An Ethernet frame with IPv4 and UDP."""
    ip = bytes([0x45, 0]) + (28 + len(payload)).to_bytes(2, "big") + bytes([0, 0, dont_fragment << 6, 0, 0]) + b"\x11" + bytes(10)
    return b"\2" * 12 + b"\x08\x00" + ip + bytes(4) + (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire().start()
    yield made
    made.close()


class TestForwarding:
    def test_frames_pass_unchanged_and_in_order_both_ways(self, wire: Wire) -> None:
        a, b = wire.ends[0]
        for n in range(20):
            a.send(frame(n))
            b.send(frame(100 + n, 1500))
        assert numbers(b, 20) == list(range(20))
        assert [len(a.recv(2000)) for _ in range(20)] == [1514] * 20
        counted = wire.control.counters().links["link0"]
        assert counted.a_to_b.received == counted.a_to_b.delivered == 20
        assert counted.b_to_a.delivered == 20
        assert not counted.cut

    def test_links_do_not_meet(self) -> None:
        wire = Wire(3).start()
        try:
            wire.ends[1][0].send(frame(5))
            assert numbers(wire.ends[1][1], 1) == [5]
            counted = wire.control.counters().links
            assert [counted[f"link{n}"].a_to_b.received for n in range(3)] == [0, 1, 0]
            assert is_silent(wire.ends[0][1])
        finally:
            wire.close()

    def test_a_delay_holds_packets_back(self) -> None:
        wire = Wire(a_to_b=Impairment(delay=30 * ms)).start()
        try:
            a, b = wire.ends[0]
            before = wire.control.counters().at
            a.send(frame(0))
            assert numbers(b, 1) == [0]
            assert wire.control.counters().at - before >= 30_000_000
        finally:
            wire.close()

    def test_the_same_seed_loses_the_same_packets_and_chatter_does_not_count(self) -> None:
        arp = b"\xff" * 6 + b"\2" * 6 + b"\x08\x06" + bytes(28)
        survivors = []
        for chatty in (False, True):
            wire = Wire(a_to_b=Impairment(loss=20 * percent)).start()
            a, b = wire.ends[0]
            for n in range(100):
                if chatty and n % 10 == 0:
                    a.send(arp)
                a.send(frame(n))
                if n % 5 == 4:  # a unix socket's queue holds 10
                    wire.control.counters()
                    survivors.append([])
                    while not is_silent(b):
                        got = b.recv(2000)
                        survivors[-1] += [int.from_bytes(got[14:18], "big")] if got[12:14] == b"\x08\x00" else []
            counted = wire.control.counters().links["link0"].a_to_b
            assert counted.received == counted.delivered + counted.lost
            wire.close()
        assert survivors[:20] == survivors[20:]
        assert 5 < 100 - sum(map(len, survivors[:20])) < 40

    def test_what_the_far_interface_refuses_is_counted(self, wire: Wire) -> None:
        a, b = wire.ends[0]
        b.close()
        a.send(frame(0))
        wire.control.counters()
        counted = wire.control.counters().links["link0"].a_to_b
        assert (counted.received, counted.delivered, counted.refused) == (1, 0, 1)
        assert sum(counted.refusals.values()) == 1


class TestTooBig:
    IMPAIRMENT = Impairment(mtu=1280, too_big=True)

    def test_the_sender_is_told_by_the_far_end(self) -> None:
        wire = Wire(a_to_b=self.IMPAIRMENT)
        wire.links = [msgspec.structs.replace(link, addresses_b=["192.0.2.2", "2001:db8::2"]) for link in wire.links]
        wire.start()
        try:
            a, b = wire.ends[0]
            a.send(datagram(bytes(1252), dont_fragment=True))
            assert len(b.recv(2000)) == 1280 + 14
            a.send(datagram(bytes(1253), dont_fragment=True))
            told = a.recv(2000)
            assert told[26:30] == bytes([192, 0, 2, 2])
            assert told[34:36] == b"\3\4"
            assert int.from_bytes(told[40:42], "big") == 1280
            a.send(datagram(bytes(1253)))  # which a router would fragment
            counted = wire.control.counters().links["link0"].a_to_b
            assert (counted.received, counted.delivered, counted.too_big, counted.answered) == (3, 1, 2, 1)
        finally:
            wire.close()

    def test_a_black_hole_is_silent(self, wire: Wire) -> None:
        a, _b = wire.ends[0]
        wire.control.impair("link0", "a_to_b", Impairment(mtu=1280))
        a.send(datagram(bytes(1400), dont_fragment=True))
        counted = wire.control.counters().links["link0"].a_to_b
        assert (counted.too_big, counted.answered, is_silent(a)) == (1, 0, True)


class TestControl:
    def test_change_is_a_receipt_and_back_to_nothing_is_one_call(self, wire: Wire) -> None:
        a, b = wire.ends[0]
        a.send(frame(0))
        changed = wire.control.impair("link0", "a_to_b", Impairment(loss=100 * percent))
        assert (changed.was, changed.now) == (CLEAR, Impairment(loss=100 * percent))
        assert changed.before.received == 1, "what was sent before the change met the old impairment"
        a.send(frame(1))
        back = wire.control.impair("link0", "a_to_b", CLEAR)
        assert back.before.lost == 1
        assert back.at > changed.at
        a.send(frame(2))
        assert numbers(b, 2) == [0, 2]

    def test_cut_drops_what_is_under_way_and_what_comes_and_nothing_after_the_mending(self, wire: Wire) -> None:
        a, b = wire.ends[0]
        wire.control.impair("link0", "a_to_b", Impairment(delay=5 * s))
        a.send(frame(0))
        cut = wire.control.cut("link0")
        assert cut.cut
        assert cut.before.a_to_b.in_flight == 1
        a.send(frame(1))
        b.send(frame(2))
        counted = wire.control.counters().links["link0"]
        while counted.b_to_a.received == 0:
            counted = wire.control.counters().links["link0"]
        assert counted.cut
        mended = wire.control.uncut("link0")
        assert not mended.cut
        assert (mended.before.a_to_b.cut_dropped, mended.before.b_to_a.cut_dropped) == (2, 1)
        wire.control.impair("link0", "a_to_b", CLEAR)
        a.send(frame(3))
        assert numbers(b, 1) == [3]

    def test_a_restart_repeats_the_fates(self) -> None:
        wire = Wire(a_to_b=Impairment(loss=50 * percent)).start()
        try:
            a, b = wire.ends[0]
            heard = []
            for _ in range(2):
                for n in range(8):
                    a.send(frame(n))
                delivered = wire.control.restart().links["link0"].a_to_b.delivered
                heard.append(numbers(b, delivered))
            assert heard[0] == heard[1]
            assert 0 < len(heard[0]) < 8
            assert wire.control.counters().links["link0"].a_to_b.received == 0
        finally:
            wire.close()

    def test_an_unknown_link_or_direction_is_named(self, wire: Wire) -> None:
        with pytest.raises(SpecError, match="link alice/lte: the relay has no such link; it has link0"):
            wire.control.cut("alice/lte")
        with pytest.raises(SpecError, match="link link0, direction: 'up' is not one; there are a_to_b, b_to_a"):
            wire.control.impair("link0", "up", CLEAR)  # type: ignore[arg-type]

    def test_a_bad_impairment_is_refused_and_changes_nothing(self, wire: Wire) -> None:
        with pytest.raises(SpecError, match=r"link link0, a_to_b, jitter: 5ms about no delay"):
            wire.control.impair("link0", "a_to_b", Impairment(jitter=5 * ms))
        with pytest.raises(SpecError, match="'20' is not a duration"):
            wire.control._asker.ask("impair", link="link0", direction="a_to_b", impairment={"delay": "20"})
        with pytest.raises(SpecError, match="unknown field `dely`"):
            wire.control._asker.ask("impair", link="link0", direction="a_to_b", impairment={"dely": "20ms"})
        assert wire.control.impair("link0", "a_to_b", CLEAR).was == CLEAR

    def test_an_unknown_request_is_named(self, wire: Wire) -> None:
        with pytest.raises(HarnessError, match="no request 'explode'; there are start, impair"):
            wire.control._asker.ask("explode")

    def test_started_twice_is_refused(self, wire: Wire) -> None:
        with pytest.raises(HarnessError, match="started already"):
            wire.control.start(wire.links)

    def test_a_descriptor_that_was_not_inherited_is_named(self) -> None:
        wire = Wire(0)
        try:
            with pytest.raises(EnvironmentUnfit, match="link x: descriptor 999 was not inherited"):
                wire.control.start([RelayLink(name="x", fd_a=999, fd_b=998, seed_a_to_b=1, seed_b_to_a=2)])
        finally:
            wire.close()

    def test_stats_tell_of_the_relay_itself(self, wire: Wire) -> None:
        wire.ends[0][0].send(frame(0))
        numbers(wire.ends[0][1], 1)
        stats = wire.control.stats()
        assert stats.frames == 1
        assert stats.cpu_ns > 0
        assert stats.scheduling in ("realtime", "nice", "normal")
        stalls, now = wire.control.stalls(), wire.control.stats().at  # asked for in this order: it may stall in between
        assert all(start < end <= now for start, end in stalls)
        assert all(end > now for _start, end in wire.control.stalls(since=now))

    def test_shutdown_answers_with_the_last_counters_and_ends(self, wire: Wire) -> None:
        wire.ends[0][0].send(frame(0))
        numbers(wire.ends[0][1], 1)
        assert wire.control.shutdown().links["link0"].a_to_b.delivered == 1
        assert wire.process.wait(WAIT) == 0

    def test_it_ends_when_it_is_left_alone(self, wire: Wire) -> None:
        wire.raw.close()
        assert wire.process.wait(WAIT) == 0

    def test_a_dead_relay_is_told(self, wire: Wire) -> None:
        wire.process.kill()
        wire.process.wait(WAIT)
        with pytest.raises(HarnessError, match=r"relay process (ended|is gone)"):
            wire.control.counters()

    def test_a_silent_relay_is_told_within_the_limit(self) -> None:
        ours, theirs = seqpacket.pair()
        with ours, theirs, pytest.raises(HarnessError, match="did not answer 'counters' within 20ms"):
            RelayControl(ours, 20 * ms).counters()

    def test_a_late_answer_is_not_taken_for_the_next(self) -> None:
        ours, theirs = seqpacket.pair()
        with ours, theirs:
            theirs.send(b'{"id": 0, "ok": {"n": 0}}')
            theirs.send(b'{"id": 1, "ok": {"n": 1}}')
            assert seqpacket.Asker(ours, "relay", 1 * s).ask("counters") == {"n": 1}


class TestChatter:
    @pytest.mark.parametrize(
        ("packet", "expected"),
        [
            (frame(0), False),
            (b"\xff" * 6 + b"\2" * 6 + b"\x08\x06", True),
            (b"\2" * 12 + b"\x08\x06" + bytes(28), True),
            (b"\x33\x33" + bytes(10) + b"\x86\xdd" + bytes(60), True),
            (b"\2" * 12 + b"\x86\xdd" + bytes(6) + b"\x11" + bytes(60), False),
            (b"\2" * 12 + b"\x86\xdd" + bytes(6) + b"\x3a" + bytes(33) + b"\x88" + bytes(20), True),
            (b"\2" * 12 + b"\x86\xdd" + bytes(6) + b"\x3a" + bytes(33) + b"\x80" + bytes(20), False),
        ],
        ids=["ipv4", "arp to all", "arp to one", "ipv6 group", "ipv6 udp", "neighbour advertisement", "ipv6 ping"],
    )
    def test_only_housekeeping_is_chatter(self, packet: bytes, expected: bool) -> None:
        assert is_chatter(packet) is expected


class Stepwise:
    """The relay's own loop, a step at a time, on a clock that moves as the test says; to hand a frame over takes it 50 µs."""

    WRITING = 50_000  # ns

    def __init__(self, monkeypatch: pytest.MonkeyPatch, impairment: Impairment) -> None:
        self.now = 0
        monkeypatch.setattr(relay_process, "monotonic_ns", lambda: self.now)
        monkeypatch.setattr(Way, "write", lambda way, frames: self._write(frames))
        self._ours, theirs = seqpacket.pair()
        self.relay = relay_process.Relay(theirs.detach(), "normal")
        self.a, fd = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._far = fd
        fd.setblocking(False)
        link = RelayLink(name="link", fd_a=fd.fileno(), fd_b=-1, seed_a_to_b=1, seed_b_to_a=2, a_to_b=impairment)
        self.way = Line(link, 0).ways["a_to_b"]
        self.relay._ways.append(self.way)

    def _write(self, frames: list[bytes]) -> None:
        self.now += self.WRITING * len(frames)

    def take(self, frames: int, every: int) -> None:
        """``frames`` come, one every ``every`` ns, and are let in as they come."""
        for n in range(frames):
            self.a.send(frame(n))
            self.relay._take(self.way, 1, self.now)
            self.now += every

    def serve(self, at: int) -> None:
        """The loop wakes at ``at``, hands over what is due, and sets its alarm."""
        self.now = at
        self.relay._serve()
        self.relay._arm(self.now)

    def close(self) -> None:
        for one in (self._ours, self.a, self._far, self.relay._timer, self.relay._poll, self.relay._control._socket):
            one.close()


@pytest.fixture
def stepwise(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stepwise]:
    made = Stepwise(monkeypatch, Impairment(delay=20 * ms))
    yield made
    made.close()


class TestStalls:
    def test_one_ends_when_what_it_made_late_has_been_handed_over(self, stepwise: Stepwise) -> None:
        stepwise.take(10, every=1_000_000)
        stepwise.serve(at=60_000_000)
        assert stepwise.relay._lateness.since(-1, 9) == ([(20_000_000, 60_000_000 + 10 * Stepwise.WRITING)], False)
        assert stepwise.way.late == 10

    def test_what_is_in_time_makes_none_however_long_its_writing_takes(self, stepwise: Stepwise) -> None:
        stepwise.take(10, every=1_000)
        stepwise.serve(at=20_000_000 + 10_000)
        assert stepwise.relay._lateness.since(-1, 9) == ([], False)
        assert stepwise.way.late == 0

    def test_behind_one_the_tick_runs_again_for_those_who_were_waiting_too(self, stepwise: Stepwise) -> None:
        stepwise.take(1, every=1_000)
        stepwise.serve(at=500_000_000)
        assert stepwise.relay._armed == 500_000_000 + Stepwise.WRITING + relay_process.TICK


class TestLateness:
    def test_stalls_that_touch_are_one(self) -> None:
        lateness = Lateness()
        lateness.note(0, 5_000_000, 5_000_000)
        lateness.note(5_500_000, 9_000_000, 2_000_000)
        lateness.note(50_000_000, 60_000_000, 3_000_000)
        assert lateness.since(-1, 9) == ([(0, 9_000_000), (50_000_000, 60_000_000)], False)
        assert lateness.since(9_000_000, 9) == ([(50_000_000, 60_000_000)], False)
        assert lateness.worst == 5_000_000

    def test_many_are_told_some_at_a_time_and_none_twice(self) -> None:
        lateness = Lateness()
        every = [(at, at + 2_000_000) for at in range(0, 10_000_000_000, 10_000_000)]
        for start, end in every:
            lateness.note(start, end, 2_000_000)
        told: list[tuple[int, int]] = []
        more = True
        while more:
            some, more = lateness.since(told[-1][1] if told else -1, 300)
            told += some
        assert told == every

    def test_what_is_beyond_the_list_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(relay_process, "STALLS_KEPT", 2)
        lateness = Lateness()
        for start in range(0, 50_000_000, 10_000_000):
            lateness.note(start, start + 2_000_000, 2_000_000)
        assert lateness.unlisted == 3


def test_open_tap_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "open", missing)
    with pytest.raises(EnvironmentUnfit, match=r"/dev/net/tun cannot be opened .* --device /dev/net/tun"):
        taps.open_tap("eth0")


def test_the_command_is_this_interpreter() -> None:
    assert relay.argv(7) == [sys.executable, "-m", "harness.fabric.relay_process", "7"]


def test_packets_picked_by_number_are_dropped_and_described(wire: Wire) -> None:
    a, b = wire.ends[0]
    impairment = Impairment(drop=(Pick(1, min_bytes=50), Pick(2)))
    wire.control.impair("link0", "a_to_b", impairment)
    short, long = bytes(range(40)), bytes(range(60))
    for packet in (datagram(short), frame(7), datagram(long), datagram(long)):
        a.send(packet)
    assert b.recv(2000) == datagram(short)
    assert b.recv(2000) == datagram(long)
    counted = wire.control.counters().links["link0"].a_to_b
    assert (counted.received, counted.delivered, counted.picked, counted.lost, counted.awaited) == (4, 2, 2, 0, 0)
    told = [(one.pick, one.number, one.udp, one.size, one.begins) for one in counted.picked_packets]
    assert told == [
        (Pick(2), 2, False, 200, frame(7)[14:46].hex()),
        (Pick(1, min_bytes=50), 3, True, 60, long[:32].hex()),
    ]
    changed = wire.control.impair("link0", "a_to_b", CLEAR)
    assert changed.before.picked_packets == counted.picked_packets
    assert wire.control.counters().links["link0"].a_to_b.picked_packets == []


class TestSchedules:
    FAST = Impairment(schedule=Schedule((Step(20 * ms, Impairment(loss=100 * percent)), Step(40 * ms, CLEAR)), every=60 * ms))

    @staticmethod
    def ruled(wire: Wire, link: str = "link0", direction: str = "a_to_b") -> list[dict[str, Any]]:
        return list(wire.control.rulings()[link][direction]["rulings"])

    def test_what_it_was_started_with_is_held_until_the_restart_and_held_again(self) -> None:
        wire = Wire(a_to_b=msgspec.structs.replace(self.FAST, rate_trace=rate_trace([3_600_000], "an hour's wait"))).start()
        try:
            a, b = wire.ends[0]
            a.send(frame(0))
            assert numbers(b, 1) == [0], "a rate trace lets everything pass until then"
            assert self.ruled(wire) == []
            wire.control.restart()
            while len(self.ruled(wire)) < 4:
                pass
            wire.control.hold()
            a.send(frame(1))
            assert numbers(b, 1) == [1]
            assert self.ruled(wire) == []
            assert wire.control.rulings()["link0"]["b_to_a"] == {"asked": {}, "rulings": [], "unlisted": 0, "next": None}
        finally:
            wire.close()

    def test_its_steps_are_taken_at_their_times_and_told(self, wire: Wire) -> None:
        changed = wire.control.impair("link0", "a_to_b", self.FAST)
        assert changed.now == self.FAST
        while len(self.ruled(wire)) < 7:
            pass
        told = self.ruled(wire)
        assert [(one["round"], one["step"]) for one in told[:7]] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
        assert [one["due"] - changed.at for one in told[:7]] == [20_000_000 * n for n in range(7)]
        assert all(one["due"] <= one["at"] for one in told)
        assert [one["impairment"] for one in told[:3]] == [{}, {"loss": "100%"}, {}]
        assert wire.control.rulings()["link0"]["a_to_b"]["asked"] == {"schedule": "2 steps, the last at 40ms, every 60ms"}
        back = wire.control.impair("link0", "a_to_b", CLEAR)
        assert (back.was, back.now) == (self.FAST, CLEAR)
        count = len(self.ruled(wire))
        while wire.control.counters().at < back.at + 70_000_000:
            pass
        assert len(self.ruled(wire)) == count, "none of the schedule that was replaced"

    def test_a_step_parts_those_before_from_those_after(self, wire: Wire) -> None:
        a, b = wire.ends[0]
        steps = (Step(500 * ms, Impairment(loss=100 * percent)),)  # a busy machine sends the first within that
        wire.control.impair("link0", "a_to_b", Impairment(delay=600 * ms, schedule=Schedule(steps)))
        a.send(frame(0))
        while len(self.ruled(wire)) < 2:
            pass
        a.send(frame(1))
        assert numbers(b, 1) == [0], "it was in the link, and is spared"
        counted = wire.control.counters().links["link0"].a_to_b
        assert (counted.delivered, counted.lost) == (1, 1)
        assert [one["received"] for one in self.ruled(wire)] == [0, 1]

    def test_a_ramp_begins_with_what_rules(self, wire: Wire) -> None:
        wire.control.impair("link0", "a_to_b", Impairment(delay=20 * ms, loss=10 * percent))
        ramped = wire.control.impair("link0", "a_to_b", Impairment(delay=40 * ms), over=200 * ms)
        assert ramped.now.at_start == Impairment(delay=20 * ms, loss=10 * percent)
        assert ramped.now.at_step(1) == Impairment(delay=30 * ms, loss=5 * percent)
        while len(self.ruled(wire)) < 4:
            pass
        assert self.ruled(wire)[-1]["impairment"] == {"delay": "40ms"}
        with pytest.raises(SpecError, match="link link0, a_to_b, rate: there is nothing between None and 1mbit"):
            wire.control.impair("link0", "a_to_b", Impairment(rate=1 * mbit), over=200 * ms)

    def test_a_trace_that_is_large_reaches_the_relay(self, wire: Wire) -> None:
        random = Random(1)
        trace = rate_trace(sorted(random.randrange(1, 600_000) for _ in range(400_000)), "ten minutes")
        assert len(trace.packed) > 1 << 17, "more than a datagram holds"
        impairment = Impairment(rate_trace=trace)
        assert wire.control.impair("link0", "a_to_b", impairment).now == impairment
        assert wire.control.rulings()["link0"]["a_to_b"]["asked"] == {"rate_trace": str(trace)}
        for n in range(10):
            wire.ends[0][0].send(frame(n))
        assert numbers(wire.ends[0][1], 10) == list(range(10))
