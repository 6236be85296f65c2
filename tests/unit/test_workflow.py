"""GitHub's workflow: complete, and no more allowed than it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".github/workflows/ci.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [(job, step) for job, described in JOBS.items() for step in described["steps"]]


def test_every_file_of_scenarios_has_its_job() -> None:
    assert JOBS["scenario"]["strategy"]["matrix"]["scenario"] == sorted(path.stem for path in (ROOT / "scenarios").glob("*.py"))
    assert JOBS["scenario"]["strategy"]["fail-fast"] is False


def test_it_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [job for job, described in JOBS.items() if "permissions" in described]
    checkouts = [step for _job, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_what_others_made_is_named_by_its_whole_hash_and_its_version() -> None:
    used = re.findall(r"uses: (.*)", FILE.read_text())
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used)
    assert len(set(used)) == len({one.partition("@")[0] for one in used}), "one version of each"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_and_leaves_its_artifacts_whatever_it_came_to(job: str) -> None:
    assert 0 < JOBS[job]["timeout-minutes"] <= 120
    last = JOBS[job]["steps"][-1]
    assert last["uses"].startswith("actions/upload-artifact@")
    assert last["if"] == "always()"
    assert "artifacts" in last["with"]["path"].split()


def test_no_text_from_outside_is_part_of_a_command() -> None:
    assert not [step["run"] for _job, step in STEPS if "${{" in step.get("run", "")]


def test_its_commands_are_the_projects_own() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for _job, step in STEPS:
        command, *rest = step.get("run", "true").removeprefix("sudo ").split()
        assert command in ("make", "docker", "true", "test", "mkdir", "sysctl") or (ROOT / command).is_file(), step
        assert command != "make" or rest[0] in targets, step
        assert command != "docker" or "make" not in rest or rest[rest.index("make") + 1] in targets, step
        assert not {"pip", "apt", "apt-get", "curl"} & {command, *rest}, "installing is make's affair, and .ci's"


def test_the_long_targets_run_weekly_and_the_others_for_each_change() -> None:
    when = WORKFLOW[True]  # YAML 1.1 reads the word `on` so
    assert set(when) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert ["run", ".ci/run"] in [[*pair] for step in JOBS["long"]["steps"] for pair in step.items()]
    assert {job for job, described in JOBS.items() if described["if"] != "github.event_name != 'schedule'"} == {"long"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True
