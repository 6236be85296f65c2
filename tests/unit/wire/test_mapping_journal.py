"""The journal of a translator's mappings, held against what the translator says that it maps, at every moment of any story."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.spec.nat import Behaviour, Nat
from harness.units import s
from harness.wire import mapping_journal
from harness.wire.translator import Changed, Forwarded, Translator
from tests.examples import examples
from tests.unit.wire.packets import BOB, BOB6, CAROL, HOSTS, HOSTS6, POOL, SECOND, TCP, ip, translator, udp

A, A6, BACK = (HOSTS[0], 5000), (HOSTS6[0], 5000), (BOB, 1000)
FORWARD = Forwarded(8000, HOSTS[2], 5000)


def standing(nat: Translator, now: int) -> set[tuple[Any, ...]]:
    """What is there, by the journal alone; every change must make sense."""
    told, more, unlisted = nat.changes(now)
    assert (more, unlisted) == (False, 0)
    there: dict[tuple[Any, ...], int] = {}
    for change in sorted(told, key=lambda change: change.at):
        flow = change[2:]
        assert change.at <= now
        if change.gone:
            assert there.pop(flow) <= change.at
        else:
            assert flow not in there, "made twice"
            assert not any(other[:2] == flow[:2] and other[3] == flow[3] for other in there), "two mappings for the same two ends"
            there[flow] = change.at
    return set(there)


STEPS = st.one_of(
    st.tuples(st.just("out"), st.sampled_from([(HOSTS[0], 5000), (HOSTS[1], 5000), (HOSTS[2], 5000), A6]), st.sampled_from("bc")),
    st.tuples(st.just("in"), st.integers(0, 5), st.sampled_from("bc")),
    st.tuples(st.just("forward"), st.sampled_from("bc")),
    st.tuples(st.just("wait"), st.integers(0, 12 * SECOND)),
    st.tuples(st.just("rebind"), st.booleans(), st.integers(0, 5 * SECOND)),
    st.tuples(st.just("reboot")),
    st.tuples(st.just("restart")),
)


@settings(deadline=None, max_examples=examples(150))
@given(
    nat=st.builds(
        Nat,
        outside=st.just("wan"),
        mapping=st.sampled_from(get_args(Behaviour)),
        filtering=st.sampled_from(get_args(Behaviour)),
        ports=st.sampled_from(["preserve", "random", "contiguous"]),
        refresh=st.sampled_from(["both", "outbound"]),
        udp_timeout=st.just(10 * s),
        spare=st.just(1),
    ),
    story=st.lists(STEPS, max_size=40),
)
def test_the_journal_says_at_any_time_what_is_mapped(nat: Nat, story: list[tuple[Any, ...]]) -> None:
    one, now, seen = translator(nat, forwards=(FORWARD,)), 1, [(POOL[0], 5000)]
    for step in story:
        match step:
            case "out", host, to:
                six = ":" in host[0]
                one.outbound(udp(host, ({"b": BOB6 if six else BOB, "c": BOB6 if six else CAROL}[to], 1000)), now)
                seen += [flow.outside for flow in one.flows(now) if ":" not in flow.outside[0]]
            case "in", place, by:
                one.inbound(udp(({"b": BOB, "c": CAROL}[by], 1000), seen[place % len(seen)]), now)
            case "forward", by:
                one.inbound(udp(({"b": BOB, "c": CAROL}[by], 1000), (POOL[0], 8000)), now)
            case "wait", time:
                now += time
            case "rebind", address, linger:
                one.rebind([HOSTS[0], HOSTS6[0]], address=address, linger=linger, icmp=False, now=now)
            case ("reboot",):
                one.reboot(now)
            case ("restart",):
                one.restart()
        now += 1
        assert standing(one, now) == {(row.version, row.inside, row.outside, row.remote) for row in one.flows(now)}


def test_idleness_is_told_as_of_when_it_was_too_long() -> None:
    nat = translator(Nat(outside="wan", udp_timeout=10 * s))
    nat.outbound(udp(A, BACK), 0)
    nat.outbound(udp(A, BACK), 4 * SECOND)
    assert [change.gone for change in nat.changes(14 * SECOND - 1)[0]] == [False]
    nat.outbound(udp(A, BACK), 60 * SECOND)
    assert [(change.at, change.gone) for change in nat.changes(60 * SECOND)[0]] == [(0, False), (14 * SECOND, True), (60 * SECOND, False)]
    assert [(change.at, change.gone) for change in nat.changes(90 * SECOND)[0]][3:] == [(70 * SECOND, True)]


@pytest.mark.parametrize(("mapping", "ports"), list(product(get_args(Behaviour), ["preserve", "random"])))
def test_a_rebind_is_the_old_gone_and_then_the_new_made(mapping: Behaviour, ports: Any) -> None:
    nat = translator(Nat(outside="wan", mapping=mapping, ports=ports))
    nat.outbound(udp(A, BACK), 5)
    ((old, new),) = nat.rebind([HOSTS[0]], address=False, linger=SECOND, icmp=False, now=7)
    nat.outbound(udp(A, BACK), 9)
    there = (4, A), (BACK,)
    assert nat.changes(9)[0] == [
        Changed(5, False, *there[0], old.outside, *there[1]),
        Changed(7, True, *there[0], old.outside, *there[1]),
        Changed(9, False, *there[0], new.outside, *there[1]),
    ]


def test_only_udp_is_told() -> None:
    nat = translator(Nat(outside="wan"))
    nat.outbound(bytes(ip(HOSTS[0], BOB) / TCP(sport=1, dport=2)), 0)
    assert nat.changes(0) == ([], False, 0)


def test_it_is_bounded_and_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_journal, "LIMIT", 10)
    nat = translator(Nat(outside="wan"))
    for port in range(14):
        nat.outbound(udp((HOSTS[0], 5000 + port), BACK), port)
    whole, more, unlisted = nat.changes(14)
    assert (len(whole), more, unlisted) == (10, False, 4)
    assert nat.changes(14, 0, 6) == (whole[:6], True, 4)
    assert nat.changes(14, 6, 6) == (whole[6:], False, 4)
    nat.restart()
    assert nat.changes(14) == ([], False, 0)
