"""What is said to the kernel, and what is made of its answers; netem itself is measured in tests/conformance."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric import netem
from harness.fabric.rtnl import NetlinkRefused
from harness.spec.link import CLEAR, Impairment, Pick, Schedule, Step
from harness.spec.rate_trace import rate_trace
from harness.units import Duration, Rate, bit, kbit, mbit, ms, percent


def said(impairment: Impairment) -> dict[str, Any]:
    """The options in the message, as the kernel would read them."""
    message = netem.put(7, impairment)
    message.encode()
    back = netem._netemmsg(bytes(message.data))
    back.decode()
    assert (back["index"], back["handle"], back["parent"]) == (7, 0x10000, 0xFFFFFFFF)
    assert back.get_attr("TCA_KIND") == "netem"
    options = back.get_attr("TCA_OPTIONS")
    found = {name: options[name] for name in ("limit", "loss", "gap", "duplicate")}
    rate = options.get_attr("TCA_NETEM_RATE")
    assert rate["packet_overhead"] == -14
    return found | {
        "rate": options.get_attr("TCA_NETEM_RATE64"),
        "delay": options.get_attr("TCA_NETEM_LATENCY64"),
        "jitter": options.get_attr("TCA_NETEM_JITTER64"),
    }


def test_clear_says_nothing_but_order() -> None:
    nothing = {"limit": 10_000, "loss": 0, "gap": 0, "duplicate": 0, "delay": 0, "jitter": 0}
    assert said(CLEAR) == nothing | {"rate": netem.UNLIMITED}


def test_everything_at_once() -> None:
    found = said(Impairment(delay=20 * ms, jitter=3 * ms, loss=25 * percent, rate=5 * mbit, queue=50))
    assert found == {"limit": 50, "loss": 2**30, "gap": 0, "duplicate": 0, "rate": 625_000, "delay": 20_000_000, "jitter": 3_000_000}


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
    ],
)
def test_what_cannot_be_said_is_named(impairment: Impairment, reason: str) -> None:
    assert reason in str(netem.can_say(impairment))


@pytest.mark.parametrize("impairment", [CLEAR, Impairment(rate=1 * kbit), Impairment(delay=1 * ms, jitter=1 * ms, reordering=True)])
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
                    ("TCA_STATS_QUEUE", {"qlen": 3, "backlog": 300, "drops": 2, "requeues": 0, "overlimits": 0}),
                ]
            },
        ),
    ]
    message.encode()
    answer = netem.tcmsg(bytes(message.data))
    answer.decode()
    assert netem.counters(Kernel(answers=[answer]), 7) == netem.NetemCounters(delivered=10, dropped=2, in_flight=3)


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
