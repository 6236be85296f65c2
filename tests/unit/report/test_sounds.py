"""Recordings in a page: those of the run, as far as there is room, and what is left out is said."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from harness.media.recording import FILE, Recording, encode
from harness.report import page, sounds
from harness.report.artifacts import Artifacts
from harness.report.story import Story
from tests.unit.report.runs import made

STORY = Story(zero=0, until=1, title="", report={}, peers=[])


def recording(note: str = "", **files: str) -> Recording:
    return Recording(
        listener="bob",
        speaker="alice",
        call="c",
        flow="audio",
        starts_ns=5_000_000,
        duration_ns=2_000_000_000,
        files=files,
        concealed=((6_000_000, 7_000_000),),
        note=note,
    )


def read(folder: Path, *recordings: Recording) -> tuple[list[sounds.Sound], list[str], list[str]]:
    (folder / FILE).write_bytes(encode(list(recordings)))
    artifacts = Artifacts(folder)
    return *sounds.read(artifacts, lambda ns: ns // 1000, STORY), artifacts.unread


def test_a_recording_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "bob-heard.ogg").write_bytes(b"OggS")
    (tmp_path / "bob-heard.png").write_bytes(b"\x89PNG")
    (one,), notes, unread = read(tmp_path, recording(ogg="bob-heard.ogg", spectrogram="bob-heard.png"))
    assert (one.audio, one.picture) == ("data:audio/ogg;base64,T2dnUw==", "data:image/png;base64,iVBORw==")
    assert (one.since, one.length, one.concealed) == (5000, 2_000_000, [[6000, 7000]])
    assert (notes, unread) == ([], [])


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    (tmp_path / "bob-heard.ogg").write_bytes(bytes(sounds.room(STORY) + 1))
    (one,), notes, _ = read(tmp_path, recording(ogg="bob-heard.ogg"))
    assert one.audio == ""
    assert notes == ["bob-heard.ogg (570 kB) is not in this page, which would grow too big; it lies in the run's folder"]


@pytest.mark.parametrize("name", ["../secret.ogg", "/etc/passwd", "keys.log", "page.svg", "out.ogg"])
def test_nothing_but_a_recording_of_this_run_is_embedded(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for file in (tmp_path / "secret.ogg", run / "keys.log", run / "page.svg"):
        file.write_bytes(b"secret")
    (run / "out.ogg").symlink_to(tmp_path / "secret.ogg")
    (one,), notes, _ = read(run, recording(ogg=name))
    assert one.audio == ""
    assert notes == [f"{name} is no recording of this run"]


def test_why_there_is_nothing_to_hear_is_said(tmp_path: Path) -> None:
    found, notes, _ = read(tmp_path, recording("synthetic packets"))
    assert (found, notes) == ([], ["alice → bob audio: synthetic packets"])


def test_a_broken_index_is_told_as_unread(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"{")
    artifacts = Artifacts(tmp_path)
    assert sounds.read(artifacts, lambda ns: ns, STORY) == ([], [])
    assert len(artifacts.unread) == 1 and FILE in artifacts.unread[0]


def test_a_page_with_all_that_fits_is_no_bigger_than_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "bob-heard.ogg").write_bytes(random.Random(1).randbytes(sounds.room(STORY) - 2_000))
    (one,), _, _ = read(tmp_path, recording(ogg="bob-heard.ogg"))
    whole = page.render(msgspec.structs.replace(STORY, sounds=[one]), made()).encode()
    assert sounds.PAGE - 100_000 < len(whole) <= sounds.PAGE
