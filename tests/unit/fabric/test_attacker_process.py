"""The attacker's own process: what she copies in a race, and who is served before her."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from harness import stamps
from harness.fabric import seqpacket
from harness.fabric.attacker_process import frame
from harness.fabric.udp_packets import endpoints_untrusted
from harness.units import s

ALICE, BOB = ("203.0.113.2", 4433), ("198.51.100.2", 4433)
LINK = bytes(12) + b"\x08\x00"
MS = 1_000_000


class Mallory:
    """Her process.  Her ear is a UDP socket on loopback, which the kernel stamps as it does a packet socket."""

    def __init__(self, pid: int, asker: seqpacket.Asker, street: socket.socket, line: socket.socket) -> None:
        self.pid = pid
        self.asker = asker
        self._street = street
        self._line = line

    def passes(self, payload: bytes, *, held: int = 0) -> None:
        """A packet of Alice's passes the tap, and she has heard it when this returns; ``held``: she stands still for so long (ns)."""
        before = self._heard("to callee")
        if held:
            os.kill(self.pid, signal.SIGSTOP)
        self._street.send(frame(LINK, ALICE, BOB, payload))
        until = time.monotonic_ns() + held
        while time.monotonic_ns() < until:
            pass
        os.kill(self.pid, signal.SIGCONT)
        while self._heard("to callee") == before:
            pass

    def answered(self) -> None:
        """One of Bob's."""
        self._street.send(frame(LINK, BOB, ALICE, b"\x41" + bytes(40)))
        while not self._heard("to caller"):
            pass

    def _heard(self, way: str) -> int:
        return int(self.asker.ask("state")["seen"][way])

    def sent(self) -> bytes:
        """The next payload that left her line."""
        found = endpoints_untrusted(self._line.recv(2048))
        assert found is not None
        return found[2]

    def turn(self) -> tuple[int, int]:
        """Her scheduling policy and her niceness."""
        return os.sched_getscheduler(self.pid) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, self.pid)


@pytest.fixture
def mallory() -> Iterator[Mallory]:
    with contextlib.ExitStack() as stack:
        ear = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        ear.setsockopt(*stamps.STAMPED, 1)
        ear.bind(("127.0.0.1", 0))
        ear.setblocking(False)
        street = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        street.connect(ear.getsockname())
        line, her_line = map(stack.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        line.settimeout(10)
        ours, theirs = map(stack.enter_context, seqpacket.pair())
        fds = {"ear": ear.fileno(), "line": her_line.fileno()}
        program = (
            "from harness.fabric.scheduling import be_nice; be_nice(0); "  # as a child of the keeper's is started
            f"from harness.fabric.attacker_process import main; main(['{theirs.fileno()}'])"
        )
        process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program], pass_fds=(theirs.fileno(), *fds.values())))
        stack.callback(process.kill)
        asker = seqpacket.Asker(ours, "attacker", 20 * s)
        asker.ask("start", **fds, link=LINK.hex(), own=["192.0.2.2"], callee=list(BOB))
        yield Mallory(process.pid, asker, street, line)


def test_a_race_begins_with_a_packet_that_she_is_in_time_for(mallory: Mallory) -> None:
    mallory.asker.ask("race", for_ns=60_000 * MS, seed=1)
    mallory.passes(b"\x41 of this she hears too late", held=20 * MS)
    assert mallory.asker.ask("state")["sent"] == {}
    number = 0
    while not mallory.asker.ask("state")["sent"]:  # nor of another that this machine keeps from her for so long
        number += 1
        mallory.passes(f"A number {number}".encode())
    assert mallory.sent() == f"A number {number}".encode()
    assert 0 < mallory.asker.ask("state")["late_ns"] <= 5 * MS
    mallory.passes(b"\x41 late as well, but it belongs to the race", held=20 * MS)
    assert mallory.sent() == b"\x41 late as well, but it belongs to the race"
    told = mallory.asker.ask("state")
    assert told["sent"] == {"copy that wins the race": 2}
    assert 20 * MS <= told["late_ns"] < 60_000 * MS


def test_a_race_for_no_time_is_over_with_its_first_copy(mallory: Mallory) -> None:
    mallory.asker.ask("race", for_ns=0, seed=1)
    while mallory.asker.ask("state")["busy"]:
        mallory.passes(b"\x41" + bytes(60))
    mallory.passes(b"\x41 after it")
    assert mallory.asker.ask("state")["sent"] == {"copy that wins the race": 1}


def test_in_a_race_she_is_served_before_others_and_in_turn_for_what_is_paced(mallory: Mallory) -> None:
    program = (
        "import os; from harness.fabric.scheduling import prefer_this_process; prefer_this_process(); "
        "print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, 0))"
    )
    preferred = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # as far as it is allowed here
    before = mallory.turn()
    mallory.asker.ask("race", for_ns=0, seed=1)
    assert mallory.turn() == tuple(map(int, preferred.stdout.split()))
    while mallory.asker.ask("state")["busy"]:
        mallory.passes(b"\x41" + bytes(60))
    mallory.answered()
    mallory.asker.ask("forge", seed=1, count=3, rate=1000)
    assert mallory.turn() == before
