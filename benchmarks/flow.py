"""A flow of numbered packets for a benchmark, and its receiver: a process inside a namespace, of the standard library alone.

``python -I flow.py send|hear``: a line on stdin begins it (it answers with a line), another ends it; then it prints how many packets it
sent, or how many different ones it heard.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

BOB = ("198.51.100.2", 4433)
BURST, EVERY_S = 2, 0.001
DRAIN_EVERY_S = 0.02  # a receiver that woke for each packet would take the time that is to be measured
NUMBER = struct.Struct("!I")


def send() -> int:
    """Send until a line comes; the number of packets."""
    print('"begun"', flush=True)
    end, number = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0
    due = time.monotonic()
    while not select.select([0], [], [], max(0, due - time.monotonic()))[0]:
        for _ in range(BURST):
            end.sendto(NUMBER.pack(number), BOB)
            number += 1
        due = max(due + EVERY_S, time.monotonic() - EVERY_S)
    return number


def hear() -> int:
    """Receive until a line comes and nothing more does; the number of different packets."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    end.bind(BOB)
    end.setblocking(False)
    print('"bound"', flush=True)
    heard: set[int] = set()
    last = False
    while True:
        try:
            while True:
                heard.add(NUMBER.unpack(end.recv(100))[0])
        except BlockingIOError:
            if last:
                return len(heard)
        last = bool(select.select([0], [], [], DRAIN_EVERY_S)[0])
        if last:
            select.select([end], [], [], 10 * DRAIN_EVERY_S)  # for those that are on their way


if __name__ == "__main__":
    sys.stdin.buffer.raw.readline()
    print({"send": send, "hear": hear}[sys.argv[1]](), flush=True)
    sys.stdin.buffer.raw.read()
