"""What an inside endpoint is called outside: another address and port (NAPT), another prefix (NPTv6), or the same (a firewall)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from random import Random
from typing import Protocol

from harness.spec import nptv6
from harness.spec.nat import Pooling, Ports
from harness.wire.ip_packets import Endpoint, Reason
from harness.wire.mapping_table import Binding, MappingKey, MappingTable

PORTS = range(1024, 65_536)
"""From which ports are drawn that are not the inside one."""
_DRAWS = 64  # before looking through all ports in order


@dataclass(frozen=True, slots=True)
class Plan:
    """A rebind to come: the new outside endpoint per mapping key, and the new address per host, where it gets one."""

    outside: dict[MappingKey, Endpoint]
    paired: dict[bytes, bytes]


class Names(Protocol):
    """The choice of outside endpoints for one address family."""

    def choose(self, table: MappingTable, protocol: int, inside: Endpoint, key: MappingKey, now: int) -> Endpoint | Reason:
        """The outside endpoint of a new binding, or why there is none."""

    def forwarded(self, port: int, inside: Endpoint) -> list[Endpoint]:
        """At which outside endpoints a forward of ``port`` to ``inside`` stands."""

    def is_own(self, address: bytes) -> bool:
        """Whether packets to ``address`` are for what is inside."""

    def leads_back(self, address: bytes) -> bool:
        """Whether a packet from inside to ``address`` is to be hairpinned."""

    def outer(self, address: bytes, outside: bytes) -> bytes:
        """What the sender ``address`` of an ICMP error about a flow seen as ``outside`` is called outside."""

    def restart(self, rng: Random) -> None:
        """As just made."""

    def forget(self) -> None:
        """As after a reboot: nothing is planned or remembered, but what is drawn goes on."""


class PortTranslation:
    """NAPT on the addresses of ``pool``, and of ``spares`` once a rebind has moved there."""

    def __init__(self, pool: Sequence[bytes], spares: Sequence[bytes], ports: Ports, pooling: Pooling, rng: Random) -> None:
        self._pool = list(pool)
        self._addresses = [*pool, *spares]
        self._own = frozenset(self._addresses)
        self._policy = ports
        self._pooling = pooling
        self.drawn_from = PORTS
        self.restart(rng)

    def restart(self, rng: Random) -> None:
        """No host has an address yet, no port was drawn."""
        self._rng = rng
        self._turn = 0
        self._paired: dict[bytes, bytes] = {}
        self._next_port: dict[bytes, int] = {}
        self._planned: dict[MappingKey, Endpoint] = {}

    def forget(self) -> None:
        """No rebind is planned, and no host has an address any more; what is drawn goes on."""
        self._paired.clear()
        self._planned.clear()

    def forwarded(self, port: int, inside: Endpoint) -> list[Endpoint]:
        """That port of every outside address."""
        return [(address, port) for address in self._addresses]

    def is_own(self, address: bytes) -> bool:
        """An outside address, spares included."""
        return address in self._own

    def leads_back(self, address: bytes) -> bool:
        """An outside address, spares included."""
        return address in self._own

    def outer(self, address: bytes, outside: bytes) -> bytes:
        """The address of the flow: RFC 5508 REQ-5."""
        return outside

    def choose(self, table: MappingTable, protocol: int, inside: Endpoint, key: MappingKey, now: int) -> Endpoint | Reason:
        """What a rebind has planned for it; else on the host's address (paired) or the next in turn, by the policy."""
        planned = self._planned.pop(key, None)
        if planned is not None:
            return planned
        address = self._paired.get(inside[0]) if self._pooling == "paired" else None
        if address is None:
            address = self._pool[self._turn % len(self._pool)]
            self._turn += 1
            if self._pooling == "paired":
                self._paired[inside[0]] = address
        if self._policy == "preserve" and self._is_free(table, protocol, (address, inside[1]), inside, now):
            return address, inside[1]
        port = self._draw(table, protocol, address, inside, now)
        return Reason.PORTS_EXHAUSTED if port is None else (address, port)

    def plan(self, table: MappingTable, bindings: Iterable[Binding], new_address: bool, now: int) -> Plan | Reason:
        """Where each of ``bindings`` is to be seen after a rebind; nothing changes yet.

        NOT_OURS: there is no other address; PORTS_EXHAUSTED: no other port.
        """
        plan = Plan({}, {})
        for binding in bindings:
            host, address = binding.inside[0], binding.outside[0]
            if new_address:
                others = [other for other in self._addresses if other != address]
                if not others:
                    return Reason.NOT_OURS
                if self._pooling == "arbitrary" or plan.paired.get(host, address) == address:
                    plan.paired[host] = self._rng.choice(others)
                address = plan.paired[host]
            port = self._draw(table, binding.protocol, address, binding.inside, now, set(plan.outside.values()))
            if port is None:
                return Reason.PORTS_EXHAUSTED
            assert binding.key is not None
            plan.outside[binding.key] = address, port
        return plan

    def adopt(self, plan: Plan) -> None:
        """What leaves next of the bindings planned for leaves as planned."""
        self._planned |= plan.outside
        if self._pooling == "paired":
            self._paired |= plan.paired

    def _is_free(self, table: MappingTable, protocol: int, outside: Endpoint, inside: Endpoint, now: int) -> bool:
        return outside not in self._planned.values() and table.is_free(protocol, outside, inside, now)

    def _draw(
        self, table: MappingTable, protocol: int, address: bytes, inside: Endpoint, now: int, taken: set[Endpoint] | None = None
    ) -> int | None:
        """A free port of ``address``: the next in order (contiguous), else a random one; None when all are held."""
        ports, refused = self.drawn_from, taken or set()
        start = self._next_port.get(address)
        if start is None:
            start = self._rng.randrange(len(ports))
        if self._policy != "contiguous":
            for _ in range(_DRAWS):
                port = ports[self._rng.randrange(len(ports))]
                if (address, port) not in refused and self._is_free(table, protocol, (address, port), inside, now):
                    return port
            start = self._rng.randrange(len(ports))
        for step in range(len(ports)):
            port = ports[(start + step) % len(ports)]
            if (address, port) not in refused and self._is_free(table, protocol, (address, port), inside, now):
                if self._policy == "contiguous":
                    self._next_port[address] = (start + step + 1) % len(ports)
                return port
        return None


class PrefixNames:
    """NPTv6 (RFC 6296): another prefix, the same ports.  ``pairs``: inside and outside prefixes; what is of none keeps its address."""

    def __init__(self, pairs: Sequence[tuple[IPv6Network, IPv6Network]]) -> None:
        self._pairs = list(pairs)

    def choose(self, table: MappingTable, protocol: int, inside: Endpoint, key: MappingKey, now: int) -> Endpoint | Reason:
        """The one outside form."""
        address = self._outward(inside[0])
        return Reason.PREFIX if address is None else (address, inside[1])

    def forwarded(self, port: int, inside: Endpoint) -> list[Endpoint]:
        """A pinhole: the outside form of ``inside``."""
        address = self._outward(inside[0])
        return [] if address is None else [(address, inside[1])]

    def is_own(self, address: bytes) -> bool:
        """Anything: the router's own address is of no such prefix."""
        return True

    def leads_back(self, address: bytes) -> bool:
        """What has an outside prefix is inside."""
        return any(IPv6Address(address) in there for _here, there in self._pairs)

    def outer(self, address: bytes, outside: bytes) -> bytes:
        """Its own outside form."""
        return self._outward(address) or address

    def restart(self, rng: Random) -> None:
        """Nothing is remembered."""

    def forget(self) -> None:
        """Nothing is remembered."""

    def _outward(self, address: bytes) -> bytes | None:
        """None where RFC 6296 has no outside form, for which the packet is dropped."""
        plain = IPv6Address(address)
        pair = next((pair for pair in self._pairs if plain in pair[0]), None)
        if pair is None:
            return address
        seen = nptv6.translate(plain, *pair)
        return None if seen is None else seen.packed


class SameNames:
    """A firewall: everyone is called as he is."""

    def choose(self, table: MappingTable, protocol: int, inside: Endpoint, key: MappingKey, now: int) -> Endpoint | Reason:
        """The endpoint itself."""
        return inside

    def forwarded(self, port: int, inside: Endpoint) -> list[Endpoint]:
        """A pinhole: ``inside`` itself."""
        return [inside]

    def is_own(self, address: bytes) -> bool:
        """Anything."""
        return True

    def leads_back(self, address: bytes) -> bool:
        """Never: inside addresses are routed inside."""
        return False

    def outer(self, address: bytes, outside: bytes) -> bytes:
        """The address itself."""
        return address

    def restart(self, rng: Random) -> None:
        """Nothing is remembered."""

    def forget(self) -> None:
        """Nothing is remembered."""
