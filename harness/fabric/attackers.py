"""Attackers of a run, from inside the keeper: what each needs of the network, and the process that she is.

She is no agent: she needs packet sockets, which an agent may not have.  The keeper opens two for her, one at the interface that she taps
and one at her own, and lets the routers before her know that her addresses are hers.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from harness.errors import SpecError
from harness.fabric import child, seqpacket
from harness.fabric import rtnl as nl
from harness.fabric.link_ends import End
from harness.fabric.netns import inside
from harness.fabric.packet_sockets import open_packet_socket
from harness.stamps import STAMPED
from harness.units import s

_BUFFER = 4 << 20
_ANSWER_WITHIN = 30 * s  # under software emulation an import takes some seconds
_IPV4 = "0800"


class Attackers:
    """All of a run, by the hosts that they sit at.  ``end``: the built end of an interface by its name."""

    def __init__(self, end: Callable[[str], End]) -> None:
        self._end = end
        self._askers: dict[str, seqpacket.Asker] = {}

    def start(self, interface: str, tap: str, callee: tuple[str, int], addresses: int) -> dict[str, Any]:
        """Put an attacker at ``interface``, her own, with an ear at ``tap`` for calls to ``callee``.

        ``addresses``: how many addresses of her link's network she sends from, her own among them.  SpecError when it has not as many.
        """
        mine = self._end(interface)
        if interface in self._askers:
            raise SpecError(f"attacker at {interface}", "she is there already")
        if mine.plan.port.v4 is None:
            raise SpecError(f"attacker at {interface}", "it has no IPv4 address; she writes no other packets")
        own = self._addresses(mine, addresses)
        before = self._end(mine.plan.port.peer)
        with inside(self._end(tap).namespace.fd):
            ear = open_packet_socket(tap.partition("/")[2], _BUFFER, "an attacker's ear needs", (STAMPED,))
        with inside(mine.namespace.fd):
            line = open_packet_socket(mine.plan.port.name, _BUFFER, "an attacker's line needs")
        neighbours = [nl.new_neighbour(before.plan.index, address, mine.plan.mac) for address in own]
        before.namespace.rtnl.batch([nl.let_strangers_in(before.plan.index), *neighbours])
        ours, theirs = seqpacket.pair()
        with ear, line, theirs:
            child.start("attacker", _main, theirs.fileno(), (ear.fileno(), line.fileno()))
            self._askers[interface] = asker = seqpacket.Asker(ours, f"attacker at {interface}", _ANSWER_WITHIN)
            link = (before.plan.mac + mine.plan.mac).replace(":", "") + _IPV4
            fds = {"ear": ear.fileno(), "line": line.fileno()}
            return asker.ask("start", **fds, link=link, own=[str(address) for address in own], callee=list(callee))

    def ask(self, interface: str, verb: str, **fields: Any) -> dict[str, Any]:
        """Have her do ``verb``; answers what she has done so far."""
        if interface not in self._askers:
            raise SpecError(f"attacker at {interface}", "there is none")
        return self._askers[interface].ask(verb, **fields)

    @staticmethod
    def _addresses(mine: End, count: int) -> list[IPv4Address]:
        """Her own address, and others of her network that nobody has."""
        port = mine.plan.port
        assert port.v4 is not None
        taken = {port.v4.ip}
        free = [address for address in list(port.v4.network.hosts())[16:] if address not in taken]  # the first are routers' and hosts'
        if count < 1 or count - 1 > len(free):
            raise SpecError(f"attacker at {port.path}", f"{count} addresses of {port.v4.network}: allowed are 1 to {len(free) + 1}")
        return [IPv4Address(port.v4.ip), *map(IPv4Address, free[: count - 1])]


def _main(arguments: list[str]) -> int:
    from harness.fabric import attacker_process

    return attacker_process.main(arguments)
