"""Which executor a run gets, for what reason."""

from __future__ import annotations

import pytest

from harness.errors import EnvironmentUnfit, SpecError
from harness.fabric import netem
from harness.fabric.links import choose_executor
from harness.spec.link import CLEAR, Impairment, Pick
from harness.spec.topology import Host, Link, Topology
from harness.units import ms


def joined(impairment: Impairment | None) -> Topology:
    return Topology("t", (Host("a"), Host("b")), (Link("a/eth", "b/eth", "10.0.0.0/24", b_to_a=impairment),))


@pytest.fixture
def with_netem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netem, "lacking", lambda: None)


@pytest.fixture
def without_netem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netem, "lacking", lambda: "the kernel has no sch_netem")


@pytest.mark.usefixtures("with_netem")
@pytest.mark.parametrize("impairment", [None, CLEAR, Impairment(delay=20 * ms)])
def test_auto_takes_netem_for_what_it_can_say(impairment: Impairment | None) -> None:
    chosen = choose_executor("auto", joined(impairment), 1)
    assert (chosen.name, chosen.why) == ("netem", "the kernel has sch_netem")


@pytest.mark.usefixtures("with_netem")
@pytest.mark.parametrize("drop", [(), (Pick(1),)])
def test_auto_takes_the_relay_where_packets_are_or_will_be_picked_and_netem_refuses_by_name(drop: tuple[Pick, ...]) -> None:
    topology = joined(Impairment(drop=drop))
    chosen = choose_executor("auto", topology, 1)
    why = "link a/eth–b/eth, b_to_a: sch_netem loses packets by chance only, so which ones to drop cannot be said; use the relay"
    assert (chosen.name, chosen.why) == ("relay", why)
    with pytest.raises(SpecError) as caught:
        choose_executor("netem", topology, 1)
    assert (caught.value.where, caught.value.what) == ("--impair netem", why)


@pytest.mark.usefixtures("without_netem")
def test_without_netem_there_is_the_relay() -> None:
    chosen = choose_executor("auto", joined(CLEAR), 1)
    assert (chosen.name, chosen.why) == ("relay", "the kernel has no sch_netem")
    with pytest.raises(EnvironmentUnfit, match="the kernel has no sch_netem"):
        choose_executor("netem", joined(CLEAR), 1)


def test_the_relay_can_be_asked_for() -> None:
    assert (choose_executor("relay", joined(CLEAR), 1).name, choose_executor("relay", joined(CLEAR), 1).why) == ("relay", "asked for")
