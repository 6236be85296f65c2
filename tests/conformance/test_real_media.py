"""``--media`` over a real network: what is heard has its holes where the verdicts have them, and what is seen its freezes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import pytest

from harness.media.recording import FILE, Recording, decode
from harness.report.artifacts import Artifacts
from harness.report.clock import Clock
from harness.report.flows import heard

ROOT = Path(__file__).parents[2]
FRAME = 20_000_000
S = 1_000_000_000
LONG = S // 2
"""The line is dark for longer; a busy machine makes shorter silences of its own."""

CUT = """
from harness.spec.link import Impairment
from harness.units import ms, percent, s
from topologies.two_homes import two_homes


async def test_cut(lab):
    net = await lab.build(two_homes())
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob, video={video}) as call:
        await call.heard_both_ways(for_=1 * s)
        async with lab.fault("the line is dark"):
            await net.link("home_a/wan").impair(Impairment(loss=100 * percent))
            await call.silent_both_ways(for_=600 * ms)
            await net.link("home_a/wan").impair(Impairment(delay=5 * ms))
        await call.heard_both_ways(for_=1 * s)
    for side in (alice, bob):
        lab.at_most("silence", side.heard("audio").longest_gap(), 10 * s)
"""


@dataclass
class Run:
    code: int
    out: str
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found

    def recordings(self) -> list[Recording]:
        return decode((self.folder / FILE).read_bytes())

    def gap(self, one: Recording) -> tuple[int, ...]:
        """The long silence as the verdicts compute it, of what the run left, less the jitter of the packets at both ends."""
        end = one.starts_ns + one.duration_ns
        flows = heard(Artifacts(self.folder), Clock(one.starts_ns), end)
        (found,) = [flow for _, flow, _ in flows if flow.direction == f"{one.speaker} → {one.listener} {one.flow}"]
        lateness = {packet.taken: packet.taken - packet.offered for packet in found.packets if packet.taken is not None}
        usual = median_low(lateness.values())
        (gap,) = [gap for gap in found.longest_gap(one.starts_ns, end).gaps if gap.excess.ns > LONG]
        return tuple(edge - (lateness[edge] - usual) for edge in (gap.start, gap.end))  # one that comes late is played no later


def run(folder: Path, source: str, *arguments: str) -> Run:
    (folder / "tale.py").write_text(source)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "tale.py", "-q", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=170, check=False)
    (where,) = [path.parent for path in folder.glob("artifacts/tale/*/*/report.json") if path.parent.parent.name != "latest"]
    return Run(done.returncode, done.stdout + done.stderr, where)


def holes(path: Path, starts: int) -> list[tuple[int, int]]:
    """The stretches of pure silence (CLOCK_MONOTONIC) of 100 ms and more in a WAV file."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (48_000, 2, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    edges = [-1, *np.flatnonzero(np.abs(samples) > 1).tolist(), len(samples)]
    return [(starts + (a + 1) * S // 48_000, starts + b * S // 48_000) for a, b in pairwise(edges) if b - a > 4800]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A call with real audio and video whose line is dark for some 0.7 s."""
    return run(tmp_path_factory.mktemp("cut"), CUT.format(video=True), "--media=video")


def test_the_run_stands_and_says_what_repeats_it(cut: Run) -> None:
    assert cut.report["result"] == "PASS", cut.out
    assert cut.report["command"].endswith("--media=video")
    assert {FILE, "alice-heard.wav", "bob-heard.wav", "alice-seen.webm", "bob-seen.png"} <= set(cut.report["artifacts"])


def test_the_hole_in_the_sound_is_the_verdicts_gap(cut: Run) -> None:
    sounds = [one for one in cut.recordings() if one.flow == "audio"]
    assert [(one.listener, one.speaker) for one in sounds] == [("bob", "alice"), ("alice", "bob")]
    for one in sounds:
        gap_start, gap_end = cut.gap(one)
        concealed = max(one.concealed, key=lambda stretch: stretch[1] - stretch[0])
        assert concealed[0] == pytest.approx(gap_start + FRAME, abs=FRAME)
        assert concealed[1] == pytest.approx(gap_end, abs=FRAME)
        ((low, high),) = [hole for hole in holes(cut.folder / one.files["wav"], one.starts_ns) if hole[1] - hole[0] > LONG]
        assert low == pytest.approx(concealed[0] + 60_000_000, abs=FRAME), "60 ms are made up, and fade"
        assert high == pytest.approx(concealed[1], abs=FRAME)


def test_what_was_made_up_is_in_the_report(cut: Run) -> None:
    for one in cut.recordings():
        told = cut.report["quality"][f"{one.speaker} → {one.listener} {one.flow}"]["heard"]
        assert {name: told[name] for name in one.figures} == one.figures
        assert one.note == ""
        assert one.figures["not_kept"] == one.figures["undecodable"] == 0
        if one.flow == "audio":
            made_up = sum(end - start for start, end in one.concealed) * 48 // 1_000_000
            assert made_up == pytest.approx(one.figures["concealed_samples"], abs=2 * 960)
            assert one.figures["concealment_events"] >= 1
            assert one.figures["concealed_samples"] == 960 * (one.figures["offered"] - one.figures["played"])


def test_the_picture_froze_when_the_sound_broke_off(cut: Run) -> None:
    films = [one for one in cut.recordings() if one.flow == "video"]
    assert len(films) == 2
    for one in films:
        ((start, end),) = [stretch for stretch in one.concealed if stretch[1] - stretch[0] > LONG]
        sound = next(other for other in cut.recordings() if (other.listener, other.flow) == (one.listener, "audio"))
        hole = max(sound.concealed, key=lambda stretch: stretch[1] - stretch[0])
        assert start == pytest.approx(hole[0], abs=100_000_000)
        assert end == pytest.approx(hole[1], abs=100_000_000)
        assert one.damaged, "what built on the frames that were lost is damaged until a key frame"
        assert (cut.folder / one.files["sheet"]).stat().st_size < 100_000


def test_the_sound_to_be_embedded_is_small(cut: Run) -> None:
    for one in cut.recordings():
        if one.flow == "audio":
            assert (cut.folder / one.files["ogg"]).stat().st_size <= 4096 * one.duration_ns / S
            assert (cut.folder / one.files["spectrogram"]).stat().st_size <= 100_000


@pytest.mark.long
def test_a_scenario_with_an_agent_without_opus_is_not_run_with_that_reason(tmp_path: Path) -> None:
    (tmp_path / "mute.py").write_text(
        "import sys\nfrom harness.media import kinds\nkinds.find_spec = lambda name: None\n"
        "from harness.agent.process import run\nsys.exit(run(sys.argv[1:]))\n"
    )
    agent = f"bob={sys.executable} {tmp_path / 'mute.py'}"
    ran = run(tmp_path, CUT.format(video=False), "--media=speech", "--agent", agent, "-rs")
    assert ran.code == 1, ran.out
    assert "1 not run" in ran.out
    assert "agent bob: it does not offer opus, which this scenario needs" in ran.out


@pytest.mark.long
def test_an_agent_that_keeps_nothing_leaves_no_sound_and_the_index_says_so(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(
        "import sys\nfrom harness.agent import files\nfrom harness.media.rtpdump import RtpDump\n"
        "class Nothing:\n    def write(self, data): pass\n"
        "files.AgentFiles.heard = lambda self: RtpDump(Nothing())\n"
        "from harness.agent.process import run\nsys.exit(run(sys.argv[1:]))\n"
    )
    agent = f"bob={sys.executable} {tmp_path / 'deaf.py'}"
    ran = run(tmp_path, CUT.format(video=False), "--media=speech", "--agent", agent)
    assert ran.report["result"] == "PASS", ran.out
    bob, alice = ran.recordings()
    assert (bob.listener, bob.files, bob.note) == ("bob", {}, "bob left no bob.heard.rtpdump")
    assert alice.files["wav"] == "alice-heard.wav"
    assert not (ran.folder / "bob-heard.wav").exists()
