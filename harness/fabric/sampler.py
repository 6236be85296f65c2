"""The lab's handle on the sampler: starts it, names the agents to it, ends it, and reads what it wrote."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import trio

from harness.fabric.samples import SampleReader, Samples
from harness.units import s

_END_WITHIN = 3 * s


class Sampler:
    """The sampler process.  Start it with ``start_sampler``, from the thread that lives as long as the run."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process = process
        self._reader = SampleReader(path)
        self._ended = False

    def watch(self, name: str, pid: int, root: int) -> None:
        """Sample agent ``name`` from now on: process ``pid``, and all that stem from ``root``."""
        with contextlib.suppress(BrokenPipeError):  # it has died: the run then lacks samples, and says so
            assert self._process.stdin is not None
            self._process.stdin.write(f"{name} {pid} {root}\n".encode())
            self._process.stdin.flush()

    def read(self) -> Samples:
        """What it has written until now (it writes ten times a second); the same object every time."""
        return self._reader.read()

    async def end(self) -> Samples:
        """Let it write what it has and end; all its samples.  A second call does nothing more."""
        if not self._ended:
            self._ended = True
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            if self._process.poll() is None:
                pidfd = os.pidfd_open(self._process.pid)
                with trio.CancelScope(shield=True), trio.move_on_after(_END_WITHIN.s):
                    await trio.lowlevel.wait_readable(pidfd)
                os.close(pidfd)
            self.kill()
        samples = self.read()
        if self._process.returncode and not samples.lost:
            samples.lost = f"the sampler ended with code {self._process.returncode}: see keeper.log"
        return samples

    def kill(self) -> None:
        """Make sure that it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()  # does nothing to a process that has ended
        self._process.wait()


def start_sampler(path: Path, log: Path) -> Sampler:
    """Start the sampler, which writes into ``path``; its standard error goes to ``log``."""
    root = str(Path(__file__).resolve().parents[2])
    argv = [sys.executable, "-S", "-m", "harness.fabric.sampler_process", str(path)]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, "PYTHONPATH": root}
        )
    return Sampler(process, path)
