"""What the drawing of a run's network shows: its nodes with their addresses, its links, and what ruled these when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.errors import SpecError
from harness.report.artifacts import Artifacts
from harness.report.story import Node, Wire
from harness.spec.link import Impairment
from harness.spec.topology import Host, Router, Topology, to_plain

DIRECTIONS = ("a_to_b", "b_to_a")


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
    nat: dict[str, str] = {}
    if node.nat is not None:
        v4, v6 = of.pool(node)
        ports[node.nat.outside] = list(dict.fromkeys([*ports[node.nat.outside], *(str(address) for address in (*v4, *v6))]))
        nat = {name: _said(value) for name, value in to_plain(node.nat).items()}
    return Node(name=node.name, kind="nat" if node.nat is not None else "router", ports=ports, nat=nat)


def wires(of: Topology, events: list[dict[str, Any]], since_zero: Callable[[int], int], until: int) -> list[Wire]:
    """Its links, each with what ruled it from the moment it was built."""
    return [
        Wire(
            name=link.name,
            a=link.a,
            b=link.b,
            ruled={direction: [(0, asked(getattr(link, direction)))] for direction in DIRECTIONS},
            downs={"a": [], "b": []},
        )
        for link in of.links
    ]


def asked(impairment: Impairment | None) -> str:
    """``delay 20ms loss 1%``, or ``clear``."""
    return " ".join(f"{name} {_said(value)}" for name, value in (to_plain(impairment) or {}).items()) or "clear" if impairment else "clear"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(_said(one) for one in value)
    return str(value)
