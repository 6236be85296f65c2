"""Captures of a run: the sockets, and the handle on the process that writes them to files.

Who starts it (the keeper):

1. calls ``open_capture(interface)`` inside each node's namespace; from then on the kernel keeps and stamps what passes;
2. makes ``seqpacket.pair()`` and lets ``child.start`` run the loop with that descriptor and all the captures' kept (a program without a
   keeper starts ``argv(theirs.fileno())`` with them inherited);
3. asks ``CaptureControl(ours).start(folder, …)``, and at the end ``stop()``.

A capture sees packets after the interface's queueing discipline on their way out and before it on their way in: on an interface with netem
it sees what leaves netem, when it leaves.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.errors import EnvironmentUnfit
from harness.fabric.packet_sockets import open_packet_socket
from harness.fabric.seqpacket import Asker
from harness.stamps import STAMPED
from harness.units import Duration, s

SNAP = 2048
"""Bytes kept of each frame: more than any frame at an MTU of 1500."""
_BUFFER = 16 << 20


def open_capture(interface: str) -> socket.socket:
    """A socket that receives every frame that ``interface`` of the CURRENT namespace sends or takes, stamped by the kernel in ns.

    The interface may be down.  Non-blocking, not inheritable.  Raises EnvironmentUnfit that says what is missing.
    """
    try:
        return open_packet_socket(interface, _BUFFER, "captures need", (STAMPED,))
    except OSError as error:
        raise EnvironmentUnfit(f"interface {interface!r} cannot be captured: {error.strerror}") from None


def argv(control_fd: int) -> list[str]:
    """The command of the capture process, which finds its control socket at the inherited descriptor ``control_fd``."""
    return [sys.executable, "-m", "harness.fabric.capture_process", str(control_fd)]


def file_name(interface: str) -> str:
    """The file of ``node/interface``: neither half can hold a dot, so no two share one."""
    return f"{interface.replace('/', '.')}.pcapng"


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """One interface's capture so far.

    ``received``: frames that the kernel saw; ``dropped``: those of them for which the socket had no room; ``written``: in the file;
    ``unwritten``: after ``failure`` (what writing the file ended with).  ``bytes``: of all its parts, also of those let go.  A capture is
    complete when ``dropped`` and ``unwritten`` are 0.
    """

    file: str
    received: int
    dropped: int
    written: int
    unwritten: int
    bytes: int
    failure: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    interfaces: dict[str, Captured]


class CaptureControl:
    """The handle on a started capture process; synchronous, every call bounded by ``within``."""

    def __init__(self, control: socket.socket, within: Duration = 10 * s) -> None:
        self._asker = Asker(control, "capture", within)

    def start(self, folder: Path, fds: Mapping[str, int], *, snap: int = SNAP) -> dict[str, Captured]:
        """Write each interface (``node/interface`` → inherited descriptor) to a file of its own in ``folder``, which is made if need be."""
        return self._ask("start", folder=str(folder), fds=dict(fds), snap=snap)

    def flush(self) -> dict[str, Captured]:
        """On return everything that passed before the call is in the files."""
        return self._ask("flush")

    def stop(self) -> dict[str, Captured]:
        """Flush, end the files; the process then exits with code 0."""
        last = self._ask("stop")
        self._asker.close()
        return last

    def _ask(self, op: str, **fields: object) -> dict[str, Captured]:
        return msgspec.convert(self._asker.ask(op, **fields), _Answer).interfaces
