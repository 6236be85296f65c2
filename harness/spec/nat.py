"""A router's NAT in the words of RFC 4787.

What cannot be built yet is refused here by name rather than approximated: see ``SUPPORTED``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.errors import SpecError
from harness.units import Duration, expect

Behaviour = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["preserve", "random"]

SUPPORTED: frozenset[tuple[Behaviour, Behaviour, Ports]] = frozenset(
    {
        ("endpoint-independent", "address-and-port-dependent", "preserve"),  # the common home router
        ("endpoint-independent", "endpoint-independent", "preserve"),  # full cone
        ("address-and-port-dependent", "address-and-port-dependent", "random"),  # symmetric
    }
)
"""(mapping, filtering, ports) that nft expresses and the conformance suite has classified from outside."""


class PortForward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A static UDP forward: ``port`` on the router's outside address reaches ``host`` (a node's name) on ``to_port``."""

    port: int
    host: str
    to_port: int


class Nat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Network address translation for UDP, TCP and ICMP leaving by interface ``outside``.

    ``spare``: how many further outside addresses (per family) the router owns, taken from the outside link's subnet; a rebind of address
    and port moves a host's flows to one of them.  ``udp_timeout``: how long an idle mapping lives (RFC 4787 REQ-5: 2 min or more asked for,
    30 s common in practice).  New traffic from outside that no mapping or forward admits is dropped without ICMP.
    """

    outside: str
    mapping: Behaviour = "endpoint-independent"
    filtering: Behaviour = "address-and-port-dependent"
    ports: Ports = "preserve"
    udp_timeout: Duration | None = None
    spare: int = 1
    forwards: tuple[PortForward, ...] = ()

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        asked = (self.mapping, self.filtering, self.ports)
        if asked not in SUPPORTED:
            allowed = "; ".join(f"{m} / {f} / {p}" for m, f, p in sorted(SUPPORTED))
            raise SpecError(where, f"mapping / filtering / ports {' / '.join(asked)} cannot be built; allowed is {allowed}")
        if self.udp_timeout is not None:
            try:
                timeout = expect(Duration, self.udp_timeout, f"{where}, udp_timeout")
            except TypeError as error:
                raise SpecError(f"{where}, udp_timeout", str(error).partition(": ")[2]) from None
            if timeout.s < 1:
                raise SpecError(f"{where}, udp_timeout", f"{timeout} is below 1s, the kernel's step")
        if not _is_whole(self.spare, 0, 8):
            raise SpecError(f"{where}, spare", f"{self.spare!r} is not a number of spare addresses; allowed is 0 to 8")
        seen: set[int] = set()
        for forward in self.forwards:
            for field in ("port", "to_port"):
                value = getattr(forward, field)
                if not _is_whole(value, 1, 65535):
                    raise SpecError(f"{where}, forwards, {field}", f"{value!r} is not a UDP port; allowed is 1 to 65535")
            if forward.port in seen:
                raise SpecError(f"{where}, forwards, port", f"{forward.port} is forwarded twice")
            seen.add(forward.port)


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
