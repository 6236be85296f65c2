"""The page of a real run shows the verdicts' own figures, to the nanosecond: its silences, what was not heard, and when nothing was due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.media.measures import Heard
from harness.media.schedule import FOREVER
from harness.report import flows, model
from harness.report.artifacts import Artifacts
from harness.report.clock import Clock
from harness.report.flows import CallLine
from harness.report.tell import tell
from harness.units import Count, Duration
from tests.conformance.test_real_media import run

TALE = """
from harness.spec.link import Impairment
from harness.units import ms, percent, s
from topologies.two_homes import two_homes


async def test_tale(lab):
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video=True) as call:
        await call.heard_both_ways(for_=1 * s)
        await alice.mute("audio")
        await call.heard_both_ways(for_=500 * ms)
        await alice.speak("audio")
        await call.heard_both_ways(for_=500 * ms)
        async with lab.fault("a bad line"):
            await net.link("home_a/wan").impair(Impairment(delay=5 * ms, loss=20 * percent))
            await call.heard_both_ways(for_=700 * ms)
            await net.link("home_a/wan").impair(Impairment(delay=5 * ms))
        await call.heard_both_ways(for_=500 * ms)
    for side in (alice, bob):
        for flow in ("audio", "video"):
            lab.at_most(f"longest {flow} silence", side.heard(flow).longest_gap(), 10 * s)
            lab.at_most(f"{flow} unheard", side.heard(flow).unheard(), 100_000)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call with a mute and some loss."""
    return run(tmp_path_factory.mktemp("tale"), TALE).folder


@pytest.fixture(scope="module")
def shown(folder: Path) -> list[tuple[Heard, CallLine]]:
    times = [json.loads(line)["at"] for line in (folder / "timeline.jsonl").read_text().splitlines()]
    artifacts = Artifacts(folder)
    found = [(heard, call) for _, heard, call in flows.heard(artifacts, Clock(times[0]), times[-1]) if call is not None]
    assert artifacts.unread == []
    assert len(found) == 4
    return found


def verdict(folder: Path, heard: Heard, name: str) -> Any:
    (found,) = [one for one in model.read(folder / "report.json").verdicts if (one.direction, one.name) == (heard.direction, name)]
    return found


def test_the_longest_silence_is_the_verdicts_to_the_nanosecond(folder: Path, shown: list[tuple[Heard, CallLine]]) -> None:
    story = tell(folder)
    for (heard, _), flow in zip(shown, story.flows, strict=True):
        judged = verdict(folder, heard, f"longest {flow.flow} silence")
        figure = heard.longest_gap()
        assert figure.value == judged.value
        drawn = max(flow.silences, key=lambda one: one.excess, default=None)
        assert isinstance(judged.value, Duration)
        assert (0 if drawn is None else drawn.excess) == judged.value.ns // 1000
        if drawn is not None and judged.where is not None:
            assert (drawn.since, drawn.until) == (story.since_zero(judged.where.start), story.since_zero(judged.where.end))


def test_what_was_not_heard_is_the_verdicts_count(folder: Path, shown: list[tuple[Heard, CallLine]]) -> None:
    for heard, _ in shown:
        assert heard.unheard().value == verdict(folder, heard, f"{heard.direction.rpartition(' ')[2]} unheard").value
    lossy = [heard.unheard().value for heard, _ in shown if heard.direction.startswith("alice →")]
    assert all(isinstance(value, Count) and value.count > 0 for value in lossy)


def test_a_mute_is_free_time_in_the_flow_that_was_muted_and_in_no_other(shown: list[tuple[Heard, CallLine]]) -> None:
    between = {heard.direction: [free for free in heard.free or () if FOREVER not in map(abs, free)] for heard, _ in shown}
    assert {direction: len(free) for direction, free in between.items()} == {
        "alice → bob audio": 1,
        "bob → alice audio": 0,
        "alice → bob video": 0,
        "bob → alice video": 0,
    }
    ((since, until),) = between["alice → bob audio"]
    assert 500_000_000 <= until - since < 5_000_000_000
    assert all(call.free[heard.direction] == list(heard.free or ()) for heard, call in shown)
