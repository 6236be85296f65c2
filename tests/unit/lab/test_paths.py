"""Whether a call went by the path that its scenario names, and how early a capture may be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from harness.agent.messages import Migrate
from harness.agent.remote import AskedRequest
from harness.errors import HarnessError
from harness.fabric.udp_packets import UdpPacket
from harness.lab.conversation import Call
from harness.lab.evidence import Evidence
from harness.lab.paths import dialled_by

BOB = ("198.51.100.66", 4433)


OPENED = {b"@%d" % number: SimpleNamespace(connection=f"connection {number}") for number in range(3)}


def packet(at: int, interface: str, *, outgoing: bool = True, destination: tuple[str, int] = BOB, payload: bytes = b"\xc0") -> UdpPacket:
    return UdpPacket(f"alice/{interface}", at, at, outgoing, ("10.0.0.2", 5000), destination, 1200, payload)


def initial(source: bytes) -> bytes:
    """The head of an Initial packet of version 1, from ``source``."""
    return b"\xc0\0\0\0\1\x01d" + bytes([len(source)]) + source + b"\0\x40\x20" + bytes(32)


def lab_of(packets: list[UdpPacket], *, faults: tuple[int, ...] = ()) -> Any:
    captured = SimpleNamespace(captured=lambda peer, whole: packets, opened=OPENED.get)
    return SimpleNamespace(evidence=captured, faults=[SimpleNamespace(began=at) for at in faults], now=lambda: 10_000)


def call(path: str, moved: int = 0) -> Any:
    requests = [AskedRequest(moved, moved, Migrate(id=1, call="c", path="lte"))] if moved else []
    alice = SimpleNamespace(name="alice", requests=requests)
    return SimpleNamespace(id="c", path=path, caller=alice, callee=SimpleNamespace(name="bob"), remote=BOB, asked=100, closed=None)


def test_a_call_that_leaves_by_the_path_that_is_named_is_proven() -> None:
    packets = [*(packet(at, "wifi") for at in range(100, 120)), packet(118, "lte")]
    (receipt,) = dialled_by(lab_of(packets), call("wifi"))
    assert receipt.taken
    assert receipt.observed == {"packets by alice/wifi": 20, "packets by alice/lte": 1}
    assert receipt.fault == "alice dials bob by wifi"


def test_one_that_leaves_by_another_is_not() -> None:
    (receipt,) = dialled_by(lab_of([packet(at, "lte") for at in range(100, 120)]), call("wifi"))
    assert not receipt.taken
    assert receipt.observed == {"packets by alice/lte": 20, "why not": "its packets left by alice/lte"}


@pytest.mark.parametrize("how", ["moves", "faults"])
def test_it_is_looked_at_until_something_is_done_to_it(how: str) -> None:
    made, packets = (
        call("wifi", 150 if how == "moves" else 0),
        [*(packet(at, "wifi") for at in range(100, 105)), *(packet(at, "lte") for at in range(200, 300))],
    )
    lab = lab_of(packets) if how == "moves" else lab_of(packets, faults=(50, 150))
    assert [one.taken for one in dialled_by(lab, made)] == [True]
    assert [one.taken for one in dialled_by(lab_of(packets), call("wifi"))] == [False]


@pytest.mark.parametrize("payload", [b"@1", initial(b"a")])
def test_a_call_before_it_that_is_not_over_is_not_taken_for_it(payload: bytes) -> None:
    """The end of a call that was redialled by the other radio goes on beside the next call's beginning."""
    earlier = [packet(at, "lte", payload=payload) for at in (90, 110, 120, 130)]
    mine = [packet(at, "wifi", payload=initial(b"b") if at < 105 else b"@2") for at in range(100, 110)]
    (receipt,) = dialled_by(lab_of([*earlier, *mine]), call("wifi"))
    assert (receipt.taken, receipt.observed) == (True, {"packets by alice/wifi": 10})


def test_a_call_on_a_connection_that_was_there_is_no_reason_to_look_away() -> None:
    (receipt,) = dialled_by(lab_of([packet(at, "lte", payload=b"@1") for at in range(90, 120)]), call("wifi"))
    assert (receipt.taken, receipt.observed["packets by alice/lte"]) == (False, 20)


def test_nothing_is_said_where_no_path_is_named_or_nothing_left() -> None:
    assert list(dialled_by(lab_of([packet(100, "lte")]), call(""))) == []
    others = [packet(90, "lte"), packet(110, "lte", outgoing=False), packet(110, "lte", destination=("192.0.2.1", 53))]
    assert list(dialled_by(lab_of(others), call("wifi"))) == []


class Captured(Evidence):
    """Evidence whose captures are empty files that need no reading."""

    def _captures(self, peer: Any) -> list[Path]:
        return []


def test_a_capture_is_not_read_before_the_end_of_the_call_is_in_it() -> None:
    """It was: media that had been heard was missing in what was read, and -1 packets were on the wire."""
    network: Any = SimpleNamespace(flushed=0)
    made: Any = SimpleNamespace(closed=500)
    alice: Any = SimpleNamespace(name="alice", calls=[made])
    evidence = Captured(SimpleNamespace(final={}, network=network, peers={"alice": alice}))  # type: ignore[arg-type]  # a lab made by hand
    with pytest.raises(HarnessError, match="before what passed is in their files"):
        evidence.captured(alice)
    network.flushed = 499
    with pytest.raises(HarnessError, match="before what passed is in their files"):
        evidence.captured(alice)
    network.flushed = 501
    assert evidence.captured(alice) == []


@dataclass(eq=False)
class Side:
    """As much of a peer as a call that is concluded asks for."""

    inventory: Callable[[], Awaitable[None]]
    cut_short: bool = False


def test_a_call_that_is_concluded_is_in_the_captures() -> None:
    did: list[str] = []

    async def noted(what: str) -> None:
        did.append(what)

    lab: Any = SimpleNamespace(settle=lambda: noted("packets"))
    sides: list[Any] = [Side(lambda: noted("records")) for _ in range(2)]
    made = Call(lab, *sides, ("audio",), 4, None)  # type: ignore[arg-type]  # nothing optional is asked for
    trio.run(made.conclude)
    assert did == ["records", "records", "packets"]
