"""``python -m tests.fuzz [--inputs N] [--seed S] [--only NAME …]``: every target, so many inputs in all, two at a time; a table at the end.

``--again FILE --only NAME`` runs one input that was kept.  Defects, the slowest inputs and ``fuzz.json`` are left in ``artifacts/fuzz``.
Exit 1 when there was a defect.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tests.fuzz import engine
from tests.fuzz.engine import Outcome, Shared
from tests.fuzz.target import TARGETS, Target

STUCK = 300
"""Seconds without a new input after which a target is ended: code in C that no timer interrupts."""
LOOK = 1.0
"""Seconds between two looks at targets of which none ends."""
GROWTH = 64 << 10
"""KiB by which a target may grow while it runs: what libFuzzer keeps of its corpus is among it."""
STATE = 8
"""By how much more the reader under test may hold at the end than after a fifth of the inputs."""


def load(instrumented: bool) -> None:
    """Import all targets, with the harness's own modules and aioquic's ready to tell what was reached."""
    if not instrumented:
        import tests.fuzz.targets

        return
    import atheris

    logging.getLogger().setLevel(logging.WARNING)  # it tells of each module
    with atheris.instrument_imports(include=["harness", "aioquic"], enable_loader_override=False):
        import tests.fuzz.targets  # noqa: F401
    import numpy  # noqa: F401 - else every process would load it when it first decodes


def shares(inputs: int, names: list[str]) -> dict[str, int]:
    """How many inputs each target gets, ``inputs`` or a few more in all."""
    whole = sum(TARGETS[name].share for name in names)
    return {name: max(20, -int(-inputs * TARGETS[name].share // whole)) for name in names}


def child(target: Target, limit: int, seed: int, folder: Path, instrumented: bool) -> None:
    """Run one target; leaves ``outcome`` in ``folder``."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    engine.prepare()
    shared = Shared(folder / "shared")
    place = folder / "place"
    place.mkdir()

    def done(outcome: Outcome) -> None:
        (folder / "outcome").write_bytes(msgspec.json.encode(outcome))

    ready = target.make(place)
    if instrumented:
        engine.run_atheris(target, ready, limit, seed, shared, folder, done)
    else:
        done(engine.run_random(target, ready, limit, seed, shared))


def start(target: Target, limit: int, seed: int, folder: Path, instrumented: bool) -> int:
    """The process that runs it."""
    folder.mkdir(parents=True)
    Shared(folder / "shared")
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        child(target, limit, seed, folder, instrumented)
        status = 0
    except BaseException:
        import traceback

        (folder / "broken").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def outcome_of(name: str, folder: Path, status: int, stuck: bool) -> Outcome:
    """What a process left, or what is known of one that died."""
    path = folder / "outcome"
    if path.is_file():
        return msgspec.json.decode(path.read_bytes(), type=Outcome)
    count, data = Shared(folder / "shared").latest()
    broken = (folder / "broken").read_text() if (folder / "broken").is_file() else ""
    why = f"no new input for {STUCK} s" if stuck else broken or f"its process ended with status {status}"
    log = (folder / "log").read_text(errors="replace")[-2000:] if (folder / "log").is_file() else ""
    return Outcome(name=name, engine="?", inputs=count, defect=f"{why}\n{log}", input=data)


def run_all(names: list[str], inputs: int, seed: int, jobs: int, work: Path, instrumented: bool) -> list[Outcome]:
    """All of them, ``jobs`` at a time, the longest first."""
    waiting = sorted(shares(inputs, names).items(), key=lambda item: item[1])
    running: dict[int, tuple[str, Path, int, float]] = {}
    found: list[Outcome] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            name, limit = waiting.pop()
            folder = work / name.replace("/", "-")
            running[start(TARGETS[name], limit, seed, folder, instrumented)] = (name, folder, 0, time.monotonic())
        for process, (name, folder, count, since) in list(running.items()):
            stuck = time.monotonic() - since > STUCK
            if stuck:
                os.kill(process, signal.SIGKILL)
            ended, status = os.waitpid(process, 0 if stuck else os.WNOHANG)
            if ended:
                del running[process]
                outcome = outcome_of(name, folder, status, stuck)
                found.append(outcome)
                print(row(outcome), flush=True)
            elif (now := Shared(folder / "shared").latest()[0]) != count:
                running[process] = (name, folder, now, time.monotonic())
        ends = [os.pidfd_open(process) for process in running]
        select.select(ends, [], [], LOOK if running else 0)
        for end in ends:
            os.close(end)
    return sorted(found, key=lambda one: list(TARGETS).index(one.name))


HEADINGS = ("target", "inputs", "a second", "corpus / cov", "slowest", "grown by", "holds", "")


def row(one: Outcome) -> str:
    """A line of the table."""
    rate = f"{one.inputs / one.seconds:.0f}" if one.seconds else "–"
    state = f"{one.state} ({one.state_grown:+})" if one.state or one.state_grown else "–"
    cells = (one.name, f"{one.inputs}", rate, one.corpus or "–", f"{one.slowest * 1000:.1f} ms", f"{one.grown_kib / 1024:.1f} MiB", state)
    return "  ".join([cells[0].ljust(20), *(cell.rjust(10) for cell in cells[1:]), verdict(one)])


def verdict(one: Outcome) -> str:
    """What is wrong, "" when nothing is."""
    if one.defect:
        return "DEFECT: " + one.defect.strip().splitlines()[-1][:120]
    if one.grown_kib > GROWTH or one.state_grown > STATE:
        return "IT GROWS"
    return ""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Bytes of other people's making, thrown at everything that reads them.")
    parser.add_argument("--inputs", type=int, default=50_000, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="a target's name or its beginning; more than once")
    parser.add_argument("--engine", choices=("atheris", "random"), default=None, help="atheris where it is installed")
    parser.add_argument("--output", type=Path, default=Path("artifacts/fuzz"))
    parser.add_argument("--again", type=Path, help="run this one input, with --only")
    asked = parser.parse_args()
    instrumented = asked.engine != "random" and asked.again is None
    if instrumented and asked.engine is None:
        try:
            import atheris  # noqa: F401
        except ModuleNotFoundError:
            instrumented = False
    load(instrumented)
    names = [name for name in TARGETS if not asked.only or any(name.startswith(one) for one in asked.only)]
    if not names:
        parser.error(f"there is no such target; there are {', '.join(TARGETS)}")
    if asked.again is not None:
        with tempfile.TemporaryDirectory() as folder:
            TARGETS[names[0]].make(Path(folder)).run(asked.again.read_bytes())
        print(f"{names[0]}: nothing is wrong with {asked.again}")
        return 0
    print(f"{len(names)} targets, engine {'atheris' if instrumented else 'random'}, seed {asked.seed}")
    print("  ".join([HEADINGS[0].ljust(20), *(heading.rjust(10) for heading in HEADINGS[1:-1])]))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
        found = run_all(names, asked.inputs, asked.seed, asked.jobs, Path(work), instrumented)
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "fuzz.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    bad = [one for one in found if verdict(one)]
    for one in bad:
        place = asked.output / f"{one.name.replace('/', '-')}.input"
        place.write_bytes(one.input)
        print(f"\n{one.name}: {verdict(one)}\n{one.defect}\nagain: python -m tests.fuzz --only {one.name} --again {place}")
    inputs = sum(one.inputs for one in found)
    print(f"\n{inputs} inputs to {len(found)} readers in {time.monotonic() - began:.0f} s: {len(bad)} with a defect")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
