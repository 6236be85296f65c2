"""A router's NAT in the words of RFC 4787.

Every combination here can be said; what neither nft nor the userspace translator builds is refused by name when the network is built.
"""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import Literal, get_args

import msgspec

from harness.errors import SpecError
from harness.spec.link import is_whole
from harness.units import Duration, expect

Behaviour = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["preserve", "random", "contiguous"]
Pooling = Literal["paired", "arbitrary"]
Refresh = Literal["both", "outbound"]
IPv6 = Literal["translate", "prefix", "firewall"]


class PortForward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A static UDP forward: ``port`` on the router's outside address reaches ``host`` (a node's name) on ``to_port``."""

    port: int
    host: str
    to_port: int


class Nat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Network address translation for UDP, TCP and ICMP leaving by interface ``outside``.

    ``mapping``, ``filtering``: RFC 4787 §4.1, §5.  ``ports`` (§4.2): the inside port where it is free, a random one, or one after another.
    ``hairpinning`` (§6): whether a host inside reaches another at its outside address, seen by it as that outside address (REQ-9).

    ``pool``: how many outside addresses mappings are made on; ``pooling`` (§4.1): whether all mappings of one host are on one of them.
    ``spare``: how many further ones (per family) the router owns; a rebind of address and port moves a host's flows to one of them.  Both
    are taken from the outside link's subnet.

    ``udp_timeout``: how long an idle mapping lives (REQ-5: 2 min or more asked for, 30 s common in practice), ``refresh``: by packets of
    both directions, or of outbound ones alone (REQ-6).

    ``ipv6``: the same translation as for IPv4 (NAPT66: what happens, though no RFC wants it); ``prefix``: NPTv6 (RFC 6296) between the
    inside links' prefixes and ``prefix6``, a /48 … /64 that the outside routes to this router; ``firewall``: no translation, the inside
    addresses are seen outside, and ``filtering`` alone is done (RFC 6092).  With either of these two a forward is a pinhole to the
    host's ``to_port``, and ``filtering`` rules what else gets in.

    New traffic from outside that no mapping or forward admits is dropped without ICMP.
    """

    outside: str
    mapping: Behaviour = "endpoint-independent"
    filtering: Behaviour = "address-and-port-dependent"
    ports: Ports = "preserve"
    hairpinning: bool = False
    pool: int = 1
    pooling: Pooling = "paired"
    spare: int = 1
    udp_timeout: Duration | None = None
    refresh: Refresh = "both"
    ipv6: IPv6 = "translate"
    prefix6: str | None = None
    forwards: tuple[PortForward, ...] = ()

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        words = (
            ("mapping", Behaviour),
            ("filtering", Behaviour),
            ("ports", Ports),
            ("pooling", Pooling),
            ("refresh", Refresh),
            ("ipv6", IPv6),
        )
        for field, kind in words:
            value = getattr(self, field)
            if value not in get_args(kind):
                raise SpecError(f"{where}, {field}", f"{value!r} is not known; allowed are {', '.join(get_args(kind))}")
        if self.udp_timeout is not None:
            try:
                timeout = expect(Duration, self.udp_timeout, f"{where}, udp_timeout")
            except TypeError as error:
                raise SpecError(f"{where}, udp_timeout", str(error).partition(": ")[2]) from None
            if timeout.s < 1:
                raise SpecError(f"{where}, udp_timeout", f"{timeout} is below 1s, the kernel's step")
        if self.pool == 0:
            raise SpecError(f"{where}, pool", "a NAT with no addresses translates to nothing; allowed is 1 to 8")
        if not is_whole(self.pool, 1, 8):
            raise SpecError(f"{where}, pool", f"{self.pool!r} is not a number of outside addresses; allowed is 1 to 8")
        if self.pooling == "arbitrary" and self.pool < 2:
            raise SpecError(f"{where}, pooling", f"arbitrary pooling of {self.pool} address is paired; give a pool of 2 or more")
        if not is_whole(self.spare, 0, 8):
            raise SpecError(f"{where}, spare", f"{self.spare!r} is not a number of spare addresses; allowed is 0 to 8")
        self._validate_prefix(where)
        self._validate_forwards(where)

    def _validate_prefix(self, where: str) -> None:
        if (self.prefix6 is not None) != (self.ipv6 == "prefix"):
            lacks = "is missing; NPTv6 needs" if self.prefix6 is None else f"{self.prefix6!r} is for ipv6='prefix' alone; it is"
            raise SpecError(f"{where}, prefix6", f"{lacks} the outside prefix, for example '2001:db8:aa::/48'")
        if self.prefix6 is None:
            return
        try:
            prefix = IPv6Network(self.prefix6)
        except ValueError as error:
            raise SpecError(f"{where}, prefix6", f"{error}; write for example '2001:db8:aa::/48'") from None
        if not 48 <= prefix.prefixlen <= 64:
            raise SpecError(f"{where}, prefix6", f"{self.prefix6} has /{prefix.prefixlen}; allowed is /48 to /64")

    def _validate_forwards(self, where: str) -> None:
        seen: set[int] = set()
        for forward in self.forwards:
            for field in ("port", "to_port"):
                value = getattr(forward, field)
                if not is_whole(value, 1, 65535):
                    raise SpecError(f"{where}, forwards, {field}", f"{value!r} is not a UDP port; allowed is 1 to 65535")
            if forward.port in seen:
                raise SpecError(f"{where}, forwards, port", f"{forward.port} is forwarded twice")
            seen.add(forward.port)
