"""Faults that no packet of the call meets, in a run on a real network: each is told as not taken, and why; beside it one that was met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_plugin import run

STORY = """
from harness.spec.link import Impairment
from harness.units import percent, s
from topologies.phone_two_radios import LTE_DELAY, WIFI_DELAY, phone_two_radios


async def test_unmet(lab):
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    wifi, lte = net.link("alice/wifi"), net.link("alice/lte")
    async with lab.call(alice, bob, path="wifi") as call:
        await call.heard_both_ways(for_=500 * ms)
        async with lab.fault("everything is lost on the other radio"):
            await lte.impair(Impairment(delay=LTE_DELAY, loss=100 * percent))
        async with lab.fault("the other radio dies, on purpose beside the call", beside_the_call=True):
            await lte.down()
        async with lab.fault("what is in force is asked for"):
            await wifi.impair(Impairment(delay=WIFI_DELAY))
        async with lab.fault("an MTU that no packet reaches"):
            await wifi.impair(Impairment(delay=WIFI_DELAY, mtu=1450))
        async with lab.fault("a NAT that nobody uses restarts"):
            await net.nat("carrier").reboot(within=100 * ms)
        async with lab.fault("more delay"):
            await wifi.impair(Impairment(delay=2 * WIFI_DELAY))
            await call.heard_both_ways(for_=100 * ms)
        async with lab.fault("more delay"):
            pass
        async with lab.fault("less delay, of which is said that it is beside the call", beside_the_call=True):
            await wifi.impair(Impairment(delay=WIFI_DELAY))
        await call.heard_both_ways(for_=500 * ms)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of the run."""
    ran = run(tmp_path_factory.mktemp("unmet"), STORY, f"--rootdir={Path(__file__).parents[2]}")
    (report,) = ran.reports.values()
    assert report["verdicts"], ran.out
    return report  # type: ignore[no-any-return]


def receipts(told: dict[str, Any], fault: str) -> list[tuple[bool, str]]:
    """Of a fault: whether each of its receipts was taken, and if not, why."""
    return [(one["taken"], one["observed"].get("why not", "")) for one in told["receipts"] if one["fault"] == fault]


NOWHERE = "it met none of the call's packets: none passed "


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("everything is lost on the other radio", [(False, f"{NOWHERE}alice/lte"), (False, f"{NOWHERE}carrier/ran")]),
        ("the other radio dies, on purpose beside the call", [(True, "")]),
        ("what is in force is asked for", [(False, "it asks for what was in force already: nothing was changed")] * 2),
        (
            "an MTU that no packet reaches",
            [(False, f"it met none of the call's packets: none larger than 1450 bytes passed {end}") for end in ("alice/wifi", "home/lan")],
        ),
        ("a NAT that nobody uses restarts", [(False, f"{NOWHERE}carrier/wan")]),
        ("more delay", [(True, "")] * 2),
        ("more delay (2)", []),
        ("alice dials bob by wifi", [(True, "")]),
    ],
)
def test_what_met_nothing_is_not_taken(told: dict[str, Any], fault: str, expected: list[tuple[bool, str]]) -> None:
    assert receipts(told, fault) == expected


def test_what_is_beside_the_call_must_not_meet_it(told: dict[str, Any]) -> None:
    found = receipts(told, "less delay, of which is said that it is beside the call")
    assert [taken for taken, _ in found] == [False, False]
    assert all(why.startswith("it was to be beside the call, and met ") for _, why in found)


def test_an_empty_fault_is_not_proven_by_another_of_its_name(told: dict[str, Any]) -> None:
    assert told["result"] == "INCONCLUSIVE"
    assert "fault 'more delay (2)' has no receipt: nothing proves that it took effect" in told["reasons"]
