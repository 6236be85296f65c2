"""The agent as a process: arguments, pipes, signals, exit codes.

0: ended as asked (shutdown, end of file, SIGTERM, SIGINT, or the harness went away).  2: bad arguments.  70: a bug; its traceback is on
standard error and its last words are a ``log`` event.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import trio

from harness import __version__
from harness.agent.driver import Driver
from harness.agent.messages import Log
from harness.agent.stdio import HarnessGone, Output, claim
from harness.call.session import Endpoint

EXIT_BUG = 70


def run(
    argv: Sequence[str],
    *,
    endpoint_factory: Callable[..., Endpoint] = Endpoint,
    driver_factory: Callable[..., Driver] = Driver,
    agent: str = "reference",
) -> int:
    """Be an agent on this process' standard input and output until it is over; returns the exit code.

    A sabotaged agent is a main of its own that calls this with a subclass of ``Endpoint`` (same constructor) or of ``Driver``, and a name
    of its own for ``hello``, which reports show.
    """
    protocol = claim()
    parser = argparse.ArgumentParser(
        prog="python -m harness.agent", description="The reference agent: speaks docs/protocol.md on its pipes."
    )
    parser.add_argument("--version", action="version", version=f"{agent} {__version__}")
    parser.parse_args(argv)

    async def main() -> int:
        output = Output(protocol)
        driver = driver_factory(output, endpoint_factory=endpoint_factory, agent=agent, version=__version__)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, driver)
            try:
                await driver.run(trio.lowlevel.FdStream(os.dup(0)))
            except Exception as error:
                if not _only_gone(error):
                    traceback.print_exc()
                    with trio.move_on_after(1):
                        await _last_words(output, error)
                    nursery.cancel_scope.cancel()
                    return EXIT_BUG
                print("ending: the harness has gone", file=sys.stderr)
            nursery.cancel_scope.cancel()
        return 0

    return trio.run(main)


async def _stop_on_signal(driver: Driver) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            print(f"ending: {signal.Signals(number).name}", file=sys.stderr)
            driver.stop()


def _only_gone(error: BaseException) -> bool:
    """Whether all that happened is that the harness went away."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(HarnessGone)[1] is None
    return isinstance(error, HarnessGone)


async def _last_words(output: Output, error: BaseException) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    try:
        output.tell(Log(at=time.monotonic_ns(), level="error", message=f"the agent is dying of a bug: {type(error).__name__}: {error}"))
        await output.drain()
    except HarnessGone:
        pass
