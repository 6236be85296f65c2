"""What an attacker sent and the stacks noticed, beside the verdicts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import HarnessError
from harness.report import hostile, page, text

from .folders import put
from .runs import made

ENTRY = {
    "by": "mallory",
    "sent": {"good Initial": 600, "random bytes": 3},
    "at": {
        "bob": {"arrived": 603, "discarded": {"not QUIC": 3}, "answered": {"Retry": 580}, "begun": 20, "reclaimed": 1},
        "alice": {"arrived": 0},
    },
}
ROWS = [
    ("mallory", "", "", "sent: good Initial", "600"),
    ("", "", "", "sent: random bytes", "3"),
    ("", "bob", "603", "not QUIC", "3"),
    ("", "", "", "answered with Retry", "580"),
    ("", "", "", "new caller", "20"),
    ("", "", "", "path taken back", "1"),
    ("", "alice", "0", "nothing", "0"),
]


def of(entries: Any) -> Any:
    return msgspec.structs.replace(made(), quality={hostile.KEY: entries})


def test_the_table_tells_what_was_sent_what_arrived_and_what_was_noticed() -> None:
    assert hostile.rows(of([ENTRY])) == ROWS
    assert hostile.rows(made()) == []


@pytest.mark.parametrize("entries", [5, {"by": 1}, [{"by": "mallory"}], [{**ENTRY, "more": 1}], [{**ENTRY, "sent": {"x": "y"}}]])
def test_what_is_of_another_shape_is_told_as_such(entries: Any) -> None:
    with pytest.raises(HarnessError, match="quality, hostile datagrams"):
        hostile.assaults(of(entries))
    (row,) = hostile.rows(of(entries))
    assert "could not be read" in row.noticed


@pytest.mark.parametrize("width", [60, 140])
def test_a_terminal_shows_it(width: int) -> None:
    out = io.StringIO()
    text.show(of([ENTRY]), out, width=width)
    for row in ROWS:
        assert any(all(cell in line for cell in row) for line in out.getvalue().splitlines()), row


def test_the_page_shows_it_and_nothing_in_it_is_markup(tmp_path: Path) -> None:
    told = page.write(put(tmp_path, 1, quality={hostile.KEY: [{**ENTRY, "by": "<b>mallory</b>"}]})).read_text()
    assert "<td>&lt;b&gt;mallory&lt;/b&gt;</td><td></td>" in told
    assert '<td>bob</td><td class="figure">603</td><td>not QUIC</td><td class="figure">3</td>' in told
    assert "Hostile datagrams" not in page.write(put(tmp_path, 2)).read_text()
