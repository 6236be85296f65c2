"""docs/licences.md: it is the lock's, it is what is installed, and nothing is in it that its part does not allow."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import distribution

import pytest

from tests.unit.supply.tools import ROOT, load

LICENCES = load(".ci/licences.py")
LOCK = LICENCES.lock
PYPROJECT = (ROOT / "pyproject.toml").read_text()
LOCKED = LOCK.entries((ROOT / "requirements.lock").read_text())
PAGE = (ROOT / "docs/licences.md").read_text()
ROWS = LICENCES.table(PAGE)
ADVICE = "docs/licences.md is out of date: make licences"


def test_the_page_has_the_lock_and_nothing_else() -> None:
    assert [(row.name, row.version) for row in ROWS] == [(entry.name, entry.version) for entry in LOCKED], ADVICE
    assert [row.part for row in ROWS] == [LICENCES.part_of(entry, LOCKED, PYPROJECT) for entry in LOCKED], ADVICE
    assert LICENCES.page(ROWS) == PAGE, ADVICE


def test_every_licence_is_one_that_its_part_allows() -> None:
    assert [row.note for row in ROWS] == [LICENCES.judge(row.name, row.part, row.licence) for row in ROWS], ADVICE


def test_it_is_the_licence_that_what_is_installed_states() -> None:
    looked_at = 0
    for row in ROWS:
        told = LICENCES.installed(row.name)
        if told is not None and told["Version"] == row.version:
            assert row.licence == LICENCES.stated(row.name, row.version, told), ADVICE
            looked_at += 1
    assert looked_at > 30


def test_what_a_wheel_carries_of_others_is_told() -> None:
    for row in ROWS:
        if LICENCES.installed(row.name) is not None:
            carried = {file.parts[0] for file in distribution(row.name).files or [] if file.parts[0].endswith(".libs")}
            assert not carried or row.name in LICENCES.CARRIES, row.name


def test_only_tests_may_have_what_is_under_the_gpl_alone() -> None:
    assert {row.name: row.part for row in ROWS if row.licence.startswith("GPL") and " OR " not in row.licence} == {"scapy": "dev"}


def metadata(version: str, **fields: str) -> Message:
    message = Message()
    message["Version"] = version
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "Apache-2.0 OR BSD-3-Clause", "License": "whatever"}, "Apache-2.0 OR BSD-3-Clause"),
        ({"License": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
    ],
)
def test_a_licence_is_read(fields: dict[str, str], licence: str) -> None:
    assert LICENCES.stated("thing", "1", metadata("1", **fields)) == licence


@pytest.mark.parametrize("fields", [{}, {"License": "see LICENSE"}, {"Classifier": "License :: OSI Approved :: BSD License"}])
def test_a_licence_that_cannot_be_read_is_no_licence(fields: dict[str, str]) -> None:
    with pytest.raises(LICENCES.UnknownLicenceError, match="thing 1 does not say its licence"):
        LICENCES.stated("thing", "1", metadata("1", **fields))


def test_what_was_read_by_a_person_is_read_anew_for_another_version() -> None:
    assert LICENCES.stated("jinja2", "3.1.6", None) == "BSD-3-Clause"
    with pytest.raises(LICENCES.UnknownLicenceError):
        LICENCES.stated("jinja2", "4.0", None)


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("GPL-2.0-or-later OR Apache-2.0", True),
        ("MIT AND GPL-2.0-only", False),
        ("MIT AND BSD-3-Clause OR GPL-3.0-only", True),
        ("AGPL-3.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("(MIT OR GPL-2.0-only) AND SSPL-1.0", False),
        ("Proprietary", False),
    ],
)
def test_a_choice_may_be_taken_and_a_sum_must_be_kept(expression: str, may: bool) -> None:
    assert LICENCES.allowed(expression, LICENCES.PERMISSIVE) is may


@pytest.mark.parametrize(
    ("name", "part", "licence"), [("scapy", "run", "GPL-2.0-only"), ("scapy", "dev", "AGPL-3.0-only"), ("x", "dev", "GPL-2.0-only")]
)
def test_an_exception_holds_for_one_name_one_part_and_one_licence(name: str, part: str, licence: str) -> None:
    assert LICENCES.judge("scapy", "dev", "GPL-2.0-only")
    with pytest.raises(LICENCES.UnknownLicenceError, match=f"{name} is under {licence}, which '{part}' does not allow"):
        LICENCES.judge(name, part, licence)


def test_what_is_installed_is_the_locks_version() -> None:
    with pytest.raises(LICENCES.UnknownLicenceError, match="is installed, the lock has"):
        LICENCES.rows(LOCKED, PYPROJECT, lambda _name: metadata("0.0.1", License_Expression="MIT"))
