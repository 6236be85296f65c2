"""What scenarios need of their agents: which marks are refused, what lacks, and that every scenario says what it uses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness import catalogue
from harness.agent.driver import CAPABILITIES as REFERENCE
from harness.errors import CapabilityLacking, SpecError
from harness.lab import needs, takes
from harness.lab.demands import CAPABILITIES, Need, allowed_to_lack, check, needed

SCENARIOS = catalogue.find(Path(__file__).parents[3] / "scenarios")
USES = {"hold": "hold", "resume": "hold", "migrate": "migrate", "start_migrating": "migrate", "redial": "redial"}
"""Which capability a method of a Peer, or of its remote, needs."""


def test_what_the_reference_agent_offers_is_known() -> None:
    assert set(REFERENCE) <= set(CAPABILITIES)


def test_a_mark_says_what_is_needed_of_whom() -> None:
    marks = [needs("hold", "redial", of="alice").mark, needs("video").mark]
    assert needed(marks) == (Need(capabilities=("hold", "redial"), of=("alice",)), Need(capabilities=("video",)))


def test_all_that_lacks_is_named_with_who_lacks_it() -> None:
    offered = {"alice": ("hold",), "bob": (), "carol": ("hold", "redial")}
    with pytest.raises(CapabilityLacking) as caught:
        check((Need(("hold",)), Need(("redial", "adapt"), ("alice",))), offered)
    assert str(caught.value) == ("agent bob: it does not offer hold, which this scenario needs; nor does alice offer redial, adapt")
    assert set(caught.value.lacking) == {"hold", "redial", "adapt"}
    assert caught.value.blame == "agent"


def test_what_only_one_needs_the_others_may_lack() -> None:
    check((Need(("migrate",), ("alice",)),), {"alice": ("migrate",), "bob": ()})


@pytest.mark.parametrize("wrong", [lambda: needs("hodl"), lambda: allowed_to_lack("hold,hodl"), lambda: takes("seed")])
def test_a_name_that_is_none_is_the_author_s_mistake(wrong: object) -> None:
    with pytest.raises(SpecError, match="allowed are"):
        wrong()  # type: ignore[operator]


def test_what_may_lack_is_a_list_of_names() -> None:
    assert allowed_to_lack("hold, redial") == {"hold", "redial"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])
def test_a_scenario_says_what_it_uses(scenario: catalogue.Scenario) -> None:
    said = {one.partition(" (")[0] for one in scenario.needs}
    used = {USES[node.attr] for node in ast.walk(scenario.node) if isinstance(node, ast.Attribute) and node.attr in USES}
    used |= {
        word.arg
        for node in ast.walk(scenario.node)
        if isinstance(node, ast.Call)
        for word in node.keywords
        if word.arg in ("video", "screen") and isinstance(word.value, ast.Constant) and word.value.value is True
    }
    assert used <= said
