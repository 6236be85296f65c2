"""What pages cost: of a made-up call of 60 s with audio and video, and the index of 1,000 runs.  Seconds of this process' CPU.

A page's work is compared with the least that any reader of the same files must do: read and decode every line of them as JSON.  Both take
turns in one run, so the ratio does not depend on the machine.  The page's size is counted in bytes.

The made-up call has what a real one of that length has (20,000 packets, 2 qlogs, a timeline) but for the qlogs' events that no page shows.
The index's 1,000 runs are that call's report under other dates, in 20 tests.

The page of ten minutes (276,000 packets) is opened in headless Chromium, panned, zoomed and pointed at, 120 frames each: by the clock, as a
person waits.  Needs Debian's package chromium.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec

from benchmarks.row import Row, median, spread
from harness.report import index, model, page
from tests.browser import long_run, speed
from tests.browser.chromium import chromium

LENGTH_S = 60
LONG_S = 600
RUNS = 1000


def run(quick: bool) -> Iterator[Row]:
    """9 times each, in turns; quick: 3."""
    times = 3 if quick else 9
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = root / "call"
        size = long_run.write(folder, length=LENGTH_S).stat().st_size
        files = [path for path in folder.rglob("*") if path.suffix in (".jsonl", ".sqlog", ".json")]
        built, read, listed = [], [], []
        _many(folder, root / "artifacts")
        for _ in range(times):
            built.append(_took(lambda: page.write(folder)))
            read.append(_took(lambda: _decode(files)))
            listed.append(_took(lambda: index.write(root / "artifacts")))
        yield Row("pages", f"page of {LENGTH_S} s of audio and video", median(built), "s", 2.0, n=times, note=spread(built, 2))
        ratio = median(built) / median(read)
        yield Row("pages", "… in times of reading and decoding its files", ratio, "×", n=times, note=f"these take {median(read):.2f} s")
        yield Row("pages", "… its size", size / 1000, "kB", 1000.0)
        yield Row("pages", f"index of {RUNS} runs", median(listed), "s", 1.0, n=times, note=spread(listed, 2))
        shutil.rmtree(root / "artifacts")
        yield from _watched(long_run.write(root / "long", length=LONG_S), quick)


def _watched(file: Path, quick: bool) -> Iterator[Row]:
    """How the page moves in a browser."""
    try:
        with chromium() as browser:
            opened = [speed.opening(browser, file).wall[0] / 1000 for _ in range(1 if quick else 5)]
            moved = speed.moving(browser, file)
    except FileNotFoundError as lacking:
        yield Row("pages", f"a call of {LONG_S} s in a browser", None, note=str(lacking))
        return
    yield Row("pages", f"a call of {LONG_S} s opens", median(opened), "s", 2.0, n=len(opened), note=spread(opened, 2))
    for name, times in moved.items():
        note = f"worst {max(times.wall):.0f} ms; the page's own thread works {times.cpu:.0f} ms in the mean"
        yield Row("pages", f"… a frame: {name}", median(times.wall), "ms", 50.0, n=len(times.wall), note=note)


def _took(what: Callable[[], object]) -> float:
    began = time.process_time()
    what()
    return time.process_time() - began


def _decode(files: list[Path]) -> None:
    for path in files:
        text = path.read_bytes()
        for line in [text] if path.suffix == ".json" else text.splitlines():
            msgspec.json.decode(line.strip(b"\x1e"))


def _many(folder: Path, root: Path) -> None:
    report = model.read(folder / "report.json")
    for number in range(RUNS):
        began = report.started + timedelta(minutes=number)
        where = root / "made_up" / f"test_{number % 20}" / f"{began:%Y%m%d-%H%M%S}-seed{number}"
        where.mkdir(parents=True)
        one = msgspec.structs.replace(report, seed=number, started=began, ended=began + (report.ended - report.started))
        model.write(one, where / "report.json")
