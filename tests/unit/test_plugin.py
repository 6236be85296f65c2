"""What a run comes to in pytest's own words: no run that proves nothing passes, and each leaves its report.  No network is built here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests import real_codecs
from tests.unit.report.folders import carried

ROOT = Path(__file__).parents[2]

HEAD = """
import pytest, trio
from harness import pytest_plugin
from harness.errors import AgentCrashed, AgentError, CapabilityLacking, EnvironmentUnfit, SpecError
from harness.fabric.receipts import Observation
from harness.units import ms, packets
"""

STORIES = {
    "passes": (
        """
async def test_passes(lab):
    lab.at_most("silence", 5 * ms, 10 * ms)
    lab.equal("handshakes", 1, 1)
""",
        "PASS",
        None,
        None,
    ),
    "asserts_nothing": (
        """
async def test_asserts_nothing(lab):
    await trio.lowlevel.checkpoint()
""",
        "ERROR",
        "author",
        "asserts_nothing: a scenario that asserts nothing proves nothing; give it at least one verdict",
    ),
    "misses": (
        """
async def test_misses(lab):
    lab.at_most("silence", 11 * ms, 10 * ms, direction="alice → bob")
    lab.equal("handshakes", 1, 1)
""",
        "FAIL",
        "product",
        "silence (alice → bob): 11ms, wanted ≤ 10ms",
    ),
    "bare_assert": (
        """
async def test_bare_assert(lab):
    assert 1 == 2, "the sky fell"
""",
        "FAIL",
        "product",
        "assertion failed: the sky fell\nassert 1 == 2 (tale.py:{line})",
    ),
    "unmeasured": (
        """
async def test_unmeasured(lab):
    lab.equal("handshakes", 1, 1)
    lab.at_most("silence", None, 10 * ms)
""",
        "INCONCLUSIVE",
        "harness",
        "silence: not measured, wanted ≤ 10ms",
    ),
    "no_unit": (
        """
async def test_no_unit(lab):
    lab.at_most("silence", 5 * ms, 10)
""",
        "ERROR",
        "author",
        "verdict 'silence': the value 5ms is a duration, the bound 10 is a count without a unit",
    ),
    "raises": (
        """
async def test_raises(lab):
    lab.equal("handshakes", 1, 1)
    {}["nothing"]
""",
        "ERROR",
        "author",
        "KeyError: 'nothing' (tale.py:{line})",
    ),
    "lacks": (
        """
async def test_lacks(lab):
    raise CapabilityLacking("bob", "it does not offer hold", ("hold",))
""",
        "NOT RUN",
        "agent",
        "agent bob: it does not offer hold",
    ),
    "crashes": (
        """
async def test_crashes(lab):
    lab.equal("handshakes", 1, 1)
    raise AgentCrashed("bob", "it was killed by SIGSEGV")
""",
        "FAIL",
        "product",
        "agent bob: it was killed by SIGSEGV",
    ),
    "raises_in_a_task": (
        """
async def test_raises_in_a_task(lab):
    async def task():
        raise AgentError("bob", "it died")
    lab.equal("handshakes", 1, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        nursery.start_soon(trio.sleep_forever)
""",
        "INCONCLUSIVE",
        "agent",
        "agent bob: it died",
    ),
    "unfit": (
        """
async def test_unfit(lab):
    raise EnvironmentUnfit("no /dev/net/tun: in Docker --device /dev/net/tun")
""",
        "INCONCLUSIVE",
        "environment",
        "no /dev/net/tun: in Docker --device /dev/net/tun",
    ),
    "spoiled_fault": (
        """
async def test_spoiled_fault(lab):
    async with lab.fault("her copies come first"):
        seen = {"copy ahead by": "-1.9ms"}
        lab.observe(Observation("the race", "race won", 1, seen, False, "capture bob", unfit="a copy came late: too busy a machine"))
    lab.at_most("silence", 11 * ms, 10 * ms)
""",
        "INCONCLUSIVE",
        "environment",
        "a copy came late: too busy a machine",
    ),
    "fault_without_receipt": (
        """
async def test_fault_without_receipt(lab):
    async with lab.fault("the router reboots"):
        pass
    lab.equal("handshakes", 1, 1)
""",
        "INCONCLUSIVE",
        "harness",
        "fault 'the router reboots' has no receipt: nothing proves that it took effect",
    ),
    "fails_and_raises": (
        """
async def test_fails_and_raises(lab):
    lab.equal("handshakes", 2, 1)
    raise AgentError("bob", "it died")
""",
        "FAIL",
        "product",
        "handshakes: 2, wanted = 1",
    ),
    "too_early": (
        """
async def test_too_early(lab):
    await lab.agents("alice")
""",
        "ERROR",
        "author",
        "lab.agents: there is no network yet; `await lab.build(topology)` first",
    ),
    "never_ends": (
        """
async def test_never_ends(lab, monkeypatch):
    lab.equal("handshakes", 1, 1)
    await trio.sleep_forever()
""",
        "INCONCLUSIVE",
        "harness",
        "the scenario did not end within 0.2 s",
    ),
}
"""name: (source, result, blame, first reason)"""

FIXTURE = """
@pytest.fixture(autouse=True)
def deadline(request, monkeypatch):
    if request.node.name == "test_never_ends":
        monkeypatch.setattr(pytest_plugin, "DEADLINE_S", 0.2)
"""

OTHERS = """
def test_of_another_kind():
    pass


@pytest.mark.parametrize("version", [4, 6])
async def test_with_a_parameter(lab, version, tmp_path):
    lab.equal("versions", version in (4, 6), True) if tmp_path is None else lab.equal("paths", 1, 1)
"""


@dataclass
class Ran:
    """A pytest run: its exit code, output, and the reports by test name."""

    code: int
    out: str
    reports: dict[str, dict[str, Any]]
    artifacts: Path


def run(folder: Path, source: str, *arguments: str, named: bool = True) -> Ran:
    (folder / "tale.py").write_text(HEAD + source)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    for name in list(env):
        if name.startswith("PYTEST"):
            del env[name]  # xdist tells its workers by these
    command = [
        sys.executable,
        "-m",
        "pytest",
        *(["tale.py"] if named else []),
        "-p",
        "harness.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    artifacts = folder / "artifacts"
    found = {}
    for path in artifacts.glob("tale/*/*/report.json"):
        if not path.parent.is_symlink() and path.parent.parent.name != "latest":
            found[f"{path.parent.parent.name}/{path.parent.name}"] = json.loads(path.read_text())
    return Ran(done.returncode, done.stdout + done.stderr, found, artifacts)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Every story, and what is no story, in one run."""
    source = FIXTURE + "".join(source for source, *_rest in STORIES.values()) + OTHERS
    return run(tmp_path_factory.mktemp("stories"), source, "-v", "--junitxml=junit.xml")


def place(source: str) -> int:
    """The line of the file of ``stories`` in which the last line of this story is."""
    before = HEAD + FIXTURE + "".join(other for other, *_rest in STORIES.values()).partition(source)[0]
    return (before + source.rstrip()).count("\n") + 1


def report(ran: Ran, name: str) -> dict[str, Any]:
    (found,) = [one for key, one in ran.reports.items() if key.startswith(f"{name}/")]
    return found


@pytest.mark.parametrize(("name", "expected"), [(name, rest) for name, (_source, *rest) in STORIES.items()], ids=STORIES)
def test_what_a_run_comes_to(stories: Ran, name: str, expected: list[Any]) -> None:
    result, blame, reason = expected
    told = report(stories, name)
    assert (told["result"], told["blame"]) == (result, blame)
    if reason is not None:
        reason = reason.replace("{line}", str(place(STORIES[name][0])))
    assert told["reasons"][:1] == ([] if reason is None else [reason])
    word = {"PASS": "PASSED", "FAIL": "FAILED"}.get(result, result)
    assert re.search(rf"^tale\.py::test_{name} {word} ", stories.out, re.MULTILINE)
    if reason is not None:
        assert f"\n{result} (blame: {blame})  {name}\n" in stories.out
        assert f"\n- {reason}\n" in stories.out


def test_inconclusive_is_no_pass(stories: Ran) -> None:
    assert stories.code == 1
    words = {"FAIL": "failed", "PASS": "passed", "INCONCLUSIVE": "inconclusive", "NOT RUN": "not run", "ERROR": "error"}
    for result, word in words.items():
        count = sum(one[1] == result for one in STORIES.values()) + 3 * (result == "PASS")
        assert re.search(rf"\b{count} {word}", stories.out.splitlines()[-1])


def test_a_run_leaves_its_folder_and_the_command_that_repeats_it(stories: Ran) -> None:
    told = report(stories, "passes")
    assert told["command"] == "harness run passes --seed=1"
    assert told["seed"] == 1
    assert "timeline.jsonl" in told["artifacts"]
    assert (stories.artifacts / "tale" / "latest").is_symlink()


def test_tests_of_other_kinds_are_left_alone(stories: Ran) -> None:
    assert re.search(r"^tale\.py::test_of_another_kind PASSED", stories.out, re.MULTILINE)
    assert re.search(r"^tale\.py::test_with_a_parameter\[6\] PASSED", stories.out, re.MULTILINE)


def one(name: str) -> str:
    return FIXTURE + STORIES[name][0]


@pytest.mark.long
def test_a_single_run_that_asserts_nothing_fails_the_whole(tmp_path: Path) -> None:
    ran = run(tmp_path, one("asserts_nothing"), "-q")
    assert ran.code == 1
    assert "1 error" in ran.out
    assert "asserts_nothing: a scenario that asserts nothing proves nothing" in ran.out


@pytest.mark.long
def test_in_parallel_workers_the_words_and_the_code_are_the_same(tmp_path: Path) -> None:
    ran = run(tmp_path, one("asserts_nothing") + one("passes") + one("unmeasured"), "-q", "-n", "2")
    assert ran.code == 1
    assert re.search(r"1 passed, 1 error, 1 inconclusive|1 passed, 1 inconclusive, 1 error", ran.out)
    assert "asserts_nothing: a scenario that asserts nothing proves nothing" in ran.out
    assert {told["result"] for told in ran.reports.values()} == {"PASS", "ERROR", "INCONCLUSIVE"}
    assert len(ran.reports) == 3


@pytest.mark.long
def test_repeat_is_a_folder_each_over_the_next_seeds(tmp_path: Path) -> None:
    ran = run(tmp_path, one("passes"), "-v", "--repeat", "3", "--seed", "7", "--story")
    assert ran.code == 0, ran.out
    assert "3 passed" in ran.out
    assert sorted(told["seed"] for told in ran.reports.values()) == [7, 8, 9]
    assert {told["command"] for told in ran.reports.values()} == {f"harness run passes --seed={seed}" for seed in (7, 8, 9)}
    assert ran.out.count("PASS  passes[run") == 3, "a table for each with --story"


VARIANTS = """
@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
async def test_variants(lab, version):
    lab.equal("version", version, 4)
"""


@pytest.mark.long
@pytest.mark.parametrize("parallel", [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="in parallel", marks=pytest.mark.long)])
def test_a_variant_is_repeated_by_its_name(tmp_path: Path, parallel: tuple[str, ...]) -> None:
    ran = run(tmp_path, VARIANTS, "-q", "--repeat", "2", "tale.py::test_variants[ipv4]", *parallel, named=False)
    assert ran.code == 0, ran.out
    assert {told["command"] for told in ran.reports.values()} == {f"harness run 'variants[ipv4]' --seed={seed}" for seed in (1, 2)}


@pytest.mark.long
def test_a_variant_that_there_is_not_is_told(tmp_path: Path) -> None:
    ran = run(tmp_path, VARIANTS, "-q", "--repeat", "2", "tale.py::test_variants[ipv5]", named=False)
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "test_variants has no variant 'ipv5'; there are ipv4, ipv6" in ran.out


BUSY = """
async def test_busy(lab):
    if lab.orders.seed in {seeds}:
        raise EnvironmentUnfit("somebody compiles something")
    lab.equal("ones", {ones}, 1)
"""


@pytest.mark.long
def test_conclusive_follows_what_this_machine_has_spoiled_and_shows_it(tmp_path: Path) -> None:
    ran = run(tmp_path, BUSY.format(seeds="{7}", ones=1), "-q", "--conclusive", "--repeat", "20")
    assert ran.code == 0, ran.out
    assert sorted(told["seed"] for told in ran.reports.values()) == [*range(1, 21), 1007]
    assert "INCONCLUSIVE, followed by another seed" in ran.out
    assert "1 of 21 runs were inconclusive and followed by another seed" in ran.out


@pytest.mark.long
def test_what_follows_has_no_other_run_beside_it(tmp_path: Path) -> None:
    tale = """
import fcntl, os
from harness import turns

async def test_room(lab):
    fd = os.open(turns.__file__, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        room = 1
    except BlockingIOError:
        room = 0
    finally:
        os.close(fd)
    lab.equal("room for another", room, int(lab.orders.seed == 1))
    if lab.orders.seed == 1:
        raise EnvironmentUnfit("somebody compiles something")
"""
    ran = run(tmp_path, tale, "-q", "--conclusive")
    assert "1 passed" in ran.out
    found = {told["seed"]: told["verdicts"][0]["value"]["count"] for told in ran.reports.values()}
    assert found == {1: 1, 1001: 0}


@pytest.mark.long
def test_conclusive_does_not_trust_a_machine_that_spoils_many(tmp_path: Path) -> None:
    ran = run(tmp_path, BUSY.format(seeds="{1, 2}", ones=1), "-q", "--conclusive", "--repeat", "20")
    assert ran.code == 1, ran.out
    assert "20 passed" in ran.out
    assert "2 of 22 runs were inconclusive and followed by another seed" in ran.out


@pytest.mark.long
def test_conclusive_gives_up_after_three(tmp_path: Path) -> None:
    ran = run(tmp_path, BUSY.format(seeds="range(10**6)", ones=1), "-q", "--conclusive")
    assert ran.code == 1, ran.out
    assert "1 inconclusive" in ran.out
    assert sorted(told["seed"] for told in ran.reports.values()) == [1, 1001, 2001]


@pytest.mark.long
def test_conclusive_follows_no_failure(tmp_path: Path) -> None:
    ran = run(tmp_path, BUSY.format(seeds="{1}", ones=2), "-q", "--conclusive")
    assert ran.code == 1, ran.out
    assert "1 failed" in ran.out
    assert sorted(told["seed"] for told in ran.reports.values()) == [1, 1001]


def test_ctrl_c_is_ctrl_c(tmp_path: Path) -> None:
    ran = run(tmp_path, "async def test_stop(lab):\n    raise KeyboardInterrupt\n", "-q")
    assert ran.code == 2
    assert ran.reports == {}


@pytest.mark.parametrize(
    ("allowed", "code", "element", "word"),
    [
        pytest.param((), 1, "error", "1 not run", id="not allowed"),
        pytest.param(("--allow-not-run=redial",), 1, "error", "1 not run", id="another allowed"),
        pytest.param(("--allow-not-run=hold,redial",), 0, "skipped", "1 skipped", id="allowed"),
    ],
)
def test_what_an_agent_lacks_is_not_run_unless_it_is_allowed_by_name(
    tmp_path: Path, allowed: tuple[str, ...], code: int, element: str, word: str
) -> None:
    ran = run(tmp_path, one("lacks"), "-q", "-rs", "--junitxml=junit.xml", *allowed)
    assert ran.code == code, ran.out
    assert word in ran.out
    assert "agent bob: it does not offer hold" in ran.out
    assert (report(ran, "lacks")["result"], report(ran, "lacks")["blame"]) == ("NOT RUN", "agent")
    (case,) = ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    told = case.find(element)
    assert told is not None
    assert told.get("type") == ("NOT RUN" if element == "error" else "pytest.skip")
    page = next(ran.artifacts.glob("tale/lacks/*/report.html")).read_text()
    assert '<span class="result NOT-RUN">NOT RUN</span>' in page


def test_what_may_lack_is_a_capability(tmp_path: Path) -> None:
    ran = run(tmp_path, one("passes"), "-q", "--allow-not-run=hodl")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "'hodl' is no capability of an agent; allowed are datagram" in ran.out


NAMED = """
from harness.lab import takes

async def test_named(lab):
    net = await lab.build(None)
    alice, bob = await lab.agents("alice", "bob")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--agent=bobby=/opt/stack", "--agent bobby: this run has no agent 'bobby'; allowed are alice, bob"),
        ("--endurance=2m", "--endurance: this scenario does not take it; of the options of single scenarios it takes none but"),
    ],
)
def test_an_option_that_a_scenario_does_not_take_is_an_error_before_anything_is_built(tmp_path: Path, option: str, says: str) -> None:
    ran = run(tmp_path, NAMED, "-q", "--junitxml=junit.xml", option)
    assert ran.code == 1
    told = report(ran, "named")
    assert (told["result"], told["blame"]) == ("ERROR", "author")
    assert len(told["reasons"]) == 1, "nothing was built, so nothing else went wrong"
    assert told["reasons"][0].startswith(says)
    (case,) = ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    assert [error.get("type") for error in case.iter("error")] == ["ERROR"]


def test_an_agent_that_never_ran_is_an_error_also_where_only_the_run_can_tell(tmp_path: Path) -> None:
    ran = run(tmp_path, one("passes"), "-q", "--agent=bob=/opt/stack")
    assert ran.code == 1
    assert report(ran, "passes")["reasons"] == ["--agent bob: this run has no agent 'bob'; allowed are none"]


def test_an_agent_s_command_is_given_once(tmp_path: Path) -> None:
    ran = run(tmp_path, one("passes"), "-q", "--agent=bob=a", "--agent=bob=b")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "'bob' is given twice, as 'a' and as 'b'; give it once" in ran.out


@pytest.mark.long
def test_a_lacking_capability_hides_no_failure(tmp_path: Path) -> None:
    lacking = "from harness.errors import CapabilityLacking\nasync def test_lacks(lab):\n    lab.equal('handshakes', 2, 1)\n"
    ran = run(tmp_path, lacking + "    raise CapabilityLacking('bob', 'no migrate')\n", "-q")
    assert ran.code == 1
    assert "1 failed" in ran.out


@pytest.mark.long
@real_codecs.needed
def test_the_kind_of_media_is_part_of_the_command(tmp_path: Path) -> None:
    ran = run(tmp_path, one("passes"), "-q", "--media=video")
    assert ran.code == 0, ran.out
    assert report(ran, "passes")["command"] == "harness run passes --seed=1 --media=video"


PACE = """
from harness.lab import takes

@takes("endurance")
async def test_pace(lab):
    import os
    pace = lab.orders.endurance
    lab.equal("seconds", sum(int(one.s) for one in pace), 7200 + 30 + 300 if pace.rebind.s == 30 else 120 + 5 + 20)
    lab.same("kept", os.environ.get("HARNESS_KEEP_MIB"), "16")
"""


@pytest.mark.long
@pytest.mark.parametrize(("told", "repeated"), [("2h", "7200s,30s,300s"), ("2m,5s,20s", "120s,5s,20s")], ids=["two hours", "another pace"])
def test_how_long_and_how_much_is_kept_are_part_of_the_command(tmp_path: Path, told: str, repeated: str) -> None:
    ran = run(tmp_path, PACE, "-q", f"--endurance={told}", "--keep=16")
    assert ran.code == 0, ran.out
    assert report(ran, "pace")["command"] == f"harness run pace --seed=1 --endurance={repeated} --keep=16"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--endurance=2", "allowed is a whole number and h, m or s, from 2s to 24h"),
        ("--endurance=25h", "allowed is a whole number and h, m or s, from 2s to 24h"),
        ("--endurance=20s", "it rebinds every 30s, which may not be longer than the whole or than between two moves"),
        ("--endurance=2m,30s,20s", "which may not be longer than the whole or than between two moves"),
        ("--endurance=1h,1m,2m,3m", "allowed are a length, how often to rebind and how often to move"),
        ("--keep=0", "allowed is a number of MiB from 0.05 to 65536"),
    ],
)
def test_a_length_that_is_none_is_refused(tmp_path: Path, option: str, says: str) -> None:
    ran = run(tmp_path, one("passes"), "-q", option)
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert says in " ".join(ran.out.split())


def test_real_media_without_their_libraries_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from harness.media import kinds\nkinds.find_spec = lambda name: None\n")
    ran = run(tmp_path, one("passes"), "-q", "--media=speech")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "--media=speech: PyAV and numpy cannot be imported; the extra `media` brings what is needed: pip install" in ran.out
    assert ran.reports == {}
    assert run(tmp_path, one("passes"), "-q").code == 0, "synthetic media need neither"


UNPAGED = """
from harness.report import page

async def test_unpaged(lab, monkeypatch):
    def broken(folder):
        raise ValueError("no \\x1b[2J paper")
    monkeypatch.setattr(page, "write", broken)
    lab.equal("ones", 1, {ones})
"""


@pytest.mark.parametrize("parallel", [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="in parallel", marks=pytest.mark.long)])
def test_a_page_that_cannot_be_built_takes_no_verdict_with_it(tmp_path: Path, parallel: tuple[str, ...]) -> None:
    ran = run(tmp_path, UNPAGED.format(ones=1) + one("passes"), "-q", *parallel)
    assert ran.code == 0, ran.out
    assert "2 passed" in ran.out
    assert "PAGES MISSING" in ran.out
    (folder,) = (ran.artifacts / "tale" / "unpaged").iterdir()
    assert f"could not be built: {folder}/report.html: ValueError: no \N{REPLACEMENT CHARACTER}[2J paper" in ran.out
    assert ran.out.count("could not be built") == 1
    assert report(ran, "unpaged")["result"] == "PASS"
    assert "report.html" not in report(ran, "unpaged")["artifacts"]
    assert "report.html" in report(ran, "passes")["artifacts"]


def test_a_failure_without_its_page_is_a_failure(tmp_path: Path) -> None:
    ran = run(tmp_path, UNPAGED.format(ones=2), "-q")
    assert ran.code == 1
    assert "PAGES MISSING" in ran.out
    assert "ones: 1, wanted = 2" in ran.out


def listed(ran: Ran) -> dict[str, list[str]]:
    """The states of each test's runs in the index, oldest first."""
    (section,) = carried((ran.artifacts / "index.html").read_text(), "index")
    return {test["test"]: [run["state"] for run in test["runs"]] for test in section["tests"]}


@pytest.mark.long
def test_every_session_leaves_an_index_of_all_runs(tmp_path: Path) -> None:
    run(tmp_path, one("passes"), "-q")
    run(tmp_path, one("misses") + one("unmeasured") + one("passes"), "-q", "-n", "2")
    ran = run(tmp_path, "async def test_stop(lab):\n    raise KeyboardInterrupt\n", "-q")
    assert listed(ran) == {
        "passes": ["PASS", "PASS"],
        "misses": ["FAIL"],
        "unmeasured": ["INCONCLUSIVE"],
        "stop": ["broken off: it left no report.json"],
    }


def test_an_index_that_cannot_be_written_is_told_and_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "index.html").mkdir(parents=True)
    ran = run(tmp_path, one("passes"), "-q")
    assert ran.code == 0, ran.out
    assert f"could not be built: {ran.artifacts}/index.html: IsADirectoryError" in ran.out


def test_a_session_that_runs_nothing_writes_no_index(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    ran = run(tmp_path, one("passes"), "-q", "--collect-only")
    assert ran.code == 0
    assert list(ran.artifacts.iterdir()) == []
