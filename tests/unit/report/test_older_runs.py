"""Runs that an earlier version left still open: their pages, the index, a comparison.

``fixtures/schema-3`` is a real run of rebind_port[ipv4], made before schema 4, with most media lines and requests left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.report import compare, history, index, model, page
from harness.report.tell import tell
from harness.spec.topology import Topology
from harness.verdict import Result
from tests.unit.report.folders import carried, put

FIXTURE = Path(__file__).parent / "fixtures" / "schema-3"
NAME = "20261130-202204-seed1"


def _without(tree: dict[str, object]) -> dict[str, object]:
    """The report as schema 2 had it."""
    del tree["story"]
    for verdict in tree["verdicts"]:  # type: ignore[attr-defined]
        del verdict["moments"], verdict["more"], verdict["call"]
    return tree | {"schema": 2}


@pytest.fixture(params=[2, 3])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the run, in an artifacts folder of its own, with a report of schema 2 or 3."""
    folder = tmp_path / "rebinding" / "rebind_port-ipv4" / NAME
    shutil.copytree(FIXTURE, folder)
    (tmp_path / "rebinding" / "latest").symlink_to(folder)
    if request.param == 2:
        report = folder / "report.json"
        report.write_text(json.dumps(_without(json.loads(report.read_text()))))
    return folder


def test_its_report_and_its_topology_are_read(older: Path) -> None:
    report = model.read(older / "report.json")
    assert report.schema in (2, 3)
    assert (report.result, report.blame, len(report.verdicts)) == (Result.PASS, None, 3)
    assert Topology.from_json((older / "topology.json").read_text()).name == "two_homes"


def test_its_page_is_built_from_all_of_its_files(older: Path) -> None:
    story = tell(older)
    assert story.unread == []
    assert {flow.speaker for flow in story.flows} == {"alice", "bob"}
    assert len(story.signals) == 15
    html = page.write(older).read_text()
    assert "longest silence" in html
    assert carried(html, "story")["report"]["result"] == "PASS"


def test_it_is_listed_and_compared_with_a_run_of_today(older: Path) -> None:
    artifacts = older.parents[2]
    (listed,) = history.read(artifacts)
    assert (listed.problem, listed.glance.result if listed.glance else None) == ("", Result.PASS)
    assert "rebind_port[ipv4]" in str(carried(index.write(artifacts).read_text(), "index"))
    today = put(artifacts, 1)
    assert compare.write(older, today, artifacts / "compare.html").is_file()
