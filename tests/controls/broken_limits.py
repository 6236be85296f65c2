"""Agents that miscount their calls; see ``sabotage``."""

from __future__ import annotations

from harness.call.session import Endpoint
from harness.call.states import State


class CountsLate(Endpoint):
    """Counts a call against the limit only once it is connected: whoever comes meanwhile slips in."""

    def _full(self) -> bool:
        connected = sum(call.state is State.CONNECTED for call in self._calls.values())
        return connected >= self._config.max_concurrent_calls


class OneTooMany(Endpoint):
    """Refuses the call after the one that it should refuse."""

    def _full(self) -> bool:
        return super()._full() and len(self._calls) > self._config.max_concurrent_calls


ENDPOINTS: dict[str, type[Endpoint]] = {"counts-late": CountsLate, "one-too-many": OneTooMany}
