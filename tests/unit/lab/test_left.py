"""What agents leave is taken without following or waiting for anything that they made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import AgentError
from harness.lab import left


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of alice, in a run's."""
    folder = tmp_path / "agents" / "alice"
    (folder / "qlog").mkdir(parents=True)
    (tmp_path / "qlog").mkdir()
    return folder


def test_records_and_qlogs_become_the_runs_and_the_rest_stays(tmp_path: Path, own: Path) -> None:
    for name in (
        "alice.media.jsonl",
        "alice.media.1.jsonl",
        "alice.heard.rtpdump",
        "qlog/alice-1-client.sqlog",
        "notes.txt",
        "bob.media.jsonl",
    ):
        (own / name).write_text(name)
    left.take_over(tmp_path, "alice", own)
    taken = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert taken == {
        *("alice.media.jsonl", "alice.media.1.jsonl", "alice.heard.rtpdump", "qlog/alice-1-client.sqlog"),
        *("agents/alice/notes.txt", "agents/alice/bob.media.jsonl"),
    }


def test_an_emptied_folder_goes(tmp_path: Path, own: Path) -> None:
    (own / "alice.media.jsonl").touch()
    left.take_over(tmp_path, "alice", own)
    assert not own.exists()


def test_what_is_there_already_is_not_replaced(tmp_path: Path, own: Path) -> None:
    (tmp_path / "alice.media.jsonl").write_text("the run's")
    (own / "alice.media.jsonl").write_text("the agent's")
    left.take_over(tmp_path, "alice", own)
    assert (tmp_path / "alice.media.jsonl").read_text() == "the run's"


def test_links_and_pipes_are_left_where_they_are(tmp_path: Path, own: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    (own / "alice.media.jsonl").symlink_to(tmp_path / "secret")
    os.mkfifo(own / "alice.heard.rtpdump")
    (own / "qlog").rmdir()
    (own / "qlog").symlink_to(tmp_path)
    (tmp_path / "alice-1.sqlog").touch()
    left.take_over(tmp_path, "alice", own)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agents", "alice-1.sqlog", "qlog", "secret"]
    assert list((tmp_path / "qlog").iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_regular_file_is_read(tmp_path: Path, own: Path, kind: str) -> None:
    path = own / "alice.media.jsonl"
    if kind == "link":
        path.symlink_to(tmp_path / "agents")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(AgentError, match=r"^agent alice: it left alice\.media\.jsonl, which"):
        left.open_left(path, "alice")
    with pytest.raises(FileNotFoundError):
        left.open_left(own / "nothing", "alice")


def test_the_runs_key_log_is_that_of_all_agents(tmp_path: Path, own: Path) -> None:
    bob = tmp_path / "agents" / "bob"
    bob.mkdir()
    owners = {"alice": own, "bob": bob}
    assert not left.gather_keys(tmp_path, owners).exists()
    (own / "keys.log").write_text("A 1\nA 2")
    (bob / "keys.log").write_text("B 1\n")
    assert left.gather_keys(tmp_path, owners).read_text() == "A 1\nA 2\nB 1\n"
    (bob / "keys.log").write_text("B 1\nB 2\n")
    assert left.gather_keys(tmp_path, owners).read_text() == "A 1\nA 2\nB 1\nB 2\n"
