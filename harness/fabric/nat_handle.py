"""The lab's handle on one NAT: what it maps, and its rebinds, each with what was seen of it from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio

from harness.errors import HarnessError, SpecError
from harness.fabric.base import Mapping
from harness.fabric.receipts import Observation
from harness.spec.topology import Router
from harness.units import Duration, s

if TYPE_CHECKING:
    from harness.fabric.link_handle import LinkHandle
    from harness.fabric.network import Network

_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class NatHandle:
    """Faults of one NAT."""

    network: Network
    router: str

    def _outside(self) -> LinkHandle:
        router = self.network.topology.node(self.router)
        if not isinstance(router, Router) or router.nat is None:
            raise SpecError(f"NAT {self.router}", "there is no NAT on it")
        return self.network.link(f"{self.router}/{router.nat.outside}")

    def address(self, version: int = 4) -> str:
        """Its first outside address, by which those behind it are seen."""
        name = self._outside().end
        port = next(port for port in self.network.topology.ports(self.router) if port.path == name)
        outside = port.v4 if version == 4 else port.v6
        if outside is None:
            raise SpecError(f"NAT {self.router}", f"it has no IPv{version} address outside")
        return str(outside.ip)

    async def mappings(self) -> list[Mapping]:
        """The UDP flows that it maps now."""
        answer = await self.network.ask("mappings", router=self.router)
        return msgspec.convert(answer["mappings"], list[Mapping])

    async def carries(self, host: str, *, within: Duration = 5 * s) -> None:
        """Wait until it maps a UDP flow of ``host``; HarnessError when there is none ``within`` the time."""
        inside = {str(address.ip) for port in self.network.topology.ports(host) for address in (port.v4, port.v6) if address}
        with trio.move_on_after(within.s):
            while True:
                if any(mapping.inside[0] in inside for mapping in await self.mappings()):
                    return
                await trio.sleep(_POLL_S)
        raise HarnessError(f"NAT {self.router}: no UDP flow of {host} within {within}")

    async def rebind(self, host: str, *, address: bool = False, dark: Duration | None = None, within: Duration = 5 * s) -> Observation:
        """Give every UDP flow of ``host`` a new outside port (and address); returns once a new mapping is seen to carry the flow.

        ``dark``: for how long nothing passes the router's outside link meanwhile, as when it restarts.  Without it a client that sends
        nothing but acknowledgements is healed by the one that is under way (seen), and with it it is not.

        The observation is taken when the old mapping is gone and the new one, really different, was seen within ``within``; or when
        the host has no flow at all by then: it has sent nothing that could have been mapped.
        """
        outside = self._outside()
        if dark is not None:
            await outside.down()
        answer = await self.network.ask("rebind", router=self.router, host=host, address=address)
        if dark is not None:
            await trio.sleep(dark.s)
            await outside.up()
        seen: list[tuple[str, int]] = []
        with trio.move_on_after(within.s):
            while not seen:
                for flow in answer["expected"]:
                    now = await self.network.ask(
                        "mapping", router=self.router, version=flow["version"], inside=flow["inside"], remote=flow["remote"]
                    )
                    if now["mapping"] is not None and now["mapping"]["outside"] == flow["outside"]:
                        seen.append((flow["outside"][0], flow["outside"][1]))
                if not seen:
                    await trio.sleep(_POLL_S)
        old = {tuple(m["outside"]) for m in answer["before"]}
        different = all(new not in old and (not address or new[0] not in {o[0] for o in old}) for new in seen)
        kind = "rebind address and port" if address else "rebind port"
        seen_there = {
            "before": sorted(f"{m['inside'][0]} {m['inside'][1]} as {m['outside'][0]} {m['outside'][1]}" for m in answer["before"]),
            "after": sorted(f"{address} {port}" for address, port in seen),
            "old mapping gone": answer["old_gone"],
            "flows now": sum(mapping.inside in {tuple(m["inside"]) for m in answer["before"]} for mapping in await self.mappings()),
            "took_us": answer["took_ns"] // 1000,
        }
        observation = Observation(
            f"{self.router} rebinds {host}: {'new address and port' if address else 'new port'}",
            kind,
            answer["at"],
            seen_there,
            (different if seen else not seen_there["flows now"]) and answer["old_gone"],
            answer["source"],
        )
        self.network.observe(observation)
        return observation
