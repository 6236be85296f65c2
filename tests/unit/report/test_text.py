"""What a person reads."""

from __future__ import annotations

import io

import msgspec
import pytest

from harness.report.model import Report
from harness.report.text import PLAIN, amount, show
from harness.units import Count, Duration, Ratio, kbit, mbit, ms, percent, s, us
from harness.verdict import at_most
from tests.unit.report.runs import RECEIPT, VERDICTS, made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def text_of(report: Report, width: int | None = None) -> str:
    file = io.StringIO()
    show(report, file, width=width)
    return file.getvalue()


def row(text: str, start: str) -> list[str]:
    """The cells of the table row that begins with ``start``."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell for cell in line.split("  ") if cell.strip()]


def stripped(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def test_the_table_shows_figure_direction_value_bound_margin_result_and_blame() -> None:
    text = text_of(made())
    assert stripped(row(text, "figure")) == ["figure", "direction", "value", "bound", "margin", "result", "blame", "note"]
    assert stripped(row(text, "longest silence at bob")) == [
        "longest silence at bob",
        "alice → bob audio",
        "212.412 ms",
        "≤ 400 ms",
        "+187.588 ms",
        "PASS",
    ]
    assert stripped(row(text, "longest silence at alice"))[2:] == ["512 ms", "≤ 400 ms", "-112 ms", "FAIL", "product"]
    assert stripped(row(text, "audio lost"))[2:] == ["3.333 %", "≤ 3 %", "-0.333 %", "FAIL", "product", "50 of 1500"]
    assert stripped(row(text, "handshakes")) == ["handshakes", "2", "= 1", "-1", "FAIL", "product"]
    assert stripped(row(text, "video rate"))[1:] == ["310.5 kbit/s", "≥ 300 kbit/s", "+10.5 kbit/s", "PASS"]
    unmeasured = stripped(row(text, "delay"))
    assert unmeasured[1:-1] == ["–", "≤ 150 ms", "–", "INCONCLUSIVE", "harness"]
    assert unmeasured[-1].startswith("not measured:")


def test_the_first_line_says_what_it_came_to_and_the_last_how_to_repeat_it() -> None:
    lines = text_of(made()).splitlines()
    assert lines[0] == "FAIL (blame: product)  scenarios/migration.py::test_call_survives_leaving_the_house"
    assert lines[-1] == f"repeat: {made().command}"
    assert lines[-2] == "seed 7, relay, kernel 6.1.0, took 12.5 s, stalls recorded: 1"
    assert text_of(made(VERDICTS[:1])).startswith("PASS  scenarios/")
    assert "negative control: never sends keepalive" in text_of(made(sabotage="never sends keepalive"))


def test_receipts_and_reasons_are_shown() -> None:
    text = text_of(made())
    assert stripped(row(text, "Alice leaves the house")) == [
        "Alice leaves the house",
        "new 4-tuple",
        "conntrack",
        "yes",
        "before 10.0.0.2:4433, after 10.7.0.2:9999",
    ]
    assert "- handshakes: 2, wanted = 1" in text
    refuted = msgspec.structs.replace(RECEIPT, taken=False)
    assert "NO" in stripped(row(text_of(made(receipts=(refuted,))), "Alice leaves the house"))


@pytest.mark.parametrize("width", [40, 60, 80, 99])
def test_a_narrow_terminal_gets_lines_in_which_no_figure_is_broken(width: int) -> None:
    lines = text_of(made(), width=width).splitlines()
    text = "\n".join(lines)
    assert "PASS longest silence at bob" in text
    flat = " ".join(text.split())
    assert "FAIL longest silence at alice (bob → alice audio) 512 ms, bound ≤ 400 ms, margin -112 ms, blame product" in flat
    assert "receipt Alice leaves the house: new 4-tuple, seen by conntrack, taken: yes" in flat
    assert all(len(line) <= width for line in lines[:-2])
    assert lines[-1] == f"repeat: {made().command}"  # whole, whatever the width


@pytest.mark.parametrize("width", [100, 120, 200])
def test_a_wide_terminal_gets_a_table(width: int) -> None:
    lines = text_of(made(), width=width).splitlines()
    assert any(line.startswith("figure") and "margin" in line for line in lines)
    assert all(len(line) <= width for line in lines[:-2])
    for value in ("212.412 ms", "≤ 400 ms", "+187.588 ms", "-0.333 %"):
        assert value in "\n".join(lines)


def test_no_terminal_gets_no_escapes_no_boxes_and_no_trailing_blanks() -> None:
    text = text_of(made())
    assert "\x1b" not in text
    assert not set("━─│┃╇") & set(text)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_no_terminal_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(made())
    monkeypatch.setenv("COLUMNS", "50")
    assert text_of(made()) == text
    assert max(map(len, text.splitlines())) <= PLAIN


def test_a_terminal_gets_colour_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = Terminal()
    show(made(), coloured, width=150)
    assert "\x1b[32mPASS" in coloured.getvalue()
    assert "31mFAIL" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    show(made(), plain, width=150)
    assert "\x1b[32m" not in plain.getvalue()
    assert "31m" not in plain.getvalue()
    assert "PASS" in plain.getvalue()


def test_names_are_shown_as_they_are_and_never_read_as_markup() -> None:
    flat = " ".join(text_of(made()).split())
    assert "delay [red]p99[/red] :boom:" in flat


def test_an_agent_s_garbage_does_not_command_the_terminal() -> None:
    text = text_of(made([at_most("silence\x1b[2J", None, 1 * ms, note="\x07\x1b]0;title\x07")]))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "silence\N{REPLACEMENT CHARACTER}[2J" in text


def test_a_stream_that_cannot_say_it_gets_it_spelt_out() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    show(made(), file)
    text = raw.getvalue().decode("ascii")
    assert "alice -> bob audio" in text
    assert "<= 400 ms" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0 * ms, "0 ns"),
        (Duration(999), "999 ns"),
        (1500 * us, "1.5 ms"),
        (-112 * ms, "-112 ms"),
        (1500 * ms, "1.5 s"),
        (61 * s, "61 s"),
        (0 * percent, "0 %"),
        (2.4 * percent, "2.4 %"),
        (Ratio(5_000_000), "5ppm"),
        (1500 * kbit, "1.5 Mbit/s"),
        (2000 * mbit, "2 Gbit/s"),
        (Count(12), "12"),
    ],
)
def test_amounts_for_people(value: object, text: str) -> None:
    assert amount(value) == text  # type: ignore[arg-type]


def test_a_miss_by_a_nanosecond_shows_in_the_margin() -> None:
    text = text_of(made([at_most("silence", 400 * ms + Duration(1), 400 * ms)]))
    assert stripped(row(text, "silence")) == ["silence", "400 ms", "≤ 400 ms", "-1 ns", "FAIL", "product"]
