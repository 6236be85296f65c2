"""The sampler's file, read back; and the sampler beside real processes."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from harness.fabric.sampler import Sampler, start_sampler
from harness.fabric.samples import CpuCurve, QueueSample, SampleReader, Samples, Stop, Theft, local_address

MS = 1_000_000
POLL_S = 0.01
LISTENER = (
    "import socket, time\n"
    "bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "bound.bind(('127.0.0.1', 0))\n"
    "print(bound.getsockname()[1], flush=True)\n"
    "while True:\n"
    "    time.sleep(0.01)\n"
)
SPINNERS = "import os\nfor _ in range(6):\n    if os.fork() == 0:\n        {before}\n        while True:\n            pass\nos.wait()\n"
TIMER = """
import ctypes, os, signal, struct, time
libc = ctypes.CDLL(None)
stopped = os.getpid()
if os.fork() == 0:
    while True:
        time.sleep(0.1)
        os.kill(stopped, signal.SIGCONT)
event = ctypes.create_string_buffer(struct.pack("=QiiQ", 0, signal.SIGSTOP, 0, 0), 64)  # SIGEV_SIGNAL
timer = ctypes.c_void_p()
assert libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)) == 0
assert libc.timer_settime(timer, 0, ctypes.create_string_buffer(struct.pack("=4q", 0, 150_000_000, 0, 50_000_000)), None) == 0
while True:
    time.sleep(1)
"""
"""Stops itself by a timer, and is made to go on by its child."""


@pytest.fixture
def sampler(tmp_path: Path) -> Iterator[Sampler]:
    started = start_sampler(tmp_path / "samples.log", tmp_path / "errors")
    yield started
    started.kill()
    assert (tmp_path / "errors").read_text() == ""


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def read_until(sampler: Sampler, holds: Callable[[Samples], bool]) -> Samples:
    end = time.monotonic() + 20
    while not holds(sampler.read()):
        assert time.monotonic() < end, "the sampler has not seen it"
        time.sleep(POLL_S)
    return sampler.read()


def lines(tmp_path: Path, *told: str) -> Samples:
    path = tmp_path / "samples.log"
    path.write_text("".join(f"{line}\n" for line in ("V 2 2 5000000 1", "A 0 alice 17 5", "A 1 bob 18 6", *told)))
    return SampleReader(path).read()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    seen = lines(
        tmp_path,
        "S 0 1 0200000A:1151",
        "Q 0 100 101 832 0",
        "Q 0 105 107 0 2",
        "W 0 10 40",
        "T 1 50 60 1",
        "I 1 10 30 10000000 5",
        "M 0 7 9",
        "H 20 30",
        "L 40 80",
        "E 0 1000 15",
    )
    assert (seen.cores, seen.realtime, seen.since, seen.lost) == (2, True, {"alice": 5, "bob": 6}, "")
    assert seen.queues == {
        "alice": [],
        "bob": [QueueSample(100, 101, "10.0.0.2", 4433, 832, 0), QueueSample(105, 107, "10.0.0.2", 4433, 0, 2)],
    }
    assert {name: list(waits) for name, waits in seen.waits.items()} == {"alice": [(10, 40)], "bob": []}
    assert seen.stops == {"alice": [], "bob": [Stop(50, 60, own=True)]}
    assert (seen.thefts, seen.machine_waits, seen.throttled, seen.late) == (
        [Theft(1, 10, 30, 10_000_000, 5)],
        [(7, 9)],
        [(20, 30)],
        [(40, 80)],
    )
    assert seen.cost == 0.015


def test_a_line_that_is_not_whole_is_read_when_it_is(tmp_path: Path) -> None:
    path = tmp_path / "samples.log"
    path.write_text("V 2 2 5000000 0\nA 0 alice 17 5\nW 0 10 4")
    reader = SampleReader(path)
    assert list(reader.read().waits["alice"]) == []
    with path.open("a") as file:
        file.write("0\n")
    assert list(reader.read().waits["alice"]) == [(10, 40)]


def test_queues_of_long_ago_can_be_forgotten(tmp_path: Path) -> None:
    seen = lines(tmp_path, "S 0 1 0200000A:1151", *(f"Q 0 {at} {at} 832 0" for at in (100, 105, 110)))
    seen.forget_queues(105)
    assert [sample.at for sample in seen.queues["bob"]] == [105, 110]


def test_cpu_time_between_two_times() -> None:
    curve = CpuCurve()
    for at, used in ((100, 10), (200, 30), (0, 0)):  # in any order
        curve.add(at, used)
    assert [curve.between(*pair) for pair in ((0, 200), (50, 150), (100, 110), (-50, 900), (300, 400))] == [30, 15, 2, 30, 0]


@pytest.mark.parametrize(
    ("length", "steal", "used", "confirmed"),
    [
        (150, 150, 150, True),
        (150, 60, 100, False),
        (150, 0, 15, True),
        (150, 0, 16, False),
        (4, 10, 4, True),
        (4, 0, 1, True),
        (4, 0, 2, False),
    ],
)
def test_theft_is_confirmed_by_steal_or_by_nobody_having_used_the_core(length: int, steal: int, used: int, confirmed: bool) -> None:
    assert Theft(0, 0, length * MS, steal * MS, used * MS).confirmed == confirmed


def test_addresses_of_both_versions() -> None:
    words = {"little": ("0100007F", "B80D0120000000000000000001000000"), "big": ("7F000001", "20010DB8000000000000000000000001")}
    assert [local_address(text) for text in words[sys.byteorder]] == ["127.0.0.1", "2001:db8::1"]


def test_what_is_not_read_is_seen_and_so_is_a_stop(sampler: Sampler, start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start(LISTENER)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    sampler.watch("alice", process.pid, process.pid)
    read_until(sampler, lambda seen: "alice" in seen.since)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x" * 100, ("127.0.0.1", port))
    seen = read_until(sampler, lambda seen: any(sample.port == port for sample in seen.queues["alice"]))
    first = next(sample for sample in seen.queues["alice"] if sample.port == port)
    assert (first.address, first.drops) == ("127.0.0.1", 0)
    assert first.rqueue >= 100

    began = time.monotonic_ns()
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    read_until(sampler, lambda seen: seen.until > began + 100 * MS)
    process.send_signal(signal.SIGCONT)
    seen = read_until(sampler, lambda seen: bool(seen.stops["alice"]))
    (stop,) = seen.stops["alice"]
    assert not stop.own
    assert began - 30 * MS < stop.start < stop.end < time.monotonic_ns()


def test_a_stop_that_a_timer_of_its_own_may_have_sent_is_told_as_such(
    sampler: Sampler, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start(TIMER)
    sampler.watch("alice", process.pid, process.pid)
    seen = read_until(sampler, lambda seen: bool(seen.stops.get("alice")))
    assert all(stop.own for stop in seen.stops["alice"])


@pytest.mark.parametrize(
    ("before", "counted"),
    [
        ("pass", True),
        ("os.nice(5)", False),
        ("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))", False),
        pytest.param(
            "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
            False,
            marks=pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be made fewer"),
        ),
    ],
)
def test_a_stack_s_own_threads_wait_for_each_other_unless_it_has_lowered_them(
    sampler: Sampler, start: Callable[[str], subprocess.Popen[str]], before: str, counted: bool
) -> None:
    """Six that spin on fewer cores: that they use all of them is in the CPU time, from which the excuse takes it away again."""
    process = start(SPINNERS.format(before=before))
    sampler.watch("alice", process.pid, process.pid)
    begun = read_until(sampler, lambda seen: "alice" in seen.since).since["alice"]
    seen = read_until(sampler, lambda seen: seen.cpu.between(begun, begun + 10**12) > 500 * MS)
    waited = sum(end - start for start, end in seen.waits["alice"] if start > begun + 200 * MS)
    assert (waited > 20 * MS) == counted


def test_it_ends_with_its_standard_input_and_tells_its_cost(tmp_path: Path) -> None:
    async def run() -> Samples:
        sampler = start_sampler(tmp_path / "samples.log", tmp_path / "errors")
        sampler.watch("alice", os.getpid(), os.getpid())
        read_until(sampler, lambda seen: "alice" in seen.since)
        first = await sampler.end()
        assert await sampler.end() is first
        return first

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen = trio.run(run)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (seen.lost, (tmp_path / "errors").read_text()) == ("", "")
    assert seen.cost is not None
    assert after.ru_utime + after.ru_stime > before.ru_utime + before.ru_stime, "it was waited for"


def test_a_sampler_that_was_killed_is_told(tmp_path: Path) -> None:
    async def run() -> Samples:
        sampler = start_sampler(tmp_path / "samples.log", tmp_path / "errors")
        sampler.kill()
        return await sampler.end()

    assert trio.run(run).lost == "the sampler ended with code -9: see keeper.log"
