"""Files in parts: what stays is the beginning and the newest, every record whole, and what is gone is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import rotation
from harness.agent.files import AgentFiles
from harness.report.artifacts import Artifacts
from tests.examples import examples

PART = 0.2  # MiB kept: parts of 52 kB


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rotation.VARIABLE, str(PART))


def write(path: Path, count: int, head: bytes = b"") -> rotation.RotatedFile:
    """``count`` lines of 1,000 bytes, numbered."""
    file = rotation.RotatedFile(path)
    file.head = head
    for number in range(count):
        file.write(b"%06d".ljust(999, b".") % number + b"\n")
    return file


def lines(path: Path) -> list[int]:
    return [int(line[:6]) for line in path.read_bytes().splitlines()]


def test_a_short_file_is_one_file_of_its_own_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 50).close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert rotation.gone(tmp_path / "a.jsonl") == ""


def test_a_long_one_keeps_its_first_part_and_the_newest_three(tmp_path: Path) -> None:
    path = tmp_path / "a.media.jsonl"
    write(path, 1000).close()
    parts = rotation.parts(path)
    assert [part.name for part in parts] == ["a.media.jsonl", "a.media.18.jsonl", "a.media.19.jsonl", "a.media.20.jsonl"]
    assert sum(part.stat().st_size for part in parts) <= PART * (1 << 20)
    assert lines(parts[0]) == list(range(52))
    newest = [number for part in parts[1:] for number in lines(part)]
    assert newest == list(range(newest[0], 1000))
    assert rotation.gone(path).startswith("a.media.jsonl: parts 2 to 17 of 20 were let go")


def test_until_the_fifth_part_nothing_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, 4 * 52).close()
    assert len(rotation.parts(path)) == 4
    assert rotation.gone(path) == ""
    assert [number for part in rotation.parts(path) for number in lines(part)] == list(range(208))


def test_one_part_that_is_gone_is_told_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, 4 * 52 + 1).close()
    assert rotation.gone(path) == "a.jsonl: part 2 of 5 was let go, which bounds what a long run leaves (--keep)"


def test_every_part_begins_with_the_head(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlog"
    file = rotation.RotatedFile(path)
    file.head = b"head\n"
    file.write(b"head\n")
    for number in range(300):
        file.write(b"%06d".ljust(999, b".") % number + b"\n")
    file.close()
    assert all(part.read_bytes().startswith(b"head\n") for part in rotation.parts(path))
    assert [line for part in rotation.parts(path) for line in part.read_bytes().splitlines()].count(b"head") == 4


def test_a_record_that_is_larger_than_a_part_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = rotation.RotatedFile(path)
    for letter in (b"a", b"b"):
        file.write(letter * 100_000 + b"\n")
    file.close()
    assert [part.read_bytes()[:1] for part in rotation.parts(path)] == [b"a", b"b"]


def test_an_agent_s_qlog_is_a_qlog_in_every_part(tmp_path: Path) -> None:
    files = AgentFiles(str(tmp_path), "alice")
    qlog = files.qlog("c0ffee-client")
    qlog.write(b'\x1e{"qlog_version":"0.3"}\n')
    for number in range(300):
        qlog.write(b'\x1e{"time":%d}'.ljust(900, b" ") % number + b"\n")
    files.close()
    parts = rotation.parts(tmp_path / "qlog" / "alice-c0ffee-client.sqlog")
    assert len(parts) == 4
    assert all(part.read_bytes().startswith(b'\x1e{"qlog_version":"0.3"}\n') for part in parts)


def test_what_is_read_of_a_run_is_all_parts_and_says_what_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "x.sqlog", 1000).close()
    artifacts = Artifacts(tmp_path)
    assert artifacts.names("*.sqlog") == ["x.sqlog"]
    found = [int(line[:6]) for line in artifacts.raw("x.sqlog")]
    assert found[:52] == list(range(52))
    assert found[-1] == 999
    assert artifacts.unread == [rotation.gone(tmp_path / "x.sqlog")]


def test_a_name_that_looks_like_a_part_is_none_where_there_is_no_first(tmp_path: Path) -> None:
    lone = tmp_path / "alice-2.2.sqlog"
    lone.touch()
    assert rotation.first(lone) == lone
    assert Artifacts(tmp_path).names("*.sqlog") == ["alice-2.2.sqlog"]


@settings(max_examples=examples(60))
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_a_tail_reads_every_line_once_whenever_it_looks(tmp_path_factory: pytest.TempPathFactory, looks: list[int]) -> None:
    path = tmp_path_factory.mktemp("tail") / "a.jsonl"
    file, tail = rotation.RotatedFile(path), rotation.LineTail(path)
    read: list[int] = []
    number = 0
    for count in looks:
        for _ in range(count):
            file.write(b"%06d".ljust(4999, b".") % number + b"\n")
            number += 1
        file.flush()
        read += [int(line[:6]) for line in tail.fresh()]
    assert read == list(range(number))
    file.close()


def test_a_tail_leaves_a_line_that_is_being_written_for_later(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    tail = rotation.LineTail(path)
    assert tail.fresh() == []
    path.write_bytes(b"one\ntw")
    assert tail.fresh() == [b"one\n"]
    path.write_bytes(b"one\ntwo\n")
    assert tail.fresh() == [b"two\n"]


def test_a_tail_that_comes_too_late_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    tail = rotation.LineTail(path)
    write(path, 1000).close()
    with pytest.raises(LookupError, match=r"a\.2\.jsonl was let go before it was read"):
        tail.fresh()


@pytest.mark.parametrize("told", ["", "much", "0", "-1", "nan", "inf", "1e9"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(rotation.VARIABLE, told)
    with pytest.raises(ValueError, match=r"HARNESS_KEEP_MIB, '.*': allowed is a number of MiB from 0.05 to 65536"):
        rotation.part_size()
