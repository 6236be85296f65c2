"""Packets that come faster than the relay takes them are lost, and this is known: the run says so and proves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.fabric.network import Network
from harness.fabric.relay_ends import TX_QUEUE
from harness.fabric.taps import tun_lacking
from tests.conformance.networks import opened, run_in, within_deadline
from tests.conformance.sites import two_radios

COUNT = 400


@pytest.mark.parametrize("form", ["tap", "packet"])
def test_what_nobody_reads_is_counted_by_the_kernel(form: str) -> None:
    lacking = tun_lacking() if form == "tap" else None
    if lacking is not None:
        pytest.skip(f"platform: {lacking}")  # docs/platforms.md
    command = [sys.executable, "-m", "tests.conformance.unread", form, str(COUNT)]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert (seen["form"], seen["at rest"]) == (form, 0)
    assert COUNT / 2 <= seen["unread"] < COUNT, "some found room, most did not"
    assert seen["again"] == seen["unread"], "a total, not what came since it was last asked for"


FLOOD = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(int(sys.argv[1])):
        sender.sendto(bytes(100), ("192.168.1.1", 9))
"""


def relay_of(network: Network) -> int:
    """The only process that the keeper has started in a network without captures and agents."""

    def children(pid: int) -> list[int]:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    (keeper,) = children(network._keeper._process.pid)
    (relay,) = children(keeper)
    return relay


@pytest.mark.skipif(tun_lacking() is not None, reason="platform: no /dev/net/tun")  # docs/platforms.md
def test_a_relay_that_cannot_keep_up_says_so_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(two_radios(), tmp_path, impair="relay") as network:
            relay = relay_of(network)
            os.kill(relay, signal.SIGSTOP)  # as if it were that slow
            try:
                assert (await run_in(network, "alice", [sys.executable, "-I", "-c", FLOOD, str(TX_QUEUE + 5000)]))[0] == 0
            finally:
                os.kill(relay, signal.SIGCONT)
            told, *others = (await network.finish())["shortfalls"]
            assert all("left more than 1 ms after their time" in other for other in others), "what it took it took late"
            lost = re.fullmatch(r"link alice/wifi–home/lan, a_to_b: (\d+) packets beside .* nobody asked for this loss", told)
            assert lost is not None, told
            assert 4000 < int(lost[1]) <= 5100

    within_deadline(main)
