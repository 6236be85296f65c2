"""The captures of a run, from inside the keeper: one packet socket per interface, and the process that writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.fabric import capture, capture_process, child, seqpacket
from harness.fabric.link_ends import End
from harness.fabric.netns import inside


class CaptureSet:
    """Captures of all ``ends`` into ``folder``, running from the moment that this is made."""

    def __init__(self, folder: Path, ends: Sequence[End]) -> None:
        sockets = {}
        for end in ends:
            with inside(end.namespace.fd):
                sockets[end.plan.port.path] = capture.open_capture(end.plan.port.name)
        ours, theirs = seqpacket.pair()
        fds = {name: socket.fileno() for name, socket in sockets.items()}
        child.start("capture", capture_process.main, theirs.fileno(), fds.values())
        theirs.close()
        self._control = capture.CaptureControl(ours)
        self._control.start(folder, fds)
        for socket in sockets.values():
            socket.close()
        self.files = [capture.file_name(name) for name in fds]

    def flush(self) -> dict[str, Any]:
        """Everything that passed before this call is in the files; what was captured so far, per interface."""
        return dict(msgspec.to_builtins(self._control.flush()))

    def finish(self) -> dict[str, Any]:
        """End the files; what was captured, per interface."""
        return dict(msgspec.to_builtins(self._control.stop()))
