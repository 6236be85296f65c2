"""What pip-audit's answers are worth: nothing that was not looked up passes as clean."""

from __future__ import annotations

import json

import pytest

from tests.unit.supply.tools import load

AUDIT = load(".ci/audit.py")
CLEAN = {"name": "trio", "version": "0.35.0", "vulns": []}
SKIPPED = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited: rich (15.0.0)"}
FOUND = {
    "name": "jinja2",
    "version": "3.1.2",
    "vulns": [{"id": "PYSEC-2024-1", "aliases": ["CVE-2024-22195"], "fix_versions": ["3.1.3"], "description": "…"}],
}


@pytest.mark.parametrize(
    ("dependencies", "code", "told"),
    [
        ([CLEAN, CLEAN], 0, ["lock: 2 distributions, no known vulnerability"]),
        ([CLEAN, FOUND], 1, ["VULNERABLE: lock: jinja2 3.1.2: PYSEC-2024-1, CVE-2024-22195; mended in 3.1.3"]),
        ([CLEAN, SKIPPED], 3, [f"NOT AUDITED: lock: 1 of 2 distributions could not be looked up, for example: {SKIPPED['skip_reason']}"]),
        ([], 3, ["NOT AUDITED: lock: 0 of 0 distributions could not be looked up"]),
    ],
)
def test_an_answer(dependencies: list[dict[str, object]], code: int, told: list[str]) -> None:
    assert AUDIT.judge("lock", json.dumps({"dependencies": dependencies, "fixes": []}), "") == (code, told)


def test_a_vulnerability_outweighs_what_could_not_be_looked_up() -> None:
    code, told = AUDIT.judge("lock", json.dumps({"dependencies": [FOUND, SKIPPED]}), "")
    assert code == 1
    assert [line.partition(":")[0] for line in told] == ["VULNERABLE", "NOT AUDITED"]


@pytest.mark.parametrize("answer", ["", "Traceback", "[]", "{}", "null"])
def test_no_answer_proves_nothing(answer: str) -> None:
    code, told = AUDIT.judge("lock", answer, "warning\nConnectionError: no route\n")
    assert code == 3
    assert told == ["NOT AUDITED: lock: ConnectionError: no route"]


@pytest.mark.parametrize(("codes", "whole"), [([0, 0], 0), ([0, 3], 3), ([3, 1], 1), ([1, 0], 1)])
def test_the_worst_lock_counts(monkeypatch: pytest.MonkeyPatch, codes: list[int], whole: int) -> None:
    answers = iter(codes)
    monkeypatch.setattr(AUDIT, "audit", lambda _lock: (next(answers), ["told"]))
    assert AUDIT.main(["a", "b"]) == whole
