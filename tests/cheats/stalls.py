"""Stacks that stand still by their own fault, and what they say of it (rows 1, 3, 4 and 5)."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections import deque
from typing import ClassVar

import trio

from harness.agent import messages
from harness.agent.driver import Driver
from harness.agent.sockets import Datagram, PathSocket
from harness.call.events import Address
from tests.cheats.seams import Cheating
from tests.controls.sabotage import NeverFollows

SECOND = 1_000_000_000
MS = 1_000_000
BLOCK_S = 0.4
LONG_S = 1.5
IN_MIGRATE_S = 1.2
CRUNCH_S = 2.0
STOP_ME = "stop me now"
"""What ``tests.cheats.outside`` waits for in the log."""


class Blocks(Cheating):
    """Its loop stands still for 0.4 s, and it says nothing of that."""

    hushed = (messages.Lag,)
    block_s: ClassVar[float] = BLOCK_S

    def strike(self) -> None:
        time.sleep(self.block_s)


class BlocksInMigrate(Driver):
    """Takes 1.2 s to begin a migration, and does nothing else meanwhile."""

    def tell(self, *events: messages.Event) -> None:
        super().tell(*[event for event in events if not isinstance(event, messages.Lag)])

    def migrate(self, request: messages.Migrate) -> messages.Done:
        time.sleep(IN_MIGRATE_S)
        return super().migrate(request)


class StopsItself(Blocks):
    """Has a child send SIGSTOP to it; where that is refused it stands still all the same."""

    def strike(self) -> None:
        stopped, child = os.getpid(), os.fork()
        if not child:
            code = 1
            try:
                os.kill(stopped, signal.SIGSTOP)
                time.sleep(self.block_s)
                os.kill(stopped, signal.SIGCONT)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1]:
            print("SIGSTOP was refused", file=sys.stderr, flush=True)
            time.sleep(self.block_s)


class StopsItselfLong(StopsItself):
    """The same for 1.5 s."""

    block_s = LONG_S


class StopsItsChild(Blocks):
    """Two processes: the outer one stops the inner one, which is the stack, for 0.4 s."""

    minder: ClassVar[int] = -1
    """The socket to the outer process (``stack``)."""

    def strike(self) -> None:
        os.write(self.minder, b"!")
        if os.read(self.minder, 1) != b"y":
            print("SIGSTOP was refused", file=sys.stderr, flush=True)
            time.sleep(self.block_s)


class StopsListening(Cheating):
    """Reads none of its sockets for 0.4 s, and sends on: once the new path is proven, for before that it may send next to nothing."""

    hushed = (messages.Lag,)
    kinds = ("validated",)
    deaf_until = 0
    deaf_s: ClassVar[float] = BLOCK_S

    def strike(self) -> None:
        self.deaf_until = time.monotonic_ns() + int(self.deaf_s * SECOND)

    async def _read_socket(self, socket: PathSocket) -> None:
        try:
            while True:
                await socket.readable()
                await trio.sleep(max(0, self.deaf_until - time.monotonic_ns()) / SECOND)
                self.receive(socket)
        except trio.ClosedResourceError:
            return


class StopsListeningLong(StopsListening):
    """The same for 1.5 s."""

    deaf_s = LONG_S


class ReadsAndLeaves(StopsListening):
    """Empties its sockets at once, and looks at what it has read 0.4 s later."""

    def configure(self, request: messages.Configure) -> messages.Done:
        self.unread: deque[tuple[str, Datagram]] = deque()
        return super().configure(request)

    async def _read_socket(self, socket: PathSocket) -> None:
        await Driver._read_socket(self, socket)

    def receive(self, socket: PathSocket) -> None:
        self.unread += [(socket.path, datagram) for datagram in socket.drain()]
        now = time.monotonic_ns()
        if now < self.deaf_until:
            self.after((self.deaf_until - now) / SECOND, self.look)
        else:
            self.look(now)
            self.pump()

    def look(self, now: int) -> None:
        while self.unread:
            path, datagram = self.unread.popleft()
            self.endpoint.receive(datagram.data, Address(path, datagram.ip, datagram.port), now=now, arrived=datagram.arrived)


class BlocksAndSaysLag(Cheating):
    """Its loop stands still for 0.4 s; what the loop then tells as lag is true, and its own fault."""

    def strike(self) -> None:
        time.sleep(BLOCK_S)


class SaysLag(Cheating):
    """Tells of a stall of 500 ms ten times a second, for ever; there is none."""

    async def _keep_time(self) -> None:
        self._nursery.start_soon(self._invent, name="invent")
        await super()._keep_time()

    async def _invent(self) -> None:
        while self.files is not None:
            self.tell(messages.Lag(at=time.monotonic_ns(), late_ns=500 * MS, behind="timer"))
            await trio.sleep(BLOCK_S / 4)


class BlocksAndInvents(SaysLag):
    """Its own block, under stalls that it invents."""

    def strike(self) -> None:
        time.sleep(BLOCK_S)


class SaysLagBefore(Blocks):
    """Before each block it tells of a stall of 60 ms that was over 250 ms ago."""

    hushed = ()

    def tell(self, *events: messages.Event) -> None:
        super().tell(*[event for event in events if not isinstance(event, messages.Lag) or event.late_ns == 60 * MS])

    def strike(self) -> None:
        self.tell(messages.Lag(at=time.monotonic_ns() - 250 * MS, late_ns=60 * MS, behind="timer"))
        super().strike()


def crunch(until: int) -> None:
    """Compute without Python's lock until then (monotonic ns)."""
    while time.monotonic_ns() < until:
        hashlib.pbkdf2_hmac("sha256", b"busy", b"salt", 20_000)


class Crunches(Cheating):
    """Fifty threads of its own want the cores for two seconds."""

    threads: ClassVar[int] = 50

    def strike(self) -> None:
        until = time.monotonic_ns() + int(CRUNCH_S * SECOND)
        for _ in range(self.threads):
            threading.Thread(target=crunch, args=(until,), daemon=True).start()


class RunsIdle(Crunches):
    """Gives its loop the priority that runs only where nobody else wants to, and then wants to with eight threads."""

    threads = 8

    def strike(self) -> None:
        super().strike()
        os.sched_setscheduler(0, os.SCHED_IDLE | os.SCHED_RESET_ON_FORK, os.sched_param(0))


class RunsOnOneCore(Crunches):
    """Confines itself to one core, on which twenty of its threads compute."""

    threads = 20

    def strike(self) -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        super().strike()


class Waits(Cheating):
    """Healthy, and tells no lag: it asks in its log to be stopped from outside, and waits until that has begun."""

    hushed = (messages.Lag,)

    def strike(self) -> None:
        print(STOP_ME, file=sys.stderr, flush=True)


DRIVERS: dict[str, type[Driver]] = {
    "blocks": Blocks,
    "blocks-in-migrate": BlocksInMigrate,
    "stops-itself": StopsItself,
    "stops-itself-long": StopsItselfLong,
    "stops-its-child": StopsItsChild,
    "stops-listening": StopsListening,
    "stops-listening-long": StopsListeningLong,
    "reads-and-leaves": ReadsAndLeaves,
    "blocks-and-says-lag": BlocksAndSaysLag,
    "blocks-and-invents": BlocksAndInvents,
    "never-follows-and-says-lag": SaysLag,
    "says-lag": SaysLag,
    "says-lag-before": SaysLagBefore,
    "crunches": Crunches,
    "runs-idle": RunsIdle,
    "runs-on-one-core": RunsOnOneCore,
    "waits": Waits,
}
ENDPOINTS = {"never-follows-and-says-lag": NeverFollows}
