"""The doctor's table: every word of every finding, a command in one piece, and what it all comes to."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from harness.doctor import table
from harness.doctor.findings import Finding, fit

COMMAND = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000 and on and on and on and on"
GOOD = Finding("Python", "yes", True, "3.11.2", "runs the harness")
OPTIONAL = Finding("netem", "no", False, "the kernel has no sch_netem", "links: the relay over TAPs", "modprobe sch_netem")
LACK = Finding("namespaces", "no", True, "unshare: not permitted " * 5, "a network of its own for every run", COMMAND)
UNTRIED = Finding("captures", "untried", True, "", "receipts")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def words(text: str) -> list[str]:
    return re.findall(r"[\w./=-]+", text)


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["plain", "rich"])
def test_nothing_is_left_out(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "200", "LINES": "50", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    drawn = words(table.drawn([GOOD, OPTIONAL, LACK, UNTRIED], out))
    for finding in (GOOD, OPTIONAL, LACK, UNTRIED):
        for cell in (finding.feature, finding.found, finding.used, finding.remedy):
            assert set(words(cell)) <= set(drawn)


def test_a_command_is_never_broken_where_there_is_no_terminal() -> None:
    assert any(line.endswith(COMMAND) for line in table.drawn([GOOD, LACK], io.StringIO()).splitlines())


@pytest.mark.parametrize(
    ("findings", "fits", "conclusion"),
    [
        ([GOOD, OPTIONAL], True, "everything that is needed is here"),
        ([GOOD, LACK], False, "LACKING here, and needed: namespaces"),
        ([LACK, UNTRIED], False, "LACKING here, and needed: namespaces; then this is to be run again, for the rest could not be tried"),
        ([GOOD, UNTRIED], False, "could not be tried: captures"),
    ],
)
def test_what_it_comes_to(findings: list[Finding], fits: bool, conclusion: str) -> None:
    assert fit(findings) is fits
    assert table.drawn(findings, io.StringIO()).splitlines()[-1] == conclusion
    assert json.loads(table.to_json(findings))["fit"] is fits


def test_its_json_is_what_the_docs_say() -> None:
    told = json.loads(table.to_json([GOOD, LACK]))
    documented = (Path(__file__).parents[3] / "docs/platforms.md").read_text()
    section = documented.partition("## `harness doctor --json`")[2].partition("\n## ")[0]
    fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert fields == [*told, *told["findings"][0]]
    assert f"`schema` | number | {table.SCHEMA}" in section
