"""``python3 -m harness.doctor [--json]``: the table, and exit code 1 when something that is needed lacks."""

from __future__ import annotations

import argparse
import sys

from harness.doctor import table
from harness.doctor.findings import examine, fit


def main() -> int:
    """Examine, tell, and say by the exit code whether a run can be made here."""
    parser = argparse.ArgumentParser(prog="doctor", description="What this machine can do, and what would fix each lack.")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/platforms.md has its schema)")
    findings = examine()
    print(table.to_json(findings) if parser.parse_args().json else table.drawn(findings, sys.stdout))
    return 0 if fit(findings) else 1


if __name__ == "__main__":
    sys.exit(main())
