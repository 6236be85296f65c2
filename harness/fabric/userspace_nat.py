"""A NAT by the userspace translator, which stands in the relay on the router's outside link; its receipts are the translator's table."""

from __future__ import annotations

import time
from typing import Any, Protocol

import msgspec

from harness.errors import SpecError
from harness.fabric.base import Mapping, MappingChange, MappingHistory
from harness.fabric.nats import Rebinding, Rebound
from harness.fabric.nft import forwarded
from harness.fabric.plan import NodePlan
from harness.spec.nat import Nat
from harness.spec.topology import Router, Topology
from harness.wire.translator import Forwarded, Translation


class Asked(Protocol):
    """The relay, to be asked about its NATs."""

    def ask_nat(self, router: str, do: str, **fields: Any) -> dict[str, Any]:
        """One request about the NAT of ``router``."""


def translation_of(topology: Topology, plan: NodePlan, router: Router, nat: Nat) -> Translation:
    """What the translator must know of the NAT of ``router``."""
    pool, spares = topology.pool(router), topology.spares(router)
    if nat.ipv6 != "translate":
        pool, spares = (pool[0], []), (spares[0], [])
    return Translation(
        router=router.name,
        nat=nat,
        pool=tuple(str(address.ip) for family in pool for address in family),
        spares=tuple(str(address.ip) for family in spares for address in family),
        forwards=tuple(
            Forwarded(port, address, to_port)
            for version in (4, 6)
            for port, (address, to_port) in forwarded(topology, plan, nat, version).items()
        ),
        prefixes=tuple((str(here), str(there)) for here, there in topology.prefixes(router)),
    )


class UserspaceNat:
    """The NAT of ``router``, which the relay has."""

    source = "translator"
    conntrack = None

    def __init__(self, router: str, relay: Asked) -> None:
        self._router = router
        self._relay = relay

    def _ask(self, do: str, **fields: Any) -> dict[str, Any]:
        return self._relay.ask_nat(self._router, do, **fields)

    def mappings(self) -> list[Mapping]:
        """The UDP flows, from its table."""
        found: list[Mapping] = []
        while True:
            page = self._ask("flows", first=len(found))
            found += _mappings(page["flows"])
            if not page["more"]:
                return found

    def mapping(self, version: int, inside: tuple[str, int], remote: tuple[str, int]) -> Mapping | None:
        """One UDP flow, or None."""
        found: Mapping | None = self._find(Mapping(version, inside, inside, remote, remote))["now"]
        return found

    def holds(self, mapping: Mapping) -> bool:
        """By the table, as its next packet would find it."""
        return bool(self._find(mapping)["holds"])

    def lingers(self, mapping: Mapping) -> bool:
        """By the table."""
        return bool(self._find(mapping)["lingers"])

    def _find(self, mapping: Mapping) -> dict[str, Any]:
        answer = self._ask("find", flows=[msgspec.to_builtins(mapping)])
        now = answer["now"][0]
        return {
            "now": None if now is None else msgspec.convert(now, Mapping),
            "holds": answer["holds"][0],
            "lingers": answer["lingers"][0],
        }

    def history(self) -> MappingHistory:
        """By the translator's own journal, to the nanosecond."""
        changes: list[MappingChange] = []
        while True:
            page = self._ask("changes", first=len(changes))
            changes += msgspec.convert(page["changes"], list[MappingChange])
            if not page["more"]:  # that a flow had been idle for too long is noted when it is noticed, as of then
                return MappingHistory(self.source, sorted(changes, key=lambda change: change.at), page["unlisted"])

    def icmp_sent(self) -> int:
        """As the translator counts them; the router's kernel knows of nothing that could not be reached."""
        return sum(int(direction["told"]) for direction in self.counters().values())

    def counters(self) -> dict[str, Any]:
        """Packets per direction, those dropped by reason."""
        return self._ask("counters")

    def forget(self) -> None:
        """As just built."""
        self._ask("restart")

    def rebind(self, rebinding: Rebinding) -> Rebound:
        """One step of the relay's, between two packets."""
        began = time.monotonic_ns()
        done = self._ask(
            "rebind",
            inside=sorted(rebinding.inside),
            address=rebinding.address,
            linger_ns=rebinding.linger_ns,
            icmp=rebinding.icmp,
        )
        if not done["before"]:
            raise SpecError(f"NAT {self._router}", f"{rebinding.host} has no UDP flow through it, so there is nothing to rebind")
        return Rebound(
            before=_mappings(done["before"]),
            expected=_mappings(done["expected"]),
            old_gone=done["old_gone"],
            at=done["at"],
            took_ns=time.monotonic_ns() - began,
        )

    def reboot(self) -> Rebound:
        """One step of the relay's, between two packets."""
        began = time.monotonic_ns()
        done = self._ask("reboot")
        took = time.monotonic_ns() - began
        return Rebound(before=_mappings(done["before"]), expected=[], old_gone=done["old_gone"], at=done["at"], took_ns=took)


def _mappings(raw: Any) -> list[Mapping]:
    return msgspec.convert(raw, list[Mapping])
