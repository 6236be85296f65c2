"""The attacker's process: hears what passes at her tap, and writes what she likes by her own line, whatever source address it claims.

A fork of the keeper (``child``) that holds two packet sockets and nothing else, so it needs no privilege of its own.  What she sends is
paced by a kernel timer, and may wait for a core as agents do; a copy for a race leaves in the same wake-up that brought the original, for
which she is served before everybody else.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from harness import stamps
from harness.errors import HarnessError
from harness.fabric.forgeries import Endpoint, Forged, Forger, Seen, Wiretap
from harness.fabric.scheduling import be_ordinary, prefer_this_process
from harness.fabric.seqpacket import Answerer
from harness.fabric.udp_packets import endpoints_untrusted
from harness.timer import Timer
from harness.wire.ip_packets import checksum_of

SECOND = 1_000_000_000
_LOOK = 256  # frames read in one go
_OLD = 300_000_000
"""How long ago (ns) a packet passed that is sent again: it has arrived by then."""
_IN_TIME = 5_000_000
"""How long ago (ns) a packet may have passed that a race begins with: one that waited longer for her may be past the place to overtake."""
_TTL = 61  # by which her packets can be told in a capture, beside by her own


def frame(link: bytes, source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    """An Ethernet frame of one UDP packet; ``link``: both MAC addresses and the type."""
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    length = 8 + len(payload)
    pseudo = addresses + struct.pack("!BBH", 0, socket.IPPROTO_UDP, length)
    udp = struct.pack("!HHHH", source[1], destination[1], length, 0)
    udp = udp[:6] + struct.pack("!H", checksum_of(pseudo + udp + payload) or 0xFFFF)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, _TTL, socket.IPPROTO_UDP, 0) + addresses
    ip = ip[:10] + struct.pack("!H", checksum_of(ip)) + ip[12:]
    return link + ip + udp + payload


class Attacker:
    """The loop, what she does, and the answers."""

    def __init__(self, control_fd: int) -> None:
        self._control = Answerer(control_fd, self._answer)
        self._timer = Timer()
        self._poll = select.epoll()
        self._poll.register(self._control.fileno(), select.EPOLLIN)
        self._poll.register(self._timer.fileno(), select.EPOLLIN)
        self._ear: socket.socket | None = None
        self._line: socket.socket
        self._link = b""
        self._tap: Wiretap
        self._own: list[str] = []
        self._mine: set[bytes] = set()
        self._make: Callable[[], Forged] | None = None
        self._left = self._interval = self._due = 0
        self._racing = False
        self._race_for = 0
        self._racer: Endpoint = ("", 0)
        self._sent: Counter[str] = Counter()
        self._began = self._ended = self._late = 0

    def run(self) -> None:
        """Serve until left alone."""
        while True:
            ready = {fd for fd, _ in self._poll.poll()}
            if self._ear is not None and self._ear.fileno() in ready:
                self._hear()
            if self._timer.fileno() in ready:
                self._go_on()
            if self._control.fileno() in ready and not self._control.serve():
                return

    # What she hears

    def _hear(self) -> None:
        assert self._ear is not None
        for _ in range(_LOOK):
            try:
                data, ancillary, _, _ = self._ear.recvmsg(2048, stamps.SPACE)
            except (BlockingIOError, OSError):
                return
            found = endpoints_untrusted(data)
            if found is None or found[2] in self._mine:
                continue
            seen = self._tap.see(time.monotonic_ns(), *found)
            if seen is not None and self._racing and seen.to_callee and not seen.payload[0] & 0x80:
                self._copy(seen, passed=stamps.stamp_of(ancillary))

    # What she sends

    def _copy(self, seen: Seen, *, passed: int | None) -> None:
        """Send a copy on, if the race is not over: it lasts for ``_race_for`` ns from the first copy, and for one copy at least.

        ``passed``: when the original did (ns, CLOCK_REALTIME).  A race does not begin with one that she was kept from for too long.
        """
        late = 0 if passed is None else time.time_ns() - passed
        if not self._sent:
            if late > _IN_TIME:
                return
            self._began = seen.at
        elif seen.at >= self._began + self._race_for:
            self._racing = False
            return
        self._send(Forged("copy that wins the race", self._racer, self._tap.callee, seen.payload))
        self._late = max(self._late, late)
        self._ended = time.monotonic_ns()
        self._racing = self._race_for > 0

    def _send(self, one: Forged) -> None:
        self._mine.add(one.payload)
        try:
            self._line.send(frame(self._link, one.source, one.destination, one.payload))
        except BlockingIOError:
            return
        self._sent[one.kind] += 1

    def _go_on(self) -> None:
        now = time.monotonic_ns()
        while self._make is not None and self._left and self._due <= now:
            self._late = max(self._late, now - self._due)
            self._send(self._make())
            self._left -= 1
            self._due += self._interval
            now = time.monotonic_ns()
        if self._left:
            self._timer.arm(self._due)
        else:
            self._ended = now
            self._make = None
            self._timer.arm(0)

    def _begin(self, make: Callable[[], Forged], count: int, rate: int) -> None:
        if self._busy:
            raise HarnessError("she is at something already")
        if not self._tap.packets[True] or not self._tap.packets[False]:
            raise HarnessError("she has seen no call at her tap yet")
        be_ordinary()
        self._sent.clear()
        self._make, self._left, self._interval, self._late = make, count, SECOND // rate, 0
        self._began = self._due = time.monotonic_ns()
        self._timer.arm(self._due)

    # What she is asked

    @property
    def _busy(self) -> bool:
        racing = self._racing and (not self._sent or time.monotonic_ns() < self._began + self._race_for)
        return self._make is not None or racing

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("op"):
            case "start":
                self._start(message)
            case "forge":
                self._begin(self._forger(message).forge, message["count"], message["rate"])
            case "replay":
                forger, before = self._forger(message), time.monotonic_ns() - _OLD
                self._begin(lambda: forger.replay(before), message["count"], message["rate"])
            case "flood":
                self._begin(self._forger(message).flood, message["count"], message["rate"])
            case "race":
                self._race(message["for_ns"], self._forger(message).stranger())
            case "state":
                pass
            case op:
                raise HarnessError(f"there is no request {op!r}; there are start, forge, replay, flood, race, state")
        return {
            "sent": dict(self._sent),
            "busy": self._busy,
            "seen": {"to callee": len(self._tap.packets[True]), "to caller": len(self._tap.packets[False])},
            "began": self._began,
            "ended": self._ended,
            "late_ns": self._late,
        }

    def _race(self, for_ns: int, racer: Endpoint) -> None:
        if self._busy:
            raise HarnessError("she is at something already")
        prefer_this_process()
        self._sent.clear()
        self._racing, self._race_for, self._racer, self._late = True, for_ns, racer, 0

    def _forger(self, message: dict[str, Any]) -> Forger:
        return Forger(self._tap, self._own, Random(message["seed"]))

    def _start(self, message: dict[str, Any]) -> None:
        if self._ear is not None:
            raise HarnessError("she is there already")
        self._ear = socket.socket(fileno=message["ear"])
        self._line = socket.socket(fileno=message["line"])
        self._link = bytes.fromhex(message["link"])
        self._own = message["own"]
        address, port = message["callee"]
        self._tap = Wiretap((address, port))
        self._poll.register(self._ear.fileno(), select.EPOLLIN)


def main(arguments: list[str]) -> int:
    """Run on the control socket whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal reaches everyone; the keeper decides when she ends
    Attacker(int(arguments[0])).run()
    return 0
