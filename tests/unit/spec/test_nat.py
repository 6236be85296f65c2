"""Every way in which a NAT can be wrong, told with its place, its value and what is allowed."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest

from harness.errors import SpecError
from harness.spec.nat import Behaviour, Nat, PortForward, Ports
from harness.units import ms, s

WHERE = "router home, nat"
EVERY = list(product(get_args(Behaviour), get_args(Behaviour), get_args(Ports)))


@pytest.mark.parametrize("asked", EVERY, ids="/".join)
def test_every_behaviour_of_rfc_4787_can_be_said(asked: tuple[Behaviour, Behaviour, Ports]) -> None:
    mapping, filtering, ports = asked
    Nat(outside="wan", mapping=mapping, filtering=filtering, ports=ports).validate(WHERE)


@pytest.mark.parametrize(
    ("fields", "field", "what"),
    [
        ({"udp_timeout": 999 * ms}, "udp_timeout", "999ms is below 1s, the kernel's step"),
        ({"udp_timeout": -1 * s}, "udp_timeout", "-1s is below 1s, the kernel's step"),
        ({"udp_timeout": 30}, "udp_timeout", "30 has no unit; a duration is meant, for example 20 * ms"),
        ({"mapping": "symmetric"}, "mapping", f"'symmetric' is not known; allowed are {', '.join(get_args(Behaviour))}"),
        ({"ports": "odd"}, "ports", "'odd' is not known; allowed are preserve, random, contiguous"),
        ({"pool": 0}, "pool", "a NAT with no addresses translates to nothing; allowed is 1 to 8"),
        ({"pool": 9}, "pool", "9 is not a number of outside addresses; allowed is 1 to 8"),
        ({"pooling": "arbitrary"}, "pooling", "arbitrary pooling of 1 address is paired; give a pool of 2 or more"),
        ({"ipv6": "prefix"}, "prefix6", "is missing; NPTv6 needs the outside prefix, for example '2001:db8:aa::/48'"),
        (
            {"prefix6": "2001:db8:aa::/48"},
            "prefix6",
            "'2001:db8:aa::/48' is for ipv6='prefix' alone; it is the outside prefix, for example '2001:db8:aa::/48'",
        ),
        ({"ipv6": "prefix", "prefix6": "2001:db8::/32"}, "prefix6", "2001:db8::/32 has /32; allowed is /48 to /64"),
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
