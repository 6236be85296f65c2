"""NATs in the relay process, with datagram sockets in the place of TAPs: what is translated, what goes back, and what is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from harness.errors import HarnessError, SpecError
from harness.fabric.nats import Rebinding
from harness.fabric.userspace_nat import UserspaceNat
from harness.spec.link import CLEAR, Impairment
from harness.spec.nat import Nat
from harness.units import ms
from harness.wire.translator import Translation
from tests.unit.fabric.test_relay import WAIT, Wire
from tests.unit.wire.packets import BOB, HOSTS, POOL, SPARES, check, ends, opened, udp

ROUTER, PEER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
A, B, REMOTE = (HOSTS[0], 5000), (HOSTS[1], 5000), (BOB, 1000)
NAT = Translation(router="home", nat=Nat(outside="wan", hairpinning=True, filtering="endpoint-independent"), pool=POOL, spares=SPARES)


def out(packet: bytes) -> bytes:
    return PEER + ROUTER + b"\x08\x00" + packet


def into(packet: bytes) -> bytes:
    return ROUTER + PEER + b"\x08\x00" + packet


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    wire.links = [msgspec.structs.replace(link, nat_a=NAT, addresses_a=[POOL[0]], addresses_b=["203.0.113.1"]) for link in wire.links]
    yield wire.start()
    wire.close()


@pytest.fixture
def nat(wire: Wire) -> UserspaceNat:
    return UserspaceNat("home", wire.control)


def test_frames_are_translated_both_ways(wire: Wire) -> None:
    router, internet = wire.ends[0]
    router.send(out(udp(A, REMOTE)))
    frame = internet.recv(2000)
    assert frame[:14] == PEER + ROUTER + b"\x08\x00"
    assert ends(frame[14:]) == ((POOL[0], 5000), REMOTE)
    internet.send(into(udp(REMOTE, (POOL[0], 5000))))
    assert ends(router.recv(2000)[14:]) == (REMOTE, A)


def test_what_is_no_ip_passes(wire: Wire) -> None:
    router, internet = wire.ends[0]
    arp = b"\xff" * 6 + ROUTER + b"\x08\x06" + bytes(28)
    router.send(arp)
    assert internet.recv(2000) == arp
    internet.send(arp)
    assert router.recv(2000) == arp


def test_a_hairpinned_packet_comes_back_as_if_from_the_peer(wire: Wire) -> None:
    router, internet = wire.ends[0]
    router.send(out(udp(B, REMOTE)))
    internet.recv(2000)
    router.send(out(udp(A, (POOL[0], 5000))))
    frame = router.recv(2000)
    assert frame[:12] == ROUTER + PEER
    assert ends(frame[14:])[1] == B
    assert wire.control.counters().links["link0"].a_to_b.received == 1, "it never was on the link"


def test_flows_and_a_rebind(wire: Wire, nat: UserspaceNat) -> None:
    router, internet = wire.ends[0]
    router.send(out(udp(A, REMOTE)))
    internet.recv(2000)
    (flow,) = nat.mappings()
    assert (flow.inside, flow.outside, flow.remote, flow.reached) == (A, (POOL[0], 5000), REMOTE, REMOTE)
    assert flow.used
    assert nat.holds(flow)
    assert nat.mapping(4, A, (BOB, 1001)) is None
    done = nat.rebind(Rebinding("alice", frozenset({HOSTS[0]}), address=True, icmp=True))
    assert done.before == [flow]
    assert done.old_gone
    assert not nat.holds(flow)
    assert not nat.lingers(flow)
    (expected,) = done.expected
    assert nat.mapping(4, A, REMOTE) is None
    router.send(out(udp(A, REMOTE)))
    assert ends(internet.recv(2000)[14:])[0] == expected.outside
    assert nat.mappings()[0].outside == expected.outside
    internet.send(into(udp(REMOTE, flow.outside)))
    frame = internet.recv(2000)
    assert frame[:12] == PEER + ROUTER
    check(frame[14:])
    assert opened(frame[14:]).payload.type == 3, "who sends to the dead mapping is told, over the link"
    assert nat.icmp_sent() == nat.counters()["inbound"]["told"] == 1
    assert nat.counters()["inbound"]["dropped"] == {"rebound": 1}


def test_a_lingering_mapping_and_a_reboot(wire: Wire, nat: UserspaceNat) -> None:
    router, internet = wire.ends[0]
    router.send(out(udp(A, REMOTE)))
    internet.recv(2000)
    (flow,) = nat.mappings()
    nat.rebind(Rebinding("alice", frozenset({HOSTS[0]}), linger_ns=3_600_000_000_000))
    assert nat.lingers(flow)
    internet.send(into(udp(REMOTE, flow.outside)))
    assert ends(router.recv(2000)[14:])[1] == A
    router.send(out(udp(A, REMOTE)))
    internet.recv(2000)
    done = nat.reboot()
    assert [one.inside for one in done.before] == [A]
    assert done.old_gone
    assert nat.mappings() == []
    assert not nat.lingers(flow)


def test_the_history_comes_in_pages_and_in_order_of_time(wire: Wire, nat: UserspaceNat) -> None:
    router, internet = wire.ends[0]
    for port in range(600):
        router.send(out(udp((HOSTS[0], 5000 + port), REMOTE)))
        internet.recv(2000)
    nat.reboot()
    history = nat.history()
    assert (history.source, history.unlisted) == ("translator", 0)
    assert [change.gone for change in history.changes] == [False] * 600 + [True] * 600
    assert [change.mapping.inside[1] for change in history.changes] == [*range(5000, 5600)] * 2
    assert {change.mapping.reached for change in history.changes} == {REMOTE}
    nat.forget()
    assert nat.history().changes == []


def test_restart_is_as_just_made(wire: Wire, nat: UserspaceNat) -> None:
    router, internet = wire.ends[0]
    router.send(out(udp(A, REMOTE)))
    internet.recv(2000)
    nat.forget()
    assert nat.mappings() == []
    assert nat.counters()["outbound"]["received"] == 0


def test_many_flows_are_listed_in_pages(wire: Wire, nat: UserspaceNat) -> None:
    router, internet = wire.ends[0]
    wanted = {(HOSTS[n % 2], 2000 + n) for n in range(1100)}
    for inside in sorted(wanted):
        router.send(out(udp(inside, REMOTE)))
        internet.recv(2000)
    assert {flow.inside for flow in nat.mappings()} == wanted


def test_who_is_told_that_a_packet_is_too_big_is_told_by_his_own_name(wire: Wire) -> None:
    router, _internet = wire.ends[0]
    wire.control.impair("link0", "a_to_b", Impairment(mtu=600, too_big=True))
    large = bytearray(udp(A, REMOTE, bytes(900)))
    large[6] |= 0x40  # don't fragment
    large[10:12] = (int.from_bytes(large[10:12], "big") - 0x4000).to_bytes(2, "big")
    check(bytes(large))
    router.send(out(bytes(large)))
    error = router.recv(2000)[14:]
    check(error)
    assert opened(error).dst == HOSTS[0]
    assert bytes(large).startswith(error[28:56])
    wire.control.impair("link0", "a_to_b", CLEAR)


def test_it_stands_before_the_shaper_one_way_and_behind_it_the_other(wire: Wire, nat: UserspaceNat) -> None:
    """What is under way when a mapping dies, leaves by the old one, and comes to the dead one."""
    router, internet = wire.ends[0]
    for direction in ("a_to_b", "b_to_a"):
        wire.control.impair("link0", direction, Impairment(delay=700 * ms))  # type: ignore[arg-type]
    router.send(out(udp(A, REMOTE)))
    until(nat.mappings)
    (flow,) = nat.mappings()
    internet.send(into(udp(REMOTE, flow.outside)))
    until(lambda: wire.control.counters().links["link0"].b_to_a.received)
    nat.rebind(Rebinding("alice", frozenset({HOSTS[0]})))
    assert ends(internet.recv(2000)[14:])[0] == flow.outside
    until(lambda: nat.counters()["inbound"]["received"])
    assert nat.counters()["inbound"]["dropped"] == {"rebound": 1}


def until(condition: Callable[[], object]) -> None:
    """Ask the relay until it is so."""
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit


def test_what_is_not_there_is_told(wire: Wire, nat: UserspaceNat) -> None:
    with pytest.raises(SpecError) as caught:
        wire.control.ask_nat("office", "flows", first=0)
    assert str(caught.value) == "NAT office: the relay has none there; it has home"
    with pytest.raises(HarnessError, match="a NAT of the relay cannot 'dance'"):
        wire.control.ask_nat("home", "dance")
    with pytest.raises(SpecError) as caught:
        nat.rebind(Rebinding("alice", frozenset({HOSTS[0]})))
    assert str(caught.value) == "NAT home: alice has no UDP flow through it, so there is nothing to rebind"
