"""Properties are tried on the same examples in every run, without a time limit each: a red test is red again, on slow machines too."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")
