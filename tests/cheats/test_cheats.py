"""The short form of ``make cheats``: a few cheats, each in one scenario.  Each did it, by the captures, and is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.cheats import wire
from tests.cheats.__main__ import orders_of
from tests.cheats.campaign import perform, reports_in
from tests.cheats.table import BY_NAME

Deed = Callable[[Path], bool]


def two_client_hellos(run: Path) -> bool:
    """Whether two handshakes have begun: their first packets differ in the destination id, which the client draws for each."""
    initials = [packet.payload for packet in wire.captured(run, "alice") if packet.outgoing and packet.payload[:1] >= b"\xc0"]
    return len({data[6 : 6 + data[5]] for data in initials}) >= 2


DEEDS: dict[str, Deed] = {
    "blocks": lambda run: wire.longest_gap_ms(run, "bob") > 390,
    "stops-listening": lambda run: wire.slowest_ack_ms(run, "bob") > 390,
    "invents-speech": lambda run: len(wire.opened(run, "alice").datagrams("audio")) + 20 < len(wire.captured(run, "alice")),
    "freezes": lambda run: min(wire.longest_gap_ms(run, host, "video") for host in ("alice", "bob")) > 1490,
    "segfaults": lambda run: "died" in (run / "report.json").read_text() or "SIGSEGV" in (run / "report.json").read_text(),
    "second-connection": two_client_hellos,
}


@pytest.mark.parametrize("name", DEEDS)
def test_a_cheat_does_what_it_says_and_is_caught(name: str, tmp_path: Path) -> None:
    cheat = BY_NAME[name]
    reports, printed = trio.run(perform, orders_of(cheat)[0], tmp_path)
    assert reports, printed
    assert any(DEEDS[name](path.parent) for path in reports_in(tmp_path)), f"{name} has not done it\n{printed}"
    wrong = cheat.came_out(reports[-1])
    assert not wrong, f"{wrong}: {reports[-1].reasons}\n{printed}"
