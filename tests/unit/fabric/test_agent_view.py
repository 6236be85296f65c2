"""What an agent sees: secrets never, what its command names always, the rest as it is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from harness.fabric import agent_view
from harness.fabric.agent_view import environment, sockets, view_for


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(agent_view, "TEMPORARY", (str(folder),))
    monkeypatch.setattr(agent_view, "SYSTEM", ())
    return folder


def test_what_is_a_secret_by_its_name_is_hidden_where_it_is_there(tmp_path: Path, temporary: Path) -> None:
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    for path in (
        home / ".ssh" / "id",
        home / ".bash_history",
        home / ".config" / "gh" / "hosts.yml",
        checkout / ".git" / "config",
        home / "x",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    view = view_for(["agent"], {"HOME": str(home)}, str(checkout), str(tmp_path / "own"))
    mine = {path for path in view.hidden if path.startswith(str(tmp_path))}
    expected = (home / ".ssh", home / ".bash_history", home / ".config" / "gh", checkout / ".git" / "config", temporary)
    assert mine == set(map(str, expected))
    assert view.shown == ()


@pytest.mark.parametrize("where", ["argument", "folder", "PATH", "VIRTUAL_ENV", "link"])
def test_what_the_command_names_below_a_temporary_folder_is_shown_with_its_neighbours(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    program = temporary / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.touch()
    (temporary / "other").mkdir()
    (tmp_path / "link").symlink_to(program)
    argv = {"argument": [str(program), "-m", "mine"], "link": [str(tmp_path / "link")]}.get(where, ["agent"])
    env = {where: os.pathsep.join(("/usr/bin", str(program.parent)))} if where.isupper() else {}
    cwd = str(program.parent) if where == "folder" else "/"
    assert view_for(argv, env, cwd, str(tmp_path / "own")).shown == (str(temporary / "venv"),)


def test_what_the_run_hides_is_hidden_also_in_what_is_shown(tmp_path: Path, temporary: Path) -> None:
    run = temporary / "work" / "artifacts" / "run"
    own, tls = run / "agents" / "alice", run / "tls"
    own.mkdir(parents=True)
    tls.mkdir()
    view = view_for(["agent"], {}, str(temporary / "work"), str(own), hidden=[str(run)], shown=[str(tls)])
    assert set(view.hidden) >= {str(temporary), str(run)}
    assert view.shown == (str(temporary / "work"), str(tls))
    assert view.own == str(own)


def test_variables_that_are_secrets_or_lead_to_services_are_not_passed_on() -> None:
    kept = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "RUST_LOG": "debug", "SSLKEYLOGFILE": "k", "HARNESS_SABOTAGE": "x"}
    secret = ["GITHUB_TOKEN", "NPM_TOKEN", "AWS_ACCESS_KEY_ID", "PGPASSWORD", "api_key"]
    leading = ["SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "TMUX"]
    assert environment({**kept, **dict.fromkeys((*secret, *leading), "x")}) == kept


def test_sockets_among_files_are_found(tmp_path: Path) -> None:
    path = str(tmp_path / "service.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        assert path in set(sockets())
