"""Access links as people have them: ``preset("wifi-bad").up`` and ``.down`` for a link's two directions.

A preset is the access link alone, from the user to the first router behind it; delays are half of the round trip.  Nobody's link is the
mean of a study: each preset says what was measured where, and which of its figures are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from harness.errors import SpecError
from harness.spec.link import GilbertElliott, Impairment, Schedule, Step
from harness.units import Duration, Rate, kbit, mbit, ms, percent, s


@dataclass(frozen=True)
class Preset:
    """``what`` it is in a line; ``up`` from the user, ``down`` to them.

    ``measured``: by whom, when, and what they found.  ``ours``: what we chose, rounded or assumed.
    """

    name: str
    what: str
    up: Impairment
    down: Impairment
    measured: str
    ours: str


_WEBPAGETEST = "WebPageTest's connectivity profiles (Meenan, Testing with Realistic Networking Conditions, 2016)"
_BLOAT = 500 * ms
"""How long a packet may queue: ours wherever it stands."""


def _leo(rate: Rate) -> Impairment:
    """A minute of four intervals with a delay each, from the middle of one; about each boundary 215 ms of more delay and of loss."""
    delays = (25 * ms, 20 * ms, 30 * ms, 22 * ms)

    def calm(delay: Duration) -> Impairment:
        return Impairment(delay=delay, jitter=3 * ms, rate=rate, queue_time=_BLOAT)

    steps: list[Step] = []
    for number, (before, after) in enumerate(zip(delays, (*delays[1:], delays[0]), strict=True)):
        boundary = 7.5 * s + number * 15 * s
        spike = max(before, after) + 30 * ms
        steps.append(
            Step(boundary - 75 * ms, Impairment(delay=spike, jitter=10 * ms, loss=20 * percent, rate=rate, queue_time=_BLOAT)),
        )
        steps.append(Step(boundary + 140 * ms, calm(after)))
    return structs.replace(calm(delays[0]), schedule=Schedule(tuple(steps), every=60 * s))


def _train(fast: Impairment, slow: Impairment) -> Impairment:
    """A minute: three handovers, fading cells, a tunnel of 4 s."""
    gone = Impairment(delay=fast.delay, loss=100 * percent)
    steps = (
        Step(10 * s, gone),
        Step(10.2 * s, fast),
        Step(22 * s, slow),
        Step(25 * s, gone),
        Step(25.6 * s, fast),
        Step(38 * s, slow),
        Step(40 * s, gone),
        Step(44 * s, slow),
        Step(46 * s, fast),
        Step(53 * s, gone),
        Step(53.2 * s, fast),
    )
    return structs.replace(fast, schedule=Schedule(steps, every=60 * s))


_ALL = (
    Preset(
        "wifi-good",
        "home Wi-Fi, near the access point",
        Impairment(delay=2 * ms, jitter=1 * ms, distribution="pareto", rate=15 * mbit, queue_time=_BLOAT),
        Impairment(delay=2 * ms, jitter=1 * ms, distribution="pareto", rate=30 * mbit, queue_time=_BLOAT),
        "Sui et al., Characterizing and Improving WiFi Latency in Large-Scale Operational Networks (MobiSys 2016): round trip of the Wi-Fi"
        " hop of 47,000 devices on a campus, median 3 ms, 90th percentile 20 ms. Firefox DevTools' throttling profile Wi-Fi: 30 Mbit/s"
        " down, 15 up, 2 ms.",
        "1.5 ms each way rounded up to 2, the spread of a quiet cell (their tail is in wifi-bad), the queue of 500 ms.",
    ),
    Preset(
        "wifi-bad",
        "home Wi-Fi behind walls, with neighbours on the channel",
        Impairment(
            delay=15 * ms,
            jitter=15 * ms,
            distribution="pareto",
            burst=GilbertElliott(p=1 * percent, r=25 * percent, bad=50 * percent),
            rate=3 * mbit,
            queue_time=_BLOAT,
        ),
        Impairment(
            delay=15 * ms,
            jitter=15 * ms,
            distribution="pareto",
            burst=GilbertElliott(p=1 * percent, r=25 * percent, bad=50 * percent),
            rate=6 * mbit,
            queue_time=_BLOAT,
        ),
        "Pei et al., WiFi can be the weakest link of round trip network latency in the wild (INFOCOM 2016): of TCP packets on a campus more"
        " than half met more than 20 ms in the Wi-Fi hop, and a tenth more than 100 ms. Sui et al. (MobiSys 2016): 99th percentile 250 ms.",
        "30 ms a round trip in the mean with a pareto tail; loss of 1.9 % in the mean, in bursts of 4 packets of which half are lost; the"
        " rates.",
    ),
    Preset(
        "4g",
        "LTE, standing still",
        Impairment(delay=35 * ms, jitter=10 * ms, rate=8.6 * mbit, queue_time=_BLOAT),
        Impairment(delay=35 * ms, jitter=5 * ms, rate=27 * mbit, queue_time=_BLOAT),
        f"{_WEBPAGETEST}: LTE, 70 ms round trip. Ookla Speedtest, United States, first half of 2018: mean 27.33 Mbit/s down, 8.63 up.",
        "half of the round trip each way, the spread, the queue; no loss, since LTE repeats what the radio lost.",
    ),
    Preset(
        "5g",
        "5G below 6 GHz, standing still",
        Impairment(delay=15 * ms, jitter=5 * ms, rate=21 * mbit, queue_time=_BLOAT),
        Impairment(delay=8 * ms, jitter=3 * ms, rate=166 * mbit, queue_time=_BLOAT),
        "Ookla Speedtest, worldwide, third quarter of 2021: median 166.13 Mbit/s down and 21.08 up over 5G. Kottkamp (Rohde & Schwarz),"
        " 5G NR and LTE latency analysis in a public network (Munich, 2022): one way from below 7 ms down to about 18 ms up under load.",
        "delays within theirs, the spread, the queue.",
    ),
    Preset(
        "3g",
        "UMTS with HSPA",
        Impairment(delay=150 * ms, jitter=30 * ms, loss=0.5 * percent, rate=768 * kbit, queue_time=2 * s),
        Impairment(delay=150 * ms, jitter=30 * ms, loss=0.5 * percent, rate=1.6 * mbit, queue_time=2 * s),
        f"{_WEBPAGETEST}: 3G, 1.6 Mbit/s down, 768 kbit/s up, 300 ms round trip. Baltrūnas et al., Dissecting Packet Loss in Mobile"
        " Broadband Networks from the Edge (INFOCOM 2015): a year in four UMTS networks; much of the loss comes with changes of radio"
        " state.",
        "half of the round trip each way, the spread, independent loss of 0.5 %, the queue of 2 s.",
    ),
    Preset(
        "dsl",
        "ADSL",
        Impairment(delay=25 * ms, jitter=1 * ms, rate=384 * kbit, queue_time=1 * s),
        Impairment(delay=25 * ms, jitter=1 * ms, rate=1.5 * mbit, queue_time=_BLOAT),
        f"{_WEBPAGETEST}: DSL, 1.5 Mbit/s down, 384 kbit/s up, 50 ms round trip.",
        "half of the round trip each way, the spread, the queues: of 1 s up, as home routers have it.",
    ),
    Preset(
        "geo",
        "geostationary satellite",
        Impairment(delay=300 * ms, jitter=5 * ms, rate=2 * mbit, queue_time=1 * s),
        Impairment(delay=300 * ms, jitter=5 * ms, rate=20 * mbit, queue_time=1 * s),
        "Huston, Using LEOs and GEOs (APNIC 2022): 477 ms of round trip are propagation, about 600 ms are generally seen. Endres et al.,"
        " Performance of QUIC Implementations Over Geostationary Satellite Links (2022), emulated: 20 Mbit/s forward, 2 Mbit/s return,"
        " 0 % or 1 % loss.",
        "half of the round trip each way, the spread, the queue; no loss (their lossy case is loss=1 * percent on top).",
    ),
    Preset(
        "leo",
        "low-orbit satellite (Starlink), with its reconfiguration every 15 s",
        _leo(15 * mbit),
        _leo(100 * mbit),
        "Michel et al., A First Look at Starlink Performance (IMC 2022, in Belgium): round trip 50 ms in the median, quartiles 40 and"
        " 60 ms. Mohan et al., A Multifaceted Look at Starlink Performance (WWW 2024): reconfiguration every 15 s, at the same time"
        " worldwide, with steps of latency and throughput. Statistical Characterization and Prediction of E2E Latency over LEO Satellite"
        " Networks (arXiv 2601.08439; 500 probes a second): spikes that last 75 ms before and 140 ms after each boundary. Kassem et al.,"
        " A Browser-side View of Starlink Connectivity (IMC 2022): up to 50 % loss, correlated with handovers.",
        "which interval has which delay, 30 ms and 20 % loss in the spikes, the rates, the queue; it begins in the middle of an interval.",
    ),
    Preset(
        "train",
        "LTE in a fast train: handovers, fading cells, a tunnel",
        _train(
            Impairment(delay=40 * ms, jitter=15 * ms, rate=4 * mbit, queue_time=2 * s),
            Impairment(delay=80 * ms, jitter=40 * ms, loss=3 * percent, rate=500 * kbit, queue_time=2 * s),
        ),
        _train(
            Impairment(delay=40 * ms, jitter=15 * ms, rate=10 * mbit, queue_time=2 * s),
            Impairment(delay=80 * ms, jitter=40 * ms, loss=3 * percent, rate=1 * mbit, queue_time=2 * s),
        ),
        "Li et al., A Longitudinal Measurement Study of TCP Performance and Behavior in 3G/4G Networks Over High Speed Rails (ToN 2017;"
        " 108,490 km at up to 310 km/h): loss and round trips grow considerably, throughput drops. Wang et al., An Active-Passive"
        " Measurement Study of TCP Performance over LTE on High-speed Rails (2018; 135,719 km): frequent handovers. Li et al., Beyond 5G:"
        " Reliable Extreme Mobility Management (SIGCOMM 2020): a share of those fails.",
        "every figure: theirs are distributions over routes and operators, this is one minute that has each of these things in it.",
    ),
)

PRESETS: dict[str, Preset] = {one.name: one for one in _ALL}


def preset(name: str) -> Preset:
    """The preset called ``name``; SpecError lists those there are."""
    if name not in PRESETS:
        raise SpecError(f"preset {name!r}", f"it is not known; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def table() -> str:
    """All presets, a line each, for people to choose from."""
    rows = [("preset", "delay up / down", "rate up / down", "loss", "over time", "")]
    for one in _ALL:
        lossy = one.down.burst.mean_loss * 100 if one.down.burst is not None else one.down.loss.percent if one.down.loss is not None else 0
        steps = one.down.schedule
        rows.append(
            (
                one.name,
                f"{one.up.delay} / {one.down.delay}",
                f"{one.up.rate} / {one.down.rate}",
                f"{lossy:.1f}%" if lossy else "",
                f"{len(steps.steps)} steps in {steps.every}" if steps is not None else "",
                one.what,
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows)


def told(name: str) -> str:
    """One preset in full: its figures, what was measured, what is ours."""
    one = preset(name)
    lines = [f"{one.name}: {one.what}"]
    for way, impairment in (("up", one.up), ("down", one.down)):
        lines.append(f"  {way:<8} {_words(impairment.at_start)}")
        if impairment.schedule is not None:
            lines += [f"    at {step.at!s:<8} {_words(step.impairment)}" for step in impairment.schedule.steps]
            lines.append(f"    every {impairment.schedule.every}")
    return "\n".join([*lines, f"  measured: {one.measured}", f"  ours: {one.ours}"])


def _words(impairment: Impairment) -> str:
    fields = {name: getattr(impairment, name) for name in impairment.__struct_fields__}
    plain = Impairment()
    said = [f"{name} {value}" for name, value in fields.items() if value != getattr(plain, name) and name != "burst"]
    if impairment.burst is not None:
        burst = impairment.burst
        said.append(f"burst p {burst.p}, r {burst.r}, {burst.bad} lost in it")
    return ", ".join(said)
