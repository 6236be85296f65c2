"""A run's folder made up from a seed: a call of any length with audio and video, a handover, an outage, loss, late packets and stalls.

``python -m tests.browser.long_run FOLDER --length 600`` writes one and its page.  The verdicts are the project's own, of the packets
written, so that what a page draws can be held against them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.media.figure import Figure
from harness.media.measures import Heard
from harness.media.records import Arrival, MediaLine, MediaPacket
from harness.media.schedule import FOREVER, pace_of
from harness.outcome import Outcome
from harness.report import model, page
from harness.units import Count, Duration, ms
from harness.verdict import Fault, Receipt, Result, Stall, Verdict, at_most
from topologies.phone_two_radios import phone_two_radios

S, MS = 10**9, 10**6
ZERO = 1000 * S
CALL = "00000000-0000-4000-8000-000000000001"
DEADLINE = 200 * MS
SIDES = (("alice", "bob"), ("bob", "alice"))


def write(folder: Path, *, length: int = 60, seed: int = 1, video: bool = True) -> Path:
    """The artifacts of a call of ``length`` seconds in ``folder``, and its page, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    opened, closed = ZERO + S, ZERO + (1 + length) * S
    moved, outage = opened + (closed - opened) * 4 // 10, opened + (closed - opened) * 7 // 10
    flows = [
        list(_flow(rng, *side, flow, opened, closed, moved, outage))
        for flow in (("audio", "video") if video else ("audio",))
        for side in SIDES
    ]
    with (folder / "media.jsonl").open("wb") as file:
        for line in (line for flow in flows for line in flow):
            file.write(msgspec.json.encode(line) + b"\n")
    names = ["audio", "video"] if video else ["audio"]
    free = {_direction(flow): _free(flow) for flow in flows}
    call = {
        "call": CALL,
        "caller": "alice",
        "callee": "bob",
        "flows": names,
        "asked": ZERO,
        "opened": opened,
        "closed": closed,
        "deadline": DEADLINE,
        "free": free,
    }
    (folder / "calls.jsonl").write_bytes(msgspec.json.encode(call) + b"\n")
    (folder / "topology.json").write_text(phone_two_radios().to_json())
    _timeline(folder, opened, closed, moved, outage)
    _qlog(folder, rng, opened, closed, moved)
    faults = (_fault("Alice walks out of the door", moved, S), _fault("Nothing gets through", outage, 800 * MS))
    stalls = tuple(_stall(rng, opened, closed) for _ in range(length // 4))
    lost = sum(line.arrived is None for flow in flows[:2] for line in flow)
    verdicts = (*(_silence(flow, opened, closed) for flow in flows[:2]), at_most("audio packets lost", Count(lost), Count(10**6)))
    seen = {"alice/wifi": "up → down", "home/lan": "up → down"}
    receipt = Receipt(fault=faults[0].name, kind="link", at=moved + 5 * MS, observed=seen, taken=True, source="rtnetlink")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    told = model.report(
        _outcome(verdicts),
        scenario="made_up",
        test="long_run",
        receipts=(receipt,),
        faults=faults,
        stalls=stalls,
        seed=seed,
        executor="relay",
        kernel="none",
        command="none: it is made up",
        started=began,
        ended=began + timedelta(seconds=length),
    )
    model.write(told, folder / "report.json")
    return page.write(folder)


def _outcome(verdicts: tuple[Verdict, ...]) -> Outcome:
    failed = [one for one in verdicts if one.result is not Result.PASS]
    if not failed:
        return Outcome(result=Result.PASS, blame=None, reasons=(), verdicts=verdicts)
    reasons = tuple(f"{one.name} ({one.direction}): {one.value}" for one in failed)
    return Outcome(result=Result.FAIL, blame=failed[0].blame, reasons=reasons, verdicts=verdicts)


def _stall(rng: random.Random, opened: int, closed: int) -> Stall:
    at = rng.randrange(opened, closed)
    return Stall(start=at, end=at + rng.randrange(2, 12) * MS, who="relay")


def _fault(name: str, began: int, length: int) -> Fault:
    return Fault(name=name, began=began, ended=began + length)


def _silence(lines: list[MediaLine], opened: int, closed: int) -> Verdict:
    """The longest silence, as a scenario judges it: 100 ms are allowed, the outage misses that."""
    packets = [_packet(line) for line in lines]
    pace, free = pace_of(lines[0].flow), _free(lines)
    heard = Heard(packets, _direction(lines), opened, closed, Duration(DEADLINE), pace=pace, free=free).longest_gap()
    gap = next(gap for gap in heard.gaps if gap.excess == heard.value)
    return at_most("longest silence", Figure(gap.excess, heard.direction, (gap,)), 100 * ms)


def _direction(lines: list[MediaLine]) -> str:
    return f"{lines[0].sender} → {lines[0].receiver} {lines[0].flow}"


def _free(lines: list[MediaLine]) -> list[tuple[int, int]]:
    """The source is owed from its first packet to its last."""
    return [(-FOREVER, lines[0].offered), (lines[-1].offered + 1, FOREVER)]


def _packet(line: MediaLine) -> MediaPacket:
    arrivals = () if line.arrived is None else (Arrival(line.arrived, line.came_by or "", "", 0),)
    return MediaPacket(
        **{
            name: getattr(line, name)
            for name in ("call", "flow", "ssrc", "seq", "index", "frame", "marker", "size", "offered", "sent", "path", "taken", "delay")
        },
        rtp=0,
        pt=0,
        remote=None,
        udp=None,
        mode="datagram",
        arrivals=arrivals,
    )


def _flow(
    rng: random.Random, sender: str, receiver: str, flow: str, opened: int, closed: int, moved: int, outage: int
) -> Iterator[MediaLine]:
    at, index, frame, ready = opened, 0, 0, 0
    step, packets = (20 * MS, 1) if flow == "audio" else (S // 30, 6)
    while at < closed - 300 * MS:
        for part in range(packets):
            radio = "wifi" if at < moved else "lte"
            mine, theirs = (radio, "eth") if sender == "alice" else ("eth", radio)
            own = (20 if radio == "wifi" else 35) * MS
            base = own + rng.randrange(4 * MS)
            lost = rng.random() < 0.003 or outage <= at < outage + 400 * MS
            unsent = outage + 400 * MS <= at < outage + 500 * MS and sender == "alice"
            late = 210 * MS if rng.random() < 0.0005 else 0
            ready = max(ready + 10_000, at + part * 1000 + base)
            arrived = None if lost or unsent else ready + late
            yield MediaLine(
                call=CALL,
                flow=flow,
                sender=sender,
                receiver=receiver,
                ssrc=1 if flow == "audio" else 2,
                seq=index & 0xFFFF,
                index=index,
                frame=frame,
                marker=part == packets - 1,
                size=92 if flow == "audio" else 1000 if part < packets - 1 else 300 + rng.randrange(500),
                offered=at,
                sent=None if unsent else at + part * 1000 + 200_000 + rng.randrange(300_000),
                arrived=arrived,
                copies=int(arrived is not None),
                path=None if unsent else mine,
                came_by=None if arrived is None else theirs,
                unsent="expired" if unsent else None,
                taken=None if index % 197 == 40 else arrived,
                delay=own,
            )
            index += 1
        frame += 1
        at += step


def _timeline(folder: Path, opened: int, closed: int, moved: int, outage: int) -> None:
    events: list[dict[str, object]] = [{"at": ZERO, "source": "lab", "kind": "began", "text": "made up"}]
    for peer in ("alice", "bob"):
        events.append({"at": ZERO, "source": peer, "kind": "agent", "text": "none"})
        states = (
            (ZERO + 300 * MS, "Idle", "Calling"),
            (ZERO + 600 * MS, "Calling", "Connected"),
            (closed, "Connected", "Ending"),
            (closed + 50 * MS, "Ending", "Idle"),
        )
        for at, old, new in states:
            message = {"event": "state_changed", "call": CALL, "old": old, "new": new}
            events.append({"at": at, "source": peer, "kind": "event", "text": f"{old} → {new}", "message": message})
    for at, name in ((moved, "Alice walks out of the door"), (outage, "Nothing gets through")):
        events.append({"at": at, "source": "lab", "kind": "fault", "text": name})
    for late, kind in ((1, "probing"), (72, "validated"), (73, "migrated")):
        message = {"event": "path", "call": CALL, "kind": kind, "path": "lte", "remote": "198.51.100.66:4433"}
        events.append({"at": moved + late * MS, "source": "alice", "kind": "event", "text": f"path {kind} lte", "message": message})
    events.append({"at": closed + 100 * MS, "source": "lab", "kind": "over", "text": "the end"})
    with (folder / "timeline.jsonl").open("wb") as file:
        for event in events:
            file.write(msgspec.json.encode(event) + b"\n")


def _qlog(folder: Path, rng: random.Random, opened: int, closed: int, moved: int) -> None:
    (folder / "qlog").mkdir(exist_ok=True)
    for peer, role in (("alice", "client"), ("bob", "server")):
        with (folder / "qlog" / f"{peer}-0123456789abcdef-{role}.sqlog").open("wb") as file:
            for at in range(opened, closed, 25 * MS):
                rtt = (42 if at < moved else 72) + rng.random() * 3
                data = {
                    "latest_rtt": rtt,
                    "smoothed_rtt": rtt - 1,
                    "congestion_window": 12000 + (at - opened) // MS // 10 * 10,
                    "bytes_in_flight": rng.randrange(9000),
                }
                file.write(b"\x1e" + msgspec.json.encode({"time": at / 1e6, "name": "recovery:metrics_updated", "data": data}) + b"\n")


def main(folder: Path, length: Annotated[int, typer.Option(help="seconds")] = 600, seed: int = 1, audio_only: bool = False) -> None:
    """Write the run and its page."""
    print(write(folder, length=length, seed=seed, video=not audio_only))


if __name__ == "__main__":
    typer.run(main)
