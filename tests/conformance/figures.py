"""Where the conformance suite puts down what it measured: ``--figures FILE``, from which docs/accuracy.md is made (tests/accuracy.py)."""

from __future__ import annotations

import pytest

from tests.conformance.link_bench import Figure

FIGURES = pytest.StashKey[list[Figure]]()
