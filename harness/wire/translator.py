"""A NAT: what becomes of each packet that leaves an inside, or wants to enter it (RFC 4787, RFC 5508, RFC 6296, RFC 6092).

It stands on the outside link of a router that only forwards: ``outbound`` takes what the router sends there, ``inbound`` what comes from
there.  Each answers with the packet to pass on, with one that goes ``Back`` to where the given one came from (hairpinned, or an ICMP error
of its own), or with None: dropped, and counted with its reason.

* UDP and TCP are translated by ports, ICMP echo by its identifier.  TCP has no state machine here, only a timeout.
* An ICMP error is translated with what it quotes, if that belongs to a flow.  It refreshes nothing.
* The first fragment of a packet is translated by its ports, the others are dropped.  Other protocols are dropped.
* What is the link's own affair (link-local addresses, neighbour discovery, …) passes untouched.
* Hairpinning is RFC 4787 REQ-9's: the receiver sees the sender's outside endpoint, and its filter decides as about anybody.

IPv4 is always translated with ports; IPv6 as ``Nat.ipv6`` says.  A rebind moves what is translated with ports: the old binding is retired,
and the flow's next packet makes the planned one, so that a flow that sends nothing has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address
from random import Random
from typing import NamedTuple

import msgspec

from harness.errors import SpecError
from harness.spec.nat import Nat
from harness.wire import icmp
from harness.wire.common_packets import V4, common_key, renamed4, renamed6
from harness.wire.ip_packets import UDP, Endpoint, Headers, Reason, is_for_the_link, parse, rewritten
from harness.wire.mapping_journal import LIMIT, Journal
from harness.wire.mapping_table import UDP_TIMEOUT, Binding, Flow, MappingTable
from harness.wire.outside_names import Names, Plan, PortTranslation, PrefixNames, SameNames

_TIDY_EVERY = 10_000_000_000  # ns between removals of what has expired


class Forwarded(msgspec.Struct, frozen=True):
    """A port forward, resolved: outside ``port`` leads to ``address`` inside, on ``to_port``."""

    port: int
    address: str
    to_port: int


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """A Nat with its addresses, both families in each list: those of the ``pool``, the port's own first, and the ``spares``.

    ``forwards`` has one entry per forward and family.  ``prefixes``: for NPTv6, pairs of inside and outside /64.
    """

    router: str
    nat: Nat
    pool: tuple[str, ...]
    spares: tuple[str, ...] = ()
    forwards: tuple[Forwarded, ...] = ()
    prefixes: tuple[tuple[str, str], ...] = ()


class Counted(msgspec.Struct, kw_only=True):
    """Packets of one direction: ``received == translated + hairpinned + passed + the sum of dropped``, always.

    ``hairpinned`` came from inside and went back there; ``passed``: the link's own, untouched; ``dropped``: by reason.  ``told``: of those
    dropped, how many were answered with an ICMP error.
    """

    received: int = 0
    translated: int = 0
    hairpinned: int = 0
    passed: int = 0
    told: int = 0
    dropped: dict[str, int] = {}


class FlowRow(NamedTuple):
    """A flow as told: ``inside`` is seen by ``remote`` as ``outside``; ``used`` ns is when it was last refreshed."""

    version: int
    protocol: int
    inside: tuple[str, int]
    outside: tuple[str, int]
    remote: tuple[str, int]
    used: int


class Changed(NamedTuple):
    """At ``at`` (ns) a flow came to be, or was ``gone``; the rest as in ``FlowRow``."""

    at: int
    gone: bool
    version: int
    inside: tuple[str, int]
    outside: tuple[str, int]
    remote: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Back:
    """A packet that goes back to the side from which the given one came."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Side:
    """One family: its table and its names for outside."""

    table: MappingTable
    names: Names


class Translator:
    """The NAT ``translation``, empty.  ``seed``: of what it draws.  Times are ns of one clock that never goes back."""

    def __init__(self, translation: Translation, seed: int) -> None:
        self.translation = translation
        self._seed = seed
        self._journal = Journal()
        self._sides = {version: self._side(version, Random(f"{seed}/{version}")) for version in (4, 6)}
        self._out4, self._in4 = self._sides[4].table.outgoing, self._sides[4].table.incoming
        self._out6, self._in6 = self._sides[6].table.outgoing, self._sides[6].table.incoming
        self.counted = {"outbound": Counted(), "inbound": Counted()}
        self._out, self._in = self.counted["outbound"], self.counted["inbound"]
        self._refresh_inbound = translation.nat.refresh == "both"
        self._tidied = 0

    def _side(self, version: int, rng: Random) -> Side:
        nat = self.translation.nat
        names: Names
        if version == 4 or nat.ipv6 == "translate":
            pool, spares = (
                [ip_address(text).packed for text in texts if ip_address(text).version == version]
                for texts in (self.translation.pool, self.translation.spares)
            )
            names = PortTranslation(pool, spares, nat.ports, nat.pooling, rng)
        elif nat.ipv6 == "prefix":
            names = PrefixNames([(IPv6Network(here), IPv6Network(there)) for here, there in self.translation.prefixes])
        else:
            names = SameNames()
        table = MappingTable(
            nat.mapping if isinstance(names, PortTranslation) else "endpoint-independent",
            nat.filtering,
            refresh_inbound=nat.refresh == "both",
            udp_timeout=UDP_TIMEOUT if nat.udp_timeout is None else nat.udp_timeout.ns,
            journal=self._journal,
        )
        for forward in self.translation.forwards:
            if ip_address(forward.address).version == version:
                inside = _packed(forward.address), forward.to_port
                for outside in names.forwarded(forward.port, inside):
                    table.add_static(UDP, inside, outside)
        return Side(table, names)

    # -- packets -----------------------------------------------------------------------------------------------------------------------

    def outbound(self, packet: bytes, now: int) -> bytes | Back | None:
        """What becomes of an IP packet that the router sends out."""
        counted = self._out
        counted.received += 1
        key = common_key(packet)
        if key is not None:
            flow = (self._out4 if packet[0] == V4 else self._out6).get(key)
            if flow is not None and not flow.hairpin and flow.lives(now):
                flow.used = flow.binding.used = now
                counted.translated += 1
                if packet[0] == V4:
                    ends = flow.outside + packet[16:20] + flow.outside_port + packet[22:24]
                    return renamed4(packet, ends, flow.address_shift, flow.shift)
                return renamed6(packet, flow.outside + packet[24:40] + flow.outside_port + packet[42:44], flow.shift)
        if is_for_the_link(packet):
            counted.passed += 1
            return packet
        result = self._outbound(packet, now)
        if isinstance(result, bytes):
            counted.translated += 1
        elif isinstance(result, Back):
            counted.hairpinned += 1
        else:
            return self._dropped(counted, result, packet)
        return result

    def inbound(self, packet: bytes, now: int) -> bytes | Back | None:
        """What becomes of an IP packet that comes from outside."""
        counted = self._in
        counted.received += 1
        key = common_key(packet)
        if key is not None:
            flow = (self._in4 if packet[0] == V4 else self._in6).get(key)
            if flow is not None and not flow.hairpin and flow.lives(now):
                if self._refresh_inbound:
                    flow.used = flow.binding.used = now
                counted.translated += 1
                if packet[0] == V4:
                    ends = packet[12:16] + flow.inside + packet[20:22] + flow.inside_port
                    return renamed4(packet, ends, -flow.address_shift % 0xFFFF, -flow.shift % 0xFFFF)
                return renamed6(packet, packet[8:24] + flow.inside + packet[40:42] + flow.inside_port, -flow.shift % 0xFFFF)
        if is_for_the_link(packet):
            counted.passed += 1
            return packet
        result = self._inbound(packet, now)
        if isinstance(result, bytes):
            counted.translated += 1
            return result
        return self._dropped(counted, result, packet)

    def _dropped(self, counted: Counted, reason: Reason, packet: bytes) -> Back | None:
        counted.dropped[reason.value] = counted.dropped.get(reason.value, 0) + 1
        if reason is not Reason.REBOUND:
            return None
        headers = parse(packet)
        assert isinstance(headers, Headers)  # else it would have been dropped for that
        dead = self._sides[headers.version].table.dead(headers.protocol, headers.destination)
        error = icmp.port_unreachable(packet, headers) if dead is not None and dead.icmp else None
        if error is None:
            return None
        counted.told += 1
        return Back(error)

    def _outbound(self, packet: bytes, now: int) -> bytes | Back | Reason:
        headers = parse(packet)
        if isinstance(headers, Reason):
            return headers
        side = self._sides[headers.version]
        if side.names.leads_back(headers.source[0]):
            return Reason.NOT_OURS
        hairpin = side.names.leads_back(headers.destination[0])
        if hairpin and not self.translation.nat.hairpinning:
            return Reason.HAIRPIN_OFF
        if headers.error:
            result = self._outbound_error(side, packet, headers, now)
        else:
            flow = self._leaves(side, headers, now)
            if isinstance(flow, Reason):
                return flow
            flow.hairpin = hairpin
            result = rewritten(packet, headers, source=flow.binding.outside)
        if not hairpin or isinstance(result, Reason):
            return result
        outside = parse(result)
        assert isinstance(outside, Headers)
        entered = self._enters(side, result, outside, now, hairpin=True)
        return entered if isinstance(entered, Reason) else Back(entered)

    def _leaves(self, side: Side, headers: Headers, now: int) -> Flow | Reason:
        """The flow of a packet on its way out, a new one if need be."""
        protocol, inside, remote = headers.protocol, headers.source, _remote(headers, headers.destination)
        if headers.echo == "reply" and side.table.quoted_by_inside(protocol, inside, remote, now) is None:
            return Reason.NO_MAPPING
        binding = side.table.known(protocol, inside, remote, now)
        if binding is None:
            outside = side.names.choose(side.table, protocol, inside, side.table.key(protocol, inside, remote), now)
            if isinstance(outside, Reason):
                return outside
            binding = side.table.bind(protocol, inside, remote, outside, now)
            if now - self._tidied > _TIDY_EVERY:
                self._tidied = now
                for each in self._sides.values():
                    each.table.expire(now)
        return side.table.sent(binding, remote, now)

    def _inbound(self, packet: bytes, now: int) -> bytes | Reason:
        headers = parse(packet)
        if isinstance(headers, Reason):
            return headers
        side = self._sides[headers.version]
        if side.names.leads_back(headers.source[0]):
            return Reason.NOT_OURS
        return self._enters(side, packet, headers, now)

    def _enters(self, side: Side, packet: bytes, headers: Headers, now: int, hairpin: bool = False) -> bytes | Reason:
        """A packet on its way in, or why it does not enter."""
        if not side.names.is_own(headers.destination[0]):
            return Reason.NOT_OURS
        if headers.error:
            return self._inbound_error(side, packet, headers, now)
        flow = side.table.received(headers.protocol, headers.destination, _remote(headers, headers.source), now)
        if isinstance(flow, Reason):
            return flow
        flow.hairpin = hairpin
        return rewritten(packet, headers, destination=flow.binding.inside)

    def _outbound_error(self, side: Side, packet: bytes, headers: Headers, now: int) -> bytes | Reason:
        """An ICMP error about a packet that came in."""
        quote = icmp.quoted(packet, headers)
        if isinstance(quote, Reason):
            return quote
        flow = side.table.quoted_by_inside(quote.protocol, quote.destination, _remote(quote, quote.source), now)
        if flow is None:
            return Reason.NO_MAPPING
        source = side.names.outer(headers.source[0], flow.outside)
        return icmp.translated(packet, headers, quote, source=source, quoted_destination=flow.binding.outside)

    def _inbound_error(self, side: Side, packet: bytes, headers: Headers, now: int) -> bytes | Reason:
        """An ICMP error about a packet that went out; anybody on its way may send one (RFC 5508 REQ-4)."""
        quote = icmp.quoted(packet, headers)
        if isinstance(quote, Reason):
            return quote
        flow = side.table.quoted_by_outside(quote.protocol, quote.source, _remote(quote, quote.destination), now)
        if flow is None:
            return Reason.NO_MAPPING
        return icmp.translated(packet, headers, quote, destination=flow.inside, quoted_source=flow.binding.inside)

    # -- what it maps, and faults ------------------------------------------------------------------------------------------------------

    def flows(self, now: int, protocol: int = UDP) -> list[FlowRow]:
        """The living flows of a protocol, IPv4 first."""
        return [
            _row(version, flow)
            for version, side in self._sides.items()
            for flow in side.table.flows(now)
            if flow.binding.protocol == protocol
        ]

    def flow(self, inside: tuple[str, int], remote: tuple[str, int], now: int, protocol: int = UDP) -> FlowRow | None:
        """The one flow from ``inside`` to ``remote``, or None."""
        here, there = ((_packed(address), port) for address, port in (inside, remote))
        version = 4 if len(here[0]) == 4 else 6
        found = self._sides[version].table.quoted_by_inside(protocol, here, there, now)
        return None if found is None else _row(version, found)

    def holds(self, inside: tuple[str, int], outside: tuple[str, int], remote: tuple[str, int], now: int, protocol: int = UDP) -> bool:
        """Whether a packet from ``inside`` to ``remote`` would leave as ``outside`` by a binding that lives."""
        here, there = ((_packed(address), port) for address, port in (inside, remote))
        binding = self._sides[4 if len(here[0]) == 4 else 6].table.known(protocol, here, there, now)
        return binding is not None and (_text(binding.outside[0]), binding.outside[1]) == outside

    def lingers(self, outside: tuple[str, int], now: int, protocol: int = UDP) -> bool:
        """Whether ``outside`` was rebound away and lets packets in still."""
        place = _packed(outside[0]), outside[1]
        binding = self._sides[4 if len(place[0]) == 4 else 6].table.dead(protocol, place)
        return binding is not None and binding.lets_in(now)

    def rebind(self, hosts: Iterable[str], *, address: bool, linger: int, icmp: bool, now: int) -> list[tuple[FlowRow, FlowRow]]:
        """Retire every UDP binding of the inside addresses ``hosts``; their next packets get another port (and ``address``).

        Answers the flows as they were, and as each must now appear.  The old bindings let packets in for ``linger`` ns more; then they are
        dead, and who sends to them is told if ``icmp``.  Raises SpecError, with nothing changed, when there is no other address or port.
        """
        wanted = {_packed(host) for host in hosts}
        moves: list[tuple[int, MappingTable, PortTranslation, list[Binding], Plan]] = []
        for version, side in self._sides.items():
            names = side.names
            if isinstance(names, PortTranslation):
                bindings = [b for b in side.table.bindings(now) if b.protocol == UDP and b.inside[0] in wanted]
                plan = names.plan(side.table, bindings, address, now)
                if isinstance(plan, Reason):
                    lacks = "it has no spare outside address; give it spare=1 or more" if plan is Reason.NOT_OURS else "no port is left"
                    raise SpecError(f"NAT {self.translation.router}", lacks)
                moves.append((version, side.table, names, bindings, plan))
        rows = []
        for version, table, names, bindings, plan in moves:
            names.adopt(plan)
            for binding in bindings:
                assert binding.key is not None
                there, port = plan.outside[binding.key]
                for flow in binding.flows.values():
                    if flow.lives(now):
                        row = _row(version, flow)
                        rows.append((row, row._replace(outside=(_text(there), port))))
                table.retire(binding, now + linger, icmp, now)
        return rows

    def reboot(self, now: int) -> list[FlowRow]:
        """Lose everything but the port forwards; the UDP flows that there were."""
        lost = self.flows(now)
        for side in self._sides.values():
            side.table.clear(now)
            side.names.forget()
        return lost

    def restart(self) -> None:
        """As just made: no flow, no count, and what is drawn is drawn from the beginning."""
        for version, side in self._sides.items():
            side.table.clear(0)
            side.names.restart(Random(f"{self._seed}/{version}"))
        self._out = self.counted["outbound"] = Counted()
        self._in = self.counted["inbound"] = Counted()
        self._journal.clear()

    def changes(self, now: int, first: int = 0, most: int = LIMIT) -> tuple[list[Changed], bool, int]:
        """What became of its UDP flows since it was made or restarted, as it was noticed, from the ``first`` on ``most`` of it.

        Whether there is more, and how many changes were not kept.
        """
        flows = [flow for side in self._sides.values() for flow in side.table.outgoing.values()]
        found = self._journal.changes(flows, now)
        told = [
            Changed(one.at, one.gone, 4 if len(one.inside[0]) == 4 else 6, *_texts(one.inside, one.outside, one.remote))
            for one in found[first : first + most]
        ]
        return told, len(found) > first + most, self._journal.unlisted


def _remote(headers: Headers, end: Endpoint) -> Endpoint:
    """The remote's endpoint; an echo's identifier is the inside's alone."""
    return end if headers.echo is None else (end[0], 0)


def _row(version: int, flow: Flow) -> FlowRow:
    binding = flow.binding
    return FlowRow(version, binding.protocol, *_texts(binding.inside, binding.outside, flow.remote), flow.used)


def _texts(inside: Endpoint, outside: Endpoint, remote: Endpoint) -> tuple[tuple[str, int], tuple[str, int], tuple[str, int]]:
    return (_text(inside[0]), inside[1]), (_text(outside[0]), outside[1]), (_text(remote[0]), remote[1])


def _packed(text: str) -> bytes:
    return ip_address(text).packed


def _text(address: bytes) -> str:
    return str(ip_address(address))
