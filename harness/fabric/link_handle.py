"""The lab's handle on one link: takes it up and down, impairs it, and tells what it dropped, each with what was seen of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from harness.errors import SpecError
from harness.fabric.base import DIRECTIONS, Direction, Dropped, brief, ends_of, impairment_of
from harness.fabric.receipts import Observation, Touches
from harness.spec.link import CLEAR, Impairment, validate_quantity
from harness.spec.topology import from_text, to_plain
from harness.units import Duration, percent, s

if TYPE_CHECKING:
    from harness.fabric.network import Network

_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class LinkHandle:
    """Faults of one link."""

    network: Network
    end: str

    async def down(self) -> None:
        """Take both ends down, as when the radio is switched off; addresses stay, routes go."""
        await self._set(False)

    async def up(self) -> None:
        """Take both ends up again, with all addresses and routes."""
        await self._set(True)

    async def _set(self, up: bool) -> None:
        answer = await self.network.ask("link", end=self.end, up=up)
        taken = all(state["up"] == up for state in answer["after"].values())
        name = f"{self.end} {'up' if up else 'down'}"
        seen = {end: f"{_state(answer['before'][end])} → {_state(after)}" for end, after in answer["after"].items()}
        line = {"kind": "link", "link": answer["link"], "up": {end: state["up"] for end, state in answer["after"].items()}}
        changed = any(state["up"] != up for state in answer["before"].values())
        touches = Touches(f"link {answer['link']}", tuple(seen), before=not up, changed=changed, restores=up)
        observation = Observation(name, "link", answer["at"], seen, taken, "rtnetlink", answer["began"], tuple(seen), line, touches=touches)
        self.network.observe(observation)

    async def impair(
        self,
        both: Impairment | None = None,
        *,
        a_to_b: Impairment | None = None,
        b_to_a: Impairment | None = None,
        over: Duration | None = None,
    ) -> int:
        """Let ``both`` rule both directions from now on, or one impairment per direction; ``CLEAR`` sets back to nothing.

        A schedule begins now; one that is running ends.  ``over``: get there in a straight line from what rules now, in steps of 100 ms
        (``harness.spec.ramp`` says what ramps); the ramp goes on after this returns.  Returns when the last of it was begun, ns.
        """
        validate_quantity(Duration, over, f"link {self.end}, over")
        at, link = 0, self.network.topology.link(self.end)
        wanted: dict[Direction, Impairment | None] = {"a_to_b": a_to_b or both, "b_to_a": b_to_a or both}
        if not any(wanted.values()):
            raise SpecError(f"link {self.end}", "impair() was given no impairment; to set back to nothing give CLEAR")
        for direction in DIRECTIONS:
            impairment = wanted[direction]
            if impairment is None:
                continue
            how = {} if over is None else {"over": str(over)}
            answer = await self.network.ask("impair", end=self.end, direction=direction, impairment=to_plain(impairment), **how)
            was, now = (msgspec.convert(answer[key], Impairment, dec_hook=from_text) for key in ("was", "now"))
            taken = (now if over is None else now.at_step(-1)) == impairment
            name = f"{self.end} {direction} {describe(impairment)}" + (f" over {over}" if over is not None else "")
            seen, at = {**answer, "was": brief(was), "now": brief(now)}, int(answer["at"])
            touches = Touches(
                f"link {link.name}",
                ends_of(link, direction)[:1],
                direction,
                above=_mtu_alone(was, impairment),
                changed=was != impairment or bool(impairment.drop or impairment.schedule or impairment.rate_trace),
                restores=impairment == impairment_of(link, direction),
            )
            self.network.observe(Observation(name, "impair", at, seen, taken, self.network.carrier(self.end), touches=touches))
        return at

    async def rulings(self) -> dict[str, Any]:
        """Per direction what was asked for and what has ruled since the run went live, step by step, with times (``base.rulings_of``)."""
        answer = await self.network.ask("rulings")
        return dict(answer[self.network.topology.link(self.end).name])

    async def stepped(self, number: int, *, within: Duration) -> int:
        """Wait until step ``number`` (1 is the first) of the schedule in force was taken, in each direction that has one.

        Returns when the last of them took it, ns.  The observation is taken when they did so ``within`` the time.
        """
        took: dict[str, dict[str, Any] | None] = {"": None}
        with trio.move_on_after(within.s):
            while not all(took.values()):
                told = {way: one for way, one in (await self.rulings()).items() if "schedule" in one["asked"]}
                if not told:
                    raise SpecError(f"link {self.end}", "no schedule is in force there, so no step of one can be waited for")
                took = {way: _taken(one["rulings"], number) for way, one in told.items()}
                await trio.sleep(_POLL_S)
        seen = {way: f"{Duration(one['at'] - one['due'])} after its time" if one else "not taken" for way, one in took.items()}
        at = max(one["at"] for one in took.values() if one) if all(took.values()) else time.monotonic_ns()
        name = f"{self.end} takes step {number} of its schedule"
        touches = self._touches()
        self.network.observe(Observation(name, "schedule", at, seen, all(took.values()), self.network.carrier(self.end), touches=touches))
        return at

    async def dropped(self, direction: Direction, *, within: Duration = 5 * s) -> list[Dropped]:
        """Wait until the packets that the impairment of ``direction`` picks (its ``drop``) have come and been dropped: they, in order.

        The observation is taken when all of them came ``within`` the time.
        """
        counted: dict[str, Any] = {}
        with trio.move_on_after(within.s):
            while not counted or counted.get("awaited"):
                counted = (await self.counters())[direction]
                await trio.sleep(_POLL_S)
        seen = {"dropped": counted.get("picked_packets", []), "awaited": counted.get("awaited", 0)}  # netem has neither
        found = msgspec.convert(seen["dropped"], list[Dropped])
        at = found[-1].at if found else time.monotonic_ns()
        name = f"{self.end} {direction} drops {', '.join(str(one.pick) for one in found) or 'nothing'}"
        taken = bool(found) and not seen["awaited"]
        self.network.observe(Observation(name, "drop", at, seen, taken, self.network.carrier(self.end)))
        return found

    async def drops(self) -> int:
        """How many packets the link has dropped so far, both directions, for whatever reason."""
        counters = await self.counters()  # the relay tells one kind of drop from another, netem does not
        kinds = ("lost", "picked", "too_big", "queue_dropped", "cut_dropped", "refused", "dropped")
        return sum(int(counters[direction].get(kind, 0)) for direction in DIRECTIONS for kind in kinds)

    async def show_drops(self, since: int) -> int:
        """How many packets the link has dropped beyond ``since`` (an earlier ``drops()``), as an observation: taken when it is any."""
        now = await self.drops()
        seen = {"dropped before": since, "dropped now": now}
        name = f"{self.end} dropped {now - since} packets"
        carrier, touches = self.network.carrier(self.end), self._touches()
        self.network.observe(Observation(name, "drop counter", time.monotonic_ns(), seen, now > since, carrier, touches=touches))
        return now - since

    async def dark(self) -> None:
        """Let nothing through in either direction, while both ends stay up: neither host nor router can tell."""
        await self.impair(Impairment(loss=100 * percent))

    async def light(self) -> int:
        """Put both directions back to what the topology has them; returns when that was done, ns."""
        link = self.network.topology.link(self.end)
        return await self.impair(a_to_b=link.a_to_b or CLEAR, b_to_a=link.b_to_a or CLEAR)

    def _touches(self) -> Touches:
        """Whatever passed the link since the fault began: what is told here had begun before."""
        link = self.network.topology.link(self.end)
        return Touches(f"what passes link {link.name}", (link.a, link.b), before=True)

    async def counters(self) -> dict[str, Any]:
        """The executor's counters of this link."""
        answer = await self.network.ask("counters")
        return dict(answer["links"][self.network.topology.link(self.end).name])


def _mtu_alone(was: Impairment, now: Impairment) -> int:
    """The MTU of ``now`` if it is all that is new, and lower than before: it concerns only what is larger; else 0."""
    if (
        now.mtu is None
        or (was.mtu is not None and was.mtu <= now.mtu)
        or msgspec.structs.replace(was, mtu=now.mtu, too_big=now.too_big) != now
    ):
        return 0
    return now.mtu


def _taken(rulings: list[dict[str, Any]], number: int) -> dict[str, Any] | None:
    """The first time that step ``number`` was taken of what was asked for last."""
    begun = max((n for n, one in enumerate(rulings) if not one["round"] and not one["step"]), default=0)
    return next((one for one in rulings[begun:] if one["step"] == number), None)


def _state(interface: dict[str, Any]) -> str:
    return f"{'up' if interface['up'] else 'down'} after {interface['tx_packets']} sent, {interface['rx_packets']} received"


def describe(impairment: Impairment) -> str:
    """The impairment in tc's words: ``delay 20ms loss 1% drop #3 ≥ 1000 B``, or ``clear``."""
    words = brief(impairment)
    if impairment.drop:
        words["drop"] = ", ".join(map(str, impairment.drop))
    if impairment.burst is not None:
        words["burst"] = str(impairment.burst)
    return " ".join(f"{key} {value}" for key, value in words.items()) or "clear"
