"""What a page tells of a run, in the shape that the page's scripts read: everything on one clock, nothing computed but what is shown.

Times are whole microseconds since ``zero``, the moment (ns of CLOCK_MONOTONIC) at which the run's timeline began.  A *series* of times is
written as its differences, first value first (``delta``), which compresses to a third.  Whatever these structs hold came from agents,
captures and names: the page shows it as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from harness.report.clock import Clock

HEARD, LATE, LOST, UNSENT, NOT_TAKEN = range(5)
"""What became of a packet: ``FATES`` in the page's scripts has the words."""


class Silence(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """A stretch in which a flow was silent, by ``media.silence``; ``excess`` (µs) is the part in which something was due."""

    since: int
    until: int
    excess: int
    recovered: bool


class Second(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """One second's score by ``media.emodel``, of ``offered`` packets ``unheard``."""

    since: int
    until: int
    r: float
    mos: float
    offered: int
    unheard: int


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One flow of one direction of one call: series with a value for every packet that was due, in that order.

    ``offered``: when it was due, delta-coded.  ``left``: µs from then to its leaving the speaker's host, -1 for one that never left.
    ``came``: µs from then to the arrival of its first copy at the listener's host, -1 for one that never came.  ``waited``: µs from its
    arrival until the listener took it, -1 for one that it never took.  ``size``: bytes of RTP, 0 for what was never made.  ``fate``: what
    became of it (``HEARD`` …), and ``way``: which of ``ways`` carried it, both run-length coded (value, count, value, count …).
    A way is [the speaker's interface, the listener's], either None where nobody knows.
    ``limits``: [from when, µs after it was due until which a packet is in time]: the deadline and its path's own delay; empty without one.
    ``opened`` and ``closed``: the time in which the call was judged.  ``unsent``: why packets never left, counted.
    ``frozen``: of video, [from, to] of each freeze.  ``standstills``: [from, to] of the times without a picture that lasted 100 ms or more.
    """

    call: str
    speaker: str
    listener: str
    flow: str
    opened: int
    closed: int
    limits: list[list[int]]
    ways: list[list[str | None]]
    offered: list[int]
    left: list[int]
    came: list[int]
    waited: list[int]
    fate: list[int]
    size: list[int]
    way: list[int]
    unsent: dict[str, int]
    silences: list[Silence]
    seconds: list[Second]
    codec: str
    frozen: list[list[int]]
    standstills: list[list[int]]


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What one end's qlog tells of one QUIC connection.  Each series has its own delta-coded times (``*_at``).

    ``rtt``: the latest sample, ``smoothed`` (both µs, at ``rtt_at``); ``cwnd``, ``in_flight``: bytes; ``lost_at``: packets declared lost.
    """

    peer: str
    role: str
    odcid: str
    rtt_at: list[int]
    rtt: list[int]
    smoothed: list[int]
    cwnd_at: list[int]
    cwnd: list[int]
    in_flight_at: list[int]
    in_flight: list[int]
    lost_at: list[int]


class Span(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"since": "from", "until": "to"}):
    """A stretch on a lane.  ``kind``: what colours it; ``text``: what is written on it; ``detail``: what a look at it tells."""

    since: int
    until: int
    kind: str
    text: str = ""
    detail: str = ""


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A moment on a lane; fields as in ``Span``."""

    at: int
    kind: str
    text: str = ""
    detail: str = ""


class Lane(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row under the charts.  ``group``: state, act, path, fault, nat, link or stall; ``name``: whose it is."""

    group: str
    name: str
    spans: list[Span] = []
    marks: list[Mark] = []


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A host or router with its interfaces: name → addresses.  ``nat``: of a router that translates, field → value in words."""

    name: str
    kind: str
    ports: dict[str, list[str]]
    nat: dict[str, str] = {}


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """A link between the ports ``a`` and ``b``, with what was asked of each direction, in words ("delay 20ms loss 1%" or "clear").

    ``ruled``: per direction ("a_to_b"), [from, words] of every impairment that came into force, the first included.
    ``downs``: per end ("a", "b"), [from, to] of the times in which that end was down.
    """

    name: str
    a: str
    b: str
    ruled: dict[str, list[tuple[int, str]]]
    downs: dict[str, list[list[int]]]


class Signal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message from one peer to the other as the captures saw it.

    ``at``: when it was whole at the speaker's host; ``came``: at the listener's, None when it never was.
    ``layer``: "quic" (handshake, path validation, close), "call" (signalling), "path" (the listener sees it come from elsewhere), "media"
    (the first packet of a flow).  ``listener``: "" when nobody knows who was meant.
    """

    at: int
    came: int | None
    speaker: str
    listener: str
    layer: str
    text: str
    detail: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a log.  ``at``: None when its source tells no time."""

    at: int | None
    source: str
    kind: str
    text: str


class Sound(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener heard or saw, embedded: ``audio``, ``picture``, ``film`` are data: addresses, "" where there is none."""

    speaker: str
    listener: str
    flow: str
    since: int
    length: int
    audio: str = ""
    picture: str = ""
    film: str = ""
    concealed: list[list[int]] = []


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One run.  ``report``: report.json as it is (its times are ns of CLOCK_MONOTONIC; take ``zero`` off).  ``until``: when it ended.

    ``dropped``: what the network dropped and where, a sentence each, the sum first; none of a run that does not tell.
    ``unread``: what could not be read of the artifacts, a line each; a page with such lines says so at its head.
    ``notes``: by the field of this struct that it is about ("signals", "lines"), what is to be said there, such as what was left out.
    """

    zero: int
    until: int
    title: str
    report: dict[str, Any]
    peers: list[str]
    flows: list[Flow] = []
    connections: list[Connection] = []
    lanes: list[Lane] = []
    nodes: list[Node] = []
    wires: list[Wire] = []
    signals: list[Signal] = []
    lines: list[Line] = []
    sounds: list[Sound] = []
    dropped: list[str] = []
    unread: list[str] = []
    notes: dict[str, list[str]] = {}

    @property
    def since_zero(self) -> Clock:
        """An instant of the report (ns) as µs since ``zero``."""
        return Clock(self.zero)


def delta(values: Iterable[int]) -> list[int]:
    """``values`` as the first of them and then the differences."""
    coded, last = [], 0
    for value in values:
        coded.append(value - last)
        last = value
    return coded


def runs(values: Iterable[int]) -> list[int]:
    """``values`` run-length coded: value, count, value, count and so on."""
    coded: list[int] = []
    for value in values:
        if coded and coded[-2] == value:
            coded[-1] += 1
        else:
            coded += (value, 1)
    return coded


def unrun(coded: Sequence[int]) -> list[int]:
    """The values that ``runs`` coded."""
    return [value for value, count in zip(coded[::2], coded[1::2], strict=True) for _ in range(count)]
