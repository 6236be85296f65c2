"""Who may be in the room at one time, and in what order they come in."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.turns import turn

WITHIN_S = 30.0


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "room").touch()
    return tmp_path / "room"


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def held(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_two_are_in_it_side_by_side(room: Path) -> None:
    both = threading.Barrier(2, timeout=WITHIN_S)
    met = []

    def one() -> None:
        with turn(alone=False, room=room):
            met.append(both.wait())

    threads = [started(one) for _ in range(2)]
    for thread in threads:
        thread.join(WITHIN_S)
    assert sorted(met) == [0, 1]
    assert not held(room)
    assert not held(room.parent)


def test_who_is_alone_comes_after_those_before_him_and_before_those_behind(room: Path) -> None:
    order: list[str] = []
    alone_is_in, alone_may_go = threading.Event(), threading.Event()

    def alone() -> None:
        with turn(alone=True, room=room):
            order.append("alone")
            alone_is_in.set()
            alone_may_go.wait(WITHIN_S)
            order.append("alone goes")

    def behind() -> None:
        with turn(alone=False, room=room):
            order.append("behind")

    with turn(alone=False, room=room):
        waiting = started(alone)
        while not held(room.parent):  # until he stands in the door
            os.sched_yield()
        last = started(behind)
        order.append("first goes")
    assert alone_is_in.wait(WITHIN_S)
    alone_may_go.set()
    for thread in (waiting, last):
        thread.join(WITHIN_S)
    assert order == ["first goes", "alone", "alone goes", "behind"]


def test_a_run_that_ends_in_an_error_leaves_the_room(room: Path) -> None:
    with pytest.raises(ZeroDivisionError), turn(alone=True, room=room):
        raise ZeroDivisionError
    assert not held(room)
