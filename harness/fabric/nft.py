"""A router's NAT as an nftables ruleset, put into the kernel through libnftables.

libnftables opens its netlink socket when a context is made, so a context made inside a namespace goes on talking to that namespace.

How a rebind is made atomic: postrouting first asks the maps ``moved4``/``moved6`` (inside address and port → outside address and port),
then falls back to the router's first outside address.  Adding an element and deleting the flow's conntrack entry moves the flow with its
next packet.  A rule change alone moves nothing (the entry remembers), and deleting the entry alone gets the same port again.

A full cone learns, after SNAT, which inside address (``cone4``/``cone6``) and port (``coneport4``/``coneport6``) is behind an outside port:
two maps, since one of both together, with an IPv6 address in it, aborts libnftables 1.0.6 (an assertion in its register allocation).  What
was rebound away is in ``dead4``/``dead6``: without it a packet to the old port, come in between the deletion of the entry and the client's
next packet, would let the old mapping live again.

New traffic from outside that no forward, cone or mapping admits is dropped silently in input and forward: otherwise a peer's early packet
would create a conntrack entry, which changes the client's mapping and sends ICMP to the peer.
"""

from __future__ import annotations

import ctypes
import ctypes.util

from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric.plan import NodePlan
from harness.spec.nat import Behaviour, Nat, Ports
from harness.spec.topology import Topology

SUPPORTED: frozenset[tuple[Behaviour, Behaviour, Ports]] = frozenset(
    {
        ("endpoint-independent", "address-and-port-dependent", "preserve"),  # the common home router
        ("endpoint-independent", "endpoint-independent", "preserve"),  # full cone
        ("address-and-port-dependent", "address-and-port-dependent", "random"),  # symmetric
    }
)
"""(mapping, filtering, ports) that nft expresses and the conformance suite has classified from outside."""

TABLE = "inet harness"
_DEFAULT_CONE_TIMEOUT_S = 120
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_WORDS = {4: "ip", 6: "ip6"}


class Nftables:
    """libnftables in the namespace that is current when this is made."""

    def __init__(self) -> None:
        self._lib = load_library()
        self._context = ctypes.c_void_p(self._lib.nft_ctx_new(0))
        if not self._context:
            raise EnvironmentUnfit("libnftables gave no context: is nf_tables in this kernel?")
        self._lib.nft_ctx_buffer_output(self._context)
        self._lib.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Run nft ``commands`` as one transaction and return their output; HarnessError carries nft's own words when it refuses."""
        code = self._lib.nft_run_cmd_from_buffer(self._context, commands.encode())
        output = self._lib.nft_ctx_get_output_buffer(self._context).decode(errors="replace")
        explanation = self._lib.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        if code != 0:
            raise HarnessError(f"nft refused {commands.strip().splitlines()[0]!r} …: {explanation.strip()}")
        return str(output)

    def close(self) -> None:
        """Free the context and its socket; safe to call twice."""
        if self._context:
            self._lib.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p(None)


def load_library() -> ctypes.CDLL:
    """The libnftables of this machine; EnvironmentUnfit says how to get it."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise EnvironmentUnfit(
            "libnftables.so.1 is not installed: apt-get install nftables (or your system's package of that name)"
        ) from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def can_say(nat: Nat) -> str | None:
    """Why nft cannot express ``nat``, or None when it can."""
    asked = (nat.mapping, nat.filtering, nat.ports)
    if asked not in SUPPORTED:
        allowed = "; ".join(f"{m} / {f} / {p}" for m, f, p in sorted(SUPPORTED))
        return f"mapping / filtering / ports {' / '.join(asked)} cannot be said in nft; it can say {allowed}"
    for field, built in (("hairpinning", False), ("pool", 1), ("refresh", "both"), ("ipv6", "translate")):
        if getattr(nat, field) != built:
            return f"{field} {getattr(nat, field)!r} cannot be said in nft"
    return None


def nat_ruleset(topology: Topology, plan: NodePlan, nat: Nat) -> str:
    """The whole ruleset of a NAT router, for ``Nftables.run``."""
    versions = [version for version in (4, 6) if _outside(plan, nat, version)]
    return "\n".join(
        [
            f"table {TABLE} {{",
            *(line for version in versions for line in _objects(topology, plan, nat, version)),
            *_chain("timeouts", "filter hook prerouting priority mangle", [rule for v in versions for rule in _timeout_rules(nat, v)]),
            *_chain(
                "prerouting", "nat hook prerouting priority dstnat", [r for v in versions for r in _inward_rules(topology, plan, nat, v)]
            ),
            *_chain("postrouting", "nat hook postrouting priority srcnat", [r for v in versions for r in _outward_rules(plan, nat, v)]),
            *_chain("learn", "filter hook postrouting priority srcnat + 10", [r for v in versions for r in _learn_rules(nat, v)]),
            *_chain(
                "forward", "filter hook forward priority filter", [f'iifname "{nat.outside}" ct state new ct status ! dnat counter drop']
            ),
            *_chain("input", "filter hook input priority filter", [f'iifname "{nat.outside}" ct state new counter drop']),
            "}",
        ]
    )


def move_mapping(
    version: int, inside: tuple[str, int], outside: tuple[str, int], *, replaces: bool = False, dead: int | None = None
) -> str:
    """The nft commands that send ``inside`` (address, port) out as ``outside`` from its next new flow on.

    ``replaces``: it was moved before.  ``dead``: the outside port at which a full cone lets nobody in any more.
    """
    key = f"{inside[0]} . {inside[1]}"
    lines = [f"delete element {TABLE} moved{version} {{ {key} }}"] if replaces else []
    lines.append(f"add element {TABLE} moved{version} {{ {key} : {outside[0]} . {outside[1]} }}")
    if dead is not None:
        lines.append(f"add element {TABLE} dead{version} {{ {dead} }}")
    return "\n".join(lines) + "\n"


def _outside(plan: NodePlan, nat: Nat, version: int) -> list[str]:
    return [str(address.ip) for address in plan.ports[nat.outside].addresses if address.version == version]


def _chain(name: str, hook: str, rules: list[str]) -> list[str]:
    return [f"  chain {name} {{", f"    type {hook}", *(f"    {rule}" for rule in rules), "  }"] if rules else []


def is_cone(nat: Nat) -> bool:
    """Whether anyone outside may send to a mapping."""
    return nat.filtering == "endpoint-independent"


def _objects(topology: Topology, plan: NodePlan, nat: Nat, version: int) -> list[str]:
    kind = f"{_TYPES[version]} . inet_service"
    lines = [f"  map moved{version} {{", f"    type {kind} : {kind}", "  }"]
    if nat.udp_timeout is not None:
        seconds = round(nat.udp_timeout.s)
        lines += [f"  ct timeout idle{version} {{", "    protocol udp", f"    l3proto {_WORDS[version]}"]
        lines += [f"    policy = {{ unreplied : {seconds}, replied : {seconds} }}", "  }"]
    if is_cone(nat):
        timeout = round(nat.udp_timeout.s) if nat.udp_timeout is not None else _DEFAULT_CONE_TIMEOUT_S
        for name, of in (("cone", _TYPES[version]), ("coneport", "inet_service")):
            lines += [f"  map {name}{version} {{", f"    type inet_service : {of}"]
            lines += ["    flags dynamic,timeout", f"    timeout {timeout}s", "  }"]
        lines += [f"  set dead{version} {{", "    type inet_service", "  }"]
    elements = _forwards(topology, plan, nat, version)
    if elements:
        lines += [f"  map forwards{version} {{", f"    type inet_service : {kind}", f"    elements = {{ {', '.join(elements)} }}", "  }"]
    return lines


def _forwards(topology: Topology, plan: NodePlan, nat: Nat, version: int) -> list[str]:
    """The map elements of the port forwards; none for a host that has no address of this family on the inside."""
    links = list(topology.links)
    mine = {links.index(port.port.link) for name, port in plan.ports.items() if name != nat.outside}
    inside = {links[n].name for members in topology.realms() if members & mine for n in members}
    found = []
    for forward in nat.forwards:
        for port in topology.ports(forward.host):
            address = port.v4 if version == 4 else port.v6
            # A further NAT inside is reached at its outside address, a host with a second way out at its inside one.
            if address is not None and port.link.name in inside:
                found.append(f"{forward.port} : {address.ip} . {forward.to_port}")
                break
    return found


def _timeout_rules(nat: Nat, version: int) -> list[str]:
    if nat.udp_timeout is None:
        return []
    return [f'meta nfproto ipv{version} meta l4proto udp ct timeout set "idle{version}"']


def _inward_rules(topology: Topology, plan: NodePlan, nat: Nat, version: int) -> list[str]:
    head, word = f'iifname "{nat.outside}" meta nfproto ipv{version}', _WORDS[version]
    rules = [f"{head} dnat {word} to udp dport map @forwards{version}"] * bool(_forwards(topology, plan, nat, version))
    if is_cone(nat):
        rules.append(f"{head} udp dport @dead{version} drop")
        rules.append(f"{head} dnat {word} to udp dport map @cone{version} : udp dport map @coneport{version}")
    return rules


def _outward_rules(plan: NodePlan, nat: Nat, version: int) -> list[str]:
    word = _WORDS[version]
    first = _outside(plan, nat, version)[0]
    rules = [f'oifname "{nat.outside}" meta l4proto udp snat {word} to {word} saddr . udp sport map @moved{version}']
    if nat.ports == "random":
        target = f"{first}:1024-65535" if version == 4 else f"[{first}]:1024-65535"
        rules.append(f'oifname "{nat.outside}" meta l4proto {{ tcp, udp }} snat {word} to {target} random,fully-random')
    return [*rules, f'oifname "{nat.outside}" snat {word} to {first}']


def _learn_rules(nat: Nat, version: int) -> list[str]:
    if not is_cone(nat):
        return []
    head = f'oifname "{nat.outside}" meta nfproto ipv{version} meta l4proto udp'
    address = f"update @cone{version} {{ udp sport : ct original {_WORDS[version]} saddr }}"
    return [f"{head} {address} update @coneport{version} {{ udp sport : ct original proto-src }}"]
