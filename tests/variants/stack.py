"""``python -m tests.variants.stack NAME``: one healthy variant, as an agent of the harness."""

from __future__ import annotations

import sys
from collections.abc import Callable

from harness.agent.driver import Driver
from harness.agent.process import run
from harness.call.session import Endpoint
from tests.cheats.stack import fork
from tests.variants import manners, wire_forms


class TwoProcesses(Driver):
    """Runs below a process that starts and ends it."""

    minder = -1


DRIVERS: dict[str, type[Driver]] = {
    "on-streams": manners.OnStreams,
    "no-lag": manners.NoLag,
    "no-path-events": manners.NoPath,
    "no-records": manners.NoRecords,
    "user-space-stamps": manners.UserSpaceStamps,
    "helper-sockets": manners.HelperSockets,
    "two-processes": TwoProcesses,
}
ENDPOINTS: dict[str, type[Endpoint]] = {
    "greased-bit": wire_forms.Greased,
    "quic-v2": wire_forms.Version2,
    "zero-length-ids": wire_forms.Nameless,
    "no-retry": manners.NoRetry,
    "unpadded-probes": wire_forms.Unpadded,
}
CHANGES: dict[str, Callable[[], None]] = {
    "greased-bit": wire_forms.grease,
    "other-flow-ids": wire_forms.other_flows,
    "slow-hello": manners.slow_hello,
}
"""What is done in the process before it begins."""
NAMES = (*DRIVERS, *ENDPOINTS, *(name for name in CHANGES if name not in ENDPOINTS))


def main(name: str) -> int:
    """Be the variant ``name`` until it is over; returns its exit code.  SystemExit for a name that is none."""
    if name not in NAMES:
        raise SystemExit(f"usage: python -m tests.variants.stack {'|'.join(NAMES)}")
    if name in CHANGES:
        CHANGES[name]()
    driver = DRIVERS.get(name, Driver)
    if driver is TwoProcesses:
        code = fork(driver)
        if code is not None:
            return code
    return run([], endpoint_factory=ENDPOINTS.get(name, Endpoint), driver_factory=driver, agent=f"variant: {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
