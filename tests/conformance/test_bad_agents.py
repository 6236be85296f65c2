"""Whole runs with agents that break their contract: one clear error each, the right blame, an exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.report import model
from harness.verdict import Blame, Result
from tests.conformance import remains

ROOT = Path(__file__).parents[2]

STORY = """
import json
from functools import partialmethod
from harness.agent.remote import RemoteAgent
from harness.lab import lab as limits
from harness.spec.topology import Host, Link, Topology
from harness.units import ms

WIRE = Topology("wire", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "10.0.0.0/30"),))

async def build(lab):
    net = await lab.build(WIRE)
    (lab.folder / "namespaces.json").write_text(json.dumps(net.report["namespaces"]))

async def test_start(lab):
    await build(lab)
    await lab.agents("alice")
    lab.equal("agents started", 1, 1)

async def test_silent(lab, monkeypatch):
    monkeypatch.setattr(limits, "_HELLO_WITHIN", 300 * ms)
    monkeypatch.setattr(RemoteAgent, "configure", partialmethod(RemoteAgent.configure, within=300 * ms))
    await test_start(lab)

async def test_call(lab):
    await build(lab)
    alice, bob = await lab.agents("alice", "bob")
    async with lab.call(alice, bob) as call:
        await call.heard_both_ways(for_=100 * ms)
        await alice.remote.stats(call.id)
        await call.heard_both_ways(for_=100 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
"""

HELLO = """print('{"event":"hello","protocol":3,"agent":"fake","version":"0","capabilities":["auto_answer"]}', flush=True);"""
ANSWER = """r=json.loads(sys.stdin.readline()); ok={"sockets":[]} if r["op"]=="listen" else {};"""
ANSWER += """print(json.dumps({"id":r["id"],"ok":ok}), flush=True);"""
REFERENCE = """
import os, sys
from harness.agent.stdio import claim
claim()
from harness.agent.driver import Driver
from harness.agent.process import run
class Mortal(Driver):
    def stats(self, request):
        os._exit(3)
    async def shutdown(self, request):
        os._exit(3)
sys.exit(run([], driver_factory=Mortal))
"""


@dataclass(frozen=True)
class Bad:
    """``program`` run by python -c as alice's agent in ``test`` gives an error whose words are ``what``."""

    test: str
    program: str
    what: str
    blame: Blame = Blame.AGENT
    result: Result = Result.INCONCLUSIVE
    more: int = 0
    """Reasons besides."""
    command: str | None = None


BAD = {
    "garbage": Bad("start", "print('Segmentation fault', flush=True); import sys; sys.stdin.read()", "agent alice: not JSON"),
    "hangs before its hello": Bad("silent", "import sys; sys.stdin.read()", "agent alice: no hello within 300ms"),
    "hangs after its hello": Bad(
        "silent", f"import sys; {HELLO} sys.stdin.readlines()", "agent alice: no answer to configure (request 1) within 300ms"
    ),
    "dies at once": Bad(
        "start", "import sys; sys.exit(3)", "agent alice: closed its pipe before its hello (it died, or was never an agent)"
    ),
    "dies and leaves a child": Bad(
        "start",
        "import subprocess, sys; n = subprocess.DEVNULL;"
        "subprocess.Popen(['sleep', '1000'], stdin=n, stdout=n, stderr=n, start_new_session=True); sys.exit(3)",
        "agent alice: closed its pipe before its hello (it died, or was never an agent)",
    ),
    "speaks protocol 99": Bad(
        "start",
        """print('{"event":"hello","protocol":99,"mood":"new"}', flush=True); import sys; sys.stdin.read()""",
        "agent alice: hello: the agent speaks protocol 99, this harness speaks 3",
    ),
    "ends with a code": Bad(
        "start",
        f"import json, sys; {HELLO} {ANSWER * 3} print('no more', file=sys.stderr); sys.exit(3)",
        "agent alice: exited with code 3, unasked, ",
        Blame.PRODUCT,
        Result.FAIL,
    ),
    "dies in mid-call": Bad("call", REFERENCE, "agent alice: exited with code 3, unasked, ", Blame.PRODUCT, Result.FAIL),
    "closes its pipe and goes on": Bad(
        "start",
        f"import json, os, sys; {HELLO} {ANSWER * 2} os.close(1); sys.stdin.readlines()",
        "agent alice: closed its pipe, unasked, and its process goes on",
        more=1,
    ),
    "is no command": Bad(
        "start", "", "/no/such/agent could not be started in alice: No such file or directory", Blame.HARNESS, command="/no/such/agent"
    ),
}


EACH = """
import contextlib, io, json, os, sys
import pytest
from tests.conformance import remains
for name, arguments in json.loads(sys.argv[1]).items():
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = pytest.main([*arguments, "--artifacts", name])
    left = [one for one in remains.processes(os.environ[remains.TOKEN]) if int(one.partition(" ")[0]) != os.getpid()]
    held = [what for what in remains.descriptors().values() if what.startswith(("net:", "/dev/net"))]
    print(json.dumps([code, out.getvalue(), left, held]), flush=True)
"""


@dataclass
class Ran:
    """A finished run: exit code, output, what was left of it (processes, descriptors), its report, the namespaces that it built."""

    code: int
    out: str
    left: list[str]
    held: list[str]
    report: model.Report
    namespaces: dict[str, int]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """All of them, one after another in one new interpreter: starting it is what takes time."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "tale.py").write_text(STORY)
    fixed = ["-p", "harness.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "-q"]
    lines = {}
    for name, bad in BAD.items():
        agent = bad.command or shlex.join([sys.executable, "-c", bad.program])
        lines[name] = [*fixed, f"tale.py::test_{bad.test}", f"--agent=alice={agent}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", remains.TOKEN: uuid.uuid4().hex}
    command = [sys.executable, "-c", EACH, json.dumps(lines)]
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, timeout=240, check=True)
    found = {}
    for name, line in zip(BAD, done.stdout.splitlines(), strict=True):
        (path,) = [path for path in (folder / name).glob("tale/*/*/report.json") if path.parents[1].name != "latest"]
        code, out, left, held = json.loads(line)
        found[name] = Ran(code, out, left, held, model.read(path), json.loads((path.parent / "namespaces.json").read_text()))
    return found


@pytest.mark.parametrize("name", BAD)
def test_a_bad_agent_is_told_blamed_and_gone(runs: dict[str, Ran], name: str) -> None:
    ran, bad = runs[name], BAD[name]
    assert ran.report.result is bad.result, ran.out
    assert ran.report.blame is bad.blame
    assert len(ran.report.reasons) == 1 + bad.more or bad.result is Result.FAIL, ran.report.reasons
    assert any(reason.startswith(bad.what) for reason in ran.report.reasons[: 1 + bad.more])
    assert ran.code == 1
    assert f"{bad.result} (blame: {bad.blame})  {bad.test}" in ran.out
    assert f"- {bad.what}" in ran.out
    assert ran.left == []
    assert sorted(ran.namespaces) == ["alice", "bob"]
    assert remains.mounts(ran.namespaces.values()) == []
    assert ran.held == []
