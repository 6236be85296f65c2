"""Where the extra ``media`` (PyAV, numpy) is not installed, as in the image, a test that cannot do without it is skipped, and says so.

It makes itself known by failing to import one of the two, so nobody has to keep a list.  Where both are installed nothing is skipped.
Tests whose runs are processes of their own use ``needed``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

MODULES = ("av", "numpy")
WITHOUT = "platform: PyAV and numpy (the extra `media`) are not installed"  # docs/platforms.md
LACKING = any(find_spec(name) is None for name in MODULES)
needed = pytest.mark.skipif(LACKING, reason=WITHOUT)


def caused(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is that one of them cannot be imported."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name in MODULES:
            return True
        error = error.__cause__ or error.__context__
    return False


class Skipping:
    """A plugin, for where they lack."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        if call.excinfo is not None and caused(call.excinfo.value):
            report.outcome, report.longrepr = "skipped", (str(item.path), (item.location[1] or 0) + 1, WITHOUT)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        report = yield
        if report.failed and isinstance(collector, pytest.Module) and caused(report.call.excinfo.value):
            report.outcome, report.longrepr = "skipped", (str(collector.path), 1, WITHOUT)
        return report
