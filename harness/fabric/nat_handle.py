"""The lab's handle on one NAT: what it maps, and its rebinds, each with what was seen of it from outside."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from harness.errors import HarnessError, SpecError
from harness.fabric.base import Mapping, MappingHistory, told
from harness.fabric.receipts import Observation, Touches
from harness.spec.nat import Nat
from harness.spec.topology import Router
from harness.units import Duration, ms, s

if TYPE_CHECKING:
    from harness.fabric.link_handle import LinkHandle
    from harness.fabric.network import Network

_POLL_S = 0.01
_SOON_S, _POLLS_SOON = 0.0005, 40  # at first as often as packets come
_IDLE_POLL_S = 0.05
_LINGER_SLACK = 20 * ms  # a kernel counts in ticks of up to 10 ms
_UNTOLD_TIMEOUT = 120 * s


@dataclass(frozen=True, slots=True)
class NatHandle:
    """Faults of one NAT."""

    network: Network
    router: str

    def _nat(self) -> Nat:
        router = self.network.topology.node(self.router)
        if not isinstance(router, Router) or router.nat is None:
            raise SpecError(f"NAT {self.router}", "there is no NAT on it")
        return router.nat

    def _outside(self) -> LinkHandle:
        return self.network.link(f"{self.router}/{self._nat().outside}")

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

    async def history(self) -> MappingHistory:
        """What became of its mappings since the run went live, in order."""
        return msgspec.convert((await self.network.ask("history"))[self.router], MappingHistory)

    async def carries(self, host: str, *, within: Duration = 5 * s) -> None:
        """Wait until it maps a UDP flow of ``host``; HarnessError when there is none ``within`` the time."""
        with trio.move_on_after(within.s):
            while True:
                if await self._flows_of(host):
                    return
                await trio.sleep(_POLL_S)
        raise HarnessError(f"NAT {self.router}: no UDP flow of {host} within {within}")

    async def rebind(
        self,
        host: str,
        *,
        address: bool = False,
        dark: Duration | None = None,
        linger: Duration | None = None,
        icmp: bool = False,
        within: Duration = 5 * s,
    ) -> Observation:
        """Give every UDP flow of ``host`` a new outside port (and address); returns once a new mapping is seen to carry the flow.

        ``dark``: for how long nothing passes the router's outside link meanwhile, as when it restarts.  Without it a client that sends
        nothing but acknowledgements is healed by the one that is under way (seen), and with it it is not.  ``linger``: the old mapping goes
        on letting packets in for so long; then this returns when that is over.  ``icmp``: from then on who sends to the old mapping is told
        port unreachable; nobody is told anything without it.

        The observation is taken when the old mapping is gone and the new one, really different, was seen within ``within``; or when
        the host has no flow at all by then: it has sent nothing that could have been mapped.  With ``linger`` the old one must have let
        packets in until then and no longer, and without ``icmp`` no ICMP error must have been sent.
        """
        outside = self._outside()
        if dark is not None and linger is not None:
            raise SpecError(
                f"NAT {self.router}", "rebind() was given dark and linger; while nothing passes the old mapping lets nothing in"
            )
        if dark is not None:
            await outside.down()
        answer = await self.network.ask(
            "rebind", router=self.router, host=host, address=address, linger_ns=linger.ns if linger is not None else 0, icmp=icmp
        )
        if dark is not None:
            await trio.sleep(dark.s)
            await outside.up()
        state = await self._await_flows(answer["expected"], within, so_far=answer["state"] if dark is None else None)
        seen = {tuple(now["outside"]) for now, flow in zip(state["now"], answer["expected"], strict=True) if _appeared(now, flow)}
        old = {tuple(flow["outside"]) for flow in answer["before"]}
        told = state["icmp"] - answer["icmp"]
        different = not seen & old and not (address and {new[0] for new in seen} & {one[0] for one in old})
        alive = sum(now is not None for now in state["now"])
        there: dict[str, Any] = {
            "before": _named(answer["before"]),
            "after": sorted(f"{ip} {port}" for ip, port in seen),
            "old mapping gone": answer["old_gone"],
            "flows now": alive,
            "took_us": answer["took_ns"] // 1000,
            "icmp errors sent": told,
        }
        taken = (different if seen else not alive) and answer["old_gone"] and (icmp or told == 0)
        if linger is not None:
            there["lingered"], lingered = await self._lingering(answer, linger)
            taken = taken and lingered
        kind = "rebind address and port" if address else "rebind port"
        name = f"{self.router} rebinds {host}: {'new address and port' if address else 'new port'}"
        how = {"host": host, "address": address, "linger_ns": linger.ns if linger is not None else 0, "icmp": icmp}
        line = self._line("rebind", **how, before=_plain(answer["before"]), expected=_plain(answer["expected"]))
        touches = self._touches(answer["before"], answer["expected"], [now for now in state["now"] if now is not None])
        return self._observed(Observation(name, kind, answer["at"], there, taken, answer["source"], line=line, touches=touches))

    async def reboot(self, *, dark: Duration | None = None, within: Duration = 5 * s) -> Observation:
        """Lose all mappings, those of rebinds included; returns once one of the flows there were is mapped anew, or ``within`` the time.

        ``dark``: for how long nothing passes the router's outside link meanwhile.  A NAT that preserves ports gives a host that goes on
        sending the port that it had.  The observation is taken when all mappings were seen to be gone at once, and no ICMP error was sent.
        """
        outside = self._outside()
        if dark is not None:
            await outside.down()
        answer = await self.network.ask("reboot", router=self.router)
        if dark is not None:
            await trio.sleep(dark.s)
            await outside.up()
        state = await self._await_flows(answer["before"], within, anew=True)
        now = [flow for flow in state["now"] if flow is not None]
        told = state["icmp"] - answer["icmp"]
        there = {
            "before": _named(answer["before"]),
            "after": _named(now),
            "all mappings gone": answer["old_gone"],
            "took_us": answer["took_ns"] // 1000,
            "icmp errors sent": told,
        }
        taken = answer["old_gone"] and told == 0
        line = self._line("reboot", before=_plain(answer["before"]))
        touches = self._touches(answer["before"], now)
        name = f"{self.router} reboots"
        return self._observed(Observation(name, "reboot", answer["at"], there, taken, answer["source"], line=line, touches=touches))

    async def expired(self, host: str, *, within: Duration | None = None) -> Observation:
        """Wait until the NAT has forgotten every UDP flow of ``host`` for want of traffic, as it does after ``udp_timeout``.

        ``within``: 5 s beyond that time, when nothing is said.  The observation is taken when there was a flow and none is left.
        """
        before = [msgspec.to_builtins(flow) for flow in await self._flows_of(host)]
        if not before:
            raise SpecError(f"NAT {self.router}", f"{host} has no UDP flow through it, so there is nothing to forget")
        timeout = self._nat().udp_timeout or _UNTOLD_TIMEOUT
        limit, began = within or timeout + 5 * s, time.monotonic_ns()
        answer: dict[str, Any] = {"holds": [True]}
        with trio.move_on_after(limit.s):
            while any(answer["holds"]):
                await trio.sleep(_IDLE_POLL_S)
                answer = await self.network.ask("remembered", router=self.router, flows=before)
        at = time.monotonic_ns()
        there = {"before": _named(before), "held still": sum(answer["holds"]), "after": str(Duration(at - began))}
        source = "conntrack" if self.network.report["nats"][self.router]["executor"] == "nft" else "translator"
        line = self._line("expiry", host=host, before=_plain(before))
        taken = not any(answer["holds"])
        touches = Touches(f"NAT {self.router}", (self._outside().end,))
        return self._observed(Observation(f"{self.router} forgets {host}", "expiry", at, there, taken, source, line=line, touches=touches))

    def _line(self, did: str, **fields: Any) -> dict[str, Any]:
        return {"kind": "nat", "nat": self.router, "did": did, **fields}

    def _touches(self, *flows: list[dict[str, Any]]) -> Touches:
        """Packets of these flows, as they are outside."""
        endpoints = frozenset((str(flow["outside"][0]), int(flow["outside"][1])) for some in flows for flow in some)
        return Touches(f"NAT {self.router}", (self._outside().end,), endpoints=endpoints)

    async def _flows_of(self, host: str) -> list[Mapping]:
        answer = await self.network.ask("mappings", router=self.router, host=host)
        return msgspec.convert(answer["mappings"], list[Mapping])

    async def _await_flows(
        self, flows: list[dict[str, Any]], within: Duration, *, anew: bool = False, so_far: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The flows as they are once one of them is mapped as in ``flows`` (``anew``: is mapped at all), or after ``within``."""
        state = so_far or {}
        polls = 0
        with trio.move_on_after(within.s):
            while True:
                state = state if polls == 0 and state else await self.network.ask("flows", router=self.router, flows=flows)
                if any(now is not None if anew else _appeared(now, flow) for now, flow in zip(state["now"], flows, strict=True)):
                    return state
                polls += 1
                await trio.sleep(_SOON_S if polls < _POLLS_SOON else _POLL_S)
        return state or await self.network.ask("flows", router=self.router, flows=flows)

    async def _lingering(self, answer: dict[str, Any], linger: Duration) -> tuple[str, bool]:
        """Until when the old mappings let packets in, in words, and whether that is what was asked for."""
        yes = no = 0
        with trio.move_on_after((linger + 1 * s).s):
            while not no:
                asked = time.monotonic_ns()
                if all((await self.network.ask("remembered", router=self.router, flows=answer["before"]))["lingers"]):
                    yes = asked
                    await trio.sleep(_SOON_S)
                else:
                    no = time.monotonic_ns()  # by then at the latest; on a busy machine an answer takes its time
        if not yes:
            return "no", False
        first, last = (Duration(at - answer["at"]) for at in (yes, no or time.monotonic_ns()))
        words = f"yes, until {first} after at least, " + (f"no more {last} after" if no else f"still {last} after")
        return words, bool(no) and last.ns >= linger.ns - _LINGER_SLACK.ns

    def _observed(self, observation: Observation) -> Observation:
        self.network.observe(observation)
        return observation


def _appeared(now: dict[str, Any] | None, flow: dict[str, Any]) -> bool:
    return now is not None and now["outside"] == flow["outside"]


def _plain(flows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [told(msgspec.convert(flow, Mapping)) for flow in flows]


def _named(flows: list[dict[str, Any]]) -> list[str]:
    return sorted(f"{flow['inside'][0]} {flow['inside'][1]} as {flow['outside'][0]} {flow['outside'][1]}" for flow in flows)
