"""Whose fault an error is, and that its text tells it all."""

from __future__ import annotations

import pytest

from harness.errors import AgentError, BlamedError, EnvironmentUnfit, HarnessError, SpecError
from harness.fabric import wires
from harness.verdict import Blame


@pytest.mark.parametrize(
    ("error", "blame", "text"),
    [
        (SpecError("link a/x–b/y, delay", "-1ms is negative"), "author", "link a/x–b/y, delay: -1ms is negative"),
        (EnvironmentUnfit("no sch_netem"), "environment", "no sch_netem"),
        (AgentError("bob", "it died"), "agent", "agent bob: it died"),
        (HarnessError("a bug"), "harness", "a bug"),
    ],
)
def test_blame_and_text(error: BlamedError, blame: str, text: str) -> None:
    assert error.blame == blame
    assert Blame(error.blame) == blame
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SpecError("link a", "is wrong"), "link a: is wrong"),
        (EnvironmentUnfit("no sch_netem"), "no sch_netem"),
        (HarnessError("a bug"), "a bug"),
        (KeyError("node"), "KeyError: 'node'"),
    ],
)
def test_an_error_of_the_keeper_is_the_same_error_in_the_lab(error: Exception, text: str) -> None:
    rebuilt = wires.rebuild(wires.describe(error))
    assert str(rebuilt) == text
    assert type(rebuilt) is (type(error) if isinstance(error, BlamedError) else HarnessError)


def test_the_place_in_a_spec_survives_the_way_from_the_keeper() -> None:
    rebuilt = wires.rebuild(wires.describe(SpecError("NAT home", "it has no spare")))
    assert isinstance(rebuilt, SpecError)
    assert (rebuilt.where, rebuilt.what) == ("NAT home", "it has no spare")
