"""What holds for every test.

Properties are tried on the same examples in every run, without a time limit each: a red test is red again, on slow machines too.
The runs that tests start (sabotaged ones, made-up ones) are none that GitHub should be told of.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests import real_codecs

GITHUB = {name: os.environ.pop(name) for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY") if name in os.environ}

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    if real_codecs.LACKING:
        config.pluginmanager.register(real_codecs.Skipping())
