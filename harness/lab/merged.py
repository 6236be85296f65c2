"""``capture.pcapng`` of a run: all its captures in one file, with the call's secrets and a comment at every fault and receipt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness import rotation
from harness.fabric.capture import file_name
from harness.fabric.merged_capture import Mark, Merged, merge
from harness.spec.topology import Topology
from harness.verdict import Fault, Receipt

NAME = "capture.pcapng"
LIMIT = 256 << 20
"""Bytes of captures above which a run does not double them by itself: some four minutes of a video call over twelve interfaces."""
_SECRETS_READ = 8 << 20


def merge_captures(folder: Path, faults: Sequence[Fault], receipts: Sequence[Receipt], about: str, limit: int | None = None) -> str:
    """Make the merged capture of the run in ``folder`` anew; in words what is in it, or why there is none.

    ``limit``: bytes of captures above which none is made.  SpecError when the run's topology cannot be read, OSError as the files give it.
    """
    topology = folder / "topology.json"
    if not topology.is_file():
        return f"no {NAME}: no network was built"
    network = Topology.from_json(topology.read_bytes())
    ports = {end: network.port(end) for link in network.links for end in (link.a, link.b)}
    found = {name: folder / "capture" / file_name(name) for name in ports}
    captures = {name: path for name, path in found.items() if path.is_file()}
    if not captures:
        return f"no {NAME}: nothing was captured"
    size = sum(part.stat().st_size for path in captures.values() for part in rotation.parts(path))
    if limit is not None and size > limit:
        return f"no {NAME}: the captures are {size >> 20} MiB, above {limit >> 20}; `harness capture {folder}` makes it all the same"
    noted = list(marks(faults, receipts, captures))
    merged = merge(captures, folder / NAME, ports=ports, key_log=_key_log(folder), marks=noted, about=about)
    return "; ".join(_told(merged))


def marks(faults: Sequence[Fault], receipts: Sequence[Receipt], interfaces: Iterable[str]) -> Iterator[Mark]:
    """A comment at the beginning and at the end of each fault, and at each receipt: at those of ``interfaces`` that it names.

    A receipt taken from a host's capture belongs to all of that host's.
    """
    for fault in faults:
        yield Mark(fault.began, f"FAULT: {fault.name}")
        if fault.ended is not None:
            yield Mark(fault.ended, f"FAULT OVER: {fault.name}")
    for receipt in receipts:
        seen = msgspec.json.encode(receipt.observed, enc_hook=str).decode()
        text = f"RECEIPT: {receipt.kind} {'seen' if receipt.taken else 'NOT SEEN'} by {receipt.source}, of: {receipt.fault}; {seen}"
        host = receipt.source.removeprefix("capture ").partition(",")[0] if receipt.source.startswith("capture ") else None
        yield Mark(receipt.at, text, tuple(name for name in interfaces if name in receipt.observed or name.partition("/")[0] == host))


def _key_log(folder: Path) -> bytes:
    try:
        with (folder / "keys.log").open("rb") as file:
            return file.read(_SECRETS_READ)
    except FileNotFoundError:
        return b""


def _told(merged: Merged) -> Iterator[str]:
    interfaces = f"{len(merged.interfaces)} interfaces"
    yield f"{NAME}: {merged.packets} packets of {interfaces}, {merged.secrets} TLS secrets, {merged.comments} comments"
    if merged.secrets_left_out:
        yield f"{merged.secrets_left_out} lines of keys.log left out, which are no secrets or too many"
    if merged.cut:
        yield "not all of: " + ", ".join(f"{name} ({why})" for name, why in merged.cut.items())
    if merged.unplaced:
        yield "without a packet to stand on: " + ", ".join(mark.text for mark in merged.unplaced)
