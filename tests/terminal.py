"""A program on a terminal of its own: what it draws is followed on a ``Screen``, and waited for by condition."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tests.screen import Screen

_LIMIT_S = 60
_UNFINISHED = re.compile(r"\x1b(\[[?0-9;]*)?\Z")


def _heed_ctrl_c() -> None:
    """A shell's background job ignores SIGINT, and all that it starts inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """Runs ``argv`` in ``folder`` on a terminal; ``raw`` is everything that it wrote."""

    def __init__(self, argv: list[str], folder: Path, environment: dict[str, str], *, columns: int = 100, rows: int = 40) -> None:
        self.screen = Screen(columns, rows)
        self.raw = ""
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(theirs)
        self._process = subprocess.Popen(
            [*_WITH_THE_TERMINAL, *argv],
            preexec_fn=_heed_ctrl_c,
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self._theirs = theirs

    def type(self, keys: str) -> None:
        """As if somebody typed it."""
        os.write(self._ours, keys.encode())

    def until(self, condition: Callable[[Screen], object], what: str) -> None:
        """Go on until the screen is as wanted; an assertion that shows it when that does not come."""
        deadline = time.monotonic() + _LIMIT_S
        while not condition(self.screen):
            assert time.monotonic() < deadline, f"not seen: {what}\n{self.screen.text}"
            assert self._read(0.1) or self._process.poll() is None or condition(self.screen), f"it ended: {what}\n{self.screen.text}"

    def finish(self) -> int:
        """Go on until the program ends; its exit code.  The terminal's modes are then in ``modes_after``."""
        deadline = time.monotonic() + _LIMIT_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end\n{self.screen.text}"
            self._read(0.1)
        while self._read(0):
            pass
        self.modes_after = termios.tcgetattr(self._theirs)
        return self._process.returncode

    def close(self) -> None:
        """End the program, if it still runs, and take the terminal away."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._theirs)
        os.close(self._ours)

    def _read(self, within: float) -> bool:
        if not select.select([self._ours], [], [], within)[0]:
            return False
        text = self._decoder.decode(os.read(self._ours, 65536))
        self.raw += text
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        self._rest = unfinished[0] if unfinished else ""
        self.screen.feed(text.removesuffix(self._rest) if self._rest else text)
        return True


_WITH_THE_TERMINAL = ["setsid", "--ctty", "--wait"]
"""A session of its own whose terminal this is, so that Ctrl-C arrives as it does from a keyboard."""
