"""Every healthy variant: what it is, which agents are it or which lines it runs on, and where it has nothing to say."""

from __future__ import annotations

import sys

import msgspec

from harness.report.model import Report
from harness.verdict import Blame, Result
from tests.variants.lines import VARIABLE

FIRST = ("rebinding.py", "migration.py", "call_flow.py")
"""What every variant runs through in `make variants`; the rest in `python -m tests.variants --all`."""


SLOW_START = {
    "call_flow.py::test_media_streams": "three flows of 950 kbit/s have no room in slow start's windows for the first two round trips",
}
"""On a line, not of a stack: video.py, satellite is about that."""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One way to be healthy and different.

    ``agents``: who runs ``tests.variants.stack NAME``, none where the variant is its ``lines`` (``tests.variants.lines``).  ``sound_only``:
    its lines have no room for video.  ``unfit``: scenarios that ask for the very thing that it does not do, and why.
    """

    name: str
    what: str
    agents: tuple[str, ...] = ("alice", "bob")
    lines: str = ""
    sound_only: bool = False
    unfit: dict[str, str] = {}

    def options(self) -> tuple[str, ...]:
        """The options of a run of it."""
        if self.lines:
            return ("-p", "tests.variants.lines")
        return tuple(f"--agent={agent}={sys.executable} -m tests.variants.stack {self.name}" for agent in self.agents)

    def environment(self) -> dict[str, str]:
        """What the run's environment has besides."""
        return {VARIABLE: self.lines} if self.lines else {}

    def came_out(self, report: Report) -> str:
        """What is wrong with a run of it; "" for a PASS, and for one that this machine has spoiled three times over."""
        spoiled = report.result is Result.INCONCLUSIVE and report.blame is Blame.ENVIRONMENT
        return "" if report.result is Result.PASS or spoiled else f"{report.result}, blame {report.blame}"


CALLEE_ONLY: dict[str, str] = {"errors.py::test_exhaustion": "it asks for Retry", "hostile.py::test_flood_of_initials": "it asks for Retry"}
NO_DATAGRAMS: dict[str, str] = {
    "loopback.py::test_concurrent_streams": "it asks for datagrams",
    "loopback.py::test_large_packet": "it asks for the largest datagram",
}
VARIANTS: tuple[Variant, ...] = (
    Variant(name="greased-bit", what="every other 1-RTT packet has its QUIC bit cleared (RFC 9287)"),
    Variant(name="quic-v2", what="QUIC v2 (RFC 9369)"),
    Variant(name="zero-length-ids", what="a caller whose connection ids have no bytes"),
    Variant(name="other-flow-ids", what="other RTP-over-QUIC flow ids, of one, two and four bytes", unfit=NO_DATAGRAMS),
    Variant(name="on-streams", what="all media on streams", unfit=NO_DATAGRAMS),
    Variant(name="no-lag", what="tells no lag"),
    Variant(name="no-path-events", what="tells nothing of paths"),
    Variant(name="no-records", what="keeps no media records"),
    Variant(name="user-space-stamps", what="arrivals stamped by the process, not by the kernel"),
    Variant(name="slow-hello", what="four seconds to its hello"),
    Variant(name="two-processes", what="a process above the stack that starts and ends it"),
    Variant(name="helper-sockets", what="a socket for STUN beside QUIC's"),
    Variant(name="no-retry", what="asks nobody for a proof of address", unfit=CALLEE_ONLY),
    Variant(name="unpadded-probes", what="PATH_CHALLENGE and PATH_RESPONSE in datagrams as small as they are"),
    Variant(name="far", what="300 ms there and back", lines="far", unfit=SLOW_START),
    Variant(name="narrow", what="200 kbit/s on Alice's access line", lines="narrow", sound_only=True),
)
BY_NAME = {variant.name: variant for variant in VARIANTS}
