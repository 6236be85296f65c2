"""Two reference agents, each a process of its own, over real QUIC on loopback."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from harness.agent.messages import (
    CallEnded,
    CallHeld,
    CallResumed,
    ConnectionEstablished,
    ConnectionFailed,
    Flow,
    IncomingCall,
    Lag,
    Log,
    Media,
    Mode,
    Options,
    PathChanged,
    PathSpec,
    SendError,
    StateChanged,
)
from harness.agent.remote import AgentRefused, Said
from harness.errors import AgentError
from harness.media.record_join import Joined, join
from harness.media.records import ArrivedRecord, SentRecord, read
from harness.units import s
from tests.unit.agent import certificates
from tests.unit.agent.processes import REFERENCE, Started, started, within_deadline

SOON = 20 * s
FLOWS: tuple[Flow, ...] = ("audio", "video")
LO = PathSpec(name="lo", v4="127.0.0.1")
TWO = (LO, PathSpec(name="other", v4="127.0.0.2"))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("pem"))


class Pair(NamedTuple):
    alice: Started
    bob: Started
    port: int


@asynccontextmanager
async def pair(
    folder: Path,
    pem: certificates.Certificates,
    *,
    alice: tuple[str, ...] = REFERENCE,
    options: Options | None = None,
    tee: Callable[[Said], None] | None = None,
) -> AsyncIterator[Pair]:
    """Alice with two paths, and bob who listens on one."""
    async with started("alice", alice, tee=tee, log=folder / "alice.log") as left, started("bob", tee=tee, log=folder / "bob.log") as right:
        await left.agent.hello(within=SOON)
        await left.agent.configure(paths=TWO, folder=str(folder), ca=pem.ca, server_name="harness.test", seed=1, options=options)
        await right.agent.hello(within=SOON)
        await right.agent.configure(paths=[LO], folder=str(folder), certificate=pem.certificate, key=pem.key, seed=1)
        (socket,) = (await right.agent.listen(within=SOON)).sockets
        assert (socket.path, socket.family, socket.ip) == ("lo", "v4", "127.0.0.1")
        yield Pair(left, right, socket.port)


async def connect(both: Pair, *, video: bool = False) -> str:
    alice, bob = both.alice.agent, both.bob.agent
    call = await alice.dial("127.0.0.1", both.port, "lo", video=video)
    incoming = await bob.wait_for(IncomingCall, within=SOON, where=lambda event: event.call == call)
    assert incoming.path == "lo"
    await bob.accept(call)
    established = [
        await agent.wait_for(ConnectionEstablished, within=SOON, where=lambda event: event.call == call) for agent in (alice, bob)
    ]
    assert established[0].odcid == established[1].odcid
    return call


def joined(folder: Path, sender: str, receiver: str) -> Joined:
    with (folder / f"{sender}.media.jsonl").open("rb") as file:
        sent = [record for record in read(file, sender) if isinstance(record, SentRecord)]
    with (folder / f"{receiver}.media.jsonl").open("rb") as file:
        arrived = [record for record in read(file, receiver) if isinstance(record, ArrivedRecord)]
    return join(sent, arrived)


def test_a_call_with_media_both_ways_leaves_nothing_behind(tmp_path: Path, pem: certificates.Certificates) -> None:
    heard: list[Said] = []

    async def main() -> None:
        async with pair(tmp_path, pem, tee=heard.append) as both:
            alice, bob = both.alice.agent, both.bob.agent
            before = (await alice.inventory(), await bob.inventory())
            call = await connect(both)
            for agent in (alice, bob):
                await agent.media_start(call, "audio")
            for agent in (alice, bob):
                await agent.heard(call, "audio", 30, within=SOON)

            with pytest.raises(AgentRefused) as caught:
                await bob.migrate(call, "lo")
            assert (caught.value.kind, caught.value.call) == ("InvalidState", call)

            stats = await alice.stats(call)
            assert (stats.state, stats.role, stats.path, stats.handshakes, stats.redials) == ("Connected", "caller", "lo", 1, 0)
            assert stats.received["audio"] >= 30
            during = await alice.inventory()
            assert (during.calls, during.sources) == ((call,), (f"{call}/audio",))

            await alice.end(call, "goodbye")
            for agent in (alice, bob):
                ended = await agent.wait_for(CallEnded, within=SOON)
                assert (ended.call, ended.reason) == (call, "goodbye")
            with pytest.raises(AgentRefused, match="CallNotFound"):
                await alice.end(call)

            for agent, was in ((alice, before[0]), (bob, before[1])):
                assert await agent.settled(was, within=SOON) == was
                assert (was.calls, was.sources, set(was.stack.values())) == ((), (), {0})

            for each in (both.alice, both.bob):
                await each.agent.shutdown()
                assert await each.process.wait() == 0

    within_deadline(main)
    for sender, receiver in (("alice", "bob"), ("bob", "alice")):
        packets, strays = joined(tmp_path, sender, receiver).packets, joined(tmp_path, sender, receiver).strays
        assert not strays
        assert [packet.index - packets[0].index for packet in packets] == list(range(len(packets)))
        assert [packet.frame for packet in packets] == list(range(len(packets)))
        assert len(packets) >= 30
        lost = [packet for packet in packets if packet.sent is not None and packet.arrived is None]
        assert len(lost) <= 2  # what was in flight when the call ended
        assert {(packet.flow, packet.path, packet.mode, packet.size) for packet in packets} == {("audio", "lo", "datagram", 92)}
        delays = [packet.arrived - packet.sent for packet in packets if packet.arrived is not None and packet.sent is not None]
        assert min(delays) > -500_000
    assert "CLIENT_HANDSHAKE_TRAFFIC_SECRET" in (tmp_path / "keys.log").read_text()
    assert len(list((tmp_path / "qlog").glob("alice-*-client.sqlog"))) == 1
    assert len(list((tmp_path / "qlog").glob("bob-*-server.sqlog"))) == 1
    last = [said.message for said in heard if isinstance(said.message, Media) and said.agent == "bob"][-1]
    assert last.heard == sum(packet.arrived is not None for packet in joined(tmp_path, "alice", "bob").packets)


@pytest.mark.parametrize(("flow", "mode"), [("video", "datagram"), ("audio", "stream")])
def test_flows_and_modes(tmp_path: Path, pem: certificates.Certificates, flow: Flow, mode: Mode) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            call = await connect(both, video=True)
            await both.alice.agent.media_start(call, flow, mode=mode)
            await both.bob.agent.heard(call, flow, 40, within=SOON)
            with pytest.raises(AgentRefused, match="is being sent already"):
                await both.alice.agent.media_start(call, flow, mode=mode)
            await both.alice.agent.media_stop(call, flow)
            with pytest.raises(AgentRefused, match="is not being sent"):
                await both.alice.agent.media_stop(call, flow)
            for each in (both.alice, both.bob):
                await each.agent.shutdown()

    within_deadline(main)
    result = joined(tmp_path, "alice", "bob")
    assert not result.strays
    assert {(packet.flow, packet.mode) for packet in result.packets} == {(flow, mode)}
    assert sum(packet.arrived is not None for packet in result.packets) >= 40


def test_a_call_moves_to_another_path(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            alice, bob = both.alice.agent, both.bob.agent
            call = await connect(both)
            await alice.media_start(call, "audio")
            await bob.heard(call, "audio", 10, within=SOON)
            await alice.migrate(call, "other")
            assert {socket.path for socket in (await alice.inventory()).sockets} == {"lo", "other"}
            await alice.wait_for(lambda event: getattr(event, "kind", None) == "migrated", within=SOON)
            moved = await bob.wait_for(lambda event: getattr(event, "kind", None) == "peer_moved", within=SOON)
            assert str(getattr(moved, "remote", "")).startswith("127.0.0.2:")
            so_far = bob.media(call, "audio")
            assert so_far is not None
            await bob.heard(call, "audio", so_far.heard + 10, within=SOON)
            stats = await alice.stats(call)
            assert (stats.path, stats.handshakes, stats.redials) == ("other", 1, 0)
            for each in (both.alice, both.bob):
                await each.agent.shutdown()

    within_deadline(main)
    paths = [packet.path for packet in joined(tmp_path, "alice", "bob").packets if packet.sent is not None]
    assert set(paths) == {"lo", "other"}


def test_a_held_call_pauses_the_sources_on_both_sides_and_they_go_on_by_themselves(tmp_path: Path, pem: certificates.Certificates) -> None:
    held: dict[str, CallHeld] = {}
    resumed: dict[str, CallResumed] = {}

    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            alice, bob = both.alice.agent, both.bob.agent
            call = await connect(both, video=True)
            for agent, flow in itertools.product((alice, bob), FLOWS):
                await agent.media_start(call, flow)
            for agent, flow in itertools.product((alice, bob), FLOWS):
                await agent.heard(call, flow, 20, within=SOON)
            await alice.hold(call)
            for agent in (alice, bob):
                held[agent.name] = await agent.wait_for(CallHeld, within=SOON)
            with pytest.raises(AgentRefused, match=r"InvalidState.*holds the call already"):
                await alice.hold(call)
            with pytest.raises(AgentRefused, match=r"InvalidState.*on hold by the peer"):
                await bob.media_start(call, "screen")
            still = {agent: agent.mark() for agent in (alice, bob)}
            for agent in (alice, bob):  # five looks at the counters, 100 ms apart
                for _ in range(5):
                    await agent.wait_for(Media, within=SOON, since=still[agent])
                    still[agent] = agent.mark()
            assert len((await bob.inventory()).sources) == 2
            await alice.resume(call)
            for agent in (alice, bob):
                resumed[agent.name] = await agent.wait_for(CallResumed, within=SOON)
            for agent, flow in itertools.product((alice, bob), FLOWS):
                figures = agent.media(call, flow)
                assert figures is not None
                await agent.heard(call, flow, figures.heard + 20, within=SOON)
            for each in (both.alice, both.bob):
                await each.agent.shutdown()

    within_deadline(main)
    assert (held["alice"].by, held["bob"].by, resumed["alice"].by, resumed["bob"].by) == ("here", "peer", "here", "peer")
    for sender, receiver in (("alice", "bob"), ("bob", "alice")):
        for flow in FLOWS:
            packets = [packet for packet in joined(tmp_path, sender, receiver).packets if packet.flow == flow]
            assert [packet.index - packets[0].index for packet in packets] == list(range(len(packets)))
            assert len({packet.ssrc for packet in packets}) == 1
            assert not [packet for packet in packets if held[sender].at < packet.offered < resumed[sender].at]
            after = [packet for packet in packets if packet.offered >= resumed[sender].at]
            assert after[0].frame == packets[packets.index(after[0]) - 1].frame + 1
            assert len({packet.frame for packet in after if packet.offered == after[0].offered}) == 1  # nothing was owed


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "end of file"])
def test_however_it_is_ended_the_files_are_whole_and_the_peer_is_told(tmp_path: Path, pem: certificates.Certificates, how: str) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            alice, bob = both.alice, both.bob.agent
            call = await connect(both)
            await alice.agent.media_start(call, "audio")
            await bob.heard(call, "audio", 20, within=SOON)
            if how == "end of file":
                await alice.agent.aclose()
            else:
                alice.process.send_signal(getattr(signal, how))
            assert await alice.process.wait() == 0
            await bob.wait_for(StateChanged, within=SOON, where=lambda event: event.old == "Connected")
            with pytest.raises(AgentError):
                await alice.agent.inventory(within=SOON)
            await bob.shutdown()

    within_deadline(main)
    result = joined(tmp_path, "alice", "bob")  # read raises for a torn line
    assert not result.strays
    assert sum(packet.arrived is not None for packet in result.packets) >= 20


def test_records_reach_the_disk_while_the_call_goes_on(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            call = await connect(both)
            await both.alice.agent.media_start(call, "audio")
            await both.bob.agent.heard(call, "audio", 60, within=SOON)
            both.alice.process.kill()
            await both.alice.process.wait()
            await both.bob.agent.shutdown()

    within_deadline(main)
    with (tmp_path / "alice.media.jsonl").open("rb") as file:
        assert sum(1 for _ in read(file, "alice", killed=True)) >= 5


def test_what_makes_no_sense_is_refused_by_name_and_harms_nobody(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with started("alice") as it:
            agent = it.agent
            await agent.hello(within=SOON)
            (tmp_path / "file").touch()
            for wrong, message in (
                (agent.inventory(), "BadRequest: the first request must be configure"),
                (agent.configure(paths=[], folder=str(tmp_path)), "paths are named nothing; at least one is needed"),
                (agent.configure(paths=[LO, LO], folder=str(tmp_path)), "paths are named lo, lo; .*no two of one name"),
                (agent.configure(paths=[PathSpec(name="lo", v4="::1")], folder=str(tmp_path)), "path lo: ::1 is not a v4 address"),
                (agent.configure(paths=[PathSpec(name="lo", v4="lo")], folder=str(tmp_path)), "'lo' is not an IPv4 or IPv6 address"),
                (agent.configure(name="a/b", paths=[LO], folder=str(tmp_path)), "name 'a/b' cannot be used for files"),
                (agent.configure(paths=[LO], folder=str(tmp_path / "file" / "x")), "folder .*file/x: Not a directory"),
                (
                    agent.configure(paths=[LO], folder=str(tmp_path), certificate=pem.certificate),
                    "ConfigError: certificate and key go together",
                ),
                (agent.configure(paths=[LO], folder=str(tmp_path), options=Options(pto_clamp=-1)), "ConfigError: pto_clamp -1"),
            ):
                with pytest.raises(AgentRefused, match=message):
                    await wrong
            await agent.configure(paths=[LO, PathSpec(name="gone", v4="192.0.2.7")], folder=str(tmp_path), ca=pem.ca)
            for wrong, message in (
                (agent.configure(paths=[LO], folder=str(tmp_path)), "BadRequest: already configured as alice"),
                (agent.dial("127.0.0.1", 9, "wifi"), "BadRequest: path wifi has no v4 address; known are lo/v4, gone/v4"),
                (agent.dial("::1", 9, "lo"), "BadRequest: path lo has no v6 address"),
                (agent.dial("localhost", 9, "lo"), "BadRequest: 'localhost' is not an IPv4 or IPv6 address"),
                (agent.dial("127.0.0.1", 9, "gone"), "TransportError: path gone: 192.0.2.7 port 0 cannot be bound, EADDRNOTAVAIL"),
                (agent.stats("x"), "CallNotFound"),
                (agent.migrate("x", "lo"), "CallNotFound"),
                (agent.fail("x"), "CallNotFound"),
                (agent.redial("x", "127.0.0.1", 9, "lo"), "CallNotFound"),
                (agent.redial("x", "localhost", 9, "lo"), "BadRequest: 'localhost' is not an IPv4 or IPv6 address"),
                (agent.media_start("x", "audio"), "CallNotFound"),
                (agent.media_stop("x", "audio"), "CallNotFound"),
                (agent.accept("x"), "CallNotFound"),
                (agent.reject("x"), "CallNotFound"),
                (agent.end("x"), "CallNotFound"),
            ):
                with pytest.raises(AgentRefused, match=message):
                    await wrong
            await agent.shutdown()
            assert await it.process.wait() == 0

    within_deadline(main)


def test_a_path_that_is_not_up_is_listened_on_all_the_same(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with started("bob") as it:
            await it.agent.hello(within=SOON)
            paths = [LO, PathSpec(name="down", v4="192.0.2.7")]
            await it.agent.configure(paths=paths, folder=str(tmp_path), certificate=pem.certificate, key=pem.key)
            sockets = (await it.agent.listen()).sockets
            assert [(socket.path, socket.ip) for socket in sockets] == [("lo", "127.0.0.1"), ("down", "192.0.2.7")]
            with pytest.raises(AgentRefused, match="already listening"):
                await it.agent.listen()
            await it.agent.shutdown()

    within_deadline(main)


def test_a_datagram_that_the_kernel_refuses_is_told_and_the_call_times_out(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with started("alice") as it:
            await it.agent.hello(within=SOON)
            options = Options(dial_timeout_ms=600)
            await it.agent.configure(paths=[LO], folder=str(tmp_path), ca=pem.ca, server_name="x", options=options)
            before = await it.agent.inventory()
            call = await it.agent.dial("192.0.2.7", 9, "lo")  # no route from loopback
            refused = await it.agent.wait_for(SendError, within=SOON)
            assert (refused.path, refused.kind, refused.count) == ("lo", "EINVAL", 1)
            assert refused.message.startswith("192.0.2.7:9: ")
            await it.agent.wait_for(StateChanged, within=SOON, where=lambda event: event.call == call and event.new == "Idle")
            assert await it.agent.settled(before, within=SOON) == before
            await it.agent.shutdown()

    within_deadline(main)


async def raw(lines: bytes) -> tuple[int, bytes, bytes]:
    """What the reference agent makes of ``lines``: exit code, standard output and error."""
    result = await trio.run_process(list(REFERENCE), stdin=lines, capture_stdout=True, capture_stderr=True, check=False)
    return result.returncode, result.stdout, result.stderr


def test_bad_lines_are_answered_and_the_agent_lives() -> None:
    async def main() -> None:
        lines = [b"what?", b'{"id":5,"op":"dance"}', b"x" * (2 << 20), b'{"id":6,"op":"stats"}', b'{"id":7,"op":"shutdown"}']
        code, out, _ = await raw(b"\n".join(lines) + b"\n")
        hello, *answers = out.decode().splitlines()
        assert hello.startswith('{"event":"hello","protocol":3,"agent":"reference"')
        assert [answer[: answer.index(",")] for answer in answers] == ['{"id":0', '{"id":5', '{"id":0', '{"id":6', '{"id":7']
        for answer, what in zip(
            answers, ["not JSON", 'unknown op \\"dance\\"', "longer than 1048576", "required field `call`"], strict=False
        ):
            assert '"kind":"BadRequest"' in answer
            assert what in answer
        assert answers[-1] == '{"id":7,"ok":{}}'
        assert code == 0

    within_deadline(main)


def test_end_of_file_before_anything_is_a_clean_end() -> None:
    async def main() -> None:
        code, out, err = await raw(b"")
        assert (code, out.count(b"\n"), err) == (0, 1, b"")

    within_deadline(main)


SABOTAGE = """
import sys
from harness.agent.stdio import claim
claim()
from harness.agent.driver import Driver
from harness.agent.process import run
from harness.call.session import Endpoint
"""


def sabotaged(body: str, arguments: str) -> tuple[str, ...]:
    """An agent that differs from the reference one in ``body``: the way in which tests/controls make theirs."""
    return (sys.executable, "-c", SABOTAGE + body + f"\nsys.exit(run(sys.argv[1:], {arguments}, agent='sabotaged'))")


CHATTY = """
class Chatty(Driver):
    def listen(self, request):
        print("a stray print")
        import os
        os.write(1, b"and one from C\\n")
        os.system("echo and one from a child")
        return super().listen(request)
"""


def test_a_stray_print_lands_in_the_log(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with started("bob", sabotaged(CHATTY, "driver_factory=Chatty"), log=tmp_path / "bob.log") as it:
            assert (await it.agent.hello(within=SOON)).agent == "sabotaged"
            await it.agent.configure(paths=[LO], folder=str(tmp_path), certificate=pem.certificate, key=pem.key)
            await it.agent.listen()
            await it.agent.shutdown()
            assert await it.process.wait() == 0

    within_deadline(main)
    log = (tmp_path / "bob.log").read_text()
    assert "a stray print" in log
    assert "and one from C\nand one from a child\n" in log


BUGGY = """
class Buggy(Endpoint):
    def end(self, call, reason, now):
        raise ZeroDivisionError("in a request")
    def handle_timer(self, now):
        if self.inventory()["calls"]:
            raise ZeroDivisionError("in the loop")
"""


def test_a_bug_in_a_request_is_its_answer_and_a_bug_in_the_loop_is_the_end(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with started("alice", sabotaged(BUGGY, "endpoint_factory=Buggy"), log=tmp_path / "alice.log") as it:
            agent = it.agent
            await agent.hello(within=SOON)
            await agent.configure(paths=[LO], folder=str(tmp_path), ca=pem.ca)
            with pytest.raises(AgentRefused, match="end refused, ZeroDivisionError: in a request"):
                await agent.end("x")
            await agent.dial("127.0.0.1", 9, "lo")
            last = await agent.wait_for(Log, within=SOON)
            assert (last.level, last.message) == ("error", "the agent is dying of a bug: ZeroDivisionError: in the loop")
            assert await it.process.wait() == 70
            with pytest.raises(AgentError, match="closed its pipe: it died"):
                await agent.inventory(within=SOON)

    within_deadline(main)
    log = (tmp_path / "alice.log").read_text()
    assert log.count("Traceback") >= 2
    assert "ZeroDivisionError: in the loop" in log


LEAKY = """
class Leaky(Driver):
    def release_sockets(self):
        pass
"""


def test_a_leak_is_seen_in_the_inventory(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem, alice=sabotaged(LEAKY, "driver_factory=Leaky")) as both:
            alice = both.alice.agent
            before = await alice.inventory()
            call = await connect(both)
            await alice.end(call)
            await alice.wait_for(CallEnded, within=SOON)
            holdings = await alice.settled(before, within=3 * s)
            assert not any(holdings.stack.values())
            assert [socket.path for socket in holdings.sockets] == ["lo"]
            assert "read lo/v4" in holdings.tasks

    within_deadline(main)


def test_an_agent_whose_harness_died_ends(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            call = await connect(both)
            await both.alice.agent.media_start(call, "audio")
            await both.alice.agent._from_agent.aclose()  # only the pipe of events: the other end is left open
            assert await both.alice.process.wait() == 0
            await both.bob.agent.wait_for(StateChanged, within=SOON, where=lambda event: event.old == "Connected")

    within_deadline(main)


SLOW = """
import time
class Slow(Driver):
    def stats(self, request):
        time.sleep(0.15)
        return super().stats(request)
"""


def test_a_stall_of_the_agent_is_told_and_moves_no_later_packet(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem, alice=sabotaged(SLOW, "driver_factory=Slow")) as both:
            alice, bob = both.alice.agent, both.bob.agent
            call = await connect(both)
            for agent in (alice, bob):
                await agent.media_start(call, "audio")
            await bob.heard(call, "audio", 10, within=SOON)
            mark = alice.mark()
            await alice.stats(call)
            for behind in ("timer", "receive"):
                await alice.wait_for(
                    Lag, within=SOON, since=mark, where=lambda event, behind=behind: event.behind == behind and event.late_ns > 50_000_000
                )
            so_far = bob.media(call, "audio")
            assert so_far is not None
            await bob.heard(call, "audio", so_far.heard + 20, within=SOON)
            for each in (both.alice, both.bob):
                await each.agent.shutdown()

    within_deadline(main)
    packets = joined(tmp_path, "alice", "bob").packets
    assert [packet.frame for packet in packets] == list(range(len(packets)))
    stalled = max(range(1, len(packets)), key=lambda number: packets[number].offered - packets[number - 1].offered)
    assert packets[stalled].offered - packets[stalled - 1].offered > 100_000_000
    together = [packet for packet in packets if packet.offered == packets[stalled].offered]
    assert len(together) >= 5  # all that was owed, each with the time at which it really was offered
    assert packets[-1].offered >= packets[0].offered + packets[-1].frame * 20_000_000  # and never ahead of the schedule


def test_a_redial_moves_a_call_to_another_connection_and_fail_ends_it(tmp_path: Path, pem: certificates.Certificates) -> None:
    async def main() -> None:
        async with pair(tmp_path, pem) as both:
            alice, bob = both.alice.agent, both.bob.agent
            before = await alice.inventory()
            call = await connect(both)
            for agent in (alice, bob):
                await agent.media_start(call, "audio")
            for refused, where in (
                (bob.redial(call, "127.0.0.1", both.port, "lo"), bob),
                (alice.redial("x", "127.0.0.1", 9, "other"), alice),
            ):
                held = len((await where.inventory()).sockets)
                with pytest.raises(AgentRefused, match=r"InvalidState: cannot redial: only the side that dialled can|CallNotFound"):
                    await refused
                assert len((await where.inventory()).sockets) == held
            await alice.redial(call, "127.0.0.1", both.port, "other")
            for agent in (alice, bob):
                await agent.wait_for(PathChanged, where=lambda event: event.kind == "redialled", within=SOON)
            for agent in (alice, bob):
                sofar = agent.media(call, "audio")
                await agent.heard(call, "audio", (sofar.heard if sofar else 0) + 20, within=SOON)
                figures = await agent.stats(call)
                assert (figures.state, figures.redials, figures.handshakes) == ("Connected", 1, 2)
            assert (await alice.stats(call)).path == "other"
            await bob.fail(call, "enough")
            for agent in (alice, bob):
                failed = await agent.wait_for(ConnectionFailed, within=SOON)
                assert "enough" in str(failed.reason)
            assert await alice.settled(before, within=SOON) == before
            for agent in (alice, bob):
                await agent.shutdown()  # which writes the records to their end

    within_deadline(main)
    for sender, receiver in (("alice", "bob"), ("bob", "alice")):
        got = joined(tmp_path, sender, receiver)
        assert not got.strays
