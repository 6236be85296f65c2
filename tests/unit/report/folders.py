"""Folders of runs made by hand, for the tests of what is built from many of them."""

from __future__ import annotations

import base64
import json
import re
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.report import model
from harness.units import ms
from harness.verdict import Verdict, at_most
from tests.unit.report.runs import STARTED, made


def place(root: Path, number: int, scenario: str = "migration", test: str = "roams", seed: int = 1) -> Path:
    """The folder of the ``number``th run, made."""
    stamp = (STARTED + timedelta(minutes=number)).strftime("%Y%m%d-%H%M%S")
    folder = root / scenario / test / f"{stamp}-seed{seed}"
    folder.mkdir(parents=True)
    return folder


def put(root: Path, number: int, verdicts: list[Verdict] | None = None, seed: int = 1, test: str = "roams", **changes: Any) -> Path:
    """The folder of the ``number``th run, with its report."""
    folder = place(root, number, test=re.sub(r"[^a-z0-9_]+", "-", test).strip("-"), seed=seed)
    began = STARTED + timedelta(minutes=number)
    fields = {
        "test": test,
        "seed": seed,
        "started": began,
        "ended": began + timedelta(seconds=9),
        "command": f"harness run {test} --seed={seed}",
    }
    report = made([at_most("silence", 50 * ms, 200 * ms)] if verdicts is None else verdicts, **fields | changes)
    model.write(report, folder / "report.json")
    return folder


def carried(html: str, element: str) -> Any:
    """What a page carries in an element, unpacked as its scripts do it."""
    packed = re.search(rf'<script type="application/octet-stream" id="{element}">([^<]*)</script>', html)
    assert packed is not None
    return json.loads(zlib.decompress(base64.b64decode(packed[1], validate=True)))
