"""How well the userspace link does what it is asked: packets a second, loss that nobody asked for, delay error, share of a core.

The same instrument as the conformance suite's (tests/conformance/two_hosts.py): two hosts, a TAP (or a veth and a
packet socket) each, the relay between, UDP of 200 bytes one way, arrival by the kernel's stamps.

* *capacity*: 60,000 packets offered at a rate, over 20 ms ± 2 ms with 1 % loss.  *Extra* loss is what did not arrive though the shaper did
  not choose to lose it (the relay's own counters).  The rate that counts is the highest offered at which extra loss was ≤ 0.5 %: rates are
  tried upwards, each tried again once when it failed, because a neighbour's job on these cores looks like a lack of capacity.
* *delay error*: 23.7 ms (no multiple of the sender's period), nothing else, at 100 packets/s: arrival less departure less 23.7 ms.
  What the path itself takes without impairment, measured in the same run, is in the note and is not subtracted.
* *CPU*: the relay's own clock of running time over 5 s at 1000 packets/s with delay, jitter and loss on.  In the note, measured in the same
  run: what a loop takes that wakes as often and does nothing.

The sender shares the machine with the relay and takes a core for itself, so on two cores this is a lower bound of what the relay can do.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.row import Row, median, percentile
from harness.timer import Timer

ROOT = Path(__file__).parents[1]
FULL = {"delay": "20ms", "jitter": "2ms", "loss": "1%"}
DELAY_MS = 23.7
RATES = (20_000, 40_000, 60_000, 80_000, 120_000)
EXTRA = 0.5  # per cent
SIZE = 200


class Instrument:
    """The two hosts, in a process of their own."""

    def __init__(self, executor: str) -> None:
        self._executor = executor

    def __enter__(self) -> Instrument:
        argv = [sys.executable, "-m", "tests.conformance.two_hosts", self._executor]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, op: str, **fields: Any) -> Any:
        """One request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def send(self, count: int, interval: int) -> dict[str, Any]:
        """``count`` packets, one every ``interval`` ns."""
        return dict(self.ask("send", count=count, interval=interval, size=SIZE, changes=[]))


def run(quick: bool) -> Iterator[Row]:
    """1000 packets for the delay error, five rates at most; quick: 300, and no search for the capacity.  TAPs, then packet sockets."""
    for executor, name in (("relay", "relay"), ("relay-packet", "relay, packet sockets")):
        yield from _run(executor, name, quick)


def _run(executor: str, name: str, quick: bool) -> Iterator[Row]:
    with Instrument(executor) as instrument:
        packets = 300 if quick else 1000
        path = _delays(instrument.send(200, 5_000_000))
        instrument.ask("impair", impairment={"delay": f"{DELAY_MS}ms"})
        errors = [took - DELAY_MS for took in _delays(instrument.send(packets, 10_000_000))]
        note = f"the path alone takes {median(path):.3f}"
        yield Row(name, f"delay error at 100 packets/s ({DELAY_MS} ms), p50", median(errors), "ms", 0.15, n=len(errors), note=note)
        yield Row(name, f"delay error at 100 packets/s ({DELAY_MS} ms), p99", percentile(errors, 0.99), "ms", 0.8, n=len(errors))
        instrument.ask("impair", impairment=FULL)
        seconds = 2 if quick else 5
        before = instrument.send(1, 1)["own"]["cpu_ns"]
        busy = instrument.send(1000 * seconds, 1_000_000)
        share = 100 * (busy["own"]["cpu_ns"] - before) / (seconds * 1e9)
        note = f"a loop that only wakes as often takes {_bare_loop(seconds):.1f}"
        yield Row(name, "CPU at 1000 packets/s, delay, jitter and loss on", share, "% of a core", 8, note=note)
        if not quick:
            yield from _capacity(instrument, name)


def _bare_loop(seconds: int) -> float:
    """Per cent of a core that it takes to wake by timerfd and epoll 2000 times a second: for each packet that comes, and as it goes."""
    timer, poll = Timer(), select.epoll()
    poll.register(timer.fileno(), select.EPOLLIN)
    due, before = time.monotonic_ns(), time.process_time_ns()
    for _ in range(2000 * seconds):
        due += 500_000
        timer.arm(due)
        poll.poll()
    return 100 * (time.process_time_ns() - before) / (seconds * 1e9)


def _delays(sent: dict[str, Any]) -> list[float]:
    """Milliseconds, of the packets whose sender was not itself held up."""
    slow = set(sent["slow"])
    return [(arrived - sent["sent"][n]) / 1e6 for n, arrived in sent["arrived"] if n not in slow]


def _capacity(instrument: Instrument, name: str) -> Iterator[Row]:
    best, tried = 0.0, []
    for rate in RATES:
        for _ in range(2):
            offered, extra = _flood(instrument, rate)
            tried.append(f"{offered / 1000:.0f}k: {extra:.2f} %")
            if extra <= EXTRA:
                break
        if extra > EXTRA:
            break
        best = max(best, offered)
    yield Row(name, f"packets/s with ≤ {EXTRA} % extra loss", best, "packets/s", 60_000, at_least=True, n=len(tried), note="; ".join(tried))


def _flood(instrument: Instrument, rate: int) -> tuple[float, float]:
    """(packets/s really offered, per cent lost beyond what the shaper chose)."""
    sent = instrument.send(60_000, 1_000_000_000 // rate)
    chosen = sent["after"]["lost"] - sent["before"]["lost"]
    span = (sent["sent"][-1] - sent["sent"][0]) / 1e9
    missing = len(sent["sent"]) - chosen - len(sent["arrived"])
    return len(sent["sent"]) / span, 100 * missing / len(sent["sent"])
