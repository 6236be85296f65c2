"""The list of all runs: what is in it, that nothing of it is markup, and that it is there whole whoever writes it."""

from __future__ import annotations

import json
import multiprocessing
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import whole
from harness.report import history, index, model, page
from harness.report.index import Group, Section
from harness.units import ms
from harness.verdict import at_least, at_most, equal
from tests.examples import examples
from tests.unit.report.anything import ANYTHING, changed, places
from tests.unit.report.folders import carried, place, put
from tests.unit.report.runs import VERDICTS, made


def tell(root: Path) -> list[Section]:
    return index.tell(history.read(root), root)


def only(root: Path) -> Group:
    (section,) = tell(root)
    (tested,) = section.tests
    return tested


def test_a_figure_is_told_over_the_runs_oldest_first(tmp_path: Path) -> None:
    for number, value in enumerate((40, 60, None, 250)):
        put(tmp_path, number, [at_most("silence", None if value is None else value * ms, 200 * ms, direction="a → b")], seed=number)
    tested = only(tmp_path)
    (trail,) = tested.trails
    assert trail.values == [40_000_000, 60_000_000, None, 250_000_000]
    assert trail.texts == ["40 ms", "60 ms", "–", "250 ms"]
    assert trail.bounds == [200_000_000] * 4
    assert trail.margins == [80, 70, None, -25]
    assert trail.results == ["PASS", "PASS", "INCONCLUSIVE", "FAIL"]
    assert [(run.seed, run.state, run.worst) for run in tested.runs] == [
        (0, "PASS", 80),
        (1, "PASS", 70),
        (2, "INCONCLUSIVE", None),
        (3, "FAIL", -25),
    ]
    assert tested.runs[3].worst_of == "silence a → b"
    assert tested.runs[3].reason == "silence (a → b): 250ms, wanted ≤ 200ms"


def test_figures_that_come_and_go_or_share_a_name_are_kept_apart(tmp_path: Path) -> None:
    put(tmp_path, 1, [at_most("silence", 1 * ms, 9 * ms), at_most("silence", 2 * ms, 9 * ms), equal("gone", 1, 1)])
    put(tmp_path, 2, [at_least("silence", 3, 1), at_most("silence", 4 * ms, 8 * ms)])
    trails = {(trail.name, trail.sign): [] for trail in only(tmp_path).trails}
    for trail in only(tmp_path).trails:
        trails[trail.name, trail.sign].append((trail.values, trail.bounds))
    assert trails == {
        ("silence", "≥"): [([None, 3], [None, 1])],
        ("silence", "≤"): [([1_000_000, 4_000_000], [9_000_000, 8_000_000]), ([2_000_000, None], [9_000_000, None])],
        ("gone", "="): [([1, None], [1, None])],
    }


def test_a_drift_is_told_before_the_bound_breaks(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path, number, [at_most("silence", (100 + 6 * number) * ms, 200 * ms)])
    tested = only(tmp_path)
    assert {run.state for run in tested.runs} == {"PASS"}
    assert tested.trails[0].drift == (
        "the margin shrinks: 33 % of the bound lost over the latest 12 runs; at this rate the bound breaks in 6 runs"
    )


def test_runs_under_other_circumstances_make_no_drift(tmp_path: Path) -> None:
    for number in range(12):
        command = "harness run roams --seed=1" + (" --impair=netem" if number < 6 else "")
        put(tmp_path, number, [at_most("silence", (60 if number < 6 else 150) * ms, 200 * ms)], command=command)
    tested = only(tmp_path)
    assert tested.trails[0].drift == ""
    assert [run.under for run in tested.runs] == ["relay --impair=netem"] * 6 + ["relay"] * 6


def test_runs_are_grouped_by_section_scenario_and_test(tmp_path: Path) -> None:
    put(tmp_path, 1, test="roams[ipv4]")
    put(tmp_path, 2, test="roams[run2-ipv4]")
    put(tmp_path, 3, test="roams[run3]")
    put(tmp_path, 4, test="roams[ipv6-run7]")
    put(tmp_path, 5, test="runs")
    put(tmp_path / "soak" / "roams-1", 6)
    put(tmp_path, 7, sabotage="never-follows")
    found = {section.name: {tested.test: len(tested.runs) for tested in section.tests} for section in tell(tmp_path)}
    assert found == {
        "": {"runs": 1, "roams[ipv6]": 1, "roams": 1, "roams[ipv4]": 2},
        "soak/roams-1": {"roams": 1},
        "negative controls": {"roams": 1},
    }
    assert list(found) == ["", "soak/roams-1", "negative controls"]


def test_what_cannot_be_read_or_was_broken_off_is_listed(tmp_path: Path) -> None:
    put(tmp_path, 1)
    place(tmp_path, 2, seed=5)
    (place(tmp_path, 3) / "report.json").write_text('{"schema": 1}')
    tested = only(tmp_path)
    assert [run.state for run in tested.runs] == [
        "PASS",
        "broken off: it left no report.json",
        "cannot be read: report.json: its schema is 1; this version reads 2, 3 and 4",
    ]
    text = index.write(tmp_path).read_text()
    assert '1 <span class="result PASS">PASS' in text
    assert '1 <span class="result broken-off">broken off' in text


def test_links_are_relative_and_lead_to_what_is_there(tmp_path: Path) -> None:
    bare, paged = put(tmp_path, 1), put(tmp_path, 2)
    nothing = place(tmp_path, 3)
    (paged / page.FILE).touch()
    assert [run.href for run in only(tmp_path).runs] == [
        f"./migration/roams/{bare.name}/report.json",
        f"./migration/roams/{paged.name}/report.html",
        f"./migration/roams/{nothing.name}",
    ]


def test_a_folder_with_any_name_is_linked_by_its_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "a:b" / "x?#%\udcff\"'<" / "20260102-030405-seed1"
    folder.mkdir(parents=True)
    (run,) = only(tmp_path).runs
    assert run.href == "./a%3Ab/x%3F%23%25%FF%22%27%3C/20260102-030405-seed1"
    index.write(tmp_path)


HOSTILE = "</script><script>alert(1)</script>\x1b[2J<img src=x onerror=alert(1)>\"'"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    verdict = at_most(HOSTILE, 300 * ms, 200 * ms, direction=HOSTILE, note=HOSTILE)
    put(tmp_path, 1, [verdict], executor=HOSTILE, command=f"harness run x --agent={HOSTILE}", test=HOSTILE)
    text = index.write(tmp_path).read_text()
    tags = Tags()
    tags.feed(text)
    assert sum(tag == "script" for tag, _ in tags.seen) == 1 + len(index.SCRIPTS)
    assert "img" not in {tag for tag, _ in tags.seen}
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on")]
    assert "\x1b" not in text
    data = carried(text, "index")
    assert data[0]["tests"][0]["trails"][0]["name"] == HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}")


def test_the_page_asks_for_nothing_and_is_the_same_each_time(tmp_path: Path) -> None:
    put(tmp_path, 1, VERDICTS)
    put(tmp_path, 2)
    first = index.write(tmp_path).read_bytes()
    assert index.write(tmp_path).read_bytes() == first
    text = first.decode()
    assert "default-src 'none'" in text
    assert not re.search(
        r"\b(src|href)=.https?:|url\(|@import|fetch\(|XMLHttpRequest|innerHTML|document\.write|eval\(",
        text.replace("http://www.w3.org/2000/svg", ""),
    )


def test_an_empty_folder_has_an_empty_list(tmp_path: Path) -> None:
    assert carried(index.write(tmp_path).read_text(), "index") == []


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole.write(tmp_path / "a.html", "old")
    with pytest.raises(UnicodeEncodeError):
        whole.write(tmp_path / "a.html", "new \ud800")
    assert (tmp_path / "a.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def _session(root: Path, number: int) -> None:
    put(root, number, seed=number)
    index.write(root)


@pytest.mark.long
def test_sessions_that_end_at_once_are_all_listed(tmp_path: Path) -> None:
    """Whoever writes last has seen what every other session left."""
    context = multiprocessing.get_context("spawn")
    sessions = [context.Process(target=_session, args=(tmp_path, number)) for number in range(4)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join(60)
    assert [session.exitcode for session in sessions] == [0] * 4
    (section,) = carried((tmp_path / index.FILE).read_text(), "index")
    assert sorted(run["seed"] for run in section["tests"][0]["runs"]) == list(range(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "migration"]


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_report_stops_the_list(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever one run's report.json holds, all runs are listed."""
    folder = tmp_path / "migration" / "roams" / "20260102-030405-seed1"
    folder.mkdir(parents=True, exist_ok=True)
    report = json.loads(model.encode(made()))
    report = changed(report, data.draw(st.sampled_from(list(places(report)))), data.draw(ANYTHING))
    (folder / "report.json").write_text(json.dumps(report))
    if not (tmp_path / "migration" / "roams" / "20260102-030505-seed1").exists():
        put(tmp_path, 1)
    runs = [run for section in carried(index.write(tmp_path).read_text(), "index") for test in section["tests"] for run in test["runs"]]
    assert len(runs) == 2
