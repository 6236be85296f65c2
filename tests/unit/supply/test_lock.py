"""The lock: a hash for everything, an address for nothing, and exactly what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.unit.supply.tools import ROOT, load

LOCK = load(".ci/lock.py")
PYPROJECT = (ROOT / "pyproject.toml").read_text()
TEXT = (ROOT / "requirements.lock").read_text()
LOCKED = LOCK.entries(TEXT)
DIRECT = LOCK.direct(PYPROJECT)


@pytest.mark.parametrize("file", ["requirements.lock", ".ci/audit.lock"])
def test_every_entry_has_hashes_and_none_has_an_address(file: str) -> None:
    text = (ROOT / file).read_text()
    locked = LOCK.entries(text)
    assert len(locked) > 20
    assert [entry.name for entry in locked if not entry.hashes] == []
    assert not re.search(r"://|--index|--find-links|--trusted|-e |\bgit\+| @ ", text)


def test_it_holds_what_pyproject_names_and_nothing_that_nothing_needs() -> None:
    named = set().union(*DIRECT.values())
    names = {entry.name for entry in LOCKED}
    assert named - names == set()
    assert {entry.name for entry in LOCKED if LOCK.PROJECT in entry.via} == named
    assert {entry.name for entry in LOCK.parts(list(DIRECT), PYPROJECT, LOCKED)} == names
    assert {whom for entry in LOCKED for whom in entry.via} <= names | {LOCK.PROJECT}


def test_every_extra_is_locked() -> None:
    extras = set(tomllib.loads(PYPROJECT)["project"]["optional-dependencies"])
    command = TEXT.splitlines()[1]
    assert set(re.findall(r"--extra (\w+)", command)) == extras
    assert "--generate-hashes" in command
    assert "--no-emit-index-url" in command


def test_a_version_that_pyproject_pins_is_the_locks() -> None:
    project = tomllib.loads(PYPROJECT)["project"]
    every = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    versions = {entry.name: entry.version for entry in LOCKED}
    pins = dict(one.split("==") for one in every if "==" in one)
    assert "aioquic" in pins
    assert {name: versions[name] for name in pins} == pins


def test_the_auditor_is_pinned_in_its_own_lock() -> None:
    wanted = (ROOT / ".ci/audit.in").read_text().strip()
    audited = {f"{entry.name}=={entry.version}" for entry in LOCK.entries((ROOT / ".ci/audit.lock").read_text())}
    assert wanted in audited
    assert "pip-audit" not in {entry.name for entry in LOCKED}


def test_parts_part_what_is_installed() -> None:
    def names(*parts: str) -> set[str]:
        return {entry.name for entry in LOCK.parts(list(parts), PYPROJECT, LOCKED)}

    run, whole = names("run"), names("run", "dev", "media", "build")
    assert {"aioquic", "trio", "cffi", "pyroute2"} <= run
    assert not {"scapy", "mypy", "av", "numpy", "setuptools", "playwright"} & run
    assert names("scapy") == {"scapy"}
    assert names("run", "scapy") == run | {"scapy"}
    assert run < whole
    with pytest.raises(LOCK.NoSuchPartError, match=r"there is no part 'tests'; there are run, dev, media, build"):
        names("tests")


def test_a_line_that_a_lock_should_not_hold_is_refused_by_its_number() -> None:
    for planted in ("--index-url https://mirror.example/simple", "scapy>=2", "pkg @ git+https://example.org/pkg"):
        with pytest.raises(ValueError, match=rf"requirements.lock:{TEXT.count(chr(10)) + 1}: "):
            LOCK.entries(f"{TEXT}{planted}\n")


def test_what_is_printed_for_pip_is_the_locks_own_lines() -> None:
    for entry in LOCKED:
        assert "\n".join(entry.lines) in TEXT
        assert all(f"--hash=sha256:{digest}" in "\n".join(entry.lines) for digest in entry.hashes)
