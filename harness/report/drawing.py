"""What the drawing of a run's network shows: its nodes with their addresses, its links, and what ruled these when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness.errors import SpecError
from harness.report.artifacts import Artifacts
from harness.report.story import Node, Wire
from harness.spec.link import Impairment
from harness.spec.nat import Nat
from harness.spec.topology import Host, Link, Router, Topology, to_plain

DIRECTIONS = ("a_to_b", "b_to_a")
Event = dict[str, Any]
_IPV6 = {"translate": "translated as IPv4 is", "firewall": "not translated, only filtered"}


def topology(artifacts: Artifacts) -> Topology | None:
    """The run's topology; None when it was never built or cannot be read."""
    try:
        return Topology.from_json((artifacts.folder / "topology.json").read_bytes())
    except FileNotFoundError:
        return None
    except (SpecError, OSError, ValueError) as error:
        artifacts.unread.append(f"topology.json: {error}")
        return None


def nodes(of: Topology) -> list[Node]:
    """Its hosts and routers, in the order in which they were written."""
    return [_node(of, node) for node in of.nodes]


def _node(of: Topology, node: Host | Router) -> Node:
    ports = {port.name: [str(address) for address in (port.v4, port.v6) if address is not None] for port in of.ports(node.name)}
    if isinstance(node, Host):
        return Node(name=node.name, kind="host", ports=ports)
    if node.nat is None:
        return Node(name=node.name, kind="router", ports=ports)
    v4, v6 = of.pool(node)
    ports[node.nat.outside] = list(dict.fromkeys([*ports[node.nat.outside], *(str(address) for address in (*v4, *v6))]))
    return Node(name=node.name, kind="nat", ports=ports, nat=_nat(node.nat, any(":" in one for its in ports.values() for one in its)))


def _nat(nat: Nat, v6: bool) -> dict[str, str]:
    """Its behaviour in RFC 4787's words; what is the rule only where it matters."""
    said: dict[str, str] = {"mapping": nat.mapping, "filtering": nat.filtering, "ports": nat.ports}
    if nat.udp_timeout is not None:
        said["idle UDP"] = f"gone after {nat.udp_timeout}" + (", kept by outbound only" if nat.refresh == "outbound" else "")
    elif nat.refresh == "outbound":
        said["idle UDP"] = "kept by outbound only"
    if nat.pool > 1:
        said["pool"] = f"{nat.pool} addresses, {nat.pooling}"
    if nat.hairpinning:
        said["hairpinning"] = "yes"
    if v6:
        said["IPv6"] = f"prefix {nat.prefix6} (NPTv6)" if nat.ipv6 == "prefix" else _IPV6[nat.ipv6]
    for forward in nat.forwards:
        said[f"UDP {forward.port}"] = f"forwarded to {forward.host} {forward.to_port}"
    return said


def wires(of: Topology, events: list[Event], since_zero: Callable[[int], int], until: int) -> list[Wire]:
    """Its links, each with what ruled it and when its ends were down.  ``until``: µs, the end of the run."""
    return [
        Wire(
            name=link.name,
            a=link.a,
            b=link.b,
            ruled={direction: _ruled(link, direction, events, since_zero) for direction in DIRECTIONS},
            downs={which: _downs(link, end, events, since_zero, until) for which, end in (("a", link.a), ("b", link.b))},
        )
        for link in of.links
    ]


def _ruled(link: Link, direction: str, events: list[Event], since_zero: Callable[[int], int]) -> list[tuple[int, str]]:
    """What was built (the first ruling of the timeline, if it has any), and every ruling after it that differs from the one before."""
    found = [(0, asked(getattr(link, direction)))]
    named = f"{link.name} {direction}: "
    first = True
    for event in events:
        if event["kind"] == "ruling" and isinstance(text := event.get("text"), str) and text.startswith(named):
            words = text.removeprefix(named)
            if first:
                found = [(0, words)]
            elif words != found[-1][1]:
                found.append((since_zero(event["at"]), words))
            first = False
    return found


def _downs(link: Link, end: str, events: list[Event], since_zero: Callable[[int], int], until: int) -> list[list[int]]:
    """When that end was down: from what the timeline says of the link, and from receipts where it is silent."""
    found: list[list[int]] = [] if link.starts_up else [[0, until]]
    for at, up in _switches(end, events):
        when = since_zero(at)
        down = bool(found) and found[-1][1] == until
        if up and down:
            found[-1][1] = when
        elif not up and not down:
            found.append([when, until])
    return found


def _switches(end: str, events: list[Event]) -> Iterator[tuple[int, bool]]:
    """Each time at which the interface was seen to be up, or down."""
    for event in events:
        if event["kind"] == "link" and isinstance(up := event.get("up"), dict) and isinstance(up.get(end), bool):
            yield event["at"], up[end]
        elif event["kind"] == "receipt" and isinstance(receipt := event.get("receipt"), dict) and receipt.get("kind") == "link":
            seen = receipt.get("observed")
            words = seen.get(end) if isinstance(seen, dict) else None
            if isinstance(words, str) and " → " in words:
                yield event["at"], words.partition(" → ")[2].startswith("up")


def asked(impairment: Impairment | None) -> str:
    """``delay 20ms loss 1%``, or ``clear``."""
    return " ".join(f"{name} {said(value)}" for name, value in (to_plain(impairment) or {}).items()) or "clear" if impairment else "clear"


def said(value: Any) -> str:
    """Plain JSON in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(said(one) for one in value) or "none"
    return str(value)
