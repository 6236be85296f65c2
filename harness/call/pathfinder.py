"""Finds another local path for the calls that this side dialled, when the application does not name one.

The owner says which local paths could carry packets (``told``): those whose interface is up and has its address.  Two things make a call
look for another one:

* its own path is not among them any more, for ``follow_grace``;
* what it sends has not been acknowledged for ``follow_silence`` and a round trip, whatever the interface says.  That covers a path that is
  dead in one direction only: packets of the peer may come all the time.

Then each other usable path is probed in turn (RFC 9000 §9.1) until one answers, which moves the call.  The grace leaves the first word to
an application that knows better and says so (``Endpoint.migrate``).  Without ``told`` nothing is ever probed from here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, NamedTuple

from harness.call.config import EndpointConfig
from harness.call.events import Address
from harness.call.states import State
from harness.call.timers import earliest

if TYPE_CHECKING:
    from harness.call.dialog import Call

ROUND = 1_000_000_000
"""Between two probes of the same path that nobody answered, beyond the time that the probe itself takes, ns."""


class Local(NamedTuple):
    """A local path and the IP version that can be used there."""

    path: str
    version: Literal[4, 6]


def local(address: Address) -> Local:
    """The local path that packets to ``address`` leave by."""
    return Local(address.path, 6 if ":" in address.ip else 4)


class Pathfinder:
    """What one endpoint knows of its local paths, and what follows from it.  Nanoseconds."""

    def __init__(self, config: EndpointConfig) -> None:
        self._config = config
        self._usable: dict[Local, int] = {}
        self._gone: dict[Local, int] = {}
        self._tried: dict[tuple[str, Local], int] = {}

    def told(self, usable: Collection[Local], now: int) -> None:
        """Exactly the paths ``usable`` could carry packets from now on.

        A path that was never among them is not known to be gone when it is missing: it may use an address that no interface shows.
        """
        for path in [path for path in self._usable if path not in usable]:
            del self._usable[path]
            self._gone[path] = now
        for path in usable:
            self._usable.setdefault(path, now)
            self._gone.pop(path, None)

    def next_path(self, call: Call, now: int) -> str | None:
        """The path that ``call`` should probe now, or None."""
        due = self.due(call)
        if due is None or now < due:
            return None
        here = local(call.connection.address)
        ready = [path for path in self._others(here) if self._ready_at(call, path) <= now]
        if not ready:
            return None
        best = min(ready, key=lambda path: self._tried.get((call.name, path), -1))  # of equals the one that was usable first
        self._tried[call.name, best] = now
        return best.path

    def due(self, call: Call) -> int | None:
        """When ``next_path`` is worth asking, as far as is known now; None while there is nothing to find."""
        here = local(call.connection.address)
        others = self._others(here)
        if not others or not self._may_move(call):
            return None
        reasons = [self._gone[here] + self._config.follow_grace.ns] if here in self._gone else []
        unanswered = call.connection.unanswered_since()
        if unanswered is not None:
            reasons.append(unanswered + self._config.follow_silence.ns + call.connection.round_trip)
        if not reasons:
            return None
        return max(min(reasons), min(self._ready_at(call, path) for path in others))

    def instead_of(self, to: Address) -> Address:
        """``to``, over a path that can be used, if its own is gone and there is one."""
        here = local(to)
        others = self._others(here)
        return to._replace(path=others[0].path) if here in self._gone and others else to

    def forget(self, call: str) -> None:
        """The call is over, or its connection has moved."""
        for key in [key for key in self._tried if key[0] == call]:
            del self._tried[key]

    def _others(self, here: Local) -> list[Local]:
        return [path for path in self._usable if path.version == here.version and path != here]

    def _ready_at(self, call: Call, path: Local) -> int:
        """From when on ``path`` may be probed."""
        ready = self._usable[path] + self._config.follow_grace.ns
        tried = self._tried.get((call.name, path))
        return ready if tried is None else max(ready, tried + self._config.probe_give_up.ns + ROUND)

    @staticmethod
    def _may_move(call: Call) -> bool:
        connection = call.connection
        return (
            call.state is State.CONNECTED
            and not call.lost
            and call.redial.until is None
            and connection.may_migrate() is None
            and not connection.probing
            and connection.spare_cids > 0
        )


def next_due(finder: Pathfinder, calls: Collection[Call]) -> int | None:
    """When any of ``calls`` may have a path to probe."""
    return earliest([finder.due(call) for call in calls])
