"""A lab without pytest, for benchmarks that drive a call themselves."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from harness.lab import Lab
from harness.lab.lab import Orders
from harness.lab.timeline import Unseen


@contextlib.asynccontextmanager
async def open_lab(name: str, seed: int) -> AsyncIterator[Lab]:
    """A Lab whose artifacts are thrown away; verdicts that its waits add (a flow not heard) become an error."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        lab = Lab("bench", name, Orders(Path(folder), seed), Unseen(), f"python -m benchmarks {name}")
        async with lab.open():
            yield lab
        if lab.verdicts:
            raise RuntimeError(f"{name}, seed {seed}: {lab.verdicts[0].name}: {lab.verdicts[0].value}")
