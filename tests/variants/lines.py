"""``-p tests.variants.lines``: a pytest plugin that puts scenarios on other lines than they were written for.

HARNESS_LINES names them: ``far`` (a round trip of 300 ms) or ``narrow`` (200 kbit/s each way on the caller's access line).  The topologies'
own constants are changed before a scenario is imported, so that the bounds that follow from them change too.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import pytest

from harness.errors import SpecError
from harness.fabric.network import Network
from harness.lab.lab import Lab
from harness.spec.link import Impairment
from harness.spec.topology import Link, Topology
from harness.units import Rate, kbit, ms
from topologies import carrier_grade, phone_two_radios, two_homes

FAR_MS = 150
"""One way."""
LTE_MORE_MS = 15
"""By which LTE is slower than Wi-Fi, as it was written: the scenarios' bounds of silence hold that much more."""
NARROW = 200 * kbit
ACCESS = ("home_a/wan", "home/wan", "home/cgn")
VARIABLE = "HARNESS_LINES"


def far() -> None:
    """300 ms there and back in two_homes, and some 300 by either radio of phone_two_radios."""
    two_homes.DELAY, two_homes.ROUND_TRIP = FAR_MS * ms, 2 * FAR_MS * ms
    two_homes.two_homes.__kwdefaults__["delay"] = FAR_MS * ms
    carrier_grade.DELAY, carrier_grade.ROUND_TRIP = FAR_MS * ms / 2, 2 * FAR_MS * ms
    phone_two_radios.CORE_DELAY = FAR_MS * ms / 2
    phone_two_radios.WIFI_DELAY = FAR_MS * ms / 2
    phone_two_radios.LTE_DELAY = phone_two_radios.WIFI_DELAY + LTE_MORE_MS * ms
    phone_two_radios.WIFI_ROUND_TRIP = 2 * (phone_two_radios.WIFI_DELAY + phone_two_radios.CORE_DELAY)
    phone_two_radios.LTE_ROUND_TRIP = 2 * (phone_two_radios.LTE_DELAY + phone_two_radios.CORE_DELAY)


def narrow() -> None:
    """200 kbit/s each way on the first impaired link that Alice's packets pass, by each of her radios."""
    build = Lab.build

    async def on_narrow_lines(self: Lab, topology: Topology) -> Network:
        return await build(self, narrowed(topology))

    Lab.build = on_narrow_lines  # type: ignore[method-assign]


def narrowed(topology: Topology) -> Topology:
    """``topology`` with 200 kbit/s there; SpecError when it has no such link."""
    slow = [link.name for link in topology.links if link.a.startswith("alice/") and link.impairable]
    slow = slow or [link.name for link in topology.links if link.a in ACCESS and link.impairable]
    if not slow:
        raise SpecError(topology.name, f"none of its links is Alice's access line; looked for alice/… and {', '.join(ACCESS)}")
    links = tuple(_at(link, NARROW) if link.name in slow else link for link in topology.links)
    return msgspec.structs.replace(topology, links=links)


def _at(link: Link, rate: Rate) -> Link:
    there, back = (msgspec.structs.replace(way or Impairment(), rate=rate) for way in (link.a_to_b, link.b_to_a))
    return msgspec.structs.replace(link, a_to_b=there, b_to_a=back)


LINES: dict[str, Callable[[], None]] = {"far": far, "narrow": narrow}


def pytest_configure(config: pytest.Config) -> None:
    """Change what the run asks for."""
    name = os.environ.get(VARIABLE, "")
    if name not in LINES:
        raise pytest.UsageError(f"{VARIABLE} is {name!r}; it can be {' or '.join(LINES)}")
    LINES[name]()
