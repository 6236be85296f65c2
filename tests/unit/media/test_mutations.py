"""The instrument, checked by mutation: records with one known fault give exactly that figure, and leave every other as it was.

Each row takes the records of a sound flow, as an agent would write them (``RecordWriter``), does one thing to them, reads them back and
joins them; ``moved`` is the whole difference of the table of figures from the sound one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from harness.media.measures import Heard
from harness.media.record_join import join
from harness.media.records import ArrivedRecord, RecordWriter, SentRecord, read
from harness.units import Count, Duration, Quantity, ms, percent

MS = 1_000_000
COUNT, INTERVAL, WAY, DEADLINE = 200, 20 * MS, 30 * MS, 150 * ms
CALL: dict[str, Any] = {"call": "c", "flow": "audio", "ssrc": 7, "pt": 111, "size": 92, "udp": 130, "path": "eth", "mode": "datagram"}
Records = tuple[list[SentRecord], list[ArrivedRecord]]
Mutation = Callable[[list[SentRecord], list[ArrivedRecord]], Records]


def sound() -> Records:
    """200 packets, 20 ms apart, each 30 ms on its way; the sequence number wraps at packet 100."""
    sent, came = [], []
    for number in range(COUNT):
        same = CALL | {"seq": (65_436 + number) & 0xFFFF, "rtp": 960 * number, "frame": number, "marker": number == 0, "crc": number}
        at = number * INTERVAL
        sent.append(SentRecord(**same, offered=at, sent=at + 10_000, done=at + 20_000, remote="192.0.2.2:4433"))
        came.append(ArrivedRecord(**same, arrived=at + WAY, remote="192.0.2.1:5555"))
    return sent, came


def through_a_file(records: Iterable[SentRecord | ArrivedRecord]) -> list[Any]:
    file = io.BytesIO()
    writer = RecordWriter(file)
    for record in records:
        writer.write(record)
    file.seek(0)
    return list(read(file, "an agent"))


def table(sent: list[SentRecord], came: list[ArrivedRecord]) -> dict[str, Quantity | int | None]:
    joined = join(through_a_file(sent), through_a_file(came))
    heard = Heard(joined.packets, "a → b audio", 0, COUNT * INTERVAL + WAY, DEADLINE)
    names = ("longest_gap", "longest_pause_of_source", "loss", "network_loss", "lost", "late", "expired", "duplicates", "reordered")
    figures: dict[str, Quantity | int | None] = {name: getattr(heard, name)().value for name in (*names, "corrupted", "arrived")}
    return figures | {"offered": len(joined.packets), "strays": len(joined.strays), "delay_p50": heard.delay_p50().value}


def unheard(*numbers: int) -> Mutation:
    return lambda sent, came: (sent, [one for one in came if one.frame not in numbers])


def change_arrival(number: int, **changes: Any) -> Mutation:
    return lambda sent, came: (sent, [msgspec.structs.replace(one, **changes) if one.frame == number else one for one in came])


def delayed(number: int, by: int) -> Mutation:
    return change_arrival(number, arrived=number * INTERVAL + WAY + by)


def never_sent(sent: list[SentRecord], came: list[ArrivedRecord]) -> Records:
    gone = {"sent": None, "done": None, "udp": None, "path": None, "remote": None, "unsent": "expired"}
    return [msgspec.structs.replace(one, **gone) if one.frame == 50 else one for one in sent], unheard(50)(sent, came)[1]


def twice(sent: list[SentRecord], came: list[ArrivedRecord]) -> Records:
    return sent, [*came, msgspec.structs.replace(came[50], arrived=came[50].arrived + MS)]


def changed_copy(sent: list[SentRecord], came: list[ArrivedRecord]) -> Records:
    return sent, [*came, msgspec.structs.replace(came[50], crc=9999, arrived=came[50].arrived + MS)]


def from_nowhere(sent: list[SentRecord], came: list[ArrivedRecord]) -> Records:
    return sent, [*came, msgspec.structs.replace(came[50], ssrc=8)]


def source_pauses(sent: list[SentRecord], came: list[ArrivedRecord]) -> Records:
    """The source rests for the time of ten packets: nothing was offered, so nothing is missing."""
    return [one for one in sent if not 50 <= one.frame < 60], unheard(*range(50, 60))(sent, came)[1]


def written_out_of_order(sent: list[SentRecord], came: list[ArrivedRecord]) -> Records:
    return sent[::-1], came[::-1]


LOST: dict[str, Quantity | int] = {"lost": Count(1), "loss": 0.5 * percent, "network_loss": 0.5 * percent, "arrived": Count(199)}


@pytest.mark.parametrize(
    ("mutation", "moved"),
    [
        pytest.param(lambda sent, came: (sent, came), {}, id="nothing"),
        pytest.param(written_out_of_order, {}, id="records in another order"),
        pytest.param(unheard(50), LOST | {"longest_gap": 20 * ms}, id="one loss"),
        pytest.param(
            unheard(*range(50, 60)),
            {"lost": Count(10), "loss": 5 * percent, "network_loss": 5 * percent, "arrived": Count(190), "longest_gap": 200 * ms},
            id="a gap of ten",
        ),
        pytest.param(
            never_sent, {"expired": Count(1), "loss": 0.5 * percent, "arrived": Count(199), "longest_gap": 20 * ms}, id="one expired"
        ),
        pytest.param(twice, {"duplicates": Count(1)}, id="one duplicate"),
        pytest.param(changed_copy, {"corrupted": Count(1)}, id="a changed copy of what came whole"),
        pytest.param(change_arrival(50, crc=9999), LOST | {"corrupted": Count(1), "longest_gap": 20 * ms}, id="one corrupted"),
        pytest.param(delayed(50, 25 * MS), {"reordered": Count(1), "longest_gap": 20 * ms}, id="one overtaken"),
        pytest.param(delayed(50, 10 * MS), {"longest_gap": 10 * ms}, id="one held up, and not overtaken"),
        pytest.param(
            delayed(50, 121 * MS), {"late": Count(1), "loss": 0.5 * percent, "reordered": Count(1), "longest_gap": 20 * ms}, id="one late"
        ),
        pytest.param(from_nowhere, {"strays": 1}, id="one that nobody sent"),
        pytest.param(source_pauses, {"longest_pause_of_source": 220 * ms, "offered": 190, "arrived": Count(190)}, id="the source pauses"),
    ],
)
def test_one_fault_moves_its_figure_and_no_other(mutation: Mutation, moved: dict[str, Quantity | int]) -> None:
    assert table(*mutation(*sound())) == SOUND | moved


SOUND: dict[str, Quantity | int | None] = {
    "longest_gap": Duration(0),
    "longest_pause_of_source": 50 * ms,
    "loss": 0 * percent,
    "network_loss": 0 * percent,
    **dict.fromkeys(("lost", "late", "expired", "duplicates", "reordered", "corrupted"), Count(0)),
    "arrived": Count(COUNT),
    "offered": COUNT,
    "strays": 0,
    "delay_p50": 29.99 * ms,
}
"""The table of the sound flow; its only pause of the source is the end of the window, 50 ms after the last packet."""
