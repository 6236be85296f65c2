"""What an author writes: topologies, links, NATs, recordings of rates and series; and quantities in words."""

from __future__ import annotations

from array import array
from pathlib import Path
from random import Random

from harness.errors import SpecError
from harness.fabric.plan import make_plan
from harness.lab.exchange import resolver
from harness.spec.link import Impairment, Schedule, Step
from harness.spec.presets import preset
from harness.spec.rate_trace import mahimahi, pack, rate_trace, unpack
from harness.spec.series import series
from harness.spec.topology import Topology
from harness.units import Count, Duration, Rate, Ratio, ms, s
from tests.fuzz.target import Ready, need, refusing, target
from topologies.carrier_grade import carrier_grade
from topologies.phone_two_radios import phone_two_radios
from topologies.two_homes import two_homes


def topologies() -> list[bytes]:
    """Small ones with something of everything."""
    trace = rate_trace([0, 5, 5, 900], "recorded")
    impaired = Impairment(delay=20 * ms, jitter=2 * ms, rate_trace=trace, schedule=Schedule((Step(5 * s, Impairment(delay=60 * ms)),)))
    link = two_homes().links[0]
    changed = type(link)(**{field: getattr(link, field) for field in link.__struct_fields__} | {"a_to_b": impaired})
    special = Topology("special", two_homes().nodes, (changed, *two_homes().links[1:]))
    return [one.to_json().encode() for one in (two_homes(), phone_two_radios(), carrier_grade(), special)]


@target("topology", "json", share=0.5, longest=16_384)
def topology(_: Path) -> Ready:
    """A topology in JSON: SpecError; what is taken comes back as itself, and has a plan (or SpecError)."""

    def run(data: bytes) -> None:
        with refusing(SpecError):
            found = Topology.from_json(data)
            need(Topology.from_json(found.to_json()) == found, "it does not come back as itself")
            for router in found.routers:
                found.pool(router), found.spares(router), found.prefixes(router)
            make_plan(found)
            resolver(found, 4433)

    return Ready(run, topologies())


@target("quantity", share=5, longest=512)
def quantity(_: Path) -> Ready:
    """A quantity in words: ValueError; what is taken comes back as itself, and can be told and computed with."""

    def run(data: bytes) -> None:
        text = data.decode(errors="replace")
        for kind in (Duration, Rate, Ratio, Count):
            try:
                found = kind.parse(text)
            except ValueError as error:
                need(type(error) is ValueError and str(error), "it was refused without words")
                continue
            need(kind is Count or kind.parse(str(found)) == found, f"{found} does not come back as itself")
            need(found.count / 1e12 is not None, "it is no number")

    return Ready(run, [b"20ms", b"1.5s", b"-300us", b"5mbit", b"300kbit", b"1%", b"7ppm", b"3packets"])


@target("mahimahi", "lines", share=0.4)
def trace(_: Path) -> Ready:
    """A recording of a rate: SpecError; what is taken is unpacked to what was packed, and can be told."""

    def run(data: bytes) -> None:
        with refusing(SpecError):
            found = mahimahi(data.decode(errors="surrogateescape") + "\n")
            found.validate("here")
            need(list(unpack(pack(found.times))) == list(found.times), "it does not come back as itself")
            need(str(found) and found.longest_pause.count >= 0, "it cannot be told")

    return Ready(run, [b"0\n1\n1\n5\n900\n", b"1\n", b"10\n86400000"])


@target("packed_trace", share=5)
def packed(_: Path) -> Ready:
    """A recording as a topology's JSON holds it: ValueError; what is taken is written back to the same times."""

    def run(data: bytes) -> None:
        try:
            found = unpack(data.decode(errors="replace"))
        except ValueError as error:
            need(type(error) is ValueError, f"{type(error).__name__} is no word of ours")
            return
        need(unpack(pack(found)) == found, "it does not come back as itself")

    return Ready(run, [pack(array("L", times)).encode() for times in ([0, 1, 1, 900], [5], sorted(Random(1).choices(range(9000), k=200)))])


@target("series", "lines", share=0.6)
def measured(_: Path) -> Ready:
    """A CSV of delays and losses: SpecError; what is taken is valid."""

    def run(data: bytes) -> None:
        with refusing(SpecError):
            series(data.decode(errors="surrogateescape") + "\n", every=100 * s if len(data) % 2 else None, units={"delay": ms}).validate(
                "here"
            )

    return Ready(
        run,
        [
            b"time_s,delay_ms,loss_%\n0,23.1,0\n0.5,24.9,0.2\n1e1,61.0,1.5",
            b"time,delay,jitter_us\n0s,20ms,3\n5s,30,1",
            b'"time s",loss\n1,2%',
        ],
    )


@target("trace_file", share=0.1)
def trace_file(folder: Path) -> Ready:
    """The same from files, with any bytes in them: SpecError."""

    def run(data: bytes) -> None:
        path = folder / "recorded"
        path.write_bytes(data)
        for read in (mahimahi, series):
            with refusing(SpecError):
                read(path)
        name = data.decode(errors="surrogateescape").replace("\n", "")
        with refusing(SpecError):
            mahimahi(name)

    return Ready(run, [b"0\n1\n900\n", b"\xef\xbb\xbftime_s,delay_ms\r\n0,1\r\n1,2\r\n"])


@target("preset", share=0.3, longest=64)
def named(_: Path) -> Ready:
    """A preset by name: SpecError."""

    def run(data: bytes) -> None:
        with refusing(SpecError):
            preset(data.decode(errors="replace"))

    return Ready(run, [b"4g", b"wifi-bad", b"leo"])
