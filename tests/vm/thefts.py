"""``python -m tests.vm.thefts``: a guest's only processor is taken away for 20 to 500 ms, and the sampler inside must have seen each theft.

The guest's clock is this machine's here, else no time would pass inside while its processor stands still.  Nothing tells the guest of
it (an emulated processor has no steal in /proc/stat): each theft must be confirmed by its agent, which sleeps, not having used the core.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.vm.__main__ import CHECKOUT, KEPT, UNFIT
from tests.vm.core_thief import processor_thread, steal
from tests.vm.machine import Order, run
from tests.vm.packages import Unfit

LENGTHS_MS = (20, 50, 100, 200, 500)
TIMES = 3
MARK_S = 1.0
"""The first theft, longer than any other, tells how the two clocks lie to each other."""
PAUSE_S, LOOK_S = 0.6, 0.1
SHORT_MS, LONG_MS = 15.0, 60.0
"""A theft is seen so much too short at most: a tick of the sampler's, one of the guest's timer, what an emulated Python takes to wake up.
And so much too long: this machine takes the processor away too, now and then."""
READY_S, MACHINE_S = 120.0, 300.0


def main() -> int:
    try:
        wrong = held()
    except Unfit as error:
        print(f"no virtual machine here: {error}", file=sys.stderr)
        return UNFIT
    print("\n".join(wrong) or "each theft was seen")
    return 1 if wrong else 0


def held() -> list[str]:
    """What is wrong with what the sampler saw."""
    lengths = [MARK_S, *(ms / 1000 for ms in Random("thefts").sample(LENGTHS_MS * TIMES, len(LENGTHS_MS) * TIMES))]
    taken: list[tuple[int, int]] = []
    (CHECKOUT / "artifacts").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vm-thefts-", dir=CHECKOUT / "artifacts") as place:
        folder = Path(place)

        def beside(pid: int) -> None:
            deadline = time.monotonic() + READY_S
            while not (folder / "ready").exists() and time.monotonic() < deadline:
                time.sleep(LOOK_S)
            try:
                taken.extend(steal(processor_thread(pid), lengths, PAUSE_S))
                time.sleep(PAUSE_S)
            finally:
                (folder / "enough").touch()

        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        argv = [sys.executable, "-m", "tests.vm.theft_witness", str(folder)]
        order = Order(argv, CHECKOUT, {**environment, "PYTHONDONTWRITEBYTECODE": "1"}, [CHECKOUT], MACHINE_S, real_time=True)
        thread: list[threading.Thread] = []

        def start(pid: int) -> None:
            thread.append(threading.Thread(target=beside, args=(pid,)))
            thread[0].start()

        code = run(order, started=start)
        for one in thread:
            one.join()
        if code != 0 or len(taken) != len(lengths):
            return [f"the guest ended with {code}, and its processor was taken away {len(taken)} times of {len(lengths)}"]
        return compared(taken, json.loads((folder / "seen.json").read_text()))


def compared(taken: list[tuple[int, int]], seen: dict[str, Any]) -> list[str]:
    """What differs; ``taken``: (start, end) here, the first of them the mark, ns; ``seen``: what the guest left."""
    if seen["lost"]:
        return [seen["lost"]]
    thefts = [tuple(theft) for theft in seen["thefts"]]
    mark = max(thefts, key=lambda theft: theft[1] - theft[0], default=None)
    if mark is None:
        return ["no theft was seen at all"]
    offset = mark[1] - taken[0][1]
    wrong = []
    print("taken ms    seen ms    confirmed")
    for start, end in taken:
        near = [theft for theft in thefts if theft[0] - offset < end and theft[1] - offset > start]
        length = sum(theft[1] - theft[0] for theft in near) / 1e6
        sure = bool(near) and all(theft[2] for theft in near)
        print(f"{(end - start) / 1e6:8.1f}   {length:8.1f}    {'yes' if sure else 'no'}")
        if not -SHORT_MS <= length - (end - start) / 1e6 <= LONG_MS:
            wrong.append(f"a theft of {(end - start) / 1e6:.1f} ms was seen as {length:.1f} ms")
        elif not sure:
            wrong.append(f"a theft of {(end - start) / 1e6:.1f} ms was not confirmed")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
