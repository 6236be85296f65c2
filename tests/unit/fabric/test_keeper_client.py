"""The lab's conversation with the keeper, with a keeper of wood: what matters here is the order in which things are said."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from harness.errors import HarnessError, SpecError
from harness.fabric import wires
from harness.fabric.keeper_client import Keeper


def with_keeper(test: Any) -> None:
    """Run ``test(keeper, theirs)``: a Keeper that is listening, and the other end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(["true"])

    async def main() -> None:
        keeper = Keeper(process, trio.socket.from_stdlib_socket(ours))
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                await nursery.start(keeper.listen)
                await test(keeper, theirs)
                nursery.cancel_scope.cancel()
            await keeper.end()

    with theirs:
        trio.run(main)


async def asked(theirs: socket.socket) -> tuple[dict[str, Any], list[int]]:
    message, fds = await trio.to_thread.run_sync(wires.receive, theirs)
    assert message is not None
    return message, fds


def test_an_exit_told_right_behind_the_start_is_not_lost() -> None:
    inode = os.stat("/proc/self/ns/net").st_ino

    async def test(keeper: Keeper, theirs: socket.socket) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for pid in range(2, 22):  # which task runs first is trio's dice

            async def answer(pid: int = pid) -> None:
                message, fds = await asked(theirs)
                for fd in fds:
                    os.close(fd)
                pidfd = os.pidfd_open(os.getpid())
                wires.send(theirs, {"id": message["id"], "ok": {"pid": pid, "inode": inode}}, [pidfd])
                wires.send(theirs, {"event": "exited", "pid": pid, "code": pid})
                os.close(pidfd)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer)
                process = await keeper.spawn("alice", ["true"], [null] * 3, {}, Path("/"))
                await process.ended.wait()
            assert (process.code, process.pid) == (pid, os.getpid())
        os.close(null)

    with_keeper(test)


def test_a_process_that_is_not_where_it_should_be_is_refused() -> None:
    async def test(keeper: Keeper, theirs: socket.socket) -> None:
        async def answer() -> None:
            message, _fds = await asked(theirs)
            pidfd = os.pidfd_open(os.getpid())
            wires.send(theirs, {"id": message["id"], "ok": {"pid": 2, "inode": 1}}, [pidfd])
            os.close(pidfd)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with pytest.raises(HarnessError, match=r"^alice: the process is in network namespace \d+, not in the node's 1$"):
                await keeper.spawn("alice", ["true"], [], {}, Path("/"))

    with_keeper(test)


def test_of_an_answer_that_nobody_waits_for_no_descriptor_is_left() -> None:
    async def test(keeper: Keeper, theirs: socket.socket) -> None:
        reading, writing = os.pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.ask, "spawn")
            message, _fds = await asked(theirs)
            nursery.cancel_scope.cancel()
        wires.send(theirs, {"id": message["id"], "ok": {}}, [writing])
        os.close(writing)
        async with trio.lowlevel.FdStream(reading) as pipe:
            assert await pipe.receive_some() == b"", "its end, which comes when nobody holds the other"

    with_keeper(test)


def test_an_error_of_the_keeper_is_raised_as_what_it_is() -> None:
    async def test(keeper: Keeper, theirs: socket.socket) -> None:
        async def answer() -> None:
            message, _fds = await asked(theirs)
            wires.send(theirs, {"id": message["id"], "error": wires.describe(SpecError("NAT home", "it has no spare"))})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with pytest.raises(SpecError, match=r"^NAT home: it has no spare$"):
                await keeper.ask("rebind")

    with_keeper(test)


def test_a_keeper_that_dies_is_told_to_whoever_waits_and_whoever_asks_later() -> None:
    async def test(keeper: Keeper, theirs: socket.socket) -> None:
        async def die() -> None:
            await asked(theirs)
            theirs.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(die)
            with pytest.raises(HarnessError, match=r"^the keeper died before it answered 'probe': see keeper\.log$"):
                await keeper.ask("probe")
        with pytest.raises(HarnessError, match=r"^the keeper is gone; it cannot be asked 'probe': see keeper\.log$"):
            await keeper.ask("probe")

    with_keeper(test)
