"""What holds for every test.

Properties are tried on the same examples in every run, without a time limit each: a red test is red again, on slow machines too.
The runs that tests start (sabotaged ones, made-up ones) are none that GitHub should be told of.
"""

from __future__ import annotations

import os

from hypothesis import settings

GITHUB = {name: os.environ.pop(name) for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY") if name in os.environ}

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")
