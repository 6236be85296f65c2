"""The userspace NATs of a relay: each a translator at one end of a link, before the shaper of what leaves and behind that of what comes.

The router's kernel only forwards, so its interface has no outside address; a frame that leaves it is translated, then shaped, and one that
has crossed the link is translated before it is given to the interface.  What a NAT sends back goes to the side where the packet came from:
a hairpinned packet, or an ICMP error about one that left, to the router; an ICMP error about one that came, over the link.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import msgspec

from harness.errors import HarnessError, SpecError
from harness.fabric.base import Mapping, MappingChange
from harness.fabric.ethernet import HEADER
from harness.wire.translator import Back, FlowRow, Translator

_IP = (b"\x08\x00", b"\x86\xdd")
_PAGE = 500  # flows of one answer: they must fit a message


def through(translate: Callable[[bytes, int], bytes | Back | None], frame: bytes, now: int) -> bytes | Back | None:
    """``frame`` with its IP packet translated; ``Back`` has a frame too.  What is no IP passes."""
    if frame[12:14] not in _IP:
        return frame
    result = translate(frame[HEADER:], now)
    if isinstance(result, bytes):
        return frame[:HEADER] + result
    return None if result is None else Back(frame[6:12] + frame[:6] + frame[12:HEADER] + result.packet)


class RelayNats:
    """The NATs by their router's name, and the answers about them."""

    def __init__(self) -> None:
        self._by_router: dict[str, Translator] = {}

    def add(self, translator: Translator) -> None:
        """Its router has no other."""
        router = translator.translation.router
        if router in self._by_router:
            raise SpecError(f"NAT {router}", "two links have this router's outside")
        self._by_router[router] = translator

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """One request about the NAT of ``router``: what to ``do``, with its fields."""
        router, do = message.get("router"), message.get("do")
        nat = self._by_router.get(router) if isinstance(router, str) else None
        if nat is None:
            raise SpecError(f"NAT {router}", f"the relay has none there; it has {', '.join(self._by_router) or 'none'}")
        method = getattr(self, f"_do_{do}", None)
        if method is None:
            raise HarnessError(f"a NAT of the relay cannot {do!r}")
        return dict(msgspec.to_builtins(method(nat, message)))

    @staticmethod
    def _do_flows(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """A page of the flows, from the ``first``."""
        first, rows = int(message["first"]), nat.flows(monotonic_ns())
        return {"flows": [_mapping(row) for row in rows[first : first + _PAGE]], "more": len(rows) > first + _PAGE}

    @staticmethod
    def _do_changes(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """A page of what became of the flows, from the ``first``."""
        told, more, unlisted = nat.changes(monotonic_ns(), int(message["first"]), _PAGE)
        page = [MappingChange(one.at, one.gone, Mapping(one.version, one.inside, one.outside, one.remote, one.remote)) for one in told]
        return {"changes": page, "more": more, "unlisted": unlisted}

    @staticmethod
    def _do_find(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """Each of ``flows`` as it is mapped now, or None; whether it is held, and whether its outside endpoint lingers."""
        now, wanted = monotonic_ns(), msgspec.convert(message["flows"], list[Mapping])
        found = [nat.flow(one.inside, one.remote, now) for one in wanted]
        return {
            "now": [None if row is None else _mapping(row) for row in found],
            "holds": [nat.holds(one.inside, one.outside, one.remote, now) for one in wanted],
            "lingers": [nat.lingers(one.outside, now) for one in wanted],
        }

    @staticmethod
    def _do_rebind(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """The flows ``before`` and ``expected``, when it was done, and whether the old ones are gone."""
        now = monotonic_ns()
        rows = nat.rebind(message["inside"], address=message["address"], linger=message["linger_ns"], icmp=message["icmp"], now=now)
        at = monotonic_ns()
        gone = not any(nat.holds(before.inside, before.outside, before.remote, at) for before, _after in rows)
        return {"before": [_mapping(row) for row, _ in rows], "expected": [_mapping(row) for _, row in rows], "at": at, "old_gone": gone}

    @staticmethod
    def _do_reboot(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """The flows that there were."""
        lost = nat.reboot(monotonic_ns())
        at = monotonic_ns()
        return {"before": [_mapping(row) for row in lost], "at": at, "old_gone": not nat.flows(at)}

    @staticmethod
    def _do_restart(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """As just made."""
        nat.restart()
        return {}

    @staticmethod
    def _do_counters(nat: Translator, message: dict[str, Any]) -> dict[str, Any]:
        """Per direction."""
        return dict(nat.counted)


def _mapping(row: FlowRow) -> Mapping:
    """The schema that conntrack's flows have too."""
    return Mapping(row.version, row.inside, row.outside, row.remote, row.remote, row.used)
