from __future__ import annotations

import socket
import time

import pytest
import trio
import trio.testing

from harness.agent.clock import STEP, StampClock
from harness.agent.messages import PathSpec
from harness.agent.sockets import BATCH, PathSocket, SocketTable, canonical, errno_name
from tests.unit.agent.processes import within_deadline

SO_TIMESTAMPNS = 35  # asm-generic/socket.h
LO = (PathSpec(name="lo", v4="127.0.0.1"),)


def table(paths: tuple[PathSpec, ...] = LO, *, receive_buffer: int = 1 << 20) -> SocketTable:
    return SocketTable(paths, receive_buffer, StampClock())


def opened(sockets: SocketTable) -> tuple[PathSocket, socket.socket]:
    """A socket of the agent, and a peer's that sends to it."""
    receiver = sockets.open("lo", "v4")
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.connect((receiver.ip, receiver.port))
    return receiver, peer


def test_a_datagram_has_the_kernels_stamp_on_the_monotonic_clock() -> None:
    async def main() -> None:
        sockets = table()
        receiver, peer = opened(sockets)
        sender = peer.getsockname()
        with peer:
            before = time.monotonic_ns()
            peer.send(b"x" * 3000)
            after = time.monotonic_ns()
            await receiver.readable()
            (datagram,) = receiver.drain()
        assert datagram.data == b"x" * 3000
        assert (datagram.ip, datagram.port) == sender
        assert before - STEP <= datagram.arrived <= after + STEP
        sockets.close_all()

    within_deadline(main)


class Credulous(StampClock):
    """Believes any stamp, as every clock does in the first minute of a machine's life, when 0 is not long ago."""

    def plausible(self, arrived: int, now: int) -> bool:
        return True


def test_a_datagram_without_a_stamp_came_when_it_was_read() -> None:
    async def main() -> None:
        sockets = SocketTable(LO, 1 << 20, Credulous())
        receiver, peer = opened(sockets)
        with peer:
            receiver._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
            peer.send(b"x")
            before = time.monotonic_ns()
            (datagram,) = receiver.drain()
            assert before <= datagram.arrived <= time.monotonic_ns()
        sockets.close_all()

    within_deadline(main)


def test_a_drain_takes_a_batch_and_the_rest_comes_next_time() -> None:
    async def main() -> None:
        sockets = table()
        receiver, peer = opened(sockets)
        with peer:
            for number in range(BATCH + 3):
                peer.send(bytes([number]))
            await receiver.readable()
            first = [datagram.data[0] for datagram in receiver.drain()]
            await receiver.readable()
            rest = [datagram.data[0] for datagram in receiver.drain()]
        assert first + rest == list(range(BATCH + 3))
        assert len(first) == BATCH
        assert list(receiver.drain()) == []
        sockets.close_all()

    within_deadline(main)


def test_what_the_kernel_drops_because_nobody_reads_is_counted() -> None:
    async def main() -> None:
        sockets = table(receive_buffer=4096)
        receiver, peer = opened(sockets)
        with peer:
            for _ in range(100):
                peer.send(b"x" * 1200)
            arrived = sum(1 for _ in receiver.drain())
            peer.send(b"one more")
            await receiver.readable()
            arrived += sum(1 for _ in receiver.drain())
        assert 0 < arrived < 101
        assert receiver.dropped == 101 - arrived
        assert sockets.bound[0].dropped == receiver.dropped
        sockets.close_all()

    within_deadline(main)


def test_a_reader_is_woken_when_its_socket_is_closed_and_refused_afterwards() -> None:
    async def main() -> None:
        sockets = table()
        receiver = sockets.open("lo", "v4")

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await receiver.readable()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            sockets.close_all()
        await read()
        assert len(sockets) == 0

    within_deadline(main)


def test_a_send_that_the_kernel_refuses_is_an_answer_and_no_exception() -> None:
    async def main() -> None:
        sockets = table()
        sender = sockets.open("lo", "v4")
        error = sender.send(b"x", "192.0.2.7", 9)  # no route from loopback
        assert error is not None
        assert errno_name(error) == "EINVAL"
        error = sender.send(b"x" * 70_000, "127.0.0.1", 9)
        assert error is not None
        assert errno_name(error) == "EMSGSIZE"
        assert sender.send(b"x", "127.0.0.1", 9) is None
        sockets.close_all()

    within_deadline(main)


def test_an_address_that_is_not_here_is_refused_unless_it_may_come_later() -> None:
    async def main() -> None:
        sockets = table((PathSpec(name="gone", v4="192.0.2.7"),))
        with pytest.raises(OSError, match="Cannot assign requested address"):
            sockets.open("gone", "v4")
        assert sockets.get("gone", "v4") is None
        later = sockets.open("gone", "v4", before_it_is_up=True)
        assert later.ip == "192.0.2.7"
        assert sockets.of("gone", "198.51.100.1") is later
        assert sockets.of("gone", "2001:db8::1") is None
        sockets.close("gone", "v4")
        sockets.close("gone", "v4")
        assert sockets.bound == ()

    within_deadline(main)


def test_one_path_has_both_families_and_each_its_own_socket() -> None:
    sockets = table((PathSpec(name="wifi", v4="10.0.0.2", v6="FD00:0::2"), PathSpec(name="lte", v6="fd01::2")))
    assert sockets.places == (("wifi", "v4"), ("wifi", "v6"), ("lte", "v6"))
    assert sockets.address("wifi", "v6") == "fd00::2"
    with pytest.raises(ValueError, match="path lte has no v4 address; known are wifi/v4, wifi/v6, lte/v6"):
        sockets.open("lte", "v4")


@pytest.mark.parametrize(("text", "family", "ip"), [("127.0.0.1", "v4", "127.0.0.1"), ("FD00:0:0::1", "v6", "fd00::1")])
def test_an_address_has_one_spelling(text: str, family: str, ip: str) -> None:
    assert canonical(text) == (family, ip)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "fd00::g", "127.0.0.1\0", "ä"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv4 or IPv6 address"):
        canonical(text)


class SteppedClock(StampClock):
    """A wall clock that is set by hand."""

    offset = 0

    def _measure(self) -> int:  # type: ignore[override]
        return self.offset


def test_a_step_of_the_wall_clock_is_seen_and_a_wobble_is_not() -> None:
    clock = SteppedClock()
    assert clock.monotonic(100) == 100
    clock.offset = 400_000
    assert clock.sample() == 0
    clock.offset = -3_000_000_000
    assert clock.sample() == 3_000_400_000  # the wall clock went forward
    assert clock.monotonic(5_000_000_000) == 2_000_000_000
    assert clock.sample() == 0


def test_a_stamp_from_the_future_or_long_ago_is_not_believed() -> None:
    clock = StampClock()
    assert clock.plausible(arrived=5, now=5)
    assert not clock.plausible(arrived=6, now=5)
    assert not clock.plausible(arrived=0, now=60_000_000_000)


def test_the_offset_is_measured_to_well_below_a_step() -> None:
    clock = StampClock()
    assert clock.sample() == 0
