"""Frames that were missed in a silence are explained as far as the silence is; what was missed besides is not."""

from __future__ import annotations

import pytest

from harness.excuse import excuse
from harness.media.measures import Heard
from harness.units import Count, ms
from harness.verdict import AGENT, MACHINE, Blame, Relation, Result, Stall, Verdict, judge
from tests.unit.media.flows import MS, S, audio

FIRST, LAST = 100, 109
"""Frames 100 to 109 are lost: due from 2.00 s to 2.18 s, silence from 2.01 s (frame 99 is taken) to 2.23 s, 200 ms of it."""


def missed(bound: int, *, lost: range = range(FIRST, LAST + 1), relation: Relation = Relation.AT_MOST) -> Verdict:
    heard = Heard(audio(500, lost=lost), "alice → bob audio", 0, 11 * S, 150 * ms, speaker="alice", listener="bob")
    return judge("audio unheard", relation, heard.unheard(), bound)


def stalled(length: int, *, who: str = MACHINE, at: int = 2030) -> list[Stall]:
    return [Stall(at * MS, (at + length) * MS, who, "stolen" if who == MACHINE else "stopped")]


def test_what_is_missed_is_told_with_its_silence() -> None:
    verdict = missed(4)
    assert (verdict.result, verdict.value, verdict.gaps) == (Result.FAIL, Count(10), ())
    assert verdict.note == "10 lost, 0 late, 0 never sent, of 500"


@pytest.mark.parametrize(
    ("length", "result", "left"),
    [
        pytest.param(200, Result.INCONCLUSIVE, 10, id="all of it"),
        pytest.param(120, Result.INCONCLUSIVE, 10, id="so much that the bound holds for the rest"),
        pytest.param(80, Result.FAIL, 6, id="four frames of ten"),
        pytest.param(12, Result.FAIL, 9, id="more than half a frame"),
    ],
)
def test_as_many_frames_as_are_due_in_what_is_explained(length: int, result: Result, left: int) -> None:
    verdict = excuse(missed(4), stalled(length))
    assert (verdict.result, verdict.value) == (result, Count(left))
    assert (verdict.blame is Blame.ENVIRONMENT) is (result is Result.INCONCLUSIVE)
    assert "of these frames explained by stalls: machine (stolen)" in verdict.note


def test_a_stall_elsewhere_or_of_somebody_else_explains_nothing() -> None:
    for stalls in (stalled(200, at=5000), stalled(200, who=f"{AGENT}carol")):
        assert excuse(missed(4), stalls) == missed(4)


def test_frames_outside_the_explained_silence_stand() -> None:
    verdict = missed(4)
    both = Heard(
        audio(500, lost=[*range(FIRST, LAST + 1), *range(300, 306)]),
        "alice → bob audio",
        0,
        11 * S,
        150 * ms,
        speaker="alice",
        listener="bob",
    )
    found = excuse(judge("audio unheard", Relation.AT_MOST, both.unheard(), 4), stalled(200))
    assert verdict.value == Count(10)
    assert (found.result, found.value) == (Result.FAIL, Count(6))


def test_a_bound_of_none_at_all_is_excused_alike() -> None:
    assert excuse(missed(0, relation=Relation.EQUAL), stalled(200)).result is Result.INCONCLUSIVE
    assert excuse(missed(0, relation=Relation.EQUAL), stalled(80)).value == Count(6)


def test_little_stalls_explain_no_frame_that_is_missing_now_and_then() -> None:
    heard = Heard(audio(500, lost=range(50, 400, 10)), "alice → bob audio", 0, 11 * S, 150 * ms, speaker="alice", listener="bob")
    verdict = judge("audio unheard", Relation.EQUAL, heard.unheard(), 0)
    often = [Stall(at * 20 * MS, at * 20 * MS + 8 * MS, MACHINE, "stolen") for at in range(50, 400, 10)]
    assert excuse(verdict, often) == verdict


def test_what_a_stall_leaves_behind_explains_no_frame() -> None:
    assert excuse(missed(4), stalled(100, at=1850)) == missed(4)
