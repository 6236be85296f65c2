"""Whole runs that come to each result for its reason: crashes, missed waits, agents that start later or again, doubled packets, no move."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.report import model
from harness.report.model import Report
from harness.verdict import Blame, Result, Verdict

ROOT = Path(__file__).parents[2]

TALE = """
import msgspec
from harness.lab import needs
from harness.spec.link import Impairment
from harness.units import Duration, ms, percent, s
from topologies.phone_two_radios import phone_two_radios
from topologies.two_homes import two_homes


async def test_rebind(lab):
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=300 * ms)
        async with lab.fault("a new port") as fault:
            await net.nat("home_a").rebind("alice")
        await call.heard_both_ways(for_=500 * ms, within=2 * s)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


@needs("hold", of="bob")
async def test_holds(lab):
    await test_rebind(lab)


async def test_unwatched(lab):
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=300 * ms)
        lab._sampler.kill()
    lab.equal("QUIC handshakes", call.handshakes(), 1)


async def test_dead_call(lab):
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        async with lab.fault("the line is dark"):
            await net.link("home_a/wan").dark()
        await call.heard_both_ways(for_=1 * s, within=1500 * ms)
        began = lab.now()
        async with lab.fault("a new port") as fault:
            await net.nat("home_a").rebind("alice")
        await call.heard_both_ways(for_=500 * ms)
        took = Duration(lab.now() - began)
    lab.at_most("time to be heard again", took, 3 * s)
    for listener in (alice, bob):
        lab.at_most("longest silence", listener.heard("audio").longest_gap(since=fault.began), 80 * ms)


async def test_one_by_one(lab):
    await lab.build(two_homes())
    (alice,) = await lab.agents("alice")
    (bob,) = await lab.agents("bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=300 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


async def test_again(lab):
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as first:
        await first.heard_both_ways(for_=300 * ms)
        async with lab.fault("Bob's app dies and starts again"):
            await bob.crash()
            await first.conclude()
            await bob.restart()
    async with lab.call(alice, bob) as second:
        await second.heard_both_ways(for_=300 * ms)
    lab.equal("QUIC handshakes", second.handshakes(), 1)
    for call in (first, second):
        lab.at_least("audio heard", alice.heard("audio", call).arrived(), 10)


async def test_doubled(lab):
    twice = Impairment(delay=5 * ms, duplicate=100 * percent)
    net = two_homes()
    links = [msgspec.structs.replace(one, a_to_b=twice, b_to_a=twice) if one.a == "home_a/wan" else one for one in net.links]
    await lab.build(msgspec.structs.replace(net, links=tuple(links)))
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=300 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


async def test_stays(lab):
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=300 * ms)
        await net.link("alice/lte").up()
        async with lab.fault("Alice is asked to move"):
            await alice.expect_no_move("lte")
        await call.heard_both_ways(for_=500 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)


async def test_mistaken(lab):
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await alice.mute("video")
        await alice.speak("video", payload_bytes=200)
"""

AGENT = """
import ctypes, os, signal, sys
from harness.agent.stdio import claim
claim()
from harness.agent import driver
from harness.agent.process import run
from harness.call.session import Endpoint

class Dies(Endpoint):
    first = None
    def receive(self, data, address, **rest):
        Dies.first = Dies.first or str(address)
        if str(address) != Dies.first:  # its peer has moved
            print("it moved, and I", sys.argv[1], file=sys.stderr, flush=True)
            if sys.argv[1] == "segv":
                ctypes.string_at(0)
            if sys.argv[1] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise SystemError("nobody caught this")
        super().receive(data, address, **rest)

class Stays(Endpoint):
    def migrate(self, call, path, now):
        self.stats(call)

if sys.argv[1] == "no-hold":
    driver.CAPABILITIES = tuple(one for one in driver.CAPABILITIES if one != "hold")
sys.exit(run([], endpoint_factory={"stays": Stays, "no-hold": Endpoint}.get(sys.argv[1], Dies)))
"""

PYTEST = ["-m", "pytest", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "-q"]


@pytest.fixture
def ran(tmp_path: Path) -> Callable[..., tuple[int, Report]]:
    """Run a test of the tale; its exit code and report.  ``agents``: what goes wrong with each that is not the reference agent."""

    def run(test: str, *options: str, **agents: str) -> tuple[int, Report]:
        (tmp_path / "tale.py").write_text(TALE)
        (tmp_path / "agent.py").write_text(AGENT)
        command = {name: shlex.join([sys.executable, str(tmp_path / "agent.py"), what]) for name, what in agents.items()}
        given = [*options, *(f"--agent={name}={one}" for name, one in command.items())]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        argv = [sys.executable, *PYTEST, f"tale.py::test_{test}", *given]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        (path,) = (tmp_path / "artifacts").glob(f"tale/{test}/*/report.json")
        return done.returncode, model.read(path)

    return run


def by_name(report: Report, name: str) -> list[Verdict]:
    found = [one for one in report.verdicts if one.name.startswith(name)]
    assert found, report.verdicts
    return found


@pytest.mark.parametrize(("what", "how"), [("segv", "was killed by SIGSEGV"), ("kill", "was killed by SIGKILL"), ("raise", "exited with")])
def test_a_crash_is_a_failure_that_is_told_with_its_log_and_the_other_verdicts(
    ran: Callable[..., tuple[int, Report]], what: str, how: str
) -> None:
    code, report = ran("rebind", bob=what)
    assert (code, report.result, report.blame) == (1, Result.FAIL, Blame.PRODUCT), report.reasons
    assert report.reasons[0].startswith(f"agent bob: {how}"), report.reasons
    assert f"it moved, and I {what}" in report.reasons[0] or what == "raise"
    assert "agents/bob.log" in report.reasons[0]
    assert [str(one.value) for one in by_name(report, "QUIC handshakes")] == ["1"]
    assert all(receipt.taken for receipt in report.receipts)


def test_a_run_whose_sampler_has_died_proves_nothing(ran: Callable[..., tuple[int, Report]]) -> None:
    _, report = ran("unwatched")
    assert (report.result, report.blame) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT)
    assert "is not known to the end: the sampler ended with code -9" in report.reasons[0]


def test_a_capability_that_lacks_is_not_run(ran: Callable[..., tuple[int, Report]]) -> None:
    code, report = ran("holds", bob="no-hold")
    assert (code, report.result, report.blame) == (1, Result.NOT_RUN, Blame.AGENT)
    assert report.reasons == ("agent bob: it does not offer hold, which this scenario needs",)
    assert [(stack.agent, stack.name) for stack in report.stacks] == [("alice", "reference"), ("bob", "reference")]


def test_nothing_that_begins_in_a_dead_call_is_green(ran: Callable[..., tuple[int, Report]]) -> None:
    _, report = ran("dead_call")
    assert report.result is not Result.PASS
    later = by_name(report, "longest silence") + by_name(report, "time to be heard")
    assert [one.result for one in later] == [Result.INCONCLUSIVE] * 3
    assert {one.note.partition(":")[0] for one in later} == {"not measured"}


def passed(report: Report) -> None:
    """Nothing went wrong, or nothing but what this machine did to a run of which the rest is right."""
    assert report.result is Result.PASS or report.blame is Blame.ENVIRONMENT, report.reasons
    assert not [reason for reason in report.reasons if reason.startswith("agent ")]


def test_agents_may_start_one_after_the_other(ran: Callable[..., tuple[int, Report]]) -> None:
    _, report = ran("one_by_one")
    passed(report)
    assert [one.result for one in by_name(report, "QUIC handshakes")] == [Result.PASS]


def test_an_agent_that_was_killed_starts_again_with_its_receipt(ran: Callable[..., tuple[int, Report]]) -> None:
    _, report = ran("again")
    passed(report)
    assert [one.result for one in by_name(report, "audio heard")] == [Result.PASS] * 2
    (again,) = [one for one in report.receipts if one.kind == "process restarted"]
    assert again.taken
    assert again.observed["old pid"] != again.observed["new pid"]
    assert {"agents/bob.log", "agents/bob.2.log", "bob.media.jsonl", "agents/bob/bob.media.jsonl"} <= set(report.artifacts)


def test_packets_that_are_doubled_from_the_start_confuse_no_probe(ran: Callable[..., tuple[int, Report]]) -> None:
    _, report = ran("doubled")
    assert not [reason for reason in report.reasons if "differs from its spec" in reason], report.reasons
    assert [one.result for one in by_name(report, "QUIC handshakes")] == [Result.PASS]


def test_a_move_that_must_not_happen_and_does_not(ran: Callable[..., tuple[int, Report]]) -> None:
    _, report = ran("stays", alice="stays")
    passed(report)
    assert [one.result for one in by_name(report, "alice stays where it is")] == [Result.PASS]
    assert [one.observed["answer"] for one in report.receipts if one.kind == "request"] == ["yes"]


def test_a_move_that_must_not_happen_and_does_is_a_failure(ran: Callable[..., tuple[int, Report]]) -> None:
    code, report = ran("stays")
    assert (code, report.result, report.blame) == (1, Result.FAIL, Blame.PRODUCT)
    assert [one.result for one in by_name(report, "alice stays where it is")] == [Result.FAIL]


def test_a_source_that_there_is_not_is_the_author_s_mistake(ran: Callable[..., tuple[int, Report]]) -> None:
    code, report = ran("mistaken")
    assert (code, report.result, report.blame) == (1, Result.ERROR, Blame.AUTHOR)
    assert report.reasons[0].startswith("speak, payload_bytes: 200 for video; allowed is it for audio alone")
