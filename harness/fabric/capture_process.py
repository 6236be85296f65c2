"""The capture process: reads packet sockets and writes one pcapng file per interface.

``python -m harness.fabric.capture_process CONTROL_FD``.  Times are the kernel's, so it may read late: it naps ``NAP`` between looks, which
costs a hundredth of waking for each packet, and flushes after each look.  Killed, it leaves readable files up to the last one.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from harness import stamps
from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric.capture import Captured, file_name
from harness.fabric.pcapng import Writer
from harness.fabric.seqpacket import Answerer
from harness.rotation import Parts

NAP = 20  # ms; files are at most this and one look behind
LOOK = 2_000  # frames read from one socket before the others get their turn
SAMPLE = 1_000_000_000  # ns between two samples of the clocks
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_OUTGOING = 4


def clock_offset() -> int:
    """CLOCK_REALTIME - CLOCK_MONOTONIC in ns, from the quickest of five readings."""
    best, offset = 1 << 62, 0
    for _ in range(5):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < best:
            best, offset = after - before, real - (before + after) // 2
    return offset


class Tap:
    """One interface's socket and file, which is written in parts (``harness.rotation``): each is a whole capture file."""

    def __init__(self, fd: int, path: Path, name: str, snap: int) -> None:
        try:
            self.socket = socket.socket(fileno=fd)
        except OSError as error:
            raise EnvironmentUnfit(f"capture of {name}: descriptor {fd} was not inherited ({error.strerror})") from None
        self.socket.setblocking(False)
        self.path = path
        self._name = name
        self._parts = Parts(path)
        self._ended = 0  # bytes of the parts that are full
        self._buffer = bytearray(snap)
        self._writer = self._begin()
        self._received = self._dropped = self._written = self._unwritten = 0
        self._failure: str | None = None

    def look(self) -> int:
        """Read what waits, up to ``LOOK`` frames; how many there were."""
        buffer, receive, packet = self._buffer, self.socket.recvmsg_into, self._writer.packet
        snap = len(buffer)
        for count in range(LOOK):
            try:
                length, ancillary, _, address = receive([buffer], stamps.SPACE, socket.MSG_TRUNC)
            except BlockingIOError:
                return count
            except OSError as error:
                if error.errno in (errno.ENETDOWN, errno.EINTR):  # told once when the interface goes down; it may come back
                    continue
                raise
            if self._failure is not None:
                self._unwritten += 1
                continue
            if self._writer.size > self._parts.limit:
                self._rotate()
                packet = self._writer.packet
            seconds, nanoseconds = stamps.TIMESPEC.unpack(ancillary[0][2])
            packet(0, seconds * 1_000_000_000 + nanoseconds, bytes(buffer[: min(length, snap)]), length, address[2] == _OUTGOING)
            self._written += 1
        return LOOK

    def _begin(self) -> Writer:
        self._file = self._parts.begin().open("wb", buffering=0)
        return Writer(self._file, [self._name], len(self._buffer))

    def _rotate(self) -> None:
        """End this part, with its clock, and begin the next, with the same."""
        offset = clock_offset()
        self.sample(offset)
        self.flush()
        if self._failure is None:
            try:
                self._file.close()
                self._ended += self._writer.size
                self._writer = self._begin()
                self.sample(offset)
            except OSError as error:
                self._failure = error.strerror

    def sample(self, offset: int) -> None:
        """Note the kernel's counters and the clocks' offset in the file."""
        # PACKET_STATISTICS starts from zero after each reading, and counts the dropped among the received.
        received, dropped = struct.unpack("II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._received += received
        self._dropped += dropped
        note = f"{self._unwritten} frames were not written" if self._unwritten else ""
        self._writer.statistics(
            0, time.time_ns(), received=self._received, dropped=self._dropped, written=self._written, offset=offset, note=note
        )

    def flush(self) -> None:
        """Put everything into the file; when that fails, say so and go on counting."""
        if self._failure is None:
            try:
                self._writer.flush()
            except OSError as error:
                self._failure = error.strerror

    @property
    def captured(self) -> Captured:
        """The counters, as of the last sample and look."""
        return Captured(
            file=str(self.path),
            received=self._received,
            dropped=self._dropped,
            written=self._written,
            unwritten=self._unwritten,
            bytes=self._ended + self._writer.size,
            failure=self._failure,
        )


class Capture:
    """The loop and the answers."""

    def __init__(self, control_fd: int) -> None:
        self._taps: dict[str, Tap] = {}
        self._poll = select.epoll()
        self._control = Answerer(control_fd, self._answer)
        self._poll.register(self._control.fileno(), select.EPOLLIN)
        self._nap = select.poll()  # not select(), which knows no descriptor beyond 1023
        self._nap.register(self._control.fileno(), select.POLLIN)
        self._sampled = 0
        self._done = False

    def run(self) -> None:
        """Serve until told to stop or left alone; either way the files are complete."""
        while not self._done:
            ready = self._poll.poll(1.0 if self._taps else None)
            self._look()
            now = time.monotonic_ns()
            if now - self._sampled >= SAMPLE:
                self._sample()
            self._flush()
            asked = bool(ready) and bool(self._nap.poll(NAP))
            if asked and not self._control.serve():
                self._finish()
                return

    def _look(self) -> None:
        for tap in self._taps.values():
            tap.look()

    def _sample(self) -> None:
        self._sampled = time.monotonic_ns()
        offset = clock_offset()
        for tap in self._taps.values():
            tap.sample(offset)

    def _flush(self) -> None:
        for tap in self._taps.values():
            tap.flush()

    def _finish(self) -> dict[str, Captured]:
        for tap in self._taps.values():
            for _ in range(100):  # a bound, since a flood need not end
                if tap.look() < LOOK:
                    break
        self._sample()
        self._flush()
        return {name: tap.captured for name, tap in self._taps.items()}

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("op"):
            case "start":
                self._start(Path(message["folder"]), message["fds"], int(message["snap"]))
            case "flush":
                pass
            case "stop":
                self._done = True
            case op:
                raise HarnessError(f"there is no request {op!r}; there are start, flush, stop")
        return {"interfaces": msgspec.to_builtins(self._finish())}

    def _start(self, folder: Path, fds: dict[str, int], snap: int) -> None:
        if self._taps:
            raise HarnessError("it was started already")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, fd in fds.items():
                self._taps[name] = Tap(fd, folder / file_name(name), name, snap)
        except OSError as error:
            raise EnvironmentUnfit(f"captures cannot be written to {folder}: {error.strerror}") from None
        for tap in self._taps.values():
            self._poll.register(tap.socket.fileno(), select.EPOLLIN)


def main(arguments: list[str]) -> int:
    """Run on the control socket whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal reaches everyone; the keeper decides when captures end
    os.nice(5)  # the agents and the relay go first
    Capture(int(arguments[0])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
