"""Nothing is left of a network: no process, namespace, descriptor, nor any change of the host, whoever dies and how."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from harness.errors import HarnessError, SpecError
from harness.fabric.network import Network
from tests.conformance import remains
from tests.conformance.networks import exactly, opened, run_in, talking, within_deadline
from tests.conformance.sites import two_radios

ROOT = Path(__file__).parents[2]
POLL = 0.01  # s
GONE_WITHIN = 10.0  # s; the kernel takes its time with the dead


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Marks everything that is started from here on; afterwards the host's network is what it was."""
    before, mark = remains.host(), uuid.uuid4().hex
    children = remains.children()
    monkeypatch.setenv(remains.TOKEN, mark)
    yield mark
    assert remains.children() == children, "each is reaped"
    assert remains.host() == before


async def until_gone(token: str) -> list[str]:
    """The processes of ``token`` that are there after all: none, or those that outlived the limit."""
    with trio.move_on_after(GONE_WITHIN):
        while remains.processes(token):  # noqa: ASYNC110 - the kernel has no event for it
            await trio.sleep(POLL)
    return remains.processes(token)


def only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def start_doomed(folder: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", DOOMED], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


async def populate(network: Network) -> None:
    """Captures, a relay or netem, talkers, and a child that has left its parent and its session."""
    await network.capture()
    orphan = "import subprocess as s; s.Popen(['sleep', '1000'], stdin=-3, stdout=-3, stderr=-3, start_new_session=True)"
    assert (await run_in(network, "bob", [sys.executable, "-c", orphan]))[0] == 0


def test_nothing_is_left_after_the_block(tmp_path: Path, token: str) -> None:
    async def main() -> None:
        before = remains.descriptors()
        async with opened(two_radios(), tmp_path, captures=True) as network:
            await populate(network)
            async with talking(network, "alice"):
                assert len(remains.processes(token)) >= 5, "keeper, PID 1, captures, orphan, talker"
        assert remains.processes(token) == [], "at once: leaving the block waits for it"
        assert remains.mounts(network.report["namespaces"].values()) == []
        assert remains.descriptors() == before

    within_deadline(main)


@pytest.mark.parametrize("which", ["outer process", "PID 1"])
def test_nothing_is_left_after_the_keeper_is_killed(tmp_path: Path, token: str, which: str) -> None:
    async def main() -> None:
        before = remains.descriptors()
        async with opened(two_radios(), tmp_path, captures=True) as network:
            await populate(network)
            async with talking(network, "alice") as alice:
                outer = network._keeper._process.pid
                os.kill(outer if which == "outer process" else only_child(outer), signal.SIGKILL)
                await alice.process.ended.wait()
                with pytest.raises(HarnessError, match=r"^the keeper (is gone; it cannot be asked|died before it answered) 'probe'"):
                    await network.ask("probe")
                assert await until_gone(token) == []
        assert remains.mounts(network.report["namespaces"].values()) == []
        assert remains.descriptors() == before

    within_deadline(main)


def helpers(network: Network) -> dict[str, int]:
    """The relay's and the captures' processes, by their names."""
    first = only_child(network._keeper._process.pid)
    children = map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())
    found = {}
    for pid in children:
        if b"harness.fabric.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes():
            files = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            found["capture" if any(name.endswith(".pcapng") for name in files) else "relay"] = pid
    return found


@pytest.mark.parametrize("which", ["relay", "capture"])
def test_a_part_of_the_network_that_is_killed_is_told_at_once(tmp_path: Path, token: str, which: str) -> None:
    async def main() -> None:
        async with opened(two_radios(), tmp_path, impair="relay", captures=True) as network:
            await populate(network)
            assert network.troubles() == []
            os.kill(helpers(network)[which], signal.SIGKILL)
            with pytest.raises(HarnessError, match=rf"^the {which} process has ended \(SIGKILL\): see keeper\.log$"):
                await network.breaks()
        assert await until_gone(token) == []

    within_deadline(main)


def test_what_somebody_stops_is_told_until_it_goes_on(tmp_path: Path, token: str) -> None:
    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - within a deadline; nobody else waits for it
            await trio.sleep(POLL)

    async def main() -> None:
        async with opened(two_radios(), tmp_path, impair="relay", captures=True) as network, talking(network, "alice") as alice:
            await populate(network)
            relay = helpers(network)["relay"]
            os.kill(relay, signal.SIGSTOP)
            await until(lambda: [str(one) for one in network.troubles()] == ["the relay process was stopped (SIGSTOP) and has not gone on"])
            assert not alice.process.stopped
            alice.process.signal(signal.SIGSTOP)
            await until(lambda: alice.process.stopped)
            alice.process.held = True
            assert not alice.process.stopped, "who was stopped on purpose"
            alice.process.held = False
            os.kill(relay, signal.SIGCONT)
            alice.process.signal(signal.SIGCONT)
            await until(lambda: network.troubles() == [] and not alice.process.stopped)
        assert await until_gone(token) == []

    within_deadline(main)


DOOMED = """
import json, signal, sys, trio
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
from pathlib import Path
from tests.conformance.networks import opened, talking
from tests.conformance.sites import two_radios
from tests.conformance.test_left_behind import populate
async def main():
    async with opened(two_radios(), Path.cwd(), captures=True) as network:
        await populate(network)
        async with talking(network, "alice"):
            print(json.dumps(network.report["namespaces"]), flush=True)
            await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_nothing_is_left_after_the_lab_is_killed(tmp_path: Path, token: str, number: signal.Signals) -> None:
    async def main() -> None:
        with start_doomed(tmp_path) as doomed:
            assert doomed.stdout is not None
            namespaces = json.loads(await trio.to_thread.run_sync(doomed.stdout.readline))
            assert len(remains.processes(token)) >= 6
            try:
                doomed.send_signal(number)
                assert await until_gone(token) == []
            finally:
                doomed.kill()
        assert remains.mounts(namespaces.values()) == []

    within_deadline(main)


def test_nothing_is_left_when_the_build_is_refused(tmp_path: Path, token: str) -> None:
    async def main() -> None:
        before = remains.descriptors()
        refused = exactly("--impair: 'tc' is not known; allowed are auto, netem, relay, relay-packet")
        with pytest.RaisesGroup(pytest.RaisesExc(SpecError, match=refused)):
            async with opened(two_radios(), tmp_path, impair="tc"):
                pass
        assert remains.processes(token) == []
        assert remains.descriptors() == before

    within_deadline(main)
