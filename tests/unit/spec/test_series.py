from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.spec.link import Impairment, Schedule, Step
from harness.spec.rate_trace import mahimahi
from harness.spec.series import series
from harness.units import mbit, ms, percent, s

DELAY = "time_s,delay_ms\n0,20\n0.5,60.5\n2,20\n"
LOSS = "time [ms], loss (%)\n500,1\n1000,0\n"


def at(time: float, **fields: Any) -> Step:
    return Step(time * s, Impairment(**fields))


def test_a_delay_series() -> None:
    assert series(DELAY) == Impairment(delay=20 * ms, schedule=Schedule((at(0.5, delay=60.5 * ms), at(2, delay=20 * ms))))


def test_two_files_are_merged_and_base_gives_the_rest(tmp_path: Path) -> None:
    (tmp_path / "delay.csv").write_text(DELAY)
    (tmp_path / "loss.csv").write_text(LOSS)
    found = series(tmp_path / "delay.csv", str(tmp_path / "loss.csv"), base=Impairment(rate=5 * mbit), every=3 * s)
    steps = (
        at(0.5, delay=60.5 * ms, loss=1 * percent, rate=5 * mbit),
        at(1, delay=60.5 * ms, loss=0 * percent, rate=5 * mbit),
        at(2, delay=20 * ms, loss=0 * percent, rate=5 * mbit),
    )
    assert found == Impairment(delay=20 * ms, rate=5 * mbit, schedule=Schedule(steps, every=3 * s))


def test_a_trace_goes_on_beside_a_series() -> None:
    trace = mahimahi("1\n2\n")
    found = series(DELAY, base=Impairment(rate_trace=trace))
    assert found.rate_trace == trace
    assert found.at_step(1) == Impairment(delay=60.5 * ms, rate_trace=trace)


def test_before_the_first_row_base_rules_and_rows_that_change_nothing_are_no_steps() -> None:
    found = series("time_s,loss_%\n1,2\n2,2\n3,0\n", base=Impairment(delay=5 * ms))
    assert found == Impairment(
        delay=5 * ms, schedule=Schedule((at(1, loss=2 * percent, delay=5 * ms), at(3, loss=0 * percent, delay=5 * ms)))
    )
    assert series("time_s,delay_ms\n0,5\n1,5\n") == Impairment(delay=5 * ms)


@pytest.mark.parametrize(
    "text",
    [
        "time,delay\n0,20\n1,30\n",
        "Time,Delay\n0s,20ms\n1000ms,0.03s\n",
        "delay_us,time ms\n20000,0\n3e4,1000\n",
        "delay,time\n20,0\n30,1\n",
    ],
)
def test_units_stand_in_the_header_or_the_cells_or_are_given(text: str) -> None:
    found = series(text, units={"time": 1 * s, "delay": 1 * ms})
    assert found == Impairment(delay=20 * ms, schedule=Schedule((at(1, delay=30 * ms),)))


def test_of_a_round_trip_each_direction_has_half() -> None:
    assert series("time_s,delay\n0,41\n1,43\n", units={"delay": 0.5 * ms}).delay == 20.5 * ms


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("\n", "the text: it is empty; a series has a line that names its columns, and rows"),
        ("time_s,delay_ms\n", "the text: it has no rows; a series has one or more"),
        ("0,20\n1,30\n", "the text, line 1: '0' names no column; the first line names them with their units, for example time_s, delay_s"),
        ("time_s,rtt_ms\n0,2\n", "the text, line 1: 'rtt_ms' names no column"),
        ("time_s,delay_ms,delay_s\n0,2,2\n", "the text, line 1: there are two columns delay"),
        ("time_s,delay_km\n0,2\n", "the text, line 1, delay: 'km' is no unit of a duration; allowed are s, ms, us, ns"),
        ("time_s,loss_ms\n0,2\n", "the text, line 1, loss: 'ms' is no unit of a ratio; allowed are %, ppm"),
        ("delay_ms\n2\n", "the text, line 1: it names delay; a series has time and one or more of delay, jitter, loss"),
        ("time_s\n2\n", "the text, line 1: it names time; a series has time and one or more of delay, jitter, loss"),
        ("time_s,delay\n0,2\n", "the text, line 2, delay: 2 has no unit; name the column delay_s or such, or give units={'delay': …}"),
        ("time,delay_s\n0,2\n", "the text, line 2, time: 0 has no unit; name the column time_s or such, or give units={'time': …}"),
        ("time_s,delay_ms\n0,2,3\n", "the text, line 2: it has 3 cells, and there are 2 columns"),
        ("time_s,delay_ms\n0,abc\n", "the text, line 2, delay: 'abc' is not a number"),
        ("time_s,delay_ms\n0,\n", "the text, line 2, delay: '' is not a number"),
        ("time_s,delay_ms\n0,nan\n", "the text, line 2, delay: 'nan' is not a number"),
        ("time_s,delay_ms\n\n0,1\n-1,2\n", "the text, line 4, time: -1s is negative; allowed is 0 or more"),
        ("time_s,delay_ms\n0,-2\n", "the text, line 2, delay: -2ms is negative; allowed is 0 or more"),
        ("time_s,loss_%\n0,101\n", "the text, line 2, loss: 101% is more than everything; allowed is 0% to 100%"),
        ("time_s,delay_ms\n1,1\n3,1\n2,1\n", "the text, line 4, time: 2s is not after the row before, at 3s; times ascend"),
        ("time_s,delay_ms\n1,1\n1,2\n", "the text, line 3, time: 1s is not after the row before, at 1s; times ascend"),
        ("time_s,delay_ms\n0,1\n", "the text, line 2: the series takes no time at all: its last row is at 0s"),
        ("time_s,delay_ms\n0,1\n1700000000,2\n", "the text, schedule, step 1 (at 1700000000s), at: allowed is up to 86400s (24 hours)"),
        ("time_s,delay_ms,jitter_ms\n0,1,0\n1,1,2\n", "the text, line 3, jitter: 2ms is above the delay of 1ms"),
    ],
)
def test_what_is_wrong_with_a_series_is_named(text: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        series(text)
    assert str(caught.value).startswith(what)


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"away.csv: it cannot be read: No such file"):
        series(tmp_path / "away.csv")
    with pytest.raises(SpecError, match="the text, delay: the text has it too; each column comes from one file"):
        series(DELAY, DELAY)
    with pytest.raises(SpecError, match="the text, schedule, every: 2s is not beyond the last step, at 2s"):
        series(DELAY, every=2 * s)
    with pytest.raises(SpecError, match=r"series, units, delay: Ratio\(1%\) is no unit for it; allowed are time: a duration"):
        series(DELAY, units={"delay": 1 * percent})
    with pytest.raises(SpecError, match="series, base: it has a schedule of its own"):
        series(DELAY, base=series(DELAY))
    with pytest.raises(SpecError, match="series: it was given no file"):
        series()
