"""A router's NAT as an nftables ruleset.

Conntrack does NAT per flow.  What RFC 4787 calls a mapping is kept beside it, in maps that every packet of a flow refreshes, and that
postrouting asks before it makes a new one:

* ``out_addr``, ``out_port``: the outside endpoint of an inside endpoint (endpoint-independent mapping), or of it with a remote address, or
  with a remote endpoint: the key is what the mapping depends on;
* ``in_addr``, ``in_port``: the inside endpoint behind an outside endpoint, where filtering lets others in than who was sent to;
* ``spoken``: (remote address, outside endpoint) that address-dependent filtering lets in;
* ``taken``: outside ports in use, which port preservation leaves alone.

A rebind puts the new mapping into ``moved_addr`` and ``moved_port``, which are asked first, and then deletes the flow's conntrack entry:
the next packet has the new mapping, no packet finds neither.  A rule change alone moves nothing (the entry remembers), and deleting the
entry alone gets the same port again.  The new mapping is learnt from its first packet like any other, and outlives its element in ``moved``
if it is used; what was learnt of the old one is deleted last.  (To replace it where it stands would be no use: a packet that updates a map
while a transaction replaces the element makes a second one of the same key, seen on 6.18.)  Outside endpoints rebound away are in ``dead``
for a moment, so that no packet of an old entry teaches the old mapping again; in ``refused`` when whoever sends there shall be told; in
``linger`` as long as they shall go on letting packets in.

Two maps for address and port, and IPv6 keyed by a hash (``jhash``: of n endpoints two meet with chance n²/2³³), for libnftables 1.0.6
aborts on a map that packets update and whose key takes more than 16 bytes.

New traffic from outside that no forward, mapping or pinhole admits is dropped silently in input and forward: else a peer's early packet
would create a conntrack entry, which changes the client's mapping and sends ICMP to the peer.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from harness.fabric.jhash import nft_jhash
from harness.fabric.plan import NodePlan
from harness.spec.nat import Behaviour, Nat
from harness.spec.topology import Topology

TABLE = "inet harness"
TOLD = "told"
"""The counter of destination unreachable that the router sends outwards."""
UNADMITTED = "unadmitted"
"""The counter of packets from outside that nothing admits."""
UNTOLD_TIMEOUT_S = 120
"""How long a mapping lives where the spec says nothing: RFC 4787's least, and conntrack's own for a flow with answers."""

_INDEPENDENT, _BY_ADDRESS, _BY_PORT = "endpoint-independent", "address-dependent", "address-and-port-dependent"
SUPPORTED: frozenset[tuple[Behaviour, Behaviour]] = frozenset(
    {
        ("endpoint-independent", "endpoint-independent"),
        ("endpoint-independent", "address-dependent"),
        ("endpoint-independent", "address-and-port-dependent"),
        ("address-dependent", "address-dependent"),
        ("address-dependent", "address-and-port-dependent"),
        ("address-and-port-dependent", "address-and-port-dependent"),
    }
)
"""(mapping, filtering) that nft expresses.  Not those whose filtering lets in whom the mapping is not for: conntrack answers such a remote
by the mapping that it came in by, where RFC 4787 wants one of its own."""

_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_WORD = {4: "ip", 6: "ip6"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_LOWEST, _HIGHEST = 1024, 65535
_FIRST_CONTIGUOUS = 20_000
_CONTIGUOUS = 1_000
_MODULUS, _SEED = 0xFFFFFFFF, 1
_DEAD_FOR = "2s"  # far longer than deleting a flow's entries takes


def can_say(nat: Nat) -> str | None:
    """Why nft cannot express ``nat``, or None when it can."""
    if (nat.mapping, nat.filtering) not in SUPPORTED:
        return (
            f"mapping {nat.mapping} with filtering {nat.filtering} cannot be said in nft: conntrack answers whom such filtering lets in"
            " by the mapping that it came in by"
        )
    if nat.hairpinning and nat.filtering != _INDEPENDENT:
        return f"hairpinning with filtering {nat.filtering} cannot be said in nft: what is dropped on its way in makes no mapping"
    if nat.refresh != "both":
        return f"refresh {nat.refresh!r} cannot be said in nft: conntrack lives by packets of both directions"
    if nat.ipv6 == "prefix":
        return "ipv6 'prefix' cannot be said in nft: it translates prefixes without RFC 6296's adjustment, which keeps checksums"
    return None


def admits(nat: Nat) -> bool:
    """Whether its filtering lets in others than who was sent to."""
    return nat.filtering != _BY_PORT


def lifetime_s(nat: Nat) -> int:
    """Whole seconds that an idle mapping lives."""
    return UNTOLD_TIMEOUT_S if nat.udp_timeout is None else round(nat.udp_timeout.s)


@dataclass(frozen=True, slots=True)
class Key:
    """A mapping's place in the maps: the endpoints and addresses that it depends on."""

    version: int
    parts: tuple[str | int, ...]

    def __str__(self) -> str:
        if self.version == 4:
            return " . ".join(map(str, self.parts))
        return str(nft_jhash(b"".join(self._registers(part) for part in self.parts), _MODULUS, _SEED))

    def _registers(self, part: str | int) -> bytes:
        return part.to_bytes(2, "big").ljust(4, b"\0") if isinstance(part, int) else socket.inet_pton(_FAMILY[self.version], part)


def out_key(nat: Nat, version: int, inside: tuple[str, int], remote: tuple[str, int]) -> Key:
    """The key of the mapping that ``inside`` has towards ``remote``."""
    return Key(version, (*inside, *remote[: _depends_on(nat)]))


def _depends_on(nat: Nat) -> int:
    """How many of (remote address, remote port) a mapping depends on."""
    return (_INDEPENDENT, _BY_ADDRESS, _BY_PORT).index(nat.mapping)


def nat_ruleset(topology: Topology, plan: NodePlan, nat: Nat) -> str:
    """The whole ruleset of a NAT router, for ``Nftables.run``."""
    families = [_Family(topology, plan, nat, v) for v in (4, 6) if any(a.version == v for a in plan.ports[nat.outside].addresses)]
    wan, counted = f'iifname "{nat.outside}"', f'counter name "{UNADMITTED}"'
    translating = [family for family in families if family.translates]
    chains = [
        ("linger", "filter hook prerouting priority raw", [rule for family in translating for rule in family.linger_rules()]),
        ("timeouts", "filter hook prerouting priority mangle", [rule for family in families for rule in family.timeout_rules()]),
        ("prerouting", "nat hook prerouting priority dstnat", [rule for family in translating for rule in family.inward_rules()]),
        ("postrouting", "nat hook postrouting priority srcnat", [rule for family in translating for rule in family.outward_rules()]),
        ("learn", "filter hook postrouting priority srcnat + 10", [rule for family in families for rule in family.learn_rules()]),
        (
            "forward",
            "filter hook forward priority filter",
            [*(rule for family in families for rule in family.pinholes()), f"{wan} ct state new ct status ! dnat {counted} drop"],
        ),
        (
            "input",
            "filter hook input priority filter",
            [*(rule for family in translating for rule in family.refusals()), f"{wan} ct state new {counted} drop"],
        ),
        (
            "output",
            "filter hook output priority filter",
            [
                *(f'oifname "{nat.outside}" {word} type destination-unreachable counter name "{TOLD}"' for word in ("icmp", "icmpv6")),
                # A hairpinned packet leaves by the way that it came, and the router would tell its sender of a shorter one.
                *["icmp type redirect drop", "icmpv6 type nd-redirect drop"] * nat.hairpinning,
            ],
        ),
    ]
    return "\n".join(
        [
            f"table {TABLE} {{",
            *(line for name in (TOLD, UNADMITTED) for line in (f"  counter {name} {{", "  }")),
            *(line for family in families for line in family.objects()),
            *(line for family in translating for line in family.plain_chains()),
            *(line for name, hook, rules in chains for line in _chain(name, [f"type {hook}", *rules] if rules else [])),
            "}",
        ]
    )


def _chain(name: str, lines: list[str]) -> list[str]:
    return [f"  chain {name} {{", *(f"    {line}" for line in lines), "  }"] if lines else []


def _object(kind: str, name: str, *lines: str) -> list[str]:
    return [f"  {kind} {name} {{", *(f"    {line}" for line in lines), "  }"]


class _Family:
    """The part of the ruleset that is about one IP version."""

    def __init__(self, topology: Topology, plan: NodePlan, nat: Nat, version: int) -> None:
        router = topology.node(plan.node.name)
        self.nat, self.version, self.word = nat, version, _WORD[version]
        self.translates = version == 4 or nat.ipv6 == "translate"
        self._pool = [str(address.ip) for address in topology.pool(router)[version == 6]]  # type: ignore[arg-type]
        self._outside = [str(address.ip) for address in plan.ports[nat.outside].addresses if address.version == version]
        self._forwards = forwarded(topology, plan, nat, version)
        self._hash = version == 6

    # -- what the rules speak of -------------------------------------------------------------------------------------------------------

    def _key(self, *parts: str) -> tuple[str, str]:
        """What to put before a rule, and the key in it, for the endpoint (and more) of these expressions."""
        if not self._hash:
            return "", " . ".join(parts)
        return f"meta mark set jhash {' . '.join(parts)} mod {_MODULUS} seed {_SEED} ", "meta mark"

    def _out_key(self, source: str, port: str, remote: str, remote_port: str) -> tuple[str, str]:
        return self._key(source, port, *(remote, remote_port)[: _depends_on(self.nat)])

    def objects(self) -> list[str]:
        """Maps, sets and timeouts."""
        address, v, lifetime = _ADDRESS[self.version], self.version, f"timeout {lifetime_s(self.nat)}s"
        learnt = ("flags dynamic,timeout", lifetime)
        endpoint = f"{address} . inet_service"
        lines = []
        if self.nat.udp_timeout is not None:
            seconds = lifetime_s(self.nat)
            policy = f"policy = {{ unreplied : {seconds}, replied : {seconds} }}"
            lines += _object("ct timeout", f"idle{v}", "protocol udp", f"l3proto {self.word}", policy)
        if not self.translates:
            if self.nat.filtering == _INDEPENDENT:
                lines += _object("set", f"spoken{v}", f"type {endpoint}", *learnt)
            elif admits(self.nat):
                lines += _object("set", f"spoken{v}", f"type {address} . {endpoint}", *learnt)
            return lines
        key = "mark" if self._hash else " . ".join((endpoint, address, "inet_service")[: 1 + _depends_on(self.nat)])
        lines += _object("map", f"out_addr{v}", f"type {key} : {address}", *learnt)
        lines += _object("map", f"out_port{v}", f"type {key} : inet_service", *learnt)
        lines += _object("map", f"moved_addr{v}", f"type {key} : {address}", "flags timeout", lifetime)
        lines += _object("map", f"moved_port{v}", f"type {key} : inet_service", "flags timeout", lifetime)
        if admits(self.nat):
            key = "mark" if self._hash else endpoint
            lines += _object("map", f"in_addr{v}", f"type {key} : {address}", *learnt)
            lines += _object("map", f"in_port{v}", f"type {key} : inet_service", *learnt)
        if self.nat.filtering == _BY_ADDRESS:
            lines += _object("set", f"spoken{v}", f"type {address} . {endpoint}", *learnt)
        for n in range(len(self._pool)):
            if self.nat.ports == "preserve":
                lines += _object("set", f"taken{v}_{n}", "type inet_service", *learnt)
            if self._paired:
                lines += _object("set", f"paired{v}_{n}", f"type {address}", *learnt)
        lines += _object("set", f"dead{v}", f"type {endpoint}", "flags timeout", f"timeout {_DEAD_FOR}")
        lines += _object("set", f"refused{v}", f"type {endpoint}")
        lines += _object("map", f"linger{v}", f"type {self._linger_type()} : mark", "flags timeout")
        lines += _object("map", f"linger_addr{v}", f"type mark : {address}")
        lines += _object("map", f"linger_port{v}", "type mark : inet_service")
        if self._forwards:
            elements = ", ".join(f"{port} : {host} . {to}" for port, (host, to) in self._forwards.items())
            lines += _object("map", f"forwards{v}", f"type inet_service : {endpoint}", f"elements = {{ {elements} }}")
        return lines

    @property
    def _paired(self) -> bool:
        return len(self._pool) > 1 and self.nat.pooling == "paired"

    def _linger_type(self) -> str:
        endpoint = f"{_ADDRESS[self.version]} . inet_service"
        return endpoint if admits(self.nat) else f"{endpoint} . {endpoint}"

    # -- on the way in -----------------------------------------------------------------------------------------------------------------

    def linger_rules(self) -> list[str]:
        """Past conntrack: a packet to an outside endpoint that lingers goes to the host inside, and no entry is made of it."""
        w, v = self.word, self.version
        here = f"{w} daddr . udp dport"
        key = here if admits(self.nat) else f"{w} saddr . udp sport . {here}"
        spoken = f"{w} saddr . {here} @spoken{v} " if self.nat.filtering == _BY_ADDRESS else ""
        rewrite = f"{w} daddr set meta mark map @linger_addr{v} udp dport set meta mark map @linger_port{v} notrack"
        return [f'iifname "{self.nat.outside}" {spoken}meta mark set {key} map @linger{v} {rewrite}']

    def timeout_rules(self) -> list[str]:
        """The lifetime of conntrack's entries."""
        if self.nat.udp_timeout is None:
            return []
        return [f'meta nfproto ipv{self.version} meta l4proto udp ct timeout set "idle{self.version}"']

    def inward_rules(self) -> list[str]:
        """New flows from outside (and, hairpinning, from inside to an outside address): by forwards, then by what filtering admits."""
        w, v = self.word, self.version
        wan = f'iifname "{self.nat.outside}" meta nfproto ipv{v}'
        inside = f'iifname != "{self.nat.outside}" {w} daddr {{ {", ".join(self._outside)} }}'
        prefix, key = self._key(f"{w} daddr", "udp dport")
        spoken = f"{w} saddr . {w} daddr . udp dport @spoken{v} " if self.nat.filtering == _BY_ADDRESS else ""
        rules = []
        for head in (wan, inside) if self.nat.hairpinning else (wan,):
            if self._forwards:
                rules.append(f"{head} dnat {w} to udp dport map @forwards{v}")
            if admits(self.nat):
                rules.append(f"{head} {w} daddr . udp dport @dead{v} accept")
                rules.append(f"{head} {spoken}{prefix}dnat {w} to {key} map @in_addr{v} : {key} map @in_port{v}")
        return rules

    def pinholes(self) -> list[str]:
        """What a firewall lets in: static pinholes, and what its filtering admits."""
        if self.translates:
            return []
        wan, w, v = f'iifname "{self.nat.outside}"', self.word, self.version
        rules = [f"{wan} {w} daddr {host} udp dport {to} accept" for host, to in dict.fromkeys(self._forwards.values())]
        if admits(self.nat):
            remote = "" if self.nat.filtering == _INDEPENDENT else f"{w} saddr . "
            rules.append(f"{wan} {remote}{w} daddr . udp dport @spoken{v} accept")
        return rules

    def refusals(self) -> list[str]:
        """Port unreachable for a dead mapping, where a rebind asked for it."""
        here = f"{self.word} daddr . udp dport @refused{self.version}"
        return [f'iifname "{self.nat.outside}" {here} counter name "{UNADMITTED}" reject with icmpx type port-unreachable']

    # -- on the way out ----------------------------------------------------------------------------------------------------------------

    def outward_rules(self) -> list[str]:
        """Which flows are translated; how is in ``plain_chains``."""
        v = self.version
        rules = [f'oifname "{self.nat.outside}" meta nfproto ipv{v} goto translate{v}']
        if self.nat.hairpinning:
            rules.append(f'iifname != "{self.nat.outside}" ct status dnat meta nfproto ipv{v} goto translate{v}')
        return rules

    def plain_chains(self) -> list[str]:
        """The mapping that there is; else a new one on an address of the pool."""
        w, v, count = self.word, self.version, len(self._pool)
        prefix, key = self._out_key(f"{w} saddr", "udp sport", f"{w} daddr", "udp dport")
        rules = [f"meta l4proto udp {prefix}snat {w} to {key} map @{m}_addr{v} : {key} map @{m}_port{v}" for m in ("moved", "out")]
        if count == 1:
            return _chain(f"translate{v}", [*rules, *self._mapping_rules(0)])
        if self._paired:
            rules += [f"{w} saddr @paired{v}_{n} goto pool{v}_{n}" for n in range(count)]
        rules.append(f"numgen inc mod {count} vmap {{ {', '.join(f'{n} : goto pool{v}_{n}' for n in range(count))} }}")
        pools = [line for n in range(count) for line in _chain(f"pool{v}_{n}", self._mapping_rules(n))]
        return [*pools, *_chain(f"translate{v}", rules)]

    def _mapping_rules(self, n: int) -> list[str]:
        """A new mapping on the pool's address ``n``."""
        w, address = self.word, self._pool[n]
        target = address if self.version == 4 else f"[{address}]"
        anything = f"snat {w} to {address}"
        random = f"snat {w} to {target}:{_LOWEST}-{_HIGHEST} random,fully-random"
        match self.nat.ports:
            case "preserve":
                rules = [f"udp sport != @taken{self.version}_{n} {anything}", f"meta l4proto udp {random}"]
            case "random":
                rules = [f"meta l4proto {{ tcp, udp }} {random}"]
            case "contiguous":
                # By a map, since the generator's number is in the processor's byte order and a port is not.
                ports = ", ".join(f"{k} : {_FIRST_CONTIGUOUS + k}" for k in range(_CONTIGUOUS))
                rules = [f"meta l4proto udp snat {w} to {target} : numgen inc mod {_CONTIGUOUS} map {{ {ports} }}"]
        return [*rules, anything]

    def learn_rules(self) -> list[str]:
        """Every packet of a flow, in either direction, learns or refreshes its mapping.  After SNAT, when conntrack knows both tuples."""
        w = self.word
        if not self.translates:
            return self._firewall_learns()
        begun_inside = self._learn(
            "ct status snat",
            inside=(f"ct original {w} saddr", "ct original proto-src"),
            outside=(f"ct reply {w} daddr", "ct reply proto-dst"),
            remote=(f"ct original {w} daddr", "ct original proto-dst"),
        )
        if not admits(self.nat):
            return begun_inside
        forwards = f"ct original proto-dst != {{ {', '.join(map(str, self._forwards))} }} " if self._forwards else ""
        return begun_inside + self._learn(
            f"ct status dnat {forwards}".rstrip(),
            inside=(f"ct reply {w} saddr", "ct reply proto-src"),
            outside=(f"ct original {w} daddr", "ct original proto-dst"),
            remote=(f"ct original {w} saddr", "ct original proto-src"),
        )

    def _learn(self, which: str, *, inside: tuple[str, str], outside: tuple[str, str], remote: tuple[str, str]) -> list[str]:
        v = self.version
        head = f"meta nfproto ipv{v} meta l4proto udp {which} {' . '.join(outside)} != @dead{v}"
        prefix, key = self._out_key(*inside, *remote)
        rules = [f"{head} {prefix}update @out_addr{v} {{ {key} : {outside[0]} }} update @out_port{v} {{ {key} : {outside[1]} }}"]
        if admits(self.nat):
            prefix, key = self._key(*outside)
            update = f"update @in_addr{v} {{ {key} : {inside[0]} }} update @in_port{v} {{ {key} : {inside[1]} }}"
            rules.append(f"{head} {prefix}{update}")
        if self.nat.filtering == _BY_ADDRESS:
            rules.append(f"{head} update @spoken{v} {{ {remote[0]} . {' . '.join(outside)} }}")
        for n, address in enumerate(self._pool):
            if self.nat.ports == "preserve":
                rules.append(f"{head} {outside[0]} {address} update @taken{v}_{n} {{ {outside[1]} }}")
            if self._paired:
                rules.append(f"{head} {outside[0]} {address} update @paired{v}_{n} {{ {inside[0]} }}")
        return rules

    def _firewall_learns(self) -> list[str]:
        if not admits(self.nat):
            return []
        w, v, rules = self.word, self.version, []
        independent = self.nat.filtering == _INDEPENDENT
        for direction, inside, remote in (("oifname", "saddr . udp sport", "daddr"), ("iifname", "daddr . udp dport", "saddr")):
            key = f"{w} {inside}" if independent else f"{w} {remote} . {w} {inside}"
            rules.append(f'{direction} "{self.nat.outside}" meta nfproto ipv{v} update @spoken{v} {{ {key} }}')
        return rules


def forwarded(topology: Topology, plan: NodePlan, nat: Nat, version: int) -> dict[int, tuple[str, int]]:
    """Outside port → inside endpoint of the port forwards; none for a host that has no address of this family on the inside."""
    links = list(topology.links)
    mine = {links.index(port.port.link) for name, port in plan.ports.items() if name != nat.outside}
    inside = {links[n].name for members in topology.realms() if members & mine for n in members}
    found = {}
    for forward in nat.forwards:
        for port in topology.ports(forward.host):
            address = port.v4 if version == 4 else port.v6
            # A further NAT inside is reached at its outside address, a host with a second way out at its inside one.
            if address is not None and port.link.name in inside:
                found[forward.port] = (str(address.ip), forward.to_port)
                break
    return found
