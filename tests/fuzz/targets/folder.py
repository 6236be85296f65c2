"""A run's folder, as its page, the list of all runs, the comparison of two and the tables read it: one file of it is anything."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.errors import HarnessError, SpecError
from harness.lab.merged import marks, merge_captures
from harness.media.records import MediaLine
from harness.report import compare, drift, history, index, junit, model, page, text
from harness.report.artifacts import Artifacts
from harness.report.repetition import tally
from harness.report.situation import Situation
from harness.report.tell import tell
from tests.browser import long_run
from tests.fuzz.target import Kind, Ready, need, refusing, target
from tests.fuzz.targets.captures import capture
from tests.fuzz.targets.codecs import recordings
from tests.unit.report.runs import made
from tests.unit.report.test_tell import FRAMES, LINK, MAPPING, RULING, SEEN, SIGNAL, both

LINES = 24
"""Of each file, that the inputs stay small."""


def whole(root: Path) -> Path:
    """A run that left one of everything, each file short."""
    folder = root / "migration" / "roams" / "20260102-030405-seed7"
    long_run.write(folder, length=1)
    for path in (folder / "page.html", folder / "report.html"):
        path.unlink(missing_ok=True)
    for path in [*folder.glob("*.jsonl"), *folder.glob("qlog/*.sqlog")]:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: LINES // 2] + lines[-LINES // 2 :] if len(lines) > LINES else lines))
    events = [RULING, LINK, MAPPING, {**MAPPING, "kind": "mapping gone", "at": MAPPING["at"] + 5}]
    with (folder / "timeline.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(event) + b"\n" for event in events)
    with next((folder / "qlog").glob("alice*")).open("ab") as file:
        file.write(b"\x1e" + msgspec.json.encode(FRAMES) + b"\n")
    (folder / "signals.jsonl").write_bytes(msgspec.json.encode(SIGNAL) + b'\n{"notes":["a note"]}\n')
    (folder / "agents").mkdir()
    (folder / "agents" / "alice.log").write_text("a line\nanother\n")
    (folder / "agents" / "times.jsonl").write_bytes(msgspec.json.encode(SEEN) + b"\n")
    (folder / "heard.json").write_bytes(recordings())
    for name, data in (("bob-heard.ogg", b"OggS"), ("bob-heard.png", b"\x89PNG"), ("bob-seen.webm", b"\x1aE")):
        (folder / name).write_bytes(data)
    model.write(made(), folder / "report.json")
    return folder


def _shown(folder: Path) -> None:
    """The page of a run, and its story: whatever is in its files but report.json, there is one."""
    page.render(tell(folder), model.read(folder / "report.json"))


def _file(name: str, kind: Kind, *, share: float = 0.02, prepare: Callable[[Path], None] = lambda folder: None) -> None:
    """A target for one file of a run's folder."""

    @target(f"run/{name.partition('/')[2] or name}", kind, share=share, longest=8192)
    def make(root: Path) -> Ready:
        folder = whole(root)
        prepare(folder)
        path = folder / name if "*" not in name else next(folder.glob(name))
        seed = path.read_bytes()

        def run(data: bytes) -> None:
            path.write_bytes(data)
            with refusing(HarnessError) if name == "report.json" else _never():
                _shown(folder)

        return Ready(run, [seed])


class _never:  # noqa: N801 - reads as refusing does
    """Nothing may be raised."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _unjoined(folder: Path) -> None:
    """As a run is that was broken off: no media.jsonl, the agents' own records in its place."""
    lines = list(Artifacts(folder).lines("media.jsonl", MediaLine))
    for name in ("alice", "bob"):
        records = [one for line in lines for one in both(line)]
        mine = [one for one, line in zip(records, (line for line in lines for _ in both(line)), strict=True)]
        (folder / f"{name}.media.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in mine[:LINES]))
    (folder / "media.jsonl").unlink()


_file("report.json", "json", share=0.05)
_file("timeline.jsonl", "lines", share=0.04)
_file("media.jsonl", "lines")
_file("alice.media.jsonl", "lines", prepare=_unjoined)
_file("calls.jsonl", "lines")
_file("signals.jsonl", "lines")
_file("topology.json", "json")
_file("heard.json", "json")
_file("qlog/alice*", "lines")
_file("agents/times.jsonl", "lines")
_file("agents/alice.log", "lines")


@target("report_told", "json", share=0.05, longest=8192)
def report_told(_: Path) -> Ready:
    """A report as tables, JUnit properties and tallies: HarnessError; what is taken is written back to an equal one."""

    def run(data: bytes) -> None:
        with refusing(HarnessError):
            found = model.decode(data)
            need(model.decode(model.encode(found)) == found, "it does not come back as itself")
            for width in (60, 140):
                text.show(found, io.StringIO(), width=width)
            junit.properties(found)
            tally("it", [found, found])
            list(marks(found.faults, found.receipts, ["alice/wifi", "bob/eth"]))

    return Ready(run, [model.encode(made())])


@target("list_of_runs", "json", share=0.03, longest=8192)
def list_of_runs(root: Path) -> Ready:
    """A report among those of other runs: nothing is raised, the list of runs has it, or says why not."""
    seed = model.encode(made())
    for number in range(9):
        path = root / "migration" / "roams" / f"20260102-03040{number}-seed7" / "report.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(seed)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        found = history.read(root)
        need(len(found) == 9, "a run is not listed")
        index.render(found, root)
        drift.hint([number * len(data) % 7 for number in range(20)])

    return Ready(run, [seed])


@target("compared", "json", share=0.02, longest=8192)
def compared(root: Path) -> Ready:
    """A report beside another run: HarnessError."""
    one, other = whole(root / "a"), whole(root / "b")
    seed = (other / "report.json").read_bytes()

    def run(data: bytes) -> None:
        (other / "report.json").write_bytes(data)
        with refusing(HarnessError):
            compare.write(one, other, root / "compare.html")

    return Ready(run, [seed])


@target("run_merged", "json", share=0.1, longest=8192)
def run_merged(root: Path) -> Ready:
    """``harness capture`` of a run whose topology is anything: SpecError."""
    folder = whole(root)
    (folder / "capture").mkdir()
    capture(folder / "capture" / "alice-wifi.pcapng", "alice/wifi")

    def run(data: bytes) -> None:
        (folder / "topology.json").write_bytes(data)
        with refusing(SpecError):
            merge_captures(folder, (), (), "it")

    return Ready(run, [(folder / "topology.json").read_bytes()])


@target("situation", "lines", share=0.4, longest=4096)
def situation(_: Path) -> Ready:
    """A timeline as an onlooker takes it in line by line: nothing is raised."""
    began = {"at": 10**12, "source": "lab", "kind": "began"}
    seeds = [{"at": 10**12 + 1, "source": "alice", "kind": "event", "message": {"event": "state_changed", "call": "c", "new": "Connected"}}]
    seeds += [{"at": 10**12 + 2, "source": "fabric", "kind": "receipt", "receipt": {"fault": "f", "kind": "link", "taken": True}}]
    media = {"event": "media", "call": "c", "flow": "audio", "sent": 3, "heard": 2, "last_heard": 10**12, "at": 10**12 + 3}
    seeds += [{"at": 10**12 + 3, "source": name, "kind": "event", "message": media} for name in ("alice", "bob")]
    seeds += [{"at": 10**12 + 4, "source": "lab", "kind": kind, "text": "f"} for kind in ("fault", "fault over")]

    def run(data: bytes) -> None:
        now = Situation()
        now.take(began)
        for line in data.split(b"\n"):
            try:
                message = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            # Sources, kinds and times are the harness's own; what an agent said is anything.
            message = message if isinstance(message, dict) else {}
            own = {"at": 10**12 + 5, "source": str(message.get("source")), "kind": str(message.get("kind"))}
            now.take({**message, **own})
        for call in now.going_on():
            now.ways(call, 10**12 + 10**9)

    return Ready(run, [b"\n".join(msgspec.json.encode(one) for one in seeds)])
