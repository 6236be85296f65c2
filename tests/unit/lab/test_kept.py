"""What a run of hours collects is there again at its end as it came, and takes little room until then."""

from __future__ import annotations

import tracemalloc

from harness.lab.kept import Kept
from harness.verdict import Receipt

NAMES = ("received", "delivered", "lost", "picked", "too_big", "queue_dropped", "cut_dropped", "refused", "in_flight", "answered", "late")


def receipt(number: int) -> Receipt:
    before, after = ({name: 1000 * number + place for place, name in enumerate(NAMES)} for _ in "ba")
    seen = {"before": before, "after": after, "address": f"203.0.113.9:{number}", "said": "\ud800"}
    return Receipt(fault=f"rebind, turn {number}", kind="mappings gone", at=number << 40, observed=seen, taken=True, source="conntrack")


def test_what_was_kept_is_what_came_in_its_order() -> None:
    kept = Kept[Receipt]()
    kept.append(receipt(1))
    kept.extend(receipt(number) for number in (3, 2))
    assert list(kept) == [receipt(1), receipt(3), receipt(2)]
    assert list(kept) == [receipt(1), receipt(3), receipt(2)], "and once more"
    assert len(kept) == 3


def test_it_takes_less_than_half_of_what_the_objects_do() -> None:
    def taken(keep: Kept[Receipt] | list[Receipt]) -> int:
        tracemalloc.start()
        for number in range(500):
            keep.append(receipt(number))
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return used

    assert 2 * taken(Kept()) < taken([])
