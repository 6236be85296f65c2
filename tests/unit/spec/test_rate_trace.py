from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.spec.link import Impairment
from harness.spec.rate_trace import RateTrace, mahimahi, pack, rate_trace, unpack
from harness.spec.topology import Topology, from_text, to_plain
from harness.units import mbit, ms, s
from tests.unit.spec.nets import ACCESS, changed


def told(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        mahimahi(text)
    return str(caught.value)


def test_a_trace_is_read_from_a_file_and_from_text(tmp_path: Path) -> None:
    path = tmp_path / "lte.up"
    path.write_text("0\n1\n1\n1\n700\n1000\n")
    trace = mahimahi(path)
    assert list(trace.times) == [0, 1, 1, 1, 700, 1000]
    assert (trace.name, trace.period, trace.opportunities) == ("lte.up", 1 * s, 6)
    assert trace.mean_rate.bits_per_second == 6 * 1500 * 8
    assert trace.longest_pause == 699 * ms
    assert mahimahi(str(path)) == trace
    assert list(mahimahi("1\r\n2\r\n").times) == [1, 2]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("\n", "the text, line 1: it is empty; a mahimahi trace has one time per line, in whole ms from its start"),
        ("1\n\n2\n", "the text, line 2: it is empty; a mahimahi trace has one time per line, in whole ms from its start"),
        ("1\n2.5\n", "the text, line 2: '2.5' is not a whole number; a mahimahi trace has one time per line, in whole ms from its start"),
        ("time\n", "the text, line 1: 'time' is not a whole number; a mahimahi trace has one time per line, in whole ms from its start"),
        ("-3\n", "the text, line 1: -3 ms is negative; allowed is 0 or more"),
        ("1\n5\n4\n", "the text, line 3: 4 ms goes back, before line 2's 5 ms; allowed is the same or more"),
        ("0\n0\n", "the text: it takes no time at all: its last opportunity is at 0 ms, and that is its period"),
        ("86400001\n", "the text: it takes 86400001 ms; allowed is up to 86400000 (24 hours)"),
    ],
)
def test_what_is_wrong_with_a_trace_is_named(text: str, what: str) -> None:
    assert told(text) == what


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere.up: it cannot be read: No such file"):
        mahimahi(tmp_path / "nowhere.up")
    (tmp_path / "empty").touch()
    with pytest.raises(SpecError, match="empty: it is empty; a trace has one opportunity or more"):
        mahimahi(tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"1\n\xff\n")
    with pytest.raises(SpecError, match="binary: it is no text: byte 2 is not UTF-8"):
        mahimahi(tmp_path / "binary")


def test_times_that_go_back_are_refused() -> None:
    with pytest.raises(SpecError, match="made up: 4 ms comes after 5 ms"):
        rate_trace([5, 4], "made up")
    with pytest.raises(SpecError, match="made up: it is empty"):
        rate_trace([], "made up")


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_packing_loses_nothing(distances: list[int]) -> None:
    times = [sum(distances[: n + 1]) for n in range(len(distances))]
    assert list(unpack(pack(times))) == times


def test_two_minutes_of_12_mbit_stay_small() -> None:
    trace = rate_trace(range(1, 120_001), "12 Mbit/s")
    assert trace.mean_rate == 12 * mbit
    assert len(trace.packed) < 300


def test_a_trace_goes_through_a_topology_and_back() -> None:
    impairment = Impairment(delay=20 * ms, rate_trace=rate_trace([0, 300, 300, 555, 810, 1065], "made up"), queue=50)
    topology = changed(ACCESS, a_to_b=impairment)
    assert Topology.from_json(topology.to_json()) == topology


@pytest.mark.parametrize("packed", ["", "!", "AAAA", pack([1, 2])[:-4], pack([1]) + pack([1]), pack([0])])
def test_a_packed_trace_that_is_none_is_refused(packed: str) -> None:
    with pytest.raises(SpecError, match=r"^here, rate_trace(, packed)?: "):
        Impairment(rate_trace=RateTrace("bad", packed)).validate("here")


def test_a_trace_is_a_rate() -> None:
    trace = mahimahi("1\n2\n")
    Impairment(rate_trace=trace, queue_time=20 * ms, queue=3).validate("here")
    with pytest.raises(SpecError, match="here, rate_trace: it is a rate already, and rate is 1mbit; give one of the two"):
        Impairment(rate_trace=trace, rate=1 * mbit).validate("here")
    with pytest.raises(SpecError, match=r"here, rate_trace: 'lte\.up' is not a RateTrace; read one with mahimahi"):
        Impairment(rate_trace="lte.up").validate("here")  # type: ignore[arg-type]
    plain = to_plain(Impairment(rate_trace=trace))
    assert msgspec.convert(plain, Impairment, dec_hook=from_text).rate_trace == trace
