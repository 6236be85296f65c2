"""What of the samples may excuse, and what is told of them."""

from __future__ import annotations

from harness.fabric.samples import Intervals, Samples, Stop, Theft
from harness.lab.stalls import joined, life_of, notable, stalls_of, told
from harness.verdict import Stall

MS = 1_000_000


def samples() -> Samples:
    made = Samples()
    made.cores, made.since, made.until, made.cost = 2, {"alice": 5 * MS, "bob": 3 * MS}, 900 * MS, 0.031
    made.waits = {"alice": Intervals(), "bob": Intervals()}
    for name, start, end in (("alice", 20, 30), ("alice", 10, 22), ("bob", 40, 41)):
        made.waits[name].append(start * MS, end * MS)
    made.stops = {
        "alice": [Stop(100 * MS, 200 * MS, own=False), Stop(500 * MS, 600 * MS, own=True)],
        "bob": [Stop(300 * MS, 310 * MS, own=False)],
    }
    made.thefts = [
        Theft(0, 700 * MS, 750 * MS, 0, 0),
        Theft(1, 740 * MS, 760 * MS, 20 * MS, 20 * MS),
        Theft(1, 800 * MS, 850 * MS, 0, 50 * MS),
    ]
    return made


def test_what_was_sampled_becomes_stalls() -> None:
    assert stalls_of(samples(), ["alice", "bob"], []) == [
        Stall(10 * MS, 30 * MS, "agent alice", "waited"),
        Stall(40 * MS, 41 * MS, "agent bob", "waited"),
        Stall(100 * MS, 200 * MS, "agent alice", "stopped"),
        Stall(300 * MS, 310 * MS, "agent bob", "stopped"),
        Stall(700 * MS, 760 * MS, "machine", "stolen"),
    ]


def test_a_stop_excuses_only_where_the_agent_cannot_have_sent_it_and_the_scenario_did_not() -> None:
    def stops(confined: set[str], made: list[Stall]) -> list[str]:
        return sorted(stall.who for stall in stalls_of(samples(), confined, made) if stall.kind == "stopped")

    assert stops({"alice", "bob"}, []) == ["agent alice", "agent bob"]
    assert stops({"bob"}, []) == ["agent bob"], "alice runs with --confine=no"
    assert stops({"alice", "bob"}, [Stall(90 * MS, 101 * MS, "agent alice")]) == ["agent bob"]
    assert stops({"alice", "bob"}, [Stall(90 * MS, 100 * MS, "agent alice")]) == ["agent alice", "agent bob"]


def test_the_machine_waits_and_is_throttled_too() -> None:
    made = Samples()
    made.machine_waits, made.throttled = [(1, 3), (2, 5)], [(7, 9)]
    assert stalls_of(made, [], []) == [Stall(1, 5, "machine", "waited"), Stall(7, 9, "machine", "throttled")]


def test_the_life_of_the_agents() -> None:
    made = samples()
    for at, used in ((0, 0), (100, 50)):
        made.cpu.add(at, used)
    life = life_of(made)
    assert life is not None
    assert (life.since, life.until, life.cores, life.used(20, 40)) == (3 * MS, 900 * MS, 2, 10)
    assert life_of(Samples()) is None


def test_what_is_told() -> None:
    made = samples()
    assert told(made, stalls_of(made, {"alice"}, [])) == (
        "agent alice stopped 100ms, agent alice waited 20ms, agent bob waited 1ms, machine stolen 60ms, "
        "cores late for 50ms, which nothing confirms; sampling took 3.1 % of a core"
    )
    made.lost = "it died"
    assert told(made, []).endswith("not all samples were read: it died")
    assert told(Samples(), []) == "no stall was sampled"


def test_the_report_lists_long_waits_and_all_else() -> None:
    listed = [Stall(0, 10 * MS, "agent alice", "waited"), Stall(0, 1, "relay"), Stall(0, 1, "machine", "stolen")]
    assert list(notable([*listed, Stall(0, 10 * MS - 1, "agent alice", "waited")])) == listed


def test_intervals_that_touch_are_one() -> None:
    assert joined([(5, 7), (1, 3), (3, 4), (6, 9)]) == [(1, 4), (5, 9)]
