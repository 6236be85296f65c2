"""Which executor each link of a run gets, for what reason."""

from __future__ import annotations

import pytest

from harness.errors import EnvironmentUnfit, SpecError
from harness.fabric import netem
from harness.fabric.links import Carriers, Choice, choose
from harness.fabric.relay_ends import PacketSockets, Taps
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


NAME = "a/eth–b/eth"
UNSAID = f"link {NAME}, b_to_a: sch_netem loses packets by chance only, so which ones to drop cannot be said; use the relay"


@pytest.mark.usefixtures("with_netem")
@pytest.mark.parametrize("impairment", [CLEAR, Impairment(delay=20 * ms)])
def test_auto_takes_netem_for_what_it_can_say(impairment: Impairment) -> None:
    assert choose("auto", joined(impairment)) == {NAME: Choice("netem", "the kernel has sch_netem")}
    assert choose("netem", joined(impairment)) == {NAME: Choice("netem", "asked for")}


@pytest.mark.usefixtures("with_netem")
@pytest.mark.parametrize("drop", [(), (Pick(1),)])
def test_auto_takes_the_relay_where_packets_are_or_will_be_picked_and_netem_refuses_by_name(drop: tuple[Pick, ...]) -> None:
    topology = joined(Impairment(drop=drop))
    assert choose("auto", topology) == {NAME: Choice("relay", UNSAID)}
    with pytest.raises(SpecError) as caught:
        choose("netem", topology)
    assert (caught.value.where, caught.value.what) == ("--impair netem", UNSAID)


@pytest.mark.usefixtures("with_netem")
def test_each_link_gets_its_own_executor_and_the_run_says_why() -> None:
    topology = Topology(
        "t",
        (Host("a"), Host("b"), Host("c")),
        (
            Link("a/eth", "b/eth", "10.0.0.0/24", b_to_a=Impairment(drop=())),
            Link("b/up", "c/eth", "10.0.1.0/24", a_to_b=CLEAR),
            Link("a/up", "c/up", "10.0.2.0/24"),
        ),
    )
    carriers = Carriers(choose("auto", topology), seed=1, ends=Taps())
    assert [carriers.carries(link) for link in topology.links] == [True, True, False]
    assert [carriers.of(link).name for link in topology.links[:2]] == ["relay", "netem"]
    assert (carriers.name, carriers.why) == ("netem and relay", f"{UNSAID}; b/up–c/eth: the kernel has sch_netem")
    with pytest.raises(SpecError, match=r"link a/up–c/up: it was built as a plain wire; give it an impairment in the topology"):
        carriers.of(topology.links[2])


@pytest.mark.usefixtures("with_netem")
def test_a_link_that_only_the_relay_can_carry_is_the_relays_even_unimpaired() -> None:
    why = {NAME: "it ends in a userspace NAT"}
    assert choose("auto", joined(None), why) == {NAME: Choice("relay", "it ends in a userspace NAT")}
    with pytest.raises(SpecError, match="--impair netem: it ends in a userspace NAT"):
        choose("netem", joined(CLEAR), why)


@pytest.mark.usefixtures("with_netem")
def test_where_nothing_can_be_impaired_there_are_plain_wires() -> None:
    carriers = Carriers(choose("auto", joined(None)), seed=1, ends=Taps())
    assert (carriers.name, carriers.why, carriers.counters(), carriers.stalls()) == (
        "plain wires",
        "no link can be impaired",
        {"links": {}},
        [],
    )


@pytest.mark.usefixtures("without_netem")
def test_without_netem_there_is_the_relay() -> None:
    assert choose("auto", joined(CLEAR)) == {NAME: Choice("relay", "the kernel has no sch_netem")}
    with pytest.raises(EnvironmentUnfit, match="the kernel has no sch_netem"):
        choose("netem", joined(CLEAR))


def test_the_relay_can_be_asked_for() -> None:
    for word in ("relay", "relay-packet"):
        assert choose(word, joined(CLEAR)) == {NAME: Choice("relay", "asked for")}
    assert Carriers(choose("relay", joined(CLEAR)), 1, Taps()).why == "asked for"
    assert Carriers(choose("relay", joined(CLEAR)), 1, PacketSockets()).why == "asked for; over packet sockets"


def test_an_unknown_word_is_told_with_those_there_are() -> None:
    with pytest.raises(SpecError, match="--impair: 'tc' is not known; allowed are auto, netem, relay, relay-packet"):
        choose("tc", joined(CLEAR))
