"""The Dockerfile: pinned, without an address, and asking for parts that there are."""

from __future__ import annotations

import json
import re

from tests.unit.supply.tools import ROOT, load

TEXT = (ROOT / "Dockerfile").read_text()
LOCK = load(".ci/lock.py")
PARTS = r"^#   (run(?: [a-z]+)*?)  "


def test_its_base_is_pinned_by_digest_and_nothing_else_is_a_base() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"debian:trixie-slim@sha256:[0-9a-f]{64}", base)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", TEXT, re.MULTILINE)
    assert stages[0] == ("${BASE}", "system")
    assert {base for base, _name in stages[1:]} == {"system"}
    assert "://" not in TEXT


def test_it_installs_with_hashes_what_the_lock_has() -> None:
    pyproject, locked = (ROOT / "pyproject.toml").read_text(), LOCK.entries((ROOT / "requirements.lock").read_text())
    default = re.search(r'^ARG PARTS="([^"]*)"$', TEXT, re.MULTILINE)
    assert default is not None
    told = re.findall(PARTS, TEXT, re.MULTILINE)
    assert default[1] in told
    for parts in told:
        assert "aioquic" in {entry.name for entry in LOCK.parts(parts.split(), pyproject, locked)}
    assert TEXT.count("pip install") == 2
    assert "--require-hashes" in TEXT
    assert "av" not in {entry.name for entry in LOCK.parts(default[1].split(), pyproject, locked)}, "PyAV is asked for, or not there"


def test_its_first_process_is_the_entry_point_and_needs_no_shell() -> None:
    entry = re.search(r"^ENTRYPOINT (.*)$", TEXT, re.MULTILINE)
    assert entry is not None
    program, script = json.loads(entry[1])
    assert program == "/usr/bin/python3"
    assert (ROOT / script.removeprefix("/harness/")).is_file()


def test_what_is_sent_to_the_builder_is_the_project_and_no_more() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "artifacts"} <= set(ignored)
    assert not {".ci", ".docker", ".github", "tests", "docs"} & set(ignored), "the tests read them"
