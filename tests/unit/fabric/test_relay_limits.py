"""What a relay that is too slow for its links says of itself."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.fabric.link_ends import End
from harness.fabric.plan import make_plan
from harness.fabric.relay import Counted, DirectionCounters, LinkCounters
from harness.fabric.relay_links import RelayExecutor
from harness.spec.link import CLEAR
from harness.spec.topology import Host, Link, Topology

TOPOLOGY = Topology("t", (Host("a"), Host("b")), (Link("a/eth", "b/eth", "10.0.0.0/24", None, CLEAR, CLEAR),))


class Ends:
    """Ends whose losses are told by the test."""

    name = "tap"

    def __init__(self) -> None:
        self.lost = {"a": 3, "b": 5}  # while the network was built

    def open(self, end: End, mtu: int) -> int:
        return 0

    def unread(self, end: End) -> int:
        return self.lost[end.plan.port.node]


class Control:
    """A relay whose counters are told by the test."""

    def __init__(self) -> None:
        self.late, self.delivered = 0, 1000

    def restart(self) -> None:
        pass

    def counters(self) -> Counted:
        def way(late: int) -> DirectionCounters:
            none = dict.fromkeys(("lost", "picked", "queue_dropped", "cut_dropped", "refused", "in_flight"), 0)
            return DirectionCounters(received=1000, delivered=self.delivered, late=late, **none)

        return Counted(0, {TOPOLOGY.links[0].name: LinkCounters(way(self.late), way(0), False)})


@pytest.fixture
def parts() -> tuple[RelayExecutor, Ends, Control]:
    ends, control, plan = Ends(), Control(), make_plan(TOPOLOGY)
    executor = RelayExecutor(1, ends)
    executor.make(TOPOLOGY.links[0], *(End(cast(Any, None), plan[node].ports["eth"]) for node in "ab"))
    executor._control = cast(Any, control)
    executor.reset()
    return executor, ends, control


def test_a_relay_that_keeps_up_has_nothing_to_say(parts: tuple[RelayExecutor, Ends, Control]) -> None:
    executor, _ends, control = parts
    control.late = 500  # stalls make some packets late
    assert executor.shortfalls() == []


def test_of_a_few_packets_no_share_is_a_rule(parts: tuple[RelayExecutor, Ends, Control]) -> None:
    executor, _ends, control = parts
    control.late, control.delivered = 50, 60
    assert executor.shortfalls() == []
    control.late = 51
    assert len(executor.shortfalls()) == 1


def test_packets_that_came_too_fast_are_told(parts: tuple[RelayExecutor, Ends, Control]) -> None:
    executor, ends, _control = parts
    ends.lost["b"] += 7
    (told,) = executor.shortfalls()
    assert told.startswith("link a/eth–b/eth, b_to_a: 7 packets beside the 1000 that the relay took came faster than it can take them")


def test_a_delay_that_cannot_be_held_is_told(parts: tuple[RelayExecutor, Ends, Control]) -> None:
    executor, _ends, control = parts
    control.late = 501
    (told,) = executor.shortfalls()
    assert told.startswith("link a/eth–b/eth, a_to_b: 501 of 1000 packets left more than 1 ms after their time")


def test_what_an_interface_loses_in_going_down_is_no_shortfall(parts: tuple[RelayExecutor, Ends, Control]) -> None:
    executor, ends, _control = parts
    (link,) = TOPOLOGY.links
    executor.going_down(link)
    ends.lost["a"] += 1
    assert executor.shortfalls() == []
    executor.come_up(link)
    assert executor.shortfalls() == []
    ends.lost["a"] += 2
    assert executor.shortfalls()[0].startswith("link a/eth–b/eth, a_to_b: 2 packets beside the 1000")
    executor.going_down(link)
    ends.lost["a"] += 4
    assert executor.shortfalls()[0].startswith("link a/eth–b/eth, a_to_b: 2 packets beside the 1000"), "what was lost before it went stays"
