"""``python -m harness.agent``: the reference agent."""

from __future__ import annotations

import sys

from harness.agent.stdio import claim

claim()  # before anything else is imported: whatever prints from here on goes to the log

from harness.agent.process import run  # noqa: E402

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
