"""What only the socket shows, in real calls: a listener that is stopped takes nothing, while everything arrives at its host.

What must be found rests on neither the harness nor its samples: the fault's own ends, and what tshark reads at the listener's host
(`make judge` installs it and runs this).
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.judge import compare
from tests.judge.judged import Run, judge
from tests.judge.silence import MS, PLAYOUT
from tests.unit.test_plugin import run

STORY = """
import trio

from harness.lab import outside
from topologies.two_homes import two_homes


async def test_stopped(lab):
    await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=1000 * ms)
        async with lab.fault("Bob is stopped"), outside.frozen(lab, bob):
            await trio.sleep({stopped} / 1000)
        await call.heard_both_ways(for_=1000 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
"""
FRAME = 20 * MS


@pytest.mark.parametrize("stopped", [50, 150, 1500])
def test_the_socket_shows_how_long_a_listener_was_stopped(tmp_path: Path, stopped: int) -> None:
    ran = run(tmp_path, STORY.replace("{stopped}", str(stopped)), f"--rootdir={Path(__file__).parents[2]}")
    (folder,) = {path.parent for path in ran.artifacts.glob("tale/*/2*/report.json")}
    report = json.loads((folder / "report.json").read_text())
    assert report["verdicts"], ran.out
    fault = next(one for one in report["faults"] if one["name"] == "Bob is stopped")
    seen = next(one["at"] for one in report["receipts"] if one["fault"] == "Bob is stopped")
    judged, told = judge(folder), compare.told(folder)
    by_direction = {name: (arrived, taken) for name, arrived, taken in compare.socket_line(judged, told)}
    arrived, taken = by_direction["alice → bob audio"]
    heard, sent = times(judged)
    last = [max(at for at in heard if at < until) for until in (fault["began"], seen)]
    again = next(at for at in sent if at > fault["ended"] - MS)  # what it sends first once it runs again
    first = PLAYOUT if stopped * MS > PLAYOUT else 0  # before what is heard it takes all that is late already
    sample = max(compare.SAMPLE, furthest(folder / "samples.log", seen, again))
    least, most = fault["ended"] - MS - last[1] - FRAME - sample, again + first - last[0] - FRAME + sample
    assert least <= taken <= most, f"{taken / MS} ms by the socket; stopped for {(fault['ended'] - fault['began']) / MS} ms"
    assert arrived < taken - (stopped - 40) * MS, "what arrived at its host shows nothing of it"
    assert compare.compare(judged, told).differences == []


def times(judged: Run) -> tuple[list[int], list[int]]:
    """Return when audio arrived at Bob's host, and when his own departed from it, ns."""
    directions = {one.speaker: one for call in judged.calls for one in call.directions if one.name == "audio"}
    heard = sorted(one.arrived for one in directions["alice"].packets if one.arrived is not None)
    return heard, sorted(one.departed for one in directions["bob"].packets)


def furthest(log: Path, since: int, until: int) -> int:
    """How far two looks at the sockets were apart at most (ns): on a busy machine the sampler is late, too."""
    looks = sorted({int(line.split()[2]) for line in log.read_text().splitlines() if line.startswith("Q ")})
    near = [at for at in looks if since <= at <= until]
    return max(after - before for before, after in pairwise(near)) if len(near) > 1 else 0
