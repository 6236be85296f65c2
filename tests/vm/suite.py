"""``python -m tests.vm.suite``: what the virtual machine is to show; each part in a machine of its own, as many at a time as processors.

An emulated machine is one thread of work, and the load of this computer stalls nobody inside.  Each part's output is shown when it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.vm import machine, packages
from tests.vm.__main__ import CHECKOUT, UNFIT

PYTEST = (sys.executable, "-m", "pytest", "-q", "--durations=0", "--durations-min=20")
ARTIFACTS = Path("artifacts/vm")
FIGURES = ARTIFACTS / "netem.json"


def scenarios(name: str) -> tuple[str, ...]:
    """Each once; where netem can say a link it carries it, else the relay does."""
    return (*PYTEST, f"scenarios/{name}.py", "-p", "harness.pytest_plugin", "--conclusive", "-m", "not long", f"--artifacts={ARTIFACTS}")


PARTS = {
    "migration with netem": scenarios("migration"),
    "rebinding with netem": scenarios("rebinding"),
    "conformance of netem": (*PYTEST, "tests/conformance/test_links.py", "-k", "netem", f"--figures={FIGURES}"),
    "netem against the relay": (*PYTEST, "tests/conformance/test_differential.py"),
    "limits on namespaces": (*PYTEST, "tests/conformance/test_unfit.py"),
}
THEFTS = "stolen processor"
SECONDS = 1800


def main() -> int:
    try:
        packages.need_qemu()
        machine.images()
    except packages.Unfit as error:
        print(f"no virtual machine here: {error}", file=sys.stderr)
        return UNFIT
    shutil.rmtree(ARTIFACTS, ignore_errors=True)
    # What has no bytecode yet would be compiled inside, slowly, by every process.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "harness", "scenarios", "topologies", "tests"], cwd=CHECKOUT, check=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    telling, running, over = threading.Lock(), set[subprocess.Popen[str]](), threading.Event()

    def run(part: str) -> int:
        began = time.monotonic()
        inside = [sys.executable, "-m", "tests.vm", f"--seconds={SECONDS}", *PARTS.get(part, ())]
        command = inside if part in PARTS else [sys.executable, "-m", "tests.vm.thefts"]
        with telling:
            if over.is_set():
                return 1
            process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            running.add(process)
        said = process.communicate()[0]
        with telling:
            running.remove(process)
            print(f"== {part}: exit code {process.returncode} after {time.monotonic() - began:.0f} s\n{said}", flush=True)
        return process.returncode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            codes = dict(zip(PARTS, pool.map(run, PARTS), strict=True))
            codes[THEFTS] = run(THEFTS)  # alone: its clock is this machine's
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        finally:  # Ctrl-C or SIGTERM: the machines end with us
            with telling:
                over.set()
                for process in running:
                    process.terminate()
    failed = [part for part, code in codes.items() if code] or without_netem()
    print("all parts passed, with netem" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def without_netem() -> list[str]:
    """What ran without netem all the same: a kernel that has none lets tests skip and scenarios take the relay."""
    reports = {path: json.loads(path.read_text())["executor"] for path in ARTIFACTS.glob("*/*/*/report.json")}
    told = [f"{path} was run by {executor}" for path, executor in reports.items() if "netem" not in executor]
    figures = json.loads(FIGURES.read_text())["figures"]
    if not any(figure["executor"] == "netem" and figure["value"] is not None for figure in figures):
        told.append(f"{FIGURES} has nothing of netem")
    return told if reports else [*told, f"{ARTIFACTS} has no report"]


if __name__ == "__main__":
    sys.exit(main())
