"""Every cheat: what it is, which kinds of claim it breaks and in which scenario that is tried, and what a run with it must come to."""

from __future__ import annotations

import sys

import msgspec

from harness.report.model import Report
from harness.verdict import Blame, Result
from tests.cheats.kinds import Kind, kind_of

NOT_RUN = "NOT RUN"
"""A result of its own where the harness knows it (issue 16); reports of today have no such word."""

REBIND = "rebinding.py::test_rebind_port[ipv4]"
LEAVE = "migration.py::test_wifi_to_cellular"
BREAK = "migration.py::test_break_before_make"
BOTH = "loopback.py::test_bidirectional"
PLAIN = "call_flow.py::test_lifecycle"
STREAMS = "call_flow.py::test_media_streams"
HOLD = "multi_peer.py::test_call_switching"
WAITING = "multi_peer.py::test_call_waiting[answered]"
LEAVES = "multi_peer.py::test_peer_leaves"
OUTAGE = "reconnect.py::test_outage_short"
LONG_OUTAGE = "reconnect.py::test_outage_long"


class Cheat(msgspec.Struct, frozen=True, kw_only=True):
    """One way to cheat or to fail.

    ``row``: of the issue's table.  ``agents``: which agent runs which stack (``tests.cheats.stack``).  ``breaks``: the kinds of claim that
    are not true any more, each with a scenario that makes such a claim.  ``wanted``: the result of each such run, with its ``blame`` where
    only one is right.  ``worst``: among those that are held against every scenario that makes one of these claims.  ``outside``: it is
    stopped by a process outside the run.
    """

    name: str
    row: int
    what: str
    agents: dict[str, str]
    breaks: dict[Kind, str]
    wanted: tuple[str, ...] = ("FAIL",)
    blame: Blame | None = None
    honest: bool = True
    worst: bool = False
    outside: bool = False

    def options(self) -> list[str]:
        """The options of a run with it."""
        return [f"--agent={agent}={sys.executable} -m tests.cheats.stack {stack}" for agent, stack in sorted(self.agents.items())]

    def came_out(self, report: Report) -> str:
        """What is wrong with a run of it; "" when it came out as it must, and each of its verdicts has a kind."""
        if unknown := [verdict.name for verdict in report.verdicts if kind_of(verdict.name) is None]:
            return f"verdicts without a kind: {', '.join(unknown)}"
        result = str(report.result)
        if result not in self.wanted:
            return f"{result}, wanted {' or '.join(self.wanted)}"
        if report.result is Result.INCONCLUSIVE and report.blame is Blame.ENVIRONMENT and not self.outside:
            return "INCONCLUSIVE for the machine, not for the stack"
        if self.blame is not None and report.blame is not self.blame:
            return f"blame {report.blame}, wanted {self.blame}"
        return ""

    def caught_by(self, report: Report) -> str:
        """Which verdict says so, of the kinds that it breaks where there is one; else the first reason."""
        failed = [verdict.name for verdict in report.verdicts if verdict.result is Result.FAIL]
        mine = [name for name in failed if kind_of(name) in self.breaks]
        return next(iter((*mine, *failed, *report.reasons)), "")


def _cheat(name: str, row: int, what: str, breaks: dict[Kind, str], *, alice: str = "", bob: str = "", **rest: object) -> Cheat:
    given = {"alice": alice, "bob": bob} if alice or bob else {"bob": name}
    agents = {agent: stack for agent, stack in given.items() if stack}
    return Cheat(name=name, row=row, what=what, agents=agents, breaks=breaks, **rest)  # type: ignore[arg-type]


SEALED = ("FAIL", "INCONCLUSIVE")
"""Where a scenario's bounds have room for as many lost packets, all that can be said is that no key opens them: blame agent."""
SILENCE: dict[Kind, str] = {"silence": REBIND}
EVERYWHERE: dict[Kind, str] = {"silence": PLAIN, "delay": STREAMS, "loss": BOTH}
CRASHED: dict[Kind, str] = {"silence": REBIND, "hang-up": LEAVE, "delay": BREAK}

CHEATS: tuple[Cheat, ...] = (
    # row 1: silence that nobody sees
    _cheat("blocks", 1, "0.4 s of block when the peer moves, no lag told", {"silence": REBIND, "delay": BREAK}, honest=False),
    _cheat("blocks@often", 1, "the same every 0.9 s", {"silence": PLAIN}, honest=False, worst=True),
    _cheat("blocks-in-migrate", 1, "1.2 s inside migrate", {"silence": LEAVE, "delay": BREAK}, alice="blocks-in-migrate", honest=False),
    _cheat("blocks-and-restamps", 1, "0.4 s, and the records of both sides deny it", SILENCE,
           alice="blocks-and-restamps", bob="blocks-and-restamps", honest=False),
    _cheat("blocks-and-restamps@often", 1, "the same every 0.9 s", {"silence": PLAIN},
           alice="blocks-and-restamps@often", bob="blocks-and-restamps@often", honest=False, worst=True),
    _cheat("stops-itself", 1, "SIGSTOP to itself for 0.4 s", SILENCE, honest=False),
    _cheat("stops-itself-long", 1, "SIGSTOP to itself for 1.5 s", {"silence": LEAVE}, honest=False),
    _cheat("stops-its-child", 1, "two processes, the outer stops the inner for 0.4 s", SILENCE, honest=False),
    _cheat("rests", 1, "its sources stand still for 0.6 s when the peer moves", {"silence": REBIND, "picture": LEAVE}),
    _cheat("rests@often", 1, "the same every 0.9 s", {"silence": PLAIN}, alice="rests@often", bob="rests@often", worst=True),
    _cheat("rests-long", 1, "its sources stand still for 4 s", {"silence": LEAVE}),
    _cheat("thins-out", 1, "3 packets of sound a second, numbered as 50", {"silence": REBIND},
           alice="thins-out", bob="thins-out", worst=True),
    _cheat("stops-listening", 1, "reads none of its sockets for 0.4 s", SILENCE, honest=False),
    _cheat("stops-listening-long", 1, "reads none of its sockets for 1.5 s", {"silence": LEAVE}, honest=False),
    _cheat("stops-listening@often", 1, "0.4 s every 0.9 s", {"silence": PLAIN}, honest=False, worst=True),
    _cheat("reads-and-leaves", 1, "empties its sockets and looks at it 0.4 s later", SILENCE, honest=False),
    _cheat("drops-unsaid", 1, "0.5 s expires unsent, and is in no record", {"silence": REBIND, "loss": LEAVE}, honest=False),
    _cheat("drops-unsaid@often", 1, "the same every 0.9 s", {"loss": BOTH}, honest=False),
    # row 2: loss, lateness and content that nobody sees
    _cheat("invents-arrivals", 2, "5 % of the sound opens with no key; both sides write crc 0, and the listener that it came",
           {"loss": BOTH, "reports": "call_flow.py::test_bidirectional_media"},
           alice="invents-arrivals", bob="invents-arrivals", wanted=SEALED, honest=False, worst=True),
    _cheat("invents-speech", 2, "0.5 s of sound opens with no key; both sides write that it came", SILENCE,
           alice="invents-speech", bob="invents-speech", honest=False),
    _cheat("invents-speech@often", 2, "the same every 0.9 s", {"loss": BOTH},
           alice="invents-speech@often", bob="invents-speech@often", wanted=SEALED, honest=False, worst=True),
    _cheat("hoards-and-restamps", 2, "sends the past after an outage, offered only then by its records", {"delay": LONG_OUTAGE},
           alice="hoards-and-restamps", honest=False),
    _cheat("zeroes", 2, "the payload is zeros", {"payload": "loopback.py::test_multiple_packets"}, alice="zeroes", honest=False),
    _cheat("reorders", 2, "every tenth packet of sound goes behind the next", {"order": BOTH}),
    # row 3: its own stalls told as the machine's
    _cheat("blocks-and-says-lag", 3, "its loop blocks for 0.4 s, which it tells as lag", SILENCE),
    _cheat("blocks-and-says-lag@often", 3, "the same every 0.9 s", {"silence": PLAIN}),
    _cheat("blocks-and-invents", 3, "0.4 s under stalls of 500 ms that it invents", SILENCE, honest=False),
    _cheat("never-follows-and-says-lag", 3, "never follows its peer, under stalls that it invents", {"silence": REBIND, "path": BREAK},
           honest=False),
    _cheat("crunches@often", 3, "fifty threads of its own compute", {"silence": PLAIN}),
    _cheat("runs-idle@often", 3, "its loop runs at SCHED_IDLE beside eight of its threads", {"silence": PLAIN}),
    _cheat("runs-on-one-core@often", 3, "it keeps to one core with twenty of its threads", {"silence": PLAIN}),
    # row 4: stopped by somebody else
    _cheat("waits", 4, "healthy, tells no lag; stopped from outside for 0.4 s", SILENCE,
           wanted=("INCONCLUSIVE",), blame=Blame.ENVIRONMENT, outside=True),
    # row 5: stalls that were not on the way
    _cheat("listener-says-lag", 5, "bob blocks for 0.4 s, alice invents lag", SILENCE, alice="says-lag", bob="blocks", honest=False),
    _cheat("says-lag-before", 5, "it blocks for 0.4 s, and tells of 60 ms that ended 250 ms before", SILENCE, honest=False),
    Cheat(name="bystander-says-lag", row=5, what="bob blocks for 0.4 s every 0.9 s, carol invents lag in her own call",
          agents={"bob": "blocks@often", "carol": "says-lag"}, breaks={"silence": LEAVES}, honest=False),
    # row 6: death
    _cheat("segfaults", 6, "SIGSEGV when the peer moves", CRASHED),
    _cheat("segfaults@often", 6, "SIGSEGV in the middle of a call", {"hang-up": PLAIN}, worst=True),
    _cheat("aborts", 6, "SIGABRT when the peer moves", {"silence": REBIND}),
    _cheat("exits", 6, "exit code 0 when the peer moves", {"silence": LEAVE, "delay": BREAK}),
    _cheat("exits-red", 6, "exit code 3 when the peer moves", {"silence": REBIND}),
    _cheat("raises", 6, "an exception when the peer moves", {"silence": LEAVE, "hang-up": REBIND}),
    # row 7: another connection
    _cheat("second-connection", 7, "a second connection under the same source connection id instead of a migration",
           {"handshakes": LEAVE, "path": "migration.py::test_cellular_to_wifi"},
           alice="second-connection", bob="takes-second-connection", honest=False),
    # row 9: the picture
    _cheat("freezes", 9, "the picture stands still for 1.5 s both ways", {"picture": LEAVE}, alice="freezes", bob="freezes"),
    _cheat("freezes@often", 9, "it stands still most of the time", {"picture": PLAIN}),
    # row 10: what is not there
    _cheat("hides", 10, "says that it can do nothing", {"hold": HOLD, "path": LEAVE}, alice="hides", wanted=(NOT_RUN,), blame=Blame.AGENT),
    _cheat("lacks-hold", 10, "cannot hold", {"hold": HOLD}, alice="lacks-hold", wanted=(NOT_RUN,), blame=Blame.AGENT),
    _cheat("lacks-redial", 10, "cannot redial", {"delay": "reconnect.py::test_callee_moves[callee alone]"}, alice="lacks-redial",
           wanted=(NOT_RUN,), blame=Blame.AGENT),
    _cheat("lacks-stream", 10, "sends nothing on streams", {"payload": "loopback.py::test_concurrent_streams[stream]"},
           wanted=(NOT_RUN,), blame=Blame.AGENT),
    # row 12: records that are wrong, of a call that is right
    _cheat("misrecords", 12, "healthy, but every arrival is recorded a second late", {"silence": REBIND, "loss": BOTH},
           wanted=("INCONCLUSIVE", "PASS"), honest=False),
)  # fmt: skip
BY_NAME = {cheat.name: cheat for cheat in CHEATS}

SPARED: dict[str, str] = {
    "endurance.py": "it runs for hours, or minutes",
    "rebinding.py::test_rebind_while_muted": "its bound, a keepalive period and more, is wider than any misdeed here",
    "operations.py::test_unknown_call": "its calls are over within a second",
    "loopback.py::test_setup": "its call is over within a second",
    "errors.py::test_dial_timeout": "its calls never connect",
    "errors.py::test_capability_mismatch": "its calls are refused, or over within a second",
    "call_flow.py::test_cleanup": "its calls last for half a second",
    "call_flow.py::test_capability_signalling": "its call is over when a second has passed",
}
"""Scenarios that the worst are not held against, and why."""


MAY_BE_SILENT: dict[str, str] = {
    "errors.py::test_exhaustion[fifty at once]": "beside fifty handshakes there may be two seconds of silence",
    "multi_peer.py::test_isolation": "of Bob, whose line is bad, only that he loses something is judged",
    "errors.py::test_exhaustion[media queue]": "how late its audio comes is not judged: the line's own buffer is without bound",
}
"""Scenarios with those parameters with which they say nothing of a silence that is shorter than they allow, and why."""


APART: dict[tuple[str, str], str] = {
    ("thins-out", "loopback.py::test_multiple_packets"): "there is no sound",
    ("stops-listening@often", "hostile.py::test_hijack[muted]"): "nobody speaks to the one who does not listen",
}
"""Cheats, and scenarios in which they can do nothing, and why."""


def spared(cheat: Cheat, scenario: str) -> bool:
    """Whether ``scenario`` (a node id below scenarios/) can say nothing of ``cheat``, although it makes such a claim."""
    if (cheat.name, scenario) in APART:
        return True
    return any(scenario.startswith(one) for one in SPARED) or (scenario in MAY_BE_SILENT and set(cheat.breaks) == {"silence"})
