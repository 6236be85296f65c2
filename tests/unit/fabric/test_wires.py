"""Messages to the keeper and back, with descriptors beside them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from harness.errors import HarnessError
from harness.fabric import wires


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        wires.prepare(one)
        yield one, other


def test_a_message_arrives_whole_with_its_descriptors(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    reader, writer = os.pipe()
    wires.send(one, {"id": 7, "op": "spawn", "argv": ["ä", "\n"]}, [reader, writer])
    for fd in (reader, writer):
        os.close(fd)
    message, fds = wires.receive(other)
    assert message == {"id": 7, "op": "spawn", "argv": ["ä", "\n"]}
    assert len(fds) == 2
    assert not any(os.get_inheritable(fd) for fd in fds)
    os.write(fds[1], b"through")
    assert os.read(fds[0], 100) == b"through"
    for fd in fds:
        os.close(fd)


def test_messages_keep_their_bounds(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    for n in range(3):
        wires.send(one, {"id": n})
    assert [wires.receive(other) for _ in range(3)] == [({"id": n}, []) for n in range(3)]


def test_a_closed_other_side_is_no_message(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    one.close()
    assert wires.receive(other) == (None, [])


def test_what_is_too_large_is_refused_before_it_is_sent() -> None:
    with pytest.raises(HarnessError, match=rf"^a message of \d+ bytes is above {wires.LIMIT}$"), wires.packed({"text": "x" * wires.LIMIT}):
        pass


def test_what_is_too_large_for_a_datagram_goes_as_a_file(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    before = set(os.listdir("/proc/self/fd"))
    reader, writer = os.pipe()
    message = {"id": 7, "text": "ä" * wires.DATAGRAM, "more": list(range(100_000))}
    wires.send(one, message, [writer])
    wires.send(one, {"id": 8})
    os.close(writer)
    received, fds = wires.receive(other)
    assert received == message
    os.write(fds[0], b"through")
    assert os.read(reader, 100) == b"through"
    assert wires.receive(other) == ({"id": 8}, [])
    for fd in (reader, *fds):
        os.close(fd)
    assert set(os.listdir("/proc/self/fd")) == before


def test_no_descriptors_need_no_control_message() -> None:
    assert wires.ancillary([]) == []
    assert wires.decode(b'{"id":1}', []) == ({"id": 1}, [])
