"""A series of deaths: each is struck, watched until nothing is left, and looked at; ordinary runs in between show that nobody noticed."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.killed import deaths, host_state, leavings, victims
from tests.killed.deaths import Plan
from tests.killed.little_host import unmount
from tests.killed.victims import Victim

GONE_WITHIN = 3.0
"""Seconds after which nothing of a run may be left."""
ENDS_WITHIN = 200.0
"""Seconds in which a run that is to end by itself must: its own deadline is 180 s."""
POLL = 0.002
SLOW_POLL = 0.02
"""s between two looks that read files; with the random time after the phase that is looked for no moment is left out."""
CANARY = "bidirectional"


@dataclass
class Death:
    """What came of one.  ``ended``: s from the strike until the runner was gone; ``gone``: s from then (or from the strike, for those kinds
    that leave nothing at once) until nothing was left."""

    plan: Plan
    struck: bool
    phase: str
    code: int | None
    ended: float
    gone: float
    results: list[str]
    wrong: list[str] = field(default_factory=list)


DEATH = msgspec.json.Decoder(Death)


class Series:
    """The deaths that ``chosen`` tells when it is told how long a run takes (s), in ``folder``; after each ``batch`` an ordinary run.

    ``keep``: a folder for ``deaths.jsonl``, and for what those left that left something.
    """

    def __init__(self, folder: Path, chosen: Callable[[float], list[Plan]], batch: int, keep: Path | None, length: float = 0.0) -> None:
        self._folder = folder
        self._chosen = chosen
        self._batch = batch
        self._length = length
        self._keep = keep
        self._status: dict[int, int] = {}
        self.deaths: list[Death] = []
        self.wrong: list[str] = []

    def run(self) -> int:
        """All of them; 1 when anything was wrong."""
        self._temporary = self._folder / "tmp"
        self._temporary.mkdir()
        os.environ["TMPDIR"] = str(self._temporary)
        self._artifacts = self._folder / "artifacts-0"
        self._artifacts.mkdir()
        while not _settled():
            time.sleep(POLL)
        before = host_state.host()
        length = self._length
        if not length:
            length = self._ordinary()
            print(f"an ordinary run took {length:.1f} s", flush=True)
        for done, plan in enumerate(self._chosen(length)):
            if done and done % self._batch == 0:
                self._ordinary()
                shutil.rmtree(self._artifacts)
                self._artifacts = self._folder / f"artifacts-{plan.number}"
                self._artifacts.mkdir()
            death = self._die(plan, before)
            self.deaths.append(death)
            if self._keep is not None:
                with (self._keep / "deaths.jsonl").open("ab") as file:
                    file.write(msgspec.json.encode(death) + b"\n")
            told = "; ".join(death.wrong) or "nothing left"
            came = f"exit {death.code}, ended {death.ended:.2f} s, gone {death.gone:.2f} s, {' | '.join(death.results) or 'no run'}"
            print(f"{plan}: hit {death.phase if death.struck else 'nobody'}; {came}; {told}"[:900], flush=True)
        self._ordinary()
        self._wrong_here("the host at the end", host_state.differences(before, host_state.host()))
        print(table(self.deaths))
        for line in self.wrong:
            print(f"WRONG: {line}")
        return 1 if self.wrong or any(death.wrong for death in self.deaths) else 0

    # -- watching --------------------------------------------------------------------------------------------------------------------------

    def _reap(self, victim: Victim | None = None) -> None:
        """Collect the dead, orphans included, as PID 1 of a host does."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if victim is not None and pid == victim.process.pid:
                victim.process.returncode = os.waitstatus_to_exitcode(status)

    def _look(self, victim: Victim, pause: float = POLL) -> None:
        victim.read()
        self._reap(victim)
        time.sleep(pause)

    def _ordinary(self) -> float:
        """A run that nobody kills: it passes.  How long it took, s."""
        log = self._folder / "ordinary.log"
        victim = Victim(victims.run(CANARY, f"--artifacts={self._artifacts}", "--conclusive"), self._artifacts, log)
        while victim.process.returncode is None:
            self._look(victim)
        took = time.monotonic() - victim.began
        victim.close()
        if victim.process.returncode != 0 or not victims.passed(log.read_text(errors="replace")):
            self._wrong_here("an ordinary run after it", [log.read_text(errors="replace")[-2000:]])
        return took

    def _wrong_here(self, where: str, what: list[str]) -> None:
        after = self.deaths[-1].plan if self.deaths else "the start"
        self.wrong += [f"{where} (after {after}): {one}" for one in what]
        for one in what:
            print(f"WRONG: {where}: {one}", flush=True)

    # -- one death -------------------------------------------------------------------------------------------------------------------------

    def _die(self, plan: Plan, before: dict[str, str]) -> Death:
        log = self._folder / f"death-{plan.number}.log"
        artifacts = self._artifacts
        if plan.kind.full:
            artifacts = self._folder / f"full-{plan.number}"
            artifacts.mkdir()
        victim = deaths.start(plan, artifacts, log)
        self._await(plan, victim)
        phase = victim.phase()
        struck = victim.process.returncode is None and deaths.strike(plan, victim, lambda: self._look(victim, SLOW_POLL))
        phase = phase if plan.kind.target in ("", "runner") else victim.phase()
        at = time.monotonic()
        deadline = at + (GONE_WITHIN if plan.kind.at_once and struck else ENDS_WITHIN)
        while victim.process.returncode is None and time.monotonic() < deadline:
            self._look(victim)
        ended = time.monotonic()
        wrong = []
        if victim.process.returncode is None:
            wrong.append(f"the runner is still there after {ended - at:.1f} s")
        base = at if plan.kind.at_once else ended
        gone, left = self._left(victim, before, artifacts, base + GONE_WITHIN)
        gone -= base
        wrong += left
        early = struck and phase not in ("reported", "listed", "merging", "judged", "hung up")
        if early and victim.process.returncode not in (None, *plan.kind.codes):
            wrong.append(f"exit code {victim.process.returncode}, wanted {plan.kind.codes}")
        wrong += victim.terminal_left()
        code = victim.process.returncode
        self._end(victim)
        victim.close()
        folders = victim.folders()
        results = [leavings.result(folder) for folder in folders]
        wrong += [f"came to {result}" for result in results if plan.kind.target not in ("", "runner") and result.startswith("FAIL")]
        if not plan.kind.full:
            wrong += leavings.parts(artifacts)
            wrong += [line for folder in folders for line in leavings.unreadable(folder)]
            wrong += leavings.untold(artifacts, folders)
        else:
            wrong += [line for folder in folders for line in leavings.unreadable(folder)]
        if plan.kind.at_once or not struck:
            output = ""
        else:
            output = log.read_text(errors="replace") if log.exists() else ""
            started = folders or not plan.kind.parallel  # a worker that dies before it is there is what pytest-xdist has no answer to
            if "INTERNALERROR" in output and started and not plan.kind.few:  # with so few descriptors pytest itself cannot start
                wrong.append("pytest broke: INTERNALERROR")
        if wrong and self._keep is not None:
            if log.exists():
                shutil.copy(log, self._keep / log.name)
            for folder in folders:
                shutil.copytree(folder, self._keep / f"death-{plan.number}-{folder.name}", dirs_exist_ok=True)
        if plan.kind.full:
            unmount(str(artifacts))
            artifacts.rmdir()
        return Death(plan, struck, phase, code, ended - at, gone, results, wrong)

    def _await(self, plan: Plan, victim: Victim) -> None:
        """Come to the moment, or to the run's end, whichever is first."""
        moment = plan.moment
        if not plan.kind.target and not plan.kind.keys and not plan.kind.hang_up:
            return  # it is struck from its start
        reached = victims.PHASES.index(moment.phase) if moment.phase else 0
        since = victim.began if not moment.phase else None
        while victim.process.returncode is None:
            if since is None and victims.PHASES.index(victim.phase()) >= reached:
                since = time.monotonic()
            if since is not None and time.monotonic() - since >= moment.after:
                return
            self._look(victim, SLOW_POLL if since is None else POLL)

    def _left(self, victim: Victim, before: dict[str, str], artifacts: Path, deadline: float) -> tuple[float, list[str]]:
        """What is left of a run once its runner is gone, looked for until nothing is or the time is over; and when that look began."""
        while True:
            began = time.monotonic()
            self._reap(victim)
            left = [f"process {one}" for one in host_state.processes()]
            if not left:
                left = [line for line in host_state.differences(before, host_state.host()) if str(artifacts) not in line]
                left += [f"temporary file {path}" for path in self._temporary.rglob("*") if not _of_pytest(path, self._temporary)]
            if not left or began > deadline:
                shutil.rmtree(self._temporary)
                self._temporary.mkdir()
                return began, [f"left: {line}" for line in left]
            time.sleep(POLL)

    def _end(self, victim: Victim) -> None:
        """After a death that left processes: end them, so that the next one is told apart."""
        while processes := host_state.processes():
            for one in processes:
                try:
                    os.kill(one.pid, 9)  # everything in this PID namespace is of this run
                except ProcessLookupError:
                    continue
            self._reap(victim)
            time.sleep(POLL)


def _of_pytest(path: Path, root: Path) -> bool:
    """Whether it is what pytest itself keeps of its last three parallel sessions, however they ended: folders without anything of ours."""
    first, *rest = path.relative_to(root).parts
    inside = rest[1:]
    return first.startswith("pytest-of-") and (not inside or inside == [".lock"] or (len(inside) == 1 and inside[0].startswith("popen-gw")))


def _settled() -> bool:
    """Whether the kernel has done with the little host's own links: addresses are sure of themselves, the bridge forwards."""
    told = host_state.network()["ip -d addr"]
    return not any(word in told for word in ("tentative", "NO-CARRIER", "state learning", "state listening"))


def table(found: list[Death]) -> str:
    """Kind × count × worst times × what was wrong."""
    lines = ["", f"{'kind':<40} {'count':>5} {'hit':>4} {'ended, worst':>13} {'gone, median':>13} {'gone, worst':>12}  wrong"]
    for kind in dict.fromkeys(death.plan.kind.name for death in found):
        mine = [death for death in found if death.plan.kind.name == kind]
        hit = [death for death in mine if death.struck]
        gone = sorted(death.gone for death in hit)
        ended = max((death.ended for death in hit), default=0.0)
        middle = gone[len(gone) // 2] if gone else 0.0
        wrong = sum(bool(death.wrong) for death in mine) or "none"
        lines.append(
            f"{kind:<40} {len(mine):>5} {len(hit):>4} {ended:>11.2f} s {middle:>11.2f} s {max(gone, default=0.0):>10.2f} s  {wrong}"
        )
    phases = Counter(death.phase for death in found if death.struck)
    lines.append("phases hit: " + ", ".join(f"{phase} {phases[phase]}" for phase in victims.PHASES if phases[phase]))
    return "\n".join(lines)
