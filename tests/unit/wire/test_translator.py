"""The translator's single rules, each by an example: RFC 4787 with its ports, pools, timeouts and hairpins, forwards, and what it drops."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import msgspec
import pytest

from harness.spec.nat import Behaviour, Nat
from harness.units import s
from harness.wire.translator import Back, Forwarded, Translator
from tests.unit.wire.packets import (
    BOB,
    BOB6,
    CAROL,
    CAROL6,
    HOSTS,
    HOSTS6,
    IP,
    POOL,
    SECOND,
    TCP,
    UDP,
    IPv6,
    check,
    ends,
    ip,
    translator,
    udp,
)

BEHAVIOURS = get_args(Behaviour)
A, B = (HOSTS[0], 5000), (HOSTS[1], 5000)
REMOTES = [(BOB, 1000), (BOB, 1001), (CAROL, 1000)]
FAMILIES = {4: (HOSTS[0], BOB, CAROL), 6: (HOSTS6[0], BOB6, CAROL6)}


def out(nat: Translator, source: Any, to: Any, now: int = 0) -> Any:
    """Where a packet is seen to come from; the reason when it is dropped."""
    return last_reason(nat, "outbound") if (sent := nat.outbound(udp(source, to), now)) is None else ends(sent)[0]


def into(nat: Translator, source: Any, to: Any, now: int = 0) -> Any:
    """Whom a packet from outside reaches; the reason when it is dropped."""
    return last_reason(nat, "inbound") if (came := nat.inbound(udp(source, to), now)) is None else ends(came)[1]


def last_reason(nat: Translator, direction: str) -> str:
    """Why the packet was dropped that was the only one so far to be dropped since ``nat.seen`` was looked at."""
    dropped = nat.counted[direction].dropped
    before = nat.__dict__.setdefault("seen_" + direction, {})
    (reason,) = [name for name, count in dropped.items() if count != before.get(name, 0)]
    before.update(dropped)
    return reason


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("mapping", "filtering"), list(product(BEHAVIOURS, BEHAVIOURS)))
def test_all_nine_classes(mapping: Behaviour, filtering: Behaviour, version: int) -> None:
    host, bob, carol = FAMILIES[version]
    nat = translator(Nat(outside="wan", mapping=mapping, filtering=filtering))
    first, second, third = (out(nat, (host, 5000), to) for to in ((bob, 1000), (bob, 1001), (carol, 1000)))
    assert (first == second, first == third) == {
        "endpoint-independent": (True, True),
        "address-dependent": (True, False),
        "address-and-port-dependent": (False, False),
    }[mapping]
    fresh = out(nat, (host, 6000), (bob, 1000))
    assert into(nat, (bob, 1000), fresh) == (host, 6000)
    admitted = [into(nat, remote, fresh) == (host, 6000) for remote in ((bob, 1001), (carol, 1000))]
    assert (
        admitted
        == {
            "endpoint-independent": [True, True],
            "address-dependent": [True, False],
            "address-and-port-dependent": [False, False],
        }[filtering]
    )


@pytest.mark.parametrize("filtering", BEHAVIOURS)
def test_who_is_not_admitted_is_filtered_and_an_unknown_port_has_no_mapping(filtering: Behaviour) -> None:
    nat = translator(Nat(outside="wan", filtering=filtering))
    seen = out(nat, A, REMOTES[0])
    if filtering != "endpoint-independent":
        assert into(nat, (CAROL, 1), seen) == "filtered"
    assert into(nat, REMOTES[0], (seen[0], seen[1] + 1)) == "no_mapping"
    assert into(nat, REMOTES[0], (HOSTS[0], 5000)) == "not_ours"


class TestPorts:
    def test_the_inside_port_is_kept_where_it_is_free(self) -> None:
        nat = translator(Nat(outside="wan"))
        assert out(nat, A, REMOTES[0]) == (POOL[0], 5000)
        other = out(nat, B, REMOTES[0])
        assert other[0] == POOL[0]
        assert other[1] != 5000, "a collision: no port is ever shared (REQ-3)"
        assert into(nat, REMOTES[0], other) == B

    def test_it_is_free_again_once_its_mapping_has_expired(self) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=30 * s))
        out(nat, A, REMOTES[0])
        assert out(nat, B, REMOTES[0], 30 * SECOND) == (POOL[0], 5000)

    def test_random_ones_are_drawn_from_the_seed(self) -> None:
        draws = [[out(nat, (HOSTS[0], 5000 + n), REMOTES[0])[1] for n in range(20)] for nat in map(random_nat, (1, 1, 2))]
        assert draws[0] == draws[1] != draws[2]
        assert len(set(draws[0])) == 20
        assert all(1024 <= port <= 65535 for port in draws[0])
        assert draws[0] != [5000 + n for n in range(20)]

    def test_contiguous_ones_follow_one_another(self) -> None:
        nat = translator(Nat(outside="wan", ports="contiguous", mapping="address-and-port-dependent"))
        ports = [out(nat, A, (BOB, 1000 + n))[1] for n in range(10)]
        assert [(port - ports[0]) % 64512 for port in ports] == list(range(10))

    @pytest.mark.parametrize("policy", ["preserve", "random", "contiguous"])
    def test_none_left(self, policy: Any) -> None:
        nat = translator(Nat(outside="wan", ports=policy))
        nat._sides[4].names.drawn_from = range(7000, 7003)  # type: ignore[attr-defined]
        seen = [out(nat, (HOSTS[0], 6999 + n), REMOTES[0]) for n in range(5)]
        if policy == "preserve":
            assert [port for _address, port in seen] == list(range(6999, 7004))
        else:
            assert {end[1] for end in seen[:3]} == {7000, 7001, 7002}
            assert seen[3] == "ports_exhausted"

    def test_restart_draws_the_same_again(self) -> None:
        nat = random_nat(3)
        first = out(nat, A, REMOTES[0])
        nat.restart()
        assert nat.flows(0) == []
        assert nat.counted["outbound"].received == 0
        assert out(nat, A, REMOTES[0]) == first


def random_nat(seed: int) -> Translator:
    return translator(Nat(outside="wan", ports="random"), seed=seed)


class TestPool:
    def test_paired(self) -> None:
        nat = translator(Nat(outside="wan", pool=2))
        seen = {host: {out(nat, (host, 5000 + n), REMOTES[0])[0] for n in range(6)} for host in HOSTS}
        assert all(len(addresses) == 1 for addresses in seen.values())
        assert set.union(*seen.values()) == {POOL[0], POOL[1]}, "both are used"

    def test_arbitrary(self) -> None:
        nat = translator(Nat(outside="wan", pool=2, pooling="arbitrary"))
        assert {out(nat, (HOSTS[0], 5000 + n), REMOTES[0])[0] for n in range(6)} == {POOL[0], POOL[1]}


class TestTimeout:
    @pytest.mark.parametrize("refresh", ["both", "outbound"])
    def test_outbound_packets_refresh(self, refresh: Any) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=30 * s, refresh=refresh))
        for at in range(0, 175, 29):
            seen = out(nat, A, REMOTES[0], at * SECOND)
        assert into(nat, REMOTES[0], seen, (174 + 29) * SECOND) == A
        assert into(nat, REMOTES[0], seen, (174 + 29 + 30) * SECOND) == "no_mapping"

    @pytest.mark.parametrize(("refresh", "lives"), [("both", True), ("outbound", False)])
    def test_inbound_packets_refresh_only_if_told(self, refresh: Any, lives: bool) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=30 * s, refresh=refresh, filtering="endpoint-independent"))
        seen = out(nat, A, REMOTES[0], 0)
        assert into(nat, REMOTES[0], seen, 20 * SECOND) == A
        assert into(nat, (CAROL, 7), seen, 25 * SECOND) == A
        late = into(nat, REMOTES[0], seen, 35 * SECOND)
        assert late == (A if lives else "no_mapping")
        assert bool(nat.flows(35 * SECOND)) == lives

    @pytest.mark.parametrize("filtering", BEHAVIOURS)
    def test_who_was_let_in_by_another_is_no_longer_than_he(self, filtering: Behaviour) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=30 * s, refresh="outbound", filtering=filtering))
        seen = out(nat, A, (BOB, 1), 0)
        into(nat, (BOB, 2), seen, 20 * SECOND)
        out(nat, A, (CAROL, 1), 25 * SECOND)
        assert (into(nat, (BOB, 2), seen, 31 * SECOND) == A) == (filtering == "endpoint-independent")

    def test_the_port_is_lost_with_the_mapping(self) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=30 * s, ports="random"))
        first = out(nat, A, REMOTES[0], 0)
        assert nat.flow(A, REMOTES[0], 29 * SECOND) is not None
        assert nat.flow(A, REMOTES[0], 30 * SECOND) is None
        assert out(nat, A, REMOTES[0], 30 * SECOND) != first

    def test_without_a_timeout_of_its_own_it_is_two_minutes(self) -> None:
        nat = translator(Nat(outside="wan"))
        seen = out(nat, A, REMOTES[0], 0)
        assert into(nat, REMOTES[0], seen, 119 * SECOND) == A
        assert into(nat, REMOTES[0], seen, 239 * SECOND) == "no_mapping"

    @pytest.mark.long
    def test_what_expired_is_forgotten(self) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=1 * s))
        for n in range(1000):
            out(nat, (HOSTS[0], 2000 + n), REMOTES[0], n * SECOND)
        table = nat._sides[4].table
        assert len(table.outgoing) == len(table.incoming) <= 12
        assert len(table._held) == len(table._bindings) <= 12


class TestHairpin:
    @pytest.mark.parametrize("version", [4, 6])
    def test_on(self, version: int) -> None:
        one, other = (HOSTS[0], HOSTS[1]) if version == 4 else (HOSTS6[0], HOSTS6[1])
        bob = FAMILIES[version][1]
        nat = translator(Nat(outside="wan", hairpinning=True, filtering="endpoint-independent"))
        there = out(nat, (other, 6000), (bob, 1000))
        back = nat.outbound(udp((one, 5000), there), 0)
        assert isinstance(back, Back)
        (seen, reached) = ends(back)
        assert reached == (other, 6000)
        assert seen == (there[0], 5000), "seen as its outside endpoint (REQ-9)"
        for _ in range(2):
            answer = nat.outbound(udp((other, 6000), seen), 0)
            assert isinstance(answer, Back)
            assert ends(answer) == (there, (one, 5000))
        assert nat.counted["outbound"].hairpinned == 3

    def test_the_filter_decides_about_it_too(self) -> None:
        nat = translator(Nat(outside="wan", hairpinning=True))
        there = out(nat, B, REMOTES[0])
        assert out(nat, A, there) == "filtered"

    def test_off(self) -> None:
        nat = translator(Nat(outside="wan", filtering="endpoint-independent"))
        there = out(nat, B, REMOTES[0])
        assert out(nat, A, there) == "hairpin_off"
        assert len(nat.flows(0)) == 1

    def test_through_a_forward(self) -> None:
        nat = translator(Nat(outside="wan", hairpinning=True), forwards=(Forwarded(80, *B),))
        back = nat.outbound(udp(A, (POOL[0], 80)), 0)
        assert ends(back) == ((POOL[0], 5000), B)
        assert ends(nat.outbound(udp(B, (POOL[0], 5000)), 0)) == ((POOL[0], 80), A)


class TestForwards:
    FORWARD = Forwarded(6000, HOSTS[0], 4433)
    HOST = (HOSTS[0], 4433)

    def test_anyone_may_enter_and_is_answered_from_where_he_asked(self) -> None:
        nat = translator(Nat(outside="wan"), forwards=(self.FORWARD,))
        for n, remote in enumerate(REMOTES):
            for address in (POOL[0], "203.0.113.4"):
                assert into(nat, (remote[0], remote[1] + n), (address, 6000)) == self.HOST
            break
        assert into(nat, REMOTES[1], (POOL[0], 6000)) == self.HOST
        assert out(nat, self.HOST, REMOTES[1]) == (POOL[0], 6000)
        assert out(nat, self.HOST, REMOTES[2]) == (POOL[0], 4433), "what it sends unasked is an ordinary mapping"

    def test_its_port_is_nobody_elses(self) -> None:
        nat = translator(Nat(outside="wan"), forwards=(self.FORWARD,))
        assert out(nat, (HOSTS[1], 6000), REMOTES[0])[1] != 6000
        assert out(nat, (HOSTS[1], 4433), REMOTES[0])[1] == 4433

    def test_it_outlives_everything(self) -> None:
        nat = translator(Nat(outside="wan", udp_timeout=1 * s), forwards=(self.FORWARD,))
        into(nat, REMOTES[0], (POOL[0], 6000))
        assert nat.flows(0) != []
        assert nat.flows(2 * SECOND) == []
        assert into(nat, REMOTES[0], (POOL[0], 6000), 5 * SECOND) == self.HOST
        nat.reboot(6 * SECOND)
        assert nat.flows(6 * SECOND) == []
        assert into(nat, REMOTES[0], (POOL[0], 6000), 6 * SECOND) == self.HOST

    def test_behind_a_firewall_it_is_a_pinhole(self) -> None:
        nat = translator(Nat(outside="wan", ipv6="firewall"), forwards=(Forwarded(6000, HOSTS6[0], 4433),))
        assert into(nat, (BOB6, 1), (HOSTS6[0], 4433)) == (HOSTS6[0], 4433)
        assert into(nat, (BOB6, 1), (HOSTS6[0], 6000)) == "no_mapping"


class TestFirewall:
    @pytest.mark.parametrize("filtering", BEHAVIOURS)
    def test_nothing_changes_and_the_filter_decides(self, filtering: Behaviour) -> None:
        nat = translator(Nat(outside="wan", ipv6="firewall", mapping="address-and-port-dependent", ports="random", filtering=filtering))
        host = (HOSTS6[0], 5000)
        assert into(nat, (BOB6, 1000), host) == "no_mapping"
        packet = udp(host, (BOB6, 1000))
        assert nat.outbound(packet, 0) == packet
        came = [into(nat, remote, host) == host for remote in ((BOB6, 1000), (BOB6, 1001), (CAROL6, 1000))]
        strict = BEHAVIOURS.index(filtering)
        assert came == [True, strict < 2, strict < 1]
        assert out(nat, (HOSTS[0], 5000), (BOB, 1))[0] == POOL[0], "IPv4 is translated all the same"


class TestPrefix:
    PAIR = ("fd00:1::/64", "2001:db8:aa::/64")

    def test_there_and_back_without_touching_a_checksum(self) -> None:
        nat = translator(Nat(outside="wan", ipv6="prefix", prefix6="2001:db8:aa::/48"), prefixes=(self.PAIR,))
        packet = udp((HOSTS6[0], 5000), (BOB6, 1000))
        sent = nat.outbound(packet, 0)
        assert isinstance(sent, bytes)
        check(sent)
        assert sent[40:] == packet[40:], "ports and checksum as they were"
        (seen, port), _to = ends(sent)
        assert seen.startswith("2001:db8:aa:")
        assert port == 5000
        assert into(nat, (BOB6, 1000), (seen, 5000)) == (HOSTS6[0], 5000)
        assert into(nat, (CAROL6, 1000), (seen, 5000)) == "filtered"

    def test_hairpin(self) -> None:
        nat = translator(
            Nat(outside="wan", ipv6="prefix", prefix6="2001:db8:aa::/48", hairpinning=True, filtering="endpoint-independent"),
            prefixes=(self.PAIR,),
        )
        one, other = (out(nat, (host, 5000), (BOB6, 1)) for host in HOSTS6)
        assert ends(nat.outbound(udp((HOSTS6[0], 5000), other), 0)) == (one, (HOSTS6[1], 5000))


class TestOtherPackets:
    @pytest.mark.parametrize("version", [4, 6])
    def test_tcp(self, version: int) -> None:
        host, bob, carol = FAMILIES[version]
        nat = translator(Nat(outside="wan"))
        sent = nat.outbound(bytes(ip(host, bob) / TCP(sport=5000, dport=80, flags="S") / b"data"), 0)
        seen, _ = ends(sent)
        reply = bytes(ip(bob, seen[0]) / TCP(sport=80, dport=seen[1], flags="SA"))
        assert ends(nat.inbound(reply, 3600 * SECOND)) == ((bob, 80), (host, 5000))
        assert nat.inbound(bytes(ip(carol, seen[0]) / TCP(sport=80, dport=seen[1], flags="SA")), 3600 * SECOND) is None
        assert nat.flows(0) == [], "only UDP is listed unless asked for"
        assert len(nat.flows(0, protocol=6)) == 1

    def test_a_udp_checksum_that_is_not_there_stays_away(self) -> None:
        nat = translator(Nat(outside="wan"))
        for _ in range(2):
            sent = nat.outbound(bytes(ip(HOSTS[0], BOB) / UDP(sport=1, dport=2, chksum=0) / b"x"), 0)
            assert isinstance(sent, bytes)
            assert sent[26:28] == b"\0\0"

    def test_a_wrong_checksum_stays_wrong(self) -> None:
        nat = translator(Nat(outside="wan"))
        for _ in range(2):
            packet = bytearray(udp(A, REMOTES[0]))
            packet[-1] ^= 4
            sent = nat.outbound(bytes(packet), 0)
            assert isinstance(sent, bytes)
            with pytest.raises(AssertionError):
                check(sent)

    def test_fragments(self) -> None:
        nat = translator(Nat(outside="wan"))
        first = bytes(ip(HOSTS[0], BOB, flags="MF") / UDP(sport=5000, dport=1000, len=3000) / bytes(1000))
        sent = nat.outbound(first, 0)
        assert isinstance(sent, bytes)
        assert IP(sent).src == POOL[0]
        assert IP(sent)[UDP].sport == 5000
        assert nat.outbound(bytes(IP(src=HOSTS[0], dst=BOB, frag=126, proto=17) / bytes(100)), 0) is None
        assert nat.counted["outbound"].dropped == {"fragment": 1}

    def test_options_and_extension_headers(self) -> None:
        from scapy.layers.inet import IPOption_RR
        from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

        nat = translator(Nat(outside="wan"))
        long = bytes(IP(src=HOSTS[0], dst=BOB, options=[IPOption_RR()]) / UDP(sport=5000, dport=1) / b"x")
        assert ends(nat.outbound(long, 0))[0] == (POOL[0], 5000)
        long6 = bytes(IPv6(src=HOSTS6[0], dst=BOB6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(sport=5000, dport=1) / b"x")
        assert ends(nat.outbound(long6, 0))[0] == (POOL[2], 5000)

    def test_other_protocols_are_dropped(self) -> None:
        nat = translator(Nat(outside="wan"))
        assert nat.outbound(bytes(IP(src=HOSTS[0], dst=BOB, proto=47) / bytes(20)), 0) is None
        assert nat.outbound(bytes(IPv6(src=HOSTS6[0], dst=BOB6, nh=50) / bytes(20)), 0) is None
        assert nat.counted["outbound"].dropped == {"protocol": 2}

    def test_the_links_own_affairs_pass(self) -> None:
        nat = translator(Nat(outside="wan"))
        for packet in (
            IP(src="0.0.0.0", dst="224.0.0.22", proto=2) / bytes(8),
            IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67),
            IPv6(src="fe80::1", dst="ff02::2") / bytes(8),
            IPv6(src="fe80::1", dst="fe80::2") / bytes(8),
        ):
            assert nat.outbound(bytes(packet), 0) == bytes(packet)
            assert nat.inbound(bytes(packet), 0) == bytes(packet)
        assert nat.counted["outbound"].passed == nat.counted["inbound"].passed == 4

    @pytest.mark.parametrize(
        "packet",
        [b"", b"\x45", udp(A, REMOTES[0])[:27], udp((HOSTS6[0], 1), (BOB6, 2))[:47], b"\x95" + bytes(40), bytes(60), b"\x44" + bytes(40)],
    )
    def test_malformed(self, packet: bytes) -> None:
        nat = translator(Nat(outside="wan"))
        assert nat.outbound(packet, 0) is None
        assert nat.inbound(packet, 0) is None
        assert nat.counted["outbound"].dropped == nat.counted["inbound"].dropped == {"malformed": 1}

    def test_a_wrong_ip_checksum_is_malformed(self) -> None:
        nat = translator(Nat(outside="wan"))
        packet = bytearray(udp(A, REMOTES[0]))
        packet[8] -= 1
        assert nat.outbound(bytes(packet), 0) is None
        assert nat.counted["outbound"].dropped == {"malformed": 1}

    def test_an_outside_address_as_source_is_nobodys(self) -> None:
        nat = translator(Nat(outside="wan"))
        assert out(nat, (POOL[0], 1), REMOTES[0]) == "not_ours"
        assert into(nat, (POOL[0], 1), (POOL[0], 5000)) == "not_ours"


def test_flows_are_listed() -> None:
    nat = translator(Nat(outside="wan"))
    out(nat, A, REMOTES[0], 7)
    out(nat, (HOSTS6[0], 9), (BOB6, 1), 8)
    rows = nat.flows(9)
    assert [tuple(row) for row in rows] == [
        (4, 17, A, (POOL[0], 5000), REMOTES[0], 7),
        (6, 17, (HOSTS6[0], 9), (POOL[2], 9), (BOB6, 1), 8),
    ]
    assert nat.flow(A, REMOTES[0], 9) == rows[0]
    assert nat.flow(A, REMOTES[1], 9) is None
    assert msgspec.json.decode(msgspec.json.encode(nat.counted))["outbound"]["translated"] == 2
