from __future__ import annotations

import re

import pytest

from harness.errors import SpecError
from harness.spec.link import Impairment
from harness.spec.presets import PRESETS, Preset, preset, table, told
from harness.spec.topology import Topology
from harness.units import ms, s
from tests.unit.spec.nets import ACCESS, changed


def ruling(impairment: Impairment) -> list[Impairment]:
    schedule = impairment.schedule
    return [impairment.at_step(n) for n in range(1 + (len(schedule.steps) if schedule is not None else 0))]


@pytest.mark.parametrize("name", PRESETS)
class TestEveryPreset:
    def test_it_is_valid_and_goes_through_a_topology_and_back(self, name: str) -> None:
        one = preset(name)
        topology = changed(ACCESS, a_to_b=one.up, b_to_a=one.down)
        assert Topology.from_json(topology.to_json()) == topology

    def test_it_says_where_its_figures_are_from_and_which_are_ours(self, name: str) -> None:
        one = preset(name)
        assert one.name == name
        assert one.what
        assert re.search(r"\b20[12]\d\b", one.measured), "it names a year"
        assert one.ours

    def test_both_directions_have_a_delay_and_a_rate_and_no_queue_for_ever(self, name: str) -> None:
        one = preset(name)
        for way in (one.up, one.down):
            for rules in ruling(way):
                assert rules.delay is not None
                assert rules.rate is not None or (rules.loss is not None and rules.loss.fraction == 1)
                assert rules.rate is None or rules.queue_time is not None
        assert one.up.rate is not None
        assert one.down.rate is not None
        assert one.up.rate < one.down.rate

    def test_it_is_told(self, name: str) -> None:
        one = preset(name)
        assert one.what in table()
        for text in (one.what, one.measured, one.ours, str(one.up.rate)):
            assert text in told(name)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(
        SpecError, match=r"^preset 'wifi': it is not known; there are wifi-good, wifi-bad, 4g, 5g, 3g, dsl, geo, leo, train$"
    ):
        preset("wifi")


def test_leo_has_a_boundary_every_15_s() -> None:
    one: Preset = preset("leo")
    for way in (one.up, one.down):
        assert way.schedule is not None
        assert way.schedule.every == 60 * s
        steps = way.schedule.steps
        assert [step.at for step in steps[::2]] == [(7.5 + 15 * n) * s - 75 * ms for n in range(4)]
        assert [step.at for step in steps[1::2]] == [(7.5 + 15 * n) * s + 140 * ms for n in range(4)]
        assert [rules.delay for rules in (way.at_start, *(step.impairment for step in steps[1::2]))] == [
            25 * ms,
            20 * ms,
            30 * ms,
            22 * ms,
            25 * ms,
        ]
        assert all(step.impairment.loss is not None for step in steps[::2])
        assert all(step.impairment.loss is None for step in steps[1::2])
