"""The lab's handle on one attacker: what she does, each verb returning when she has done it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from harness.errors import EnvironmentUnfit
from harness.units import Duration, s

if TYPE_CHECKING:
    from harness.fabric.network import Network

_POLL_S = 0.02
_SPARE = 20 * s
"""On a busy machine she falls behind her pace: that is told, and harms nobody, as long as she ends."""


class Deeds(msgspec.Struct, frozen=True):
    """What she did from ``began`` to ``ended`` (ns): datagrams ``sent`` by kind.

    ``late_ns``: how far behind her own pace she ever was, in a race behind the packets that she copied.
    """

    sent: dict[str, int]
    busy: bool
    seen: dict[str, int]
    began: int
    ended: int
    late_ns: int

    @property
    def count(self) -> int:
        """All that she sent."""
        return sum(self.sent.values())


@dataclass(frozen=True, slots=True)
class AttackerHandle:
    """An attacker at ``interface``, her own.  ``rate``: datagrams a second; ``seed`` decides all that is not said."""

    network: Network
    interface: str

    async def forge(self, *, count: int, rate: int, seed: int) -> Deeds:
        """Forged and mutated datagrams at both ends of the call, of every kind in turn."""
        return await self._paced("forge", count, rate, seed)

    async def replay(self, *, count: int, rate: int, seed: int) -> Deeds:
        """Exact copies of what passed at least 300 ms ago: to the callee from where it came from and from elsewhere, to the caller."""
        return await self._paced("replay", count, rate, seed)

    async def flood(self, *, count: int, rate: int, seed: int) -> Deeds:
        """Initials at the callee from many addresses: good ones, noise, and such with a token that nobody gave out."""
        return await self._paced("flood", count, rate, seed)

    async def race(self, *, for_: Duration, seed: int) -> Deeds:
        """A copy of the caller's next 1-RTT packet as it passes, and of those in ``for_`` after it, all from one of her own addresses."""
        return await self._do("race", for_, for_ns=for_.ns, seed=seed)

    async def _paced(self, verb: str, count: int, rate: int, seed: int) -> Deeds:
        return await self._do(verb, Duration(count * 1_000_000_000 // rate), count=count, rate=rate, seed=seed)

    async def _do(self, verb: str, takes: Duration, **fields: Any) -> Deeds:
        deeds = await self._ask(verb, fields)
        with trio.move_on_after(takes.s + _SPARE.s):
            while deeds.busy:
                await trio.sleep(_POLL_S)
                deeds = await self._ask("state", {})
            return deeds
        raise EnvironmentUnfit(
            f"the attacker at {self.interface} did not end her {verb} within {takes} and {_SPARE}: the machine is too busy"
        )

    async def _ask(self, verb: str, fields: dict[str, Any]) -> Deeds:
        return msgspec.convert(await self.network.ask("attack", interface=self.interface, verb=verb, fields=fields), Deeds)
