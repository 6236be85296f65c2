"""A hostile agent (``hostile.py``) in a real network: each of its attempts is stopped, and none where the confinement is left out."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.spec.topology import Host, Link, Topology
from tests.conformance.networks import opened, run_in, within_deadline

WIRE = Topology("wire", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "10.0.0.0/30"),))
HOSTILE = Path(__file__).with_name("hostile.py")

STOPPED: dict[str, set[str]] = {
    "raw socket": {"EPERM"},
    "packet socket": {"EPERM"},
    "add an address": {"EPERM"},
    "take a link down": {"EPERM"},
    "mark packets": {"EPERM"},
    "speak as another address": {"EPERM"},
    "listen on port 443": {"EACCES"},
    "another network": {"EPERM"},
    "mount a filesystem": {"EPERM"},
    "change root": {"EPERM"},
    "change owner": {"EPERM", "EINVAL"},
    "become another user": {"EPERM", "EINVAL"},
    "make a device": {"EPERM"},
    "a better nice value": {"EACCES", "EPERM"},
    "real time priority": {"EPERM"},
    "more descriptors": {"EPERM"},
    "reboot": {"EPERM"},
    "read the kernels log": {"EPERM"},
    "gain by setuid": {"EPERM"},
    "inherited descriptors": {"ENOENT"},
}
"""Every attempt, and the errors with which it may end."""

UNSTOPPABLE = {"inherited descriptors"}
"""What fails without the confinement, too: nothing is inherited by any process that the keeper starts."""

UNPRIVILEGED = {"change owner", "become another user", "make a device", "mount a filesystem", "a better nice value", "real time priority"}
UNPRIVILEGED |= {"reboot", "read the kernels log"}
"""What the user namespace of an unprivileged run refuses without the confinement, too."""


def tempting(folder: Path) -> Path:
    """A copy of ``cat`` that is setuid: to root, when that is who runs this."""
    program = folder / "cat"
    program.write_bytes(Path(shutil.which("cat") or "").read_bytes())
    program.chmod(0o4755)
    return program


def attempts(folder: Path, *, confined: bool) -> dict[str, str]:
    """What a hostile agent came to."""
    own = folder / "own"
    own.mkdir()
    context: dict[str, Any] = {"folder": str(own), "setuid": str(tempting(folder))}
    answers: list[str] = []

    async def test() -> None:
        async with opened(WIRE, folder) as network:
            code, out = await run_in(network, "alice", [sys.executable, "-I", str(HOSTILE), json.dumps(context)], confined=confined)
            assert code == 0
            answers.append(out)

    within_deadline(test)
    return dict(json.loads(answers[0]))


def test_every_attempt_is_stopped(tmp_path: Path) -> None:
    answers = attempts(tmp_path, confined=True)
    assert answers.keys() == STOPPED.keys()
    assert {name: answer for name, answer in answers.items() if answer not in STOPPED[name]} == {}


def test_no_attempt_is_stopped_where_the_confinement_is_left_out(tmp_path: Path) -> None:
    answers = attempts(tmp_path, confined=False)
    stopped = {name for name, answer in answers.items() if answer in STOPPED[name]}
    assert stopped - UNSTOPPABLE <= (set() if os.geteuid() == 0 else UNPRIVILEGED)


def test_a_command_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(WIRE, tmp_path) as network:
            with pytest.raises(Exception, match=r"^/no/such could not be started in alice: No such file or directory$"):
                await run_in(network, "alice", ["/no/such"], confined=True)

    within_deadline(test)
