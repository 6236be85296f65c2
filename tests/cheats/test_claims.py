"""Every story's claim has its verdict: whoever is said to hear, to see or to be silent is judged for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import catalogue
from tests.cheats.kinds import ROOT, Kind, has_video, kind_of, kinds_of, verdicts

STORIES = {f"{Path(one.file).name}::test_{one.name}": one for one in catalogue.find(ROOT / "scenarios")}
HEARING = re.compile(
    r"\b(silent|silence|deaf|stutters?|hears?|heard|talk|talks)\b|breaks up|one-way audio|goe?s? on\b|nothing had happened|does not notice",
    re.I,
)
"""Words of a story after which somebody must be heard."""
SEEING = re.compile(r"\b(picture|camera|sees?|frozen|freezes?|screen)\b", re.I)
"""Words after which somebody must be seen."""
NOT_JUDGED = {
    "call_flow.py::test_capability_signalling": "what is said before media flows",
    "call_flow.py::test_cleanup": "what is left when a call is over",
    "errors.py::test_midcall_timeout": "the call is over: that the app goes on showing it is the states' to judge",
    "operations.py::test_unknown_call": "an app's screen, without a call behind it",
}
"""Scenarios of whose media nothing is claimed, and what they are about."""


def own_kinds(scenario: str) -> set[Kind]:
    """The kinds of a scenario's own verdicts; of a name with a gap, where there is video, also what it is on video."""
    names = [name.replace("*", put) for name in verdicts()[scenario] for put in ("*", *(["video"] if has_video(scenario) else []))]
    found = {kind_of(name) for name in names}
    return {kind for kind in found if kind is not None} | (kinds_of(scenario) & {"silence", "loss"})


def told(scenario: str) -> str:
    """A scenario's story and the field story behind it."""
    one = STORIES[scenario]
    return f"{one.story} {one.paragraphs['']} {one.paragraphs['Field story']}"


MEDIA = sorted(STORIES.keys() - NOT_JUDGED.keys())


@pytest.mark.parametrize("scenario", MEDIA)
def test_who_is_said_to_hear_is_judged_for_it(scenario: str) -> None:
    if HEARING.search(told(scenario)):
        assert own_kinds(scenario) & {"silence", "delay"}
        assert "loss" in own_kinds(scenario)


@pytest.mark.parametrize("scenario", MEDIA)
def test_who_is_said_to_see_is_judged_for_it(scenario: str) -> None:
    if SEEING.search(told(scenario)) or has_video(scenario):
        assert "picture" in own_kinds(scenario)


@pytest.mark.parametrize("scenario", MEDIA)
def test_where_silence_is_bounded_unheard_frames_are_too(scenario: str) -> None:
    bounded = any(re.search(r"silence|first (fresh )?audio", name) for name in verdicts()[scenario])
    counted = any(re.search(r"unheard|audio lost", name) for name in verdicts()[scenario])
    assert not bounded or counted


@pytest.mark.parametrize("scenario", sorted(scenario for scenario in MEDIA if has_video(scenario)))
def test_where_video_is_silent_freezes_and_unseen_frames_are_judged_as_well(scenario: str) -> None:
    names = " ".join(verdicts()[scenario])
    if re.search(r"longest (\*|video) silence", names):
        assert re.search(r"longest (\*|video) freeze", names)
        assert re.search(r"(\*|video) unheard", names)


def test_only_what_is_there_is_left_out() -> None:
    assert not NOT_JUDGED.keys() - STORIES.keys()
    assert len(MEDIA) > 30
