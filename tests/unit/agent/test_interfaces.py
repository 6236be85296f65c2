"""What the kernel says of this machine's own interfaces."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from harness.agent import interfaces
from harness.agent.interfaces import Interfaces, usable_addresses
from harness.agent.messages import PathSpec
from harness.call.pathfinder import Local
from tests.unit.agent.processes import within_deadline


def usable(*paths: PathSpec) -> frozenset[Local]:
    found: list[frozenset[Local]] = []

    async def main() -> None:
        watched = Interfaces(paths)
        found.append(watched.usable())
        watched.close()

    within_deadline(main)
    return found[0]


def test_an_address_of_an_interface_that_is_up_is_usable() -> None:
    assert "127.0.0.1" in usable_addresses()
    elsewhere = PathSpec(name="elsewhere", v4="192.0.2.77", v6="2001:db8::77")
    assert usable(PathSpec(name="lo", v4="127.0.0.1"), elsewhere) == {Local("lo", 4)}


def test_an_address_is_found_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "usable_addresses", lambda: {"2001:db8::1"})
    assert usable(PathSpec(name="eth", v4="192.0.2.1", v6="2001:0db8:0::0001")) == {Local("eth", 6)}


def test_who_waits_for_a_change_is_woken_by_the_end() -> None:
    async def main() -> None:
        watched = Interfaces((PathSpec(name="lo", v4="127.0.0.1"),))
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await watched.changed()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            watched.close()
        watched.close()
        with pytest.raises(trio.ClosedResourceError):
            await watched.changed()

    within_deadline(main)
