"""A NAT that cannot be built is refused by name, never approximated."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest

from harness.errors import SpecError
from harness.spec.nat import SUPPORTED, Behaviour, Nat, PortForward, Ports
from harness.units import ms, s

WHERE = "router home, nat"
EVERY = list(product(get_args(Behaviour), get_args(Behaviour), get_args(Ports)))


@pytest.mark.parametrize("asked", EVERY, ids="/".join)
def test_only_what_was_classified_from_outside_is_built(asked: tuple[Behaviour, Behaviour, Ports]) -> None:
    mapping, filtering, ports = asked
    nat = Nat(outside="wan", mapping=mapping, filtering=filtering, ports=ports)
    if asked in SUPPORTED:
        nat.validate(WHERE)
        return
    with pytest.raises(SpecError) as caught:
        nat.validate(WHERE)
    assert caught.value.where == WHERE
    allowed = "; ".join(" / ".join(one) for one in sorted(SUPPORTED))
    assert caught.value.what == f"mapping / filtering / ports {' / '.join(asked)} cannot be built; allowed is {allowed}"


def test_the_default_is_the_common_home_router() -> None:
    Nat(outside="wan").validate(WHERE)
    assert len(SUPPORTED) == 3


@pytest.mark.parametrize(
    ("fields", "field", "what"),
    [
        ({"udp_timeout": 999 * ms}, "udp_timeout", "999ms is below 1s, the kernel's step"),
        ({"udp_timeout": -1 * s}, "udp_timeout", "-1s is below 1s, the kernel's step"),
        ({"udp_timeout": 30}, "udp_timeout", "30 has no unit; a duration is meant, for example 20 * ms"),
        ({"spare": -1}, "spare", "-1 is not a number of spare addresses; allowed is 0 to 8"),
        ({"spare": 9}, "spare", "9 is not a number of spare addresses; allowed is 0 to 8"),
        ({"spare": True}, "spare", "True is not a number of spare addresses; allowed is 0 to 8"),
        (
            {"forwards": (PortForward(port="sip", host="a", to_port=1),)},  # type: ignore[arg-type]
            "forwards, port",
            "'sip' is not a UDP port; allowed is 1 to 65535",
        ),
        ({"forwards": (PortForward(port=0, host="a", to_port=1),)}, "forwards, port", "0 is not a UDP port; allowed is 1 to 65535"),
        ({"forwards": (PortForward(port=65536, host="a", to_port=1),)}, "forwards, port", "65536 is not a UDP port; allowed is 1 to 65535"),
        ({"forwards": (PortForward(port=1, host="a", to_port=0),)}, "forwards, to_port", "0 is not a UDP port; allowed is 1 to 65535"),
        ({"forwards": (PortForward(port=7, host="a", to_port=1),) * 2}, "forwards, port", "7 is forwarded twice"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        Nat(outside="wan", **fields).validate(WHERE)
    assert (caught.value.where, caught.value.what) == (f"{WHERE}, {field}", what)


@pytest.mark.parametrize("fields", [{"udp_timeout": 1 * s}, {"spare": 0}, {"spare": 8}, {"udp_timeout": None}])
def test_what_is_allowed(fields: dict[str, Any]) -> None:
    Nat(outside="wan", **fields).validate(WHERE)
