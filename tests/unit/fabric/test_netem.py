"""What is said to the kernel, and what is made of its answers; netem itself is measured in tests/conformance."""

from __future__ import annotations

import errno
import json
import struct
from typing import Any

import pytest

from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric import netem
from harness.fabric.rtnl import NetlinkRefused
from harness.spec import spread
from harness.spec.link import CLEAR, GilbertElliott, Impairment, Pick, Schedule, Step
from harness.spec.rate_trace import rate_trace
from harness.units import Duration, Rate, bit, kbit, mbit, ms, percent, s


def said(impairment: Impairment, seed: int | None = None) -> dict[str, Any]:
    """The options in the message, as the kernel would read them."""
    message = netem.put(7, impairment, seed)
    message.encode()
    back = netem._netemmsg(bytes(message.data))
    back.decode()
    assert (back["index"], back["handle"], back["parent"]) == (7, 0x10000, 0xFFFFFFFF)
    assert back.get_attr("TCA_KIND") == "netem"
    options = back.get_attr("TCA_OPTIONS")
    found = {name: options[name] for name in ("limit", "loss", "gap", "duplicate")}
    rate, model = options.get_attr("TCA_NETEM_RATE"), options.get_attr("TCA_NETEM_LOSS")
    assert rate["packet_overhead"] == -14
    chances = {name: options.get_attr(f"TCA_NETEM_{name.upper()}") for name in ("reorder", "corrupt")}
    assert all(chance["correlation"] == 0 for chance in chances.values())
    table = options.get_attr("TCA_NETEM_DELAY_DIST")
    chain = model and {name: model.get_attr("NETEM_LOSS_GE")[name] for name in ("p", "r", "h", "k1")}
    return found | {
        "rate": options.get_attr("TCA_NETEM_RATE64"),
        "delay": options.get_attr("TCA_NETEM_LATENCY64"),
        "jitter": options.get_attr("TCA_NETEM_JITTER64"),
        **{name: chance["probability"] for name, chance in chances.items()},
        "table": table and struct.unpack(f"={len(table) // 2}h", table),
        "chain": chain,
        "seed": options.get_attr("TCA_NETEM_PRNG_SEED"),
    }


NOTHING = {
    "limit": 10_000,
    "rate": netem.UNLIMITED,
    "table": None,
    "chain": None,
    "seed": None,
    **dict.fromkeys(("loss", "gap", "duplicate", "delay", "jitter", "reorder", "corrupt"), 0),
}
UNIFORM = tuple(range(-8190, 8191, 4))
QUARTER, HALF, ALL = 2**30, 2**31, 2**32 - 1


def test_clear_says_nothing_but_order() -> None:
    assert said(CLEAR) == NOTHING


def test_much_at_once() -> None:
    asked = {"delay": 20 * ms, "jitter": 3 * ms, "loss": 25 * percent, "rate": 5 * mbit, "queue": 50, "corrupt": 50 * percent}
    found = {"delay": 20_000_000, "jitter": 3_000_000, "loss": QUARTER, "rate": 625_000, "limit": 50, "corrupt": HALF, "table": UNIFORM}
    assert said(Impairment(**asked)) == NOTHING | found


def test_uniform_jitter_has_a_table_since_an_earlier_one_cannot_be_taken_away() -> None:
    assert said(Impairment(delay=20 * ms, jitter=3 * ms))["table"] == UNIFORM
    assert sum(UNIFORM) == 0


def test_the_tables_are_those_of_the_relay() -> None:
    assert said(Impairment(delay=20 * ms, jitter=3 * ms, distribution="pareto"))["table"] == spread.table("pareto")


def test_whoever_is_let_ahead_is_drawn_for_each_time() -> None:
    assert said(Impairment(delay=20 * ms, reorder=25 * percent)) == NOTHING | {"delay": 20_000_000, "gap": 1, "reorder": QUARTER}


def test_duplicates() -> None:
    assert said(Impairment(duplicate=25 * percent)) == NOTHING | {"duplicate": QUARTER}


def test_a_chain_tells_what_passes_in_the_bad_state_and_what_is_lost_in_the_good_one() -> None:
    burst = GilbertElliott(p=25 * percent, r=50 * percent, bad=75 * percent, good=0 * percent)
    assert said(Impairment(burst=burst)) == NOTHING | {"chain": {"p": QUARTER, "r": HALF, "h": QUARTER, "k1": 0}}


def test_independent_loss_is_folded_into_the_chain() -> None:
    burst = GilbertElliott(p=25 * percent, r=50 * percent, bad=50 * percent, good=50 * percent)
    found = said(Impairment(burst=burst, loss=50 * percent))
    assert found["loss"] == 0
    assert found["chain"] == {"p": QUARTER, "r": HALF, "h": QUARTER, "k1": 3 * QUARTER - 1}


def test_a_seed_begins_the_sequence() -> None:
    assert said(CLEAR, seed=2**63 + 5) == NOTHING | {"seed": 2**63 + 5}


def test_total_loss_is_the_largest_number() -> None:
    assert said(Impairment(loss=100 * percent))["loss"] == 2**32 - 1


def test_reordering_has_no_rate() -> None:
    assert said(Impairment(delay=20 * ms, jitter=3 * ms, reordering=True))["rate"] == 0


@pytest.mark.parametrize(
    ("impairment", "reason"),
    [
        (Impairment(delay=20 * ms, jitter=3 * ms, reordering=True, rate=1 * mbit), "reordering together with a rate"),
        (Impairment(rate=Rate(1001)), "1.001kbit is not a multiple of 8bit"),
        (Impairment(drop=(Pick(1),)), "which ones to drop cannot be said"),
        (Impairment(drop=()), "which ones to drop cannot be said"),
        (Impairment(rate=1 * mbit, queue_time=50 * ms), "queue_time cannot be said"),
        (Impairment(mtu=1300), "mtu cannot be said"),
        (Impairment(duplicate=1 * percent, loss=1 * percent), "duplicate together with loss or burst cannot be said"),
        (Impairment(duplicate=1 * percent, burst=GilbertElliott(p=1 * percent, r=1 * percent)), "duplicate together with loss or burst"),
        (Impairment(delay=1 * ms, jitter=2 * ms, truncate=True, rate=1 * mbit), "truncate with a rate cannot be said"),
        (Impairment(delay=3 * s, jitter=3 * s), "no jitter above 2.147483647s"),
    ],
)
def test_what_cannot_be_said_is_named(impairment: Impairment, reason: str) -> None:
    assert reason in str(netem.can_say(impairment))


@pytest.mark.parametrize(
    "impairment",
    [
        CLEAR,
        Impairment(rate=1 * kbit),
        Impairment(delay=1 * ms, jitter=1 * ms, reordering=True),
        Impairment(delay=1 * ms, jitter=2 * ms, truncate=True, distribution="normal"),
        Impairment(delay=1 * ms, reorder=1 * percent, duplicate=1 * percent, corrupt=1 * percent),
        Impairment(loss=1 * percent, burst=GilbertElliott(p=1 * percent, r=10 * percent)),
    ],
)
def test_what_can_be_said(impairment: Impairment) -> None:
    assert netem.can_say(impairment) is None


class Kernel:
    """An rtnetlink that refuses with one error, or answers."""

    def __init__(self, refusal: Exception | None = None, answers: list[Any] | None = None) -> None:
        self.refusal = refusal
        self.answers = answers or []

    def batch(self, messages: list[Any]) -> None:
        if self.refusal is not None:
            raise self.refusal

    def request(self, message: Any) -> list[Any]:
        return self.answers


def test_a_kernel_without_it_is_told_from_one_that_refuses_for_another_reason() -> None:
    assert netem.kernel_has_netem(Kernel(), 1)
    assert not netem.kernel_has_netem(Kernel(NetlinkRefused("tcmsg", errno.ENOENT, "Specified qdisc kind is unknown")), 1)
    assert not netem.kernel_has_netem(Kernel(OSError(errno.EOPNOTSUPP, "not supported")), 1)
    with pytest.raises(EnvironmentUnfit, match="EPERM"):
        netem.kernel_has_netem(Kernel(NetlinkRefused("tcmsg", errno.EPERM, "")), 1)


def test_an_interface_without_netem_has_no_counters() -> None:
    with pytest.raises(HarnessError, match="interface 7 has no netem"):
        netem.counters(Kernel(), 7)


def test_counters() -> None:
    message = netem._message(netem.RTM_NEWQDISC, 7)
    message["attrs"] = [
        ("TCA_KIND", "netem"),
        (
            "TCA_STATS2",
            {
                "attrs": [
                    ("TCA_STATS_BASIC", {"bytes": 1000, "packets": 10}),
                    ("TCA_STATS_QUEUE", {"qlen": 3, "backlog": 300, "drops": 2, "requeues": 1, "overlimits": 0}),
                ]
            },
        ),
    ]
    message.encode()
    answer = netem.tcmsg(bytes(message.data))
    answer.decode()
    assert netem.counters(Kernel(answers=[answer]), 7) == netem.NetemCounters(delivered=10, dropped=2, in_flight=3, reordered=1)


def test_the_remedy_is_named() -> None:
    assert "run with --impair relay" in str(netem.unfit("the kernel has no sch_netem"))


def test_a_schedule_is_said_unless_it_is_too_fine_or_a_step_cannot_be() -> None:
    def scheduled(*steps: Step, every: Duration | None = None, **fields: Any) -> Impairment:
        return Impairment(schedule=Schedule(steps, every), **fields)

    far = Step(20 * ms, Impairment(delay=60 * ms))
    assert netem.can_say(scheduled(Step(10 * ms, CLEAR), far, every=30 * ms)) is None
    told = netem.can_say(scheduled(far, Step(29 * ms, CLEAR)))
    assert told == "the keeper changes sch_netem every 10ms at most, and 9ms after 20ms is finer; use the relay"
    assert netem.can_say(scheduled(Step(9 * ms, CLEAR))) is not None
    assert netem.can_say(scheduled(far, every=25 * ms)) is not None
    odd = Step(40 * ms, Impairment(rate=1001 * bit))
    assert netem.can_say(scheduled(far, odd)) == (
        "schedule, step 2 (at 40ms): sch_netem counts whole bytes per second, and 1.001kbit is not a multiple of 8bit; use the relay"
    )
    trace = rate_trace([10], "slow")
    assert "so a rate_trace cannot be said; use the relay" in str(netem.can_say(scheduled(far, rate_trace=trace)))


def test_what_the_kernel_has_in_force_is_read_back_as_plain_data() -> None:
    message = netem.put(7, Impairment(delay=20 * ms, rate=1 * mbit))
    message.encode()
    answer = netem._netemmsg(bytes(message.data))
    answer.decode()

    class Kernel:
        def batch(self, messages: list[Any]) -> None:
            raise AssertionError

        def request(self, message: Any) -> list[Any]:
            return [answer]

    told = netem.read_back(Kernel(), 7)
    assert (told["executor"], told["latency64"], told["rate64"]) == ("netem", 20_000_000, 125_000)
    assert told["rate"]["packet_overhead"] == -14
    assert json.loads(json.dumps(told)) == told
