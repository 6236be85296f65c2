from __future__ import annotations

import socket
import time

from harness import stamps


def test_the_kernels_time_of_a_packet() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        ear.setsockopt(*stamps.STAMPED, 1)
        ear.bind(("127.0.0.1", 0))
        before = time.time_ns()
        mouth.sendto(b"x", ear.getsockname())
        data, ancillary, flags, _ = ear.recvmsg(10, stamps.SPACE)
    stamp = stamps.stamp_of(ancillary)
    assert (data, flags) == (b"x", 0)
    assert stamp is not None
    assert before <= stamp <= time.time_ns()


def test_no_stamp_where_nobody_asked() -> None:
    assert stamps.stamp_of([]) is None
    assert stamps.stamp_of([(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"1234")]) is None
