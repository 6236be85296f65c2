"""The translator against RFC 4787 said over again as naively as possible, and against arbitrary bytes.

The model keeps lists and looks through all of them; it is told where the translator put a new mapping, since which port is drawn is the
translator's own affair, and checks that nobody else had it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harness.errors import SpecError
from harness.spec.nat import Behaviour, Nat, Pooling, Ports, Refresh
from harness.units import s
from harness.wire.ip_packets import ICMP, TCP, checksum_of, parse, rewritten, updated, weight
from harness.wire.translator import Back, Forwarded, Translator
from tests.examples import examples
from tests.unit.wire.packets import BOB, BOB6, CAROL, CAROL6, HOSTS, HOSTS6, POOL, SECOND, SPARES, udp

TIMEOUT = 30 * SECOND
FEW = range(7000, 7010)
"""The ports that are drawn from, so that they are met again, and used up."""
FORWARD = Forwarded(6000, HOSTS[0], 4433)
ENDS = {
    4: ([(HOSTS[0], 5000), (HOSTS[1], 5000), (HOSTS[0], 4433)], [(BOB, 1000), (BOB, 1001), (CAROL, 1000)]),
    6: ([(HOSTS6[0], 5000)], [(BOB6, 1000), (BOB6, 1001), (CAROL6, 1000)]),
}
inside_ends = st.sampled_from(ENDS[4][0] + ENDS[6][0])
payloads = st.binary(max_size=40)
nats = st.builds(
    Nat,
    outside=st.just("wan"),
    mapping=st.sampled_from(get_args(Behaviour)),
    filtering=st.sampled_from(get_args(Behaviour)),
    ports=st.sampled_from(get_args(Ports)),
    hairpinning=st.booleans(),
    pool=st.just(2),
    spare=st.just(2),
    pooling=st.sampled_from(get_args(Pooling)),
    refresh=st.sampled_from(get_args(Refresh)),
    udp_timeout=st.just(30 * s),
)


def plain_ends(packet: bytes) -> tuple[Any, Any, bytes]:
    """Source, destination and payload of a UDP packet whose checksums are right; read without the code under test."""
    from ipaddress import ip_address

    at = 20 if packet[0] >> 4 == 4 else 40
    source, to = (packet[12:16], packet[16:20]) if at == 20 else (packet[8:24], packet[24:40])
    length = len(packet) - at
    pseudo = source + to + length.to_bytes(4, "big") + b"\0\0\0\x11"
    assert slow_sum(pseudo + packet[at:]) == 0xFFFF
    if at == 20:
        assert slow_sum(packet[:20]) == 0xFFFF
    ports = [int.from_bytes(packet[at + n : at + n + 2], "big") for n in (0, 2)]
    return (str(ip_address(source)), ports[0]), (str(ip_address(to)), ports[1]), packet[at + 8 :]


def slow_sum(data: bytes) -> int:
    """The one's complement sum of 16-bit words, word by word (RFC 1071)."""
    total = 0
    for n in range(0, len(data), 2):
        total += int.from_bytes(data[n : n + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(eq=False)
class Known:
    """A mapping of the model: ``spoken`` has when each remote was last spoken to, or let in."""

    inside: Any
    chosen_by: Any
    outside: Any
    used: int
    spoken: dict[Any, int] = field(default_factory=dict)
    static: bool = False
    lingers_until: int | None = None


class Model(RuleBasedStateMachine):
    @initialize(nat=nats, seed=st.integers(0, 9))
    def begin(self, nat: Nat, seed: int) -> None:
        from harness.wire.translator import Translation

        self.nat = nat
        self.real = Translator(Translation(router="n", nat=nat, pool=POOL, spares=SPARES, forwards=(FORWARD,)), seed)
        for side in self.real._sides.values():
            side.names.drawn_from = FEW  # type: ignore[attr-defined]
        self.now = 0
        self.known: list[Known] = []
        self.statics = [
            Known((FORWARD.address, FORWARD.to_port), None, (address, FORWARD.port), 0, static=True) for address in (*POOL[:2], *SPARES[:2])
        ]
        self.outsides: list[Any] = [(POOL[0], 5000)]
        self.expected: dict[Any, Any] = {}
        self.sent = self.came = 0

    # -- RFC 4787 again ---

    def alive(self, one: Known) -> bool:
        return one.lingers_until is None and (one.static or self.now - one.used < TIMEOUT)

    def choose(self, inside: Any, remote: Any) -> Any:
        part = {"endpoint-independent": None, "address-dependent": remote[0], "address-and-port-dependent": remote}[self.nat.mapping]
        return inside, part

    def leaves_by(self, inside: Any, remote: Any) -> Known | None:
        spoken = [k for k in [*self.known, *self.statics] if k.inside == inside and self.alive(k) and self.fresh(k, remote)]
        chosen = [k for k in self.known if k.chosen_by == self.choose(inside, remote) and self.alive(k)]
        assert len(spoken) <= 1
        return (spoken or chosen or [None])[0]

    def fresh(self, one: Known, remote: Any) -> bool:
        return remote in one.spoken and self.now - one.spoken[remote] < TIMEOUT

    def lets_in(self, outside: Any, remote: Any) -> Known | None:
        held = [k for k in self.known if k.outside == outside and (self.alive(k) or k.lingers_until is not None)]
        assert len(held) <= 1
        for one in held:
            if one.lingers_until is not None and not (self.now < one.lingers_until and self.now - one.used < TIMEOUT):
                continue
            if self.fresh(one, remote):
                return one
            filtering = self.nat.filtering
            if filtering == "endpoint-independent":
                self.enter(one, remote, one.used)
                return one
            ages = [at for other, at in one.spoken.items() if other[0] == remote[0] and self.now - at < TIMEOUT]
            if filtering == "address-dependent" and ages:
                self.enter(one, remote, max(ages))
                return one
        if any(k.lingers_until is not None and self.now < k.lingers_until and self.now - k.used < TIMEOUT for k in held):
            return None
        for one in self.statics:
            if one.outside == outside:
                if not self.fresh(one, remote):
                    self.enter(one, remote, self.now)
                return one
        return None

    def enter(self, one: Known, remote: Any, at: int) -> None:
        """A packet came in unasked: remembered, unless an answer leaves by another mapping, or this one only lingers."""
        if not one.static and one.chosen_by != self.choose(one.inside, remote):
            return  # answered by another mapping
        others = [k for k in [*self.known, *self.statics] if k is not one and k.inside == one.inside]
        if one.lingers_until is None and not any(self.alive(k) and self.fresh(k, remote) for k in others):
            one.spoken[remote] = at

    # -- what happens ---

    @rule(inside=inside_ends, n=st.integers(0, 2), payload=payloads)
    def send(self, inside: Any, n: int, payload: bytes) -> None:
        remote = ENDS[6 if ":" in inside[0] else 4][1][n]
        self.sent += 1
        by = self.leaves_by(inside, remote)
        result = self.real.outbound(udp(inside, remote, payload), self.now)
        if result is None:
            assert by is None
            assert any(self.holds_all(address, inside) for address in (*POOL, *SPARES))
            return
        assert isinstance(result, bytes), "nothing else is dropped here"
        source, to, data = plain_ends(result)
        assert (to, data) == (remote, payload)
        if by is None:
            by = self.new(inside, remote, source)
        assert source == by.outside
        by.spoken[remote] = by.used = self.now

    def new(self, inside: Any, remote: Any, outside: Any) -> Known:
        taken = [k for k in self.known if k.outside == outside and (self.alive(k) or k.lingers_until is not None)]
        assert taken == [], "an outside endpoint is one mapping's alone"
        assert outside[0] in (*POOL, *SPARES)
        if outside[1] == FORWARD.port and ":" not in outside[0]:
            assert inside == (FORWARD.address, FORWARD.to_port)
        planned = self.expected.pop(self.choose(inside, remote), None)
        assert planned in (None, outside), "it appears where the rebind has said"
        self.known.append(Known(inside, self.choose(inside, remote), outside, self.now))
        if outside not in self.outsides:
            self.outsides.append(outside)
        return self.known[-1]

    def holds_all(self, address: str, inside: Any) -> bool:
        """Whether each port that may be drawn on ``address`` has been promised, lives, or was rebound away."""
        held = {k.outside for k in self.known if self.alive(k) or k.lingers_until is not None} | set(self.expected.values())
        return {(address, port) for port in FEW} <= held

    def refresh(self, one: Known, remote: Any) -> None:
        if self.fresh(one, remote):
            one.spoken[remote] = self.now
        one.used = self.now

    @rule(data=st.data(), n=st.integers(0, 2), payload=payloads)
    def receive(self, data: Any, n: int, payload: bytes) -> None:
        outside = data.draw(st.sampled_from([*self.outsides[-5:], self.statics[0].outside]))
        remote = ENDS[6 if ":" in outside[0] else 4][1][n]
        self.came += 1
        by = self.lets_in(outside, remote)
        result = self.real.inbound(udp(remote, outside, payload), self.now)
        if by is None:
            assert result is None
            return
        assert isinstance(result, bytes)
        assert plain_ends(result) == (remote, by.inside, payload)
        if self.nat.refresh == "both" and by.lingers_until is None:
            self.refresh(by, remote)

    @rule(seconds=st.sampled_from([0.5, 10, 16, 29, 30]))
    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    @rule(kind=st.integers(0, 9), host=st.sampled_from([0, 1]), address=st.booleans(), linger=st.sampled_from([0, 20 * SECOND]))
    def fault(self, kind: int, host: int, address: bool, linger: int) -> None:
        if kind == 0:
            self.reboot()
        elif kind < 5:
            self.rebind(host, address, linger)

    def rebind(self, host: int, address: bool, linger: int) -> None:
        hosts = [HOSTS[host], HOSTS6[host]]
        moving = [k for k in self.known if self.alive(k) and k.inside[0] in hosts]
        try:
            rows = self.real.rebind(hosts, address=address, linger=linger, icmp=False, now=self.now)
        except SpecError:  # no port was left; the invariants see that nothing has changed
            return
        assert {before.outside for before, _ in rows} <= {k.outside for k in moving}
        for before, after in rows:
            (one,) = [k for k in moving if k.outside == before.outside]
            assert self.fresh(one, before.remote)
            assert after.outside != before.outside
            assert (after.outside[0] != before.outside[0]) == address
            self.expected[one.chosen_by] = after.outside
        for one in moving:
            one.lingers_until = self.now + linger

    def reboot(self) -> None:
        self.real.reboot(self.now)
        self.known.clear()
        self.expected.clear()
        for one in self.statics:
            one.spoken.clear()

    @invariant()
    def every_packet_is_accounted_for(self) -> None:
        for direction, count in (("outbound", self.sent), ("inbound", self.came)):
            counted = self.real.counted[direction]
            assert counted.received == count
            assert counted.translated + counted.hairpinned + counted.passed + sum(counted.dropped.values()) == count

    @invariant()
    def what_is_listed_is_what_is_known(self) -> None:
        listed = {(row.inside, row.outside, row.remote, row.used) for row in self.real.flows(self.now)}
        each = [(k, remote) for k in [*self.known, *self.statics] if self.alive(k) for remote in k.spoken if self.fresh(k, remote)]
        assert listed == {(one.inside, one.outside, remote, one.spoken[remote]) for one, remote in each}


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=examples(250), stateful_step_count=50, deadline=None)


@given(nats, st.lists(st.tuples(st.booleans(), st.binary(max_size=120)), max_size=8))
@settings(max_examples=examples(200), deadline=None)
def test_arbitrary_bytes_are_dropped_or_passed_and_counted(nat: Nat, packets: list[tuple[bool, bytes]]) -> None:
    survive(nat, packets)


headers4 = st.builds(
    lambda protocol, tail, length, extra, to_us: (
        bytes((0x45, 0, 0, length, 0, 0, 0, 0, 64, protocol, extra, extra))
        + (bytes((203, 0, 113, 2)) if to_us else bytes((10, 0, 0, 2)))
        + bytes((203, 0, 113, 3))
        + tail
    ),
    st.sampled_from([1, 6, 17, 47]),
    st.binary(max_size=80),
    st.integers(0, 120),
    st.integers(0, 255),
    st.booleans(),
)
headers6 = st.builds(
    lambda following, tail, length, source: b"\x60\0\0\0\0" + bytes((length, following, 64)) + source * 8 + b"\x20\x01" * 8 + tail,
    st.sampled_from([0, 6, 17, 43, 44, 58, 60]),
    st.binary(max_size=80),
    st.integers(0, 120),
    st.sampled_from([b"\xfd\0", b"\x20\x01"]),
)


@given(nats, st.lists(st.tuples(st.booleans(), headers4.map(lambda raw: signed(raw)) | headers4 | headers6), max_size=8))
@settings(max_examples=examples(300), deadline=None)
def test_packets_that_look_right_at_first_sight_raise_nothing(nat: Nat, packets: list[tuple[bool, bytes]]) -> None:
    survive(nat, packets)


def signed(raw: bytes) -> bytes:
    """With a right IPv4 header checksum."""
    return raw[:10] + checksum_of(raw[:10] + b"\0\0" + raw[12:20]).to_bytes(2, "big") + raw[12:]


def survive(nat: Nat, packets: list[tuple[bool, bytes]]) -> None:
    from harness.wire.translator import Translation

    real = Translator(Translation(router="n", nat=nat, pool=POOL, spares=SPARES, forwards=(FORWARD,)), 1)
    for outbound, packet in packets:
        result = (real.outbound if outbound else real.inbound)(packet, 0)
        assert result is None or isinstance(result, Back) or len(result) == len(packet)
    for counted in real.counted.values():
        assert counted.received == counted.translated + counted.hairpinned + counted.passed + sum(counted.dropped.values())


ports = st.integers(0, 0xFFFF)


@given(ports, ports, ports, ports, st.binary(max_size=64), st.sampled_from([4, 6]), st.sampled_from(["udp", "tcp", "echo"]), st.booleans())
@settings(max_examples=examples(250), deadline=None)
def test_rewriting_there_and_back_is_nothing_and_checksums_are_always_right(
    sport: int, dport: int, new_sport: int, new_dport: int, payload: bytes, version: int, kind: str, outward: bool
) -> None:
    from ipaddress import ip_address

    source, to, other = (HOSTS[0], BOB, POOL[0]) if version == 4 else (HOSTS6[0], BOB6, POOL[2])
    here, there, new = (ip_address(text).packed for text in (source, to, other))
    protocol = {"udp": 17, "tcp": TCP, "echo": ICMP if version == 4 else 58}[kind]
    both = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    body = {
        "udp": both + (8 + len(payload)).to_bytes(2, "big") + b"\0\0",
        "tcp": both + bytes(8) + b"\x50\0\0\0\0\0\0\0",
        "echo": bytes((8 if version == 4 else 128, 0, 0, 0)) + both,
    }[kind] + payload
    at = {"udp": 6, "tcp": 16, "echo": 2}[kind]
    pseudo = here + there + len(body).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    covered = body if protocol == ICMP else pseudo + body
    checksum = 0xFFFF - slow_sum(covered)
    if kind == "udp" and checksum == 0:
        checksum = 0xFFFF
    body = body[:at] + checksum.to_bytes(2, "big") + body[at + 2 :]
    if version == 4:
        packet = signed(b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + bytes((0, 0, 0, 0, 64, protocol, 0, 0)) + here + there) + body
    else:
        packet = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, 64)) + here + there + body
    headers = parse(packet)
    assert not isinstance(headers, str)
    place = {"source": (new, new_sport)} if outward else {"destination": (new, new_dport)}
    moved = rewritten(packet, headers, **place)  # type: ignore[arg-type]
    fixed = 20 if version == 4 else 40
    addresses = new + there if outward else here + new
    segment = moved[fixed:]
    pseudo = addresses + len(segment).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    assert slow_sum(segment if protocol == ICMP else pseudo + segment) == 0xFFFF
    if version == 4:
        assert slow_sum(moved[:20]) == 0xFFFF
    assert moved.endswith(payload)
    again = parse(moved)
    assert not isinstance(again, str)
    back = {"source": headers.source} if outward else {"destination": headers.destination}
    assert rewritten(moved, again, **back) == packet  # type: ignore[arg-type]


@given(st.binary(min_size=2, max_size=64).filter(lambda b: len(b) % 2 == 0 and any(b)), st.integers(0, 0xFFFF), st.integers(0, 31))
def test_a_checksum_updated_is_the_checksum_from_scratch(data: bytes, word: int, place: int) -> None:
    place = place * 2 % len(data)
    changed = data[:place] + word.to_bytes(2, "big") + data[place + 2 :]
    if any(changed):
        delta = (weight(changed) - weight(data)) % 0xFFFF
        assert updated(checksum_of(data), delta) == checksum_of(changed) == 0xFFFF - slow_sum(changed)
