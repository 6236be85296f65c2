"""``python -m tests.vm.theft_witness FOLDER``, in the guest: the sampler beside an agent that sleeps.

Writes ``FOLDER/ready`` when it samples, samples until ``FOLDER/enough`` is there, and leaves ``FOLDER/seen.json``: thefts, and waits of
the machine (start, end, confirmed), ns of the guest's clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import trio

from harness.fabric.sampler import start_sampler

AGENT = "import time\nwhile True: time.sleep(1)"
_LOOK_S = 0.1


def main(folder: Path) -> None:
    sampler = start_sampler(folder / "samples.log", folder / "sampler.err")
    process = subprocess.Popen([sys.executable, "-S", "-c", AGENT])
    try:
        sampler.watch("alice", process.pid, process.pid)
        while sampler.read().until == 0:
            time.sleep(_LOOK_S)
        (folder / "ready").touch()
        while not (folder / "enough").exists():
            time.sleep(_LOOK_S)
        samples = trio.run(sampler.end)
    finally:
        sampler.kill()
        process.kill()
        process.wait()
    seen = [(theft.start, theft.end, theft.confirmed) for theft in samples.thefts]
    seen += [(start, end, True) for start, end in samples.machine_waits]
    (folder / "seen.json").write_text(json.dumps({"thefts": seen, "lost": samples.lost, "cost": samples.cost}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
