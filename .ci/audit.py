"""Runs pip-audit over lock files and says what its answer is worth: it ends with 0 also when it could look nothing up.

``python .ci/audit.py LOCK…``, where pip-audit is installed.  Exit codes as in ``.ci/audit``.
"""

from __future__ import annotations

import json
import subprocess
import sys

CLEAN, VULNERABLE, UNPROVED = 0, 1, 3
WITHIN_S = 300


def judge(lock: str, answer: str, complaint: str) -> tuple[int, list[str]]:
    """What pip-audit's JSON ``answer`` about ``lock`` comes to, and what to tell; ``complaint`` is what it wrote to standard error."""
    try:
        dependencies = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return UNPROVED, [f"NOT AUDITED: {lock}: {last}"]
    told, skipped = [], [one for one in dependencies if "skip_reason" in one]
    for one in dependencies:
        for found in one.get("vulns", []):
            fixed = ", ".join(found.get("fix_versions") or []) or "no version yet"
            names = ", ".join([found["id"], *found.get("aliases", [])])
            told.append(f"VULNERABLE: {lock}: {one['name']} {one['version']}: {names}; mended in {fixed}")
    code = VULNERABLE if told else CLEAN
    if skipped or not dependencies:
        why = f", for example: {skipped[0]['skip_reason']}" if skipped else ""
        told.append(f"NOT AUDITED: {lock}: {len(skipped)} of {len(dependencies)} distributions could not be looked up{why}")
        code = code or UNPROVED
    return code, told or [f"{lock}: {len(dependencies)} distributions, no known vulnerability"]


def audit(lock: str) -> tuple[int, list[str]]:
    """Ask pip-audit, which asks PyPI, about every entry of ``lock``."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--require-hashes",
        "--disable-pip",
        "--progress-spinner=off",
        "--format=json",
        "-r",
        lock,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        return UNPROVED, [f"NOT AUDITED: {lock}: no answer within {WITHIN_S} s"]
    return judge(lock, done.stdout, done.stderr)


def main(locks: list[str]) -> int:
    """Audit each lock; vulnerable outweighs unproved."""
    codes = []
    for lock in locks:
        code, told = audit(lock)
        codes.append(code)
        print("\n".join(told), file=sys.stderr if code else sys.stdout)
    return VULNERABLE if VULNERABLE in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
