"""What a killed run leaves on disk: every file can be read up to its last whole record, and the pages say that the run did not end."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from harness import pages
from harness.fabric.pcapng import Reader
from harness.report import history, model

_TOO_SHORT = "cut short in the middle of a packet"


def unreadable(folder: Path) -> list[str]:
    """What cannot be read of a run's folder, a line each."""
    wrong = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            _read(path)
        except Exception as error:
            wrong.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return [*wrong, *_tshark(sorted(folder.rglob("*.pcapng")))]


def _read(path: Path) -> None:
    if path.name.startswith(".") or path.suffix == ".part":
        raise ValueError("half a file")
    if path.suffix in (".jsonl", ".sqlog"):
        lines = path.read_bytes().split(b"\n")
        for line in lines[:-1]:  # the last is empty, or torn by the kill
            msgspec.json.decode(line.strip(b"\x1e\r"))
    elif path.suffix == ".json":
        msgspec.json.decode(path.read_bytes())
    elif path.suffix == ".pcapng":
        for _ in Reader(path):
            pass


def _tshark(captures: list[Path]) -> list[str]:
    """What Wireshark's own reader says against captures, where it is installed."""
    capinfos = shutil.which("capinfos")
    captures = [path for path in captures if path.stat().st_size]
    if capinfos is None or not captures or subprocess.run([capinfos, "-c", *captures], capture_output=True, check=False).returncode == 0:
        return []
    wrong = []
    for path in captures:
        done = subprocess.run([capinfos, "-c", path], capture_output=True, text=True, check=False)
        if done.returncode and _TOO_SHORT not in done.stderr:
            wrong.append(f"{path.name}: {done.stderr.strip()}")
    return wrong


def untold(artifacts: Path, folders: list[Path]) -> list[str]:
    """What is wrong with the pages of broken-off runs and with the index, all built anew; and with ``latest``."""
    wrong = []
    ended = {folder for folder in folders if (folder / "report.json").exists()}
    if folders:
        _built, failed = pages.rebuild(folders, lambda _made: None)
        wrong += [f"page: {reason}" for reason in failed]
    for folder in folders:
        page = folder / "report.html"
        if not page.exists():
            wrong.append(f"{folder.name}: there is no page")
        elif ("did not end" in page.read_text(encoding="utf-8")) != (folder not in ended):
            wrong.append(f"{folder.name}: the page does not say whether the run ended")
        link = folder.parents[1] / "latest"
        if not link.exists() or not history.RUN.fullmatch(link.resolve().name):
            wrong.append(f"{link} points at no run")
    if artifacts.is_dir() and (missing := pages.relist(artifacts)):
        wrong += [f"index: {reason}" for reason in missing]
    listed = {run.folder for run in history.read(artifacts)} if artifacts.is_dir() else set()
    wrong += [f"{folder.name}: not in the index" for folder in folders if folder not in listed]
    return wrong


def parts(root: Path) -> list[str]:
    """Half-written files and links anywhere below ``root``."""
    found = []
    for folder, _, names in os.walk(root):
        found += [os.path.join(folder, name) for name in names if name.endswith(".part") or name.startswith((".latest-", "."))]
    return found


def result(folder: Path) -> str:
    """What a run came to: "PASS", "FAIL product", …, "no report"."""
    try:
        report = model.read(folder / "report.json")
    except FileNotFoundError:
        return "no report"
    return f"{report.result} {report.blame or ''}".strip() + (f": {report.reasons[0]}" if report.reasons else "")
