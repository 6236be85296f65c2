"""What a person sees while a scenario runs, on a terminal of its own.  The run is made up: its timeline is told without a network."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.screen import Screen
from tests.terminal import Terminal
from tests.unit.test_plugin import HEAD, ROOT, run

TALE = '''
import time
from pathlib import Path

def told(lab, agent, event, **fields):
    lab.timeline.note(agent, "event", fields.pop("text", ""), aloud=event != "media", message={"event": event, "call": "c", **fields})

async def step(name):
    """Until the one who looks on has seen what there is to see."""
    while not Path(name).exists():
        await trio.sleep(0.01)

def media(lab, silent_ms=0):
    now = time.monotonic_ns()
    for agent in ("alice", "bob"):
        lab.sent = getattr(lab, "sent", 0) + 5
        last = now - 10**6 * (silent_ms if agent == "bob" else 1)
        told(lab, agent, "media", flow="audio", at=now, sent=lab.sent, heard=lab.sent - 1, last_heard=last)

async def talk(lab, name, silent_ms=0):
    while not Path(name).exists():
        media(lab, silent_ms)
        await trio.sleep(0.05)

async def test_call(lab):
    lab.timeline.note("lab", "built", "two_homes on relay, seed 1", aloud=True)
    for agent in ("alice", "bob"):
        told(lab, agent, "state_changed", text="Connecting → Connected", old="Connecting", new="Connected")
    print("what a test prints")
    await talk(lab, "heard")
    lab.timeline.note("lab", "fault", "the router \\x1b[2Jreboots", aloud=True)
    receipt = {"fault": "the router \\x1b[2Jreboots", "kind": "rebind port", "taken": True}
    lab.timeline.note("fabric", "receipt", "rebind: seen by conntrack", aloud=True, receipt=receipt)
    receipt = receipt | {"kind": "new 4-tuple", "taken": False}
    lab.timeline.note("fabric", "receipt", "4-tuple: NOT SEEN by capture", aloud=True, receipt=receipt)
    await talk(lab, "silent", 1234)
    for agent in ("alice", "bob"):
        told(lab, agent, "state_changed", text="Ending → Idle", old="Ending", new="Idle")
    lab.equal("ones", 1, 1)
'''

COLOURS = {str(n) for n in (*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108))}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts the tale on a terminal."""
    opened = []

    def start(*arguments: str, columns: int = 100, rows: int = 40, **environment: str) -> Terminal:
        (tmp_path / "tale.py").write_text(HEAD + TALE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST") and name not in ("NO_COLOR", "COLUMNS")}
        argv = [sys.executable, "-m", "pytest", "tale.py", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider", "-q", *arguments]
        opened.append(
            Terminal(
                argv,
                tmp_path,
                kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environment,
                columns=columns,
                rows=rows,
            )
        )
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def shows(*texts: str) -> Callable[[Screen], bool]:
    return lambda screen: all(any(re.search(text, line) for line in screen.shown) for text in texts)


def go(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.mark.long
def test_states_silence_packets_and_faults_stand_under_the_story(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    seen = terminal("--story")
    calm = shows(r"^alice Connected, bob Connected$", r"^  bob → alice audio  silent +1 ms  sent +\d+  heard +\d+$")
    seen.until(calm, "a call that goes well")
    assert shows(r"^call, seed 1  \d+\.\d s, how long it takes is not known$")(seen.screen)
    go(tmp_path, "heard")
    broken = shows(r"^  alice → bob audio  silent +1234 ms", r"^fault the router .\[2Jreboots: rebind port seen, new 4-tuple NOT SEEN$")
    seen.until(broken, "a fault and a silence")
    assert "\x1b[1;31msilent    1234 ms" in seen.raw, "a silence above 200 ms in red"
    assert "\x1b[32msilent       1 ms" in seen.raw
    lines = seen.screen.shown
    story = [number for number, line in enumerate(lines) if re.match(r" +\d+\.\d{3}  (lab|alice|bob|fabric) ", line)]
    assert max(story) < next(number for number, line in enumerate(lines) if line.startswith("call, seed 1"))
    go(tmp_path, "silent")
    assert seen.finish() == 0
    text = seen.screen.text
    assert not re.search("silent|seed 1  |alice Connected, bob", text), "the view is gone"
    assert [line.split(None, 1)[1] for line in text.splitlines() if re.match(r" +\d+\.\d{3}  ", line)] == [
        "lab       two_homes on relay, seed 1",
        "alice     Connecting → Connected",
        "bob       Connecting → Connected",
        "lab       the router \ufffd[2Jreboots",
        "fabric    rebind: seen by conntrack",
        "fabric    4-tuple: NOT SEEN by capture",
        "alice     Ending → Idle",
        "bob       Ending → Idle",
    ]
    assert "\nPASS  call\n" in text, "and pytest's own lines stand whole"
    assert "1 passed in" in text
    assert "what a test prints" not in text
    assert "\x1b[2J" not in seen.raw
    assert "\x1b[?" not in seen.raw, "the cursor is never hidden, nothing is switched on"
    assert seen.modes_after == seen.modes


@pytest.mark.long
def test_the_second_run_knows_how_long_it_takes(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    go(tmp_path, "heard", "silent")
    assert run(tmp_path, TALE, "-q").code == 0
    (tmp_path / "heard").unlink()
    seen = terminal("--story", "--seed=2")
    seen.until(shows(r"^call, seed 2  \d+\.\d s of about \d+\.\d s  ━{20}$"), "how long it took before")
    go(tmp_path, "heard")
    assert seen.finish() == 0


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Callable[..., Terminal]) -> None:
    seen = terminal("--story")
    seen.until(shows("silent"), "the view")
    seen.type("\x03")
    assert seen.finish() == 2
    assert seen.screen.cursor
    assert seen.modes_after == seen.modes
    assert not re.search("silent|alice Connected, bob", seen.screen.text)
    assert "KeyboardInterrupt" in seen.screen.text


@pytest.mark.long
def test_no_color_means_no_colour(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    seen = terminal("--story", NO_COLOR="1")
    seen.until(shows("silent +1 ms"), "the view")
    go(tmp_path, "heard")
    seen.until(shows("silent +1234 ms", "NOT SEEN"), "the silence")
    go(tmp_path, "silent")
    assert seen.finish() == 0
    assert not COLOURS & seen.screen.colours


@pytest.mark.long
def test_without_colour_as_pytest_is_told(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    go(tmp_path, "heard", "silent")
    seen = terminal("--story", "--color=no")
    assert seen.finish() == 0
    assert not COLOURS & seen.screen.colours


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--story"], {"TERM": "dumb"}),
        (["--story", "-o", "log_cli=true"], {}),
        (["--story"], {"PYTHONIOENCODING": "iso-8859-1"}),
    ],
    ids=["a dumb terminal", "pytest's own live log", "no arrows in its letters"],
)
def test_where_nothing_can_be_drawn_the_story_is_lines(
    tmp_path: Path, terminal: Callable[..., Terminal], arguments: list[str], environment: dict[str, str]
) -> None:
    go(tmp_path, "heard", "silent")
    seen = terminal(*arguments, **environment)
    assert seen.finish() == 0
    assert "\x1b[2K" not in seen.raw
    assert "\x1b[1A" not in seen.raw
    assert re.search(r"^ +\d+\.\d{3}  lab {7}the router .*\[2Jreboots$", seen.screen.text, re.MULTILINE)
    assert "\x1b[2J" not in seen.raw


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments", [pytest.param([], id="unasked"), pytest.param(["--story", "-n", "1"], id="in a worker", marks=pytest.mark.long)]
)
def test_nobody_looks_on(tmp_path: Path, terminal: Callable[..., Terminal], arguments: list[str]) -> None:
    go(tmp_path, "heard", "silent")
    seen = terminal(*arguments)
    assert seen.finish() == 0
    assert "two_homes on relay" not in seen.screen.text
    assert "silent" not in seen.screen.text


@pytest.mark.long
@pytest.mark.parametrize(("columns", "rows"), [(30, 24), (52, 24), (100, 6)])
def test_a_small_terminal_is_enough(tmp_path: Path, terminal: Callable[..., Terminal], columns: int, rows: int) -> None:
    seen = terminal("--story", columns=columns, rows=rows)
    wanted = r"^alice Connected, bob Connec" if rows < 10 else r"^  bob → alice audio  silent"
    seen.until(shows(wanted), "the view")
    go(tmp_path, "heard", "silent")
    assert seen.finish() == 0
    assert not re.search("Connected, bob|audio  silent", seen.screen.text), "nothing of it is left"
    assert len(re.findall("two_homes", seen.screen.text)) == 1


@pytest.mark.long
def test_what_is_printed_without_capture_goes_above(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    seen = terminal("--story", "-s")
    seen.until(shows("silent", "^what a test prints$"), "both")
    go(tmp_path, "heard", "silent")
    assert seen.finish() == 0
    assert seen.screen.text.count("what a test prints") == 1


@pytest.mark.long
def test_the_view_begins_on_a_line_of_its_own(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    seen = terminal("--story", "-v", "-v")
    seen.until(shows("^tale.py::test_call$|^tale.py::test_call +$", "^call, seed 1"), "both")
    go(tmp_path, "heard", "silent")
    assert seen.finish() == 0
    assert re.search(r"^(tale.py::test_call )?PASSED", seen.screen.text, re.MULTILINE)
