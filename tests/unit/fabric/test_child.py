"""A fork of the keeper runs, and says by its exit code how that went, whatever the run was started with."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKS = """
import os, resource, sys
from harness.fabric import child, privileges
privileges.drop_capabilities()
resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
os.nice(int(sys.argv[1]))
def main(arguments):
    return 7 + os.getpriority(os.PRIO_PROCESS, 0)
_, status = os.waitpid(child.start("relay", main, 2, ()), 0)
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("niceness", [0, 19])
def test_whom_nobody_lets_be_served_sooner_keeps_the_niceness_that_the_run_was_started_with(niceness: int) -> None:
    ran = subprocess.run([sys.executable, "-c", FORKS, str(niceness)], capture_output=True, text=True, timeout=60)
    before = subprocess.run(["nice"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert ran.stdout.strip() == str(7 + min(19, int(before) + niceness)), ran.stderr
