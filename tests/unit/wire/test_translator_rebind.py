"""Rebinds and reboots of the translator: the new mapping in force, the old dead at once, or lingering, or told."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest

from harness.errors import SpecError
from harness.spec.nat import Behaviour, Nat
from harness.wire.translator import Back, Translator
from tests.unit.wire.packets import BOB, BOB6, CAROL, HOSTS, HOSTS6, POOL, SECOND, check, ends, opened, translator, udp

A, B = (HOSTS[0], 5000), (HOSTS[1], 5000)
FIRST, SECOND_REMOTE = (BOB, 1000), (CAROL, 1000)
BEHAVIOURS = get_args(Behaviour)


def out(nat: Translator, source: Any, to: Any, now: int = 0) -> Any:
    return ends(nat.outbound(udp(source, to), now))[0]


def comes_in(nat: Translator, source: Any, to: Any, now: int = 0) -> bool:
    return isinstance(nat.inbound(udp(source, to), now), bytes)


def rebind(nat: Translator, *, address: bool = False, linger: int = 0, icmp: bool = False, now: int = 0) -> Any:
    return nat.rebind([HOSTS[0], HOSTS6[0]], address=address, linger=linger, icmp=icmp, now=now)


@pytest.mark.parametrize("address", [False, True])
@pytest.mark.parametrize(("mapping", "ports"), list(product(BEHAVIOURS, ["preserve", "random", "contiguous"])))
def test_the_new_is_in_force_and_the_old_dead(mapping: Behaviour, ports: Any, address: bool) -> None:
    nat = translator(Nat(outside="wan", mapping=mapping, ports=ports, spare=2))
    old = {remote: out(nat, A, remote) for remote in (FIRST, SECOND_REMOTE)}
    bystander = out(nat, B, FIRST)
    rows = rebind(nat, address=address)
    assert {(before.outside, before.remote) for before, _after in rows} == {(end, remote) for remote, end in old.items()}
    assert not any(row.inside == A for row in nat.flows(0)), "nothing of it is there until it sends"
    for before, expected in rows:
        assert expected._replace(outside=before.outside) == before
        assert not comes_in(nat, before.remote, before.outside), "dead at once"
        assert not comes_in(nat, before.remote, expected.outside), "nobody has spoken from there yet"
        assert out(nat, A, before.remote) == expected.outside
        assert comes_in(nat, before.remote, expected.outside)
        assert not comes_in(nat, before.remote, before.outside), "and stays dead"
        assert expected.outside[1] not in {end[1] for end in old.values()}
        assert (expected.outside[0] != before.outside[0]) == address
    assert comes_in(nat, FIRST, bystander)
    assert out(nat, B, FIRST) == bystander
    assert nat.counted["inbound"].dropped["rebound"] == 2 * len(rows)


def test_many_in_sequence_never_meet_a_port_again() -> None:
    nat = translator(Nat(outside="wan"))
    seen = [out(nat, A, FIRST)]
    for n in range(300):
        ((_, expected),) = rebind(nat, address=n % 2 == 1)
        seen.append(out(nat, A, FIRST))
        assert seen[-1] == expected.outside
    assert len(set(seen)) == 301
    assert all((seen[n][0] != seen[n + 1][0]) == (n % 2 == 1) for n in range(300))


def test_all_of_a_host_moves_to_one_address_when_paired() -> None:
    nat = translator(Nat(outside="wan", pool=2, spare=2))
    for n in range(8):
        out(nat, (HOSTS[0], 5000 + n), FIRST)
    rows = rebind(nat, address=True)
    assert len({expected.outside[0] for _, expected in rows}) == 1
    assert len({expected.outside for _, expected in rows}) == 8
    assert out(nat, (HOSTS[0], 7000), FIRST)[0] == rows[0][1].outside[0], "what it opens next goes there too"


def test_both_families() -> None:
    nat = translator(Nat(outside="wan"))
    old = {out(nat, A, FIRST), out(nat, (HOSTS6[0], 5000), (BOB6, 1000))}
    rows = rebind(nat, address=True)
    assert {before.outside for before, _ in rows} == old
    assert [before.version for before, _ in rows] == [4, 6]
    assert out(nat, (HOSTS6[0], 5000), (BOB6, 1000)) == rows[1][1].outside


@pytest.mark.parametrize("filtering", BEHAVIOURS)
def test_a_lingering_one_lets_in_as_before_until_then(filtering: Behaviour) -> None:
    nat = translator(Nat(outside="wan", filtering=filtering))
    old = out(nat, A, FIRST)
    rebind(nat, linger=SECOND, now=10)
    new = out(nat, A, FIRST, 11)
    assert new != old
    assert ends(nat.inbound(udp(FIRST, old), SECOND + 9)) == (FIRST, A)
    assert comes_in(nat, SECOND_REMOTE, old, SECOND + 9) == (filtering == "endpoint-independent")
    assert out(nat, A, FIRST, SECOND + 9) == new, "what came by the old one is answered by the new"
    assert not comes_in(nat, FIRST, old, SECOND + 10)
    assert comes_in(nat, FIRST, new, SECOND + 10)


@pytest.mark.parametrize(("host", "remote", "kind"), [(A, FIRST, (3, 3)), ((HOSTS6[0], 5000), (BOB6, 1000), (1, 4))])
def test_who_sends_to_a_dead_one_is_told_only_if_asked_for(host: Any, remote: Any, kind: Any) -> None:
    silent, telling = translator(Nat(outside="wan")), translator(Nat(outside="wan"))
    old = [out(nat, host, remote) for nat in (silent, telling)]
    rebind(silent)
    rebind(telling, icmp=True, linger=5)
    packet = udp(remote, old[1], b"x" * 1400)
    assert silent.inbound(udp(remote, old[0]), 4) is None
    assert not isinstance(telling.inbound(packet, 4), Back), "it lingers"
    answer = telling.inbound(packet, 5)
    assert isinstance(answer, Back)
    error = opened(answer.packet)
    check(answer.packet)
    assert (error.src, error.dst) == (old[1][0], remote[0])
    assert (error.payload.type, error.payload.code) == kind
    assert bytes(packet).startswith(answer.packet[28 if error.version == 4 else 48 :])
    assert len(answer.packet) == (576 if error.version == 4 else 1280)
    assert telling.counted["inbound"].told == telling.counted["inbound"].dropped["rebound"] == 1
    assert silent.counted["inbound"].told == 0


def test_without_another_address_nothing_changes() -> None:
    nat = translator(Nat(outside="wan", spare=0))
    old = out(nat, A, FIRST)
    with pytest.raises(SpecError) as caught:
        rebind(nat, address=True)
    assert str(caught.value) == "NAT home: it has no spare outside address; give it spare=1 or more"
    assert comes_in(nat, FIRST, old)
    assert out(nat, A, FIRST) == old


def test_of_a_host_that_is_not_there() -> None:
    nat = translator(Nat(outside="wan"))
    out(nat, B, FIRST)
    assert rebind(nat) == []


def test_a_firewall_has_nothing_to_rebind() -> None:
    nat = translator(Nat(outside="wan", ipv6="firewall"))
    out(nat, (HOSTS6[0], 5000), (BOB6, 1000))
    assert rebind(nat) == []
    assert comes_in(nat, (BOB6, 1000), (HOSTS6[0], 5000))


def test_a_reboot_loses_everything_at_once() -> None:
    nat = translator(Nat(outside="wan", ports="random"))
    old = [out(nat, A, FIRST), out(nat, B, FIRST)]
    rebind(nat)
    planned = out(nat, A, FIRST)
    lost = nat.reboot(0)
    assert {row.outside for row in lost} == {old[1], planned}
    assert nat.flows(0) == []
    assert not any(comes_in(nat, FIRST, end) for end in (*old, planned))
    assert nat.counted["inbound"].dropped == {"no_mapping": 3}
    assert out(nat, A, FIRST) not in (*old, planned)


def test_after_a_reboot_a_port_that_is_preserved_comes_back() -> None:
    nat = translator(Nat(outside="wan"))
    assert out(nat, A, FIRST) == (POOL[0], 5000)
    nat.reboot(0)
    assert out(nat, A, FIRST) == (POOL[0], 5000)
