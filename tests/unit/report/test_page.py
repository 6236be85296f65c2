"""The page as a file: one, that asks for nothing, in which nothing that anybody said is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import compare, index, model, page
from harness.report.story import Line, Story, delta, runs
from harness.units import ms
from harness.verdict import at_most
from tests.browser import long_run
from tests.unit.report.folders import carried, put
from tests.unit.report.runs import made

VENDORED = {
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of what npm's uplot 1.6.32 holds."""

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'>{{ 7 * 7 }}{% raw %}<!-- ]]>\x1b[2J\u202e\ud800"
FIT = HOSTILE.translate({ord(char): "\N{REPLACEMENT CHARACTER}" for char in "\x1b\u202e\ud800"})


class Tags(HTMLParser):
    """The tags of a page and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self._in = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._in = tag == "script" and not attrs
        if self._in:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = False

    def handle_data(self, data: str) -> None:
        if self._in:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One of each kind."""
    root = tmp_path_factory.mktemp("pages")
    runs_ = [put(root, number, [at_most("silence", 50 * ms, 200 * ms, direction="a → b")]) for number in (1, 2)]
    written = {"run": page.write(runs_[0]), "index": index.write(root), "compare": compare.write(*runs_, root / "compare.html")}
    return {kind: path.read_text() for kind, path in written.items()}


KINDS = ["run", "index", "compare"]


@pytest.mark.parametrize("name", VENDORED)
def test_what_is_vendored_is_what_was_published(name: str) -> None:
    assert hashlib.sha256((page.ASSETS / "vendor" / name).read_bytes()).hexdigest() == VENDORED[name]


def test_nothing_else_is_vendored() -> None:
    assert {path.name for path in (page.ASSETS / "vendor").iterdir()} == {*VENDORED, "README.md"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_allows_the_scripts_that_are_there_and_no_request(pages: dict[str, str], kind: str) -> None:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', pages[kind])
    assert found is not None
    policy = dict(one.strip().partition(" ")[::2] for one in found[1].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy) <= {"default-src", "style-src", "img-src", "media-src", "script-src"}
    assert {policy.get("img-src", "data:"), policy.get("media-src", "data: blob:")} <= {"data:", "data: blob:"}
    digests = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in Tags(pages[kind]).scripts]
    assert policy["script-src"].split() == digests
    assert "unsafe" not in policy["script-src"]
    assert pages[kind].index("Content-Security-Policy") < pages[kind].index("<style>")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_file(pages: dict[str, str], kind: str) -> None:
    seen = Tags(pages[kind])
    assert not {"link", "iframe", "object", "embed", "base", "form", "img", "audio", "video", "source"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "srcset", "style", "action")]
    assert not re.search(r"url\(|@import|//[a-z]+\.[a-z]+/.*\.(js|css|png)", re.search(r"<style>(.*?)</style>", pages[kind], re.S)[1])  # type: ignore[index]
    assert pages[kind].isprintable() or not [char for char in pages[kind] if not char.isprintable() and char not in "\n\t"]


def hostile(tmp_path: Path) -> tuple[str, str]:
    """A run in which every name and every text is hostile, and its page."""
    verdict = at_most(HOSTILE, 300 * ms, 200 * ms, direction=HOSTILE, note=HOSTILE)
    texts = dict.fromkeys(("scenario", "executor", "command", "kernel", "sabotage"), HOSTILE)
    folder = put(tmp_path, 1, [verdict], test=HOSTILE, versions={HOSTILE: HOSTILE}, quality={HOSTILE: HOSTILE}, **texts)
    plain = HOSTILE.replace("\ud800", "")
    events: list[dict[str, Any]] = [
        {"at": 10**9, "source": "lab", "kind": "began"},
        {"at": 10**9 + 1, "source": plain, "kind": "agent", "text": plain},
        {"at": 10**9 + 2, "source": plain, "kind": plain, "text": plain},
        {"at": 10**9 + 3, "source": plain, "kind": "event", "message": {"event": "state_changed", "call": plain, "new": plain}},
        {"at": 10**9 + 4, "source": plain, "kind": "event", "message": {"event": "path", "kind": plain, "path": plain, "remote": plain}},
    ]
    (folder / "timeline.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + plain + "\n")
    (folder / "qlog").mkdir()
    (folder / "qlog" / "<b>-x-y.sqlog").write_text("")
    return page.write(folder).read_text(), folder.name


def test_nothing_that_anybody_said_is_markup(tmp_path: Path, pages: dict[str, str]) -> None:
    text, _ = hostile(tmp_path)
    seen, usual = Tags(text), Tags(pages["run"])
    assert set(seen.tags) <= {*usual.tags, "b", "div"}
    assert seen.tags.count("script") == usual.tags.count("script")
    assert seen.scripts == usual.scripts
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not [char for char in text if not char.isprintable() and char not in "\n\t"]
    assert "{{ 7 * 7 }}{% raw %}" in text, "no template is read in what was put in"


def test_what_was_said_is_still_all_there(tmp_path: Path) -> None:
    story = carried(hostile(tmp_path)[0], "story")
    plain = FIT.replace("\N{REPLACEMENT CHARACTER}" * 2, "\N{REPLACEMENT CHARACTER}")
    assert plain in story["peers"]
    assert any(line["text"] == plain for line in story["lines"])
    assert any("line 6" in one for one in story["unread"])


def test_the_same_artifacts_make_the_same_page(tmp_path: Path) -> None:
    first = long_run.write(tmp_path / "run", length=2).read_bytes()
    assert page.write(tmp_path / "run").read_bytes() == first
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert page.write(tmp_path / "elsewhere").read_bytes() == first, "wherever it lies"


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=20))
def test_what_is_packed_comes_back_fit_to_show(texts: list[str]) -> None:
    story = Story(zero=0, until=1, title="", report={}, peers=texts, lines=[Line(at=None, source="", kind="", text=text) for text in texts])
    packed = page.pack(story)
    assert re.fullmatch(r"[A-Za-z0-9+/]*=*", packed)
    back = carried(f'<script type="application/octet-stream" id="story">{packed}</script>', "story")
    for was, became in zip(texts, back["peers"], strict=True):
        assert became == "".join(char if char in "\t\n" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in was)


@given(st.lists(st.integers(-(2**53), 2**53)))
def test_series_are_coded_without_loss(values: list[int]) -> None:
    total, back = 0, []
    for step in delta(values):
        total += step
        back.append(total)
    assert back == values
    coded = runs(values)
    assert [value for value, count in zip(coded[::2], coded[1::2], strict=True) for _ in range(count)] == values
    assert all(one != other for one, other in zip(coded[::2], coded[2::2], strict=False))


def test_a_page_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path, 1)
    old = page.write(folder).read_bytes()
    monkeypatch.setattr(page, "render", lambda story, report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.write(folder)
    assert (folder / page.FILE).read_bytes() == old
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]


def test_a_script_that_would_end_its_element_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.js").write_text("const x = '</SCRIPT>';")
    monkeypatch.setattr(page, "ASSETS", tmp_path)
    with pytest.raises(ValueError, match=r"bad\.js holds the end of a script element"):
        page.scripts(("bad.js",))


def test_the_verdict_table_is_there_without_scripts(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    model.write(made(), tmp_path / "run" / "report.json")
    text = re.sub(r"<script.*?</script>", "", page.write(tmp_path / "run").read_text(), flags=re.S)
    for verdict in made().verdicts:
        assert str(verdict.result) in text
    assert "212.412 ms" in text
    assert made().command in text
    assert "<noscript>" in text


def test_the_head_tells_the_story_and_what_broke_without_scripts(tmp_path: Path) -> None:
    verdicts = [at_most("fine", 1 * ms, 2 * ms)] * 30 + [at_most("<i>late</i>", 300 * ms, 200 * ms)]
    text = page.write(
        put(tmp_path, 1, verdicts, story="Alice <b>leaves</b>.\n\nField story: the picture freezes.\nBounds: none.")
    ).read_text()
    head = text.partition('<main id="panels">')[0]
    assert "Alice &lt;b&gt;leaves&lt;/b&gt;." in head
    assert "The picture freezes." in head
    assert head.index("&lt;i&gt;late") < head.index("fine")
    assert "30 of 31 verdicts passed: show them" in head
    assert "&lt;i&gt;late&lt;/i&gt;: 300 ms, wanted ≤ 200 ms" in head
    assert head.index('id="verdicts"') < head.index('id="account"') < head.index("repeat it:")


def test_a_page_without_a_story_has_no_place_for_one(tmp_path: Path) -> None:
    text = page.write(put(tmp_path, 1)).read_text()
    assert 'class="story' not in text
    assert "<details" not in text.partition('<main id="panels">')[0]
    assert 'class="unfold"' not in text
