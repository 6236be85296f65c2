"""Every way in which an impairment can be wrong, told with its place, its value and what is allowed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.errors import SpecError
from harness.spec.link import CLEAR, LEAST_SPREAD, GilbertElliott, Impairment, Pick
from harness.spec.topology import from_text, to_plain
from harness.units import Duration, Rate, Ratio, kbit, mbit, ms, percent

WHERE = "link alice/wifi–home/lan, a_to_b"


JITTER = "10ms is above the delay of 9ms; allowed is 0 to 9ms, or truncate=True: whoever would leave before it came leaves at once"
DISTRIBUTION = "'flat' is not known; allowed are uniform, normal, pareto, paretonormal"


def burst(**fields: Any) -> GilbertElliott:
    return GilbertElliott(**{"p": 1 * percent, "r": 25 * percent, **fields})


def wrong(impairment: Impairment) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        impairment.validate(WHERE)
    return caught.value.where, caught.value.what


@pytest.mark.parametrize(
    ("fields", "field", "what"),
    [
        ({"delay": -1 * ms}, "delay", "-1ms is negative; allowed is 0 or more"),
        ({"delay": 20}, "delay", "20 has no unit; a duration is meant, for example 20 * ms"),
        ({"delay": 0.02}, "delay", "0.02 has no unit; a duration is meant, for example 20 * ms"),
        ({"delay": True}, "delay", "True has no unit; a duration is meant, for example 20 * ms"),
        ({"delay": "20ms"}, "delay", "'20ms' has no unit; a duration is meant, for example 20 * ms"),
        ({"delay": 5 * mbit}, "delay", "Rate(5mbit) has no unit; a duration is meant, for example 20 * ms"),
        ({"delay": 9 * ms, "jitter": 3}, "jitter", "3 has no unit; a duration is meant, for example 20 * ms"),
        ({"delay": 9 * ms, "jitter": -1 * ms}, "jitter", "-1ms is negative; allowed is 0 or more"),
        ({"delay": 9 * ms, "jitter": 10 * ms}, "jitter", JITTER),
        ({"jitter": 1 * ms}, "jitter", "1ms about no delay; give a delay"),
        (
            {"delay": 8 * ms, "jitter": 3 * ms, "distribution": "normal"},
            "jitter",
            "3ms is above the delay of 8ms as a normal distribution has it; allowed is 0 to 2.179836ms, or truncate=True: whoever would"
            " leave before it came leaves at once",
        ),
        ({"delay": 9 * ms, "jitter": 1 * ms, "distribution": "flat"}, "distribution", DISTRIBUTION),
        ({"delay": 9 * ms, "distribution": "normal"}, "distribution", "without jitter nothing is spread; give a jitter"),
        ({"truncate": True}, "truncate", "without jitter no delay falls below 0; give a jitter"),
        ({"reorder": 1 * percent}, "reorder", "without a delay there is nothing to skip; give a delay"),
        ({"delay": 9 * ms, "reorder": 101 * percent}, "reorder", "101% is more than everything; allowed is 0% to 100%"),
        ({"duplicate": 0.1}, "duplicate", "0.1 has no unit; a ratio is meant, for example 1 * percent"),
        ({"corrupt": -1 * percent}, "corrupt", "-1% is negative; allowed is 0 or more"),
        ({"burst": burst(p=101 * percent)}, "burst, p", "101% is more than everything; allowed is 0% to 100%"),
        ({"burst": burst(p=0.3)}, "burst, p", "0.3 has no unit; a ratio is meant, for example 1 * percent"),
        ({"burst": burst(bad=101 * percent)}, "burst, bad", "101% is more than everything; allowed is 0% to 100%"),
        (
            {"burst": burst(p=0 * percent, r=0 * percent)},
            "burst",
            "with p and r both 0% the state never changes; for independent loss use loss",
        ),
        ({"queue_time": 100 * ms}, "queue_time", "without a rate nothing waits for it; give a rate"),
        ({"mtu": 67}, "mtu", "67 is not a number of bytes; allowed is 68 (RFC 791's least) to 65535"),
        ({"too_big": True}, "too_big", "without an mtu no packet is too big; give an mtu"),
        ({"delay": 9 * ms, "reordering": True}, "reordering", "without jitter nothing can overtake; give a jitter"),
        ({"loss": 0.01}, "loss", "0.01 has no unit; a ratio is meant, for example 1 * percent"),
        ({"loss": -1 * percent}, "loss", "-1% is negative; allowed is 0 or more"),
        ({"loss": 101 * percent}, "loss", "101% is more than everything; allowed is 0% to 100%"),
        ({"rate": 5_000_000}, "rate", "5000000 has no unit; a rate is meant, for example 5 * mbit"),
        ({"rate": -5 * mbit}, "rate", "-5mbit is negative; allowed is 0 or more"),
        ({"rate": 0 * mbit}, "rate", "0bit never sends anything; to cut a link take it down, to lift the limit use None"),
        ({"queue": 0}, "queue", "0 is not a number of packets; allowed is 1 to 1000000"),
        ({"queue": -1}, "queue", "-1 is not a number of packets; allowed is 1 to 1000000"),
        ({"queue": 1_000_001}, "queue", "1000001 is not a number of packets; allowed is 1 to 1000000"),
        ({"queue": True}, "queue", "True is not a number of packets; allowed is 1 to 1000000"),
        ({"queue": 1.5}, "queue", "1.5 is not a number of packets; allowed is 1 to 1000000"),
        ({"drop": Pick(1)}, "drop", "Pick(nth=1, min_bytes=None, max_bytes=None) is not a tuple of Picks, for example (Pick(3),)"),
        ({"drop": (1,)}, "drop", "(1,) is not a tuple of Picks, for example (Pick(3),)"),
        ({"drop": (Pick(0),)}, "drop, nth", "0 is not a whole number of 1 or more"),
        ({"drop": (Pick(1), Pick(-1))}, "drop, nth", "-1 is not a whole number of 1 or more"),
        ({"drop": (Pick(True),)}, "drop, nth", "True is not a whole number of 1 or more"),
        ({"drop": (Pick(1.5),)}, "drop, nth", "1.5 is not a whole number of 1 or more"),  # type: ignore[arg-type]
        ({"drop": (Pick(1, min_bytes=-1),)}, "drop, min_bytes", "-1 is not a whole number of 0 or more"),
        ({"drop": (Pick(1, max_bytes=-1),)}, "drop, max_bytes", "-1 is not a whole number of 0 or more"),
        ({"drop": (Pick(1, 1200, 1199),)}, "drop", "no packet has at least 1200 and at most 1199 bytes"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str, what: str) -> None:
    assert wrong(Impairment(**fields)) == (f"{WHERE}, {field}", what)


@pytest.mark.parametrize(
    "impairment",
    [
        CLEAR,
        Impairment(delay=0 * ms, jitter=0 * ms, loss=0 * percent),
        Impairment(delay=20 * ms, jitter=20 * ms, reordering=True, loss=100 * percent, rate=1 * kbit, queue=1),
        Impairment(queue=1_000_000),
        Impairment(delay=9 * ms, jitter=10 * ms, truncate=True, reorder=100 * percent),
        Impairment(delay=8 * ms, jitter=2 * ms, distribution="normal", duplicate=1 * percent, corrupt=0 * percent),
        Impairment(burst=burst(p=100 * percent, good=1 * percent), rate=1 * mbit, queue_time=0 * ms, mtu=68, too_big=True),
        Impairment(drop=()),
        Impairment(drop=(Pick(1), Pick(1_000_000, 0), Pick(2, max_bytes=0), Pick(3, 1200, 1200))),
    ],
)
def test_what_is_allowed(impairment: Impairment) -> None:
    impairment.validate(WHERE)


def test_nothing_is_not_zero() -> None:
    assert CLEAR.is_clear
    assert Impairment(reordering=False).is_clear
    for zero in (Impairment(delay=0 * ms), Impairment(loss=0 * percent), Impairment(queue=10_000), Impairment(drop=())):
        assert not zero.is_clear
        assert zero != CLEAR
    assert to_plain(CLEAR) == {}
    assert to_plain(Impairment(delay=0 * ms)) == {"delay": "0s"}


@pytest.mark.parametrize("raw", [{"delay": 20}, {"loss": 0.01}, {"rate": 5_000_000}, {"delay": "20"}, {"rate": "5"}, {"loss": "0.5"}])
def test_json_refuses_bare_numbers(raw: dict[str, Any]) -> None:
    (field,) = raw
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(raw, Impairment, dec_hook=from_text)
    kind = {"delay": Duration, "loss": Ratio, "rate": Rate}[field]
    assert f"is not a {kind.__name__.lower()}: write a number with one of {', '.join(kind.units)}" in str(caught.value)
    assert f"$.{field}" in str(caught.value)


def test_impairments_are_frozen() -> None:
    impairment: Any = Impairment(delay=1 * ms)
    with pytest.raises(AttributeError):
        impairment.delay = 2 * ms
    assert hash(impairment) == hash(Impairment(delay=1 * ms))


def test_picks_go_to_json_and_back() -> None:
    impairment = Impairment(drop=(Pick(1), Pick(3, min_bytes=1000), Pick(2, max_bytes=99)))
    plain = msgspec.json.decode(msgspec.json.encode(to_plain(impairment)))
    assert plain == {"drop": [{"nth": 1}, {"nth": 3, "min_bytes": 1000}, {"nth": 2, "max_bytes": 99}]}
    assert msgspec.convert(plain, Impairment, dec_hook=from_text) == impairment
    assert msgspec.convert({"drop": []}, Impairment, dec_hook=from_text).drop == ()
    with pytest.raises(msgspec.ValidationError, match="unknown field `size`"):
        msgspec.convert({"drop": [{"nth": 1, "size": 5}]}, Impairment, dec_hook=from_text)


@pytest.mark.parametrize(
    ("pick", "text", "counted"),
    [
        (Pick(1), "#1", {None, 0, 99, 100, 200, 201}),
        (Pick(2, min_bytes=100), "#2 ≥ 100 B", {100, 200, 201}),
        (Pick(3, max_bytes=200), "#3 ≤ 200 B", {0, 99, 100, 200}),
        (Pick(4, 100, 200), "#4 ≥ 100 B ≤ 200 B", {100, 200}),
        (Pick(5, min_bytes=0), "#5 ≥ 0 B", {0, 99, 100, 200, 201}),
    ],
    ids=str,
)
def test_what_a_pick_counts(pick: Pick, text: str, counted: set[int | None]) -> None:
    assert str(pick) == text
    assert {size for size in (None, 0, 99, 100, 200, 201) if pick.counts(size)} == counted


@pytest.mark.parametrize(
    ("impairment", "least"),
    [
        (CLEAR, 0),
        (Impairment(delay=20 * ms), 20_000_000),
        (Impairment(delay=20 * ms, jitter=5 * ms), 15_000_000),
        (Impairment(delay=20 * ms, jitter=5 * ms, distribution="normal"), 20_000_000 + int(LEAST_SPREAD["normal"] * 5_000_000)),
        (Impairment(delay=20 * ms, reorder=1 * percent), 0),
        (Impairment(delay=20 * ms, jitter=30 * ms, truncate=True), 0),
    ],
)
def test_least_delay(impairment: Impairment, least: int) -> None:
    assert impairment.least_delay == least
