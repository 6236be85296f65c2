"""What stalls explain, and above all what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.excuse import covered, excuse
from harness.media.figure import Figure, Gap, Overdue
from harness.media.measures import Heard
from harness.units import Count, Duration, Quantity, ms, percent
from harness.verdict import Blame, Life, Result, Stall, at_least, at_most, equal
from tests.unit.media.flows import MS, S, again, audio

LIFE = Life(0, 10 * S, 20 * percent)


def silence(*gaps: tuple[float, float], extra: float = 20) -> Figure:
    """A figure of gaps (start ms, end ms), each counting all but ``extra`` ms of its stretch."""
    made = tuple(Gap(Duration(round((end - start - extra) * MS)), round(start * MS), round(end * MS)) for start, end in gaps)
    return Figure(max(gap.excess for gap in made), "alice → bob audio", made)


class TestGapsAndPackets:
    """A gap from 1000 to 1520 ms counts 500 ms; the bound is 400, the excess 100."""

    FAILED = at_most("silence", silence((1000, 1520)), 400 * ms)

    @pytest.mark.parametrize(
        ("stalls", "excused"),
        [
            ([(1100, 1200)], True),
            ([(1100, 1199.999)], False),
            ([(1100, 1160), (1300, 1340)], True),
            ([(1100, 1160), (1120, 1180)], False),  # they overlap: 80 ms in all
            ([(700, 800)], True),  # what it left behind was in the way for 300 ms
            ([(800, 899.999)], False),
            ([(600, 700)], False),
            ([(700, 750), (950, 1000)], False),  # the first was over by then
            ([(1500, 1700)], False),
            ([(0, 400), (1520, 9000)], False),  # beside the gap, however long
            ([(0, 9000)], True),
            ([], False),
        ],
    )
    def test_only_stalls_inside_that_very_gap_that_cover_the_excess(self, stalls: Sequence[tuple[float, float]], excused: bool) -> None:
        assert self.FAILED.result is Result.FAIL
        judged = excuse(self.FAILED, [Stall(round(start * MS), round(end * MS), "agent bob") for start, end in stalls])
        assert (judged.result is Result.INCONCLUSIVE) == excused
        assert judged.blame == (Blame.ENVIRONMENT if excused else Blame.PRODUCT)
        assert ("agent bob" in judged.note) == excused

    def test_a_stall_that_explains_the_longest_gap_does_not_hide_the_next(self) -> None:
        verdict = at_most("silence", silence((1000, 1920), (3300, 3820), (5000, 5100)), 400 * ms)
        assert [gap.excess.ms for gap in verdict.gaps] == [900, 500]
        judged = excuse(verdict, [Stall(1 * S, 2 * S, "runner")])
        assert (judged.result, judged.value, judged.blame) == (Result.FAIL, 500 * ms, Blame.PRODUCT)
        assert "explained by stalls" in judged.note
        assert excuse(verdict, [Stall(1 * S, 4 * S, "runner")]).result is Result.INCONCLUSIVE

    def test_a_pass_on_an_upper_bound_stands(self) -> None:
        passed = at_most("silence", silence((1000, 1420)), 400 * ms)
        assert excuse(passed, [Stall(0, 9 * S, "runner")]) == passed

    def test_what_has_no_time_of_its_own_is_explained_only_by_a_machine_that_stood_still(self) -> None:
        for verdict in (
            at_most("video, kbit/s", 290, 244),
            at_least("heard", 5, 6),
            at_least("heard", Figure(Count(5), overdue=(Overdue("given up", 1 * S, 2 * S),)), 6),
            at_most("no gaps known", 500 * ms, 400 * ms),
            at_least("pause of a muted source", silence((1000, 1520)), 600 * ms),
            equal("silence", silence((1000, 1520)), 0 * ms),
        ):
            assert verdict.result is Result.FAIL
            both = [Stall(0, 250 * MS, "agent alice"), Stall(1 * S, 1300 * MS, "agent alice"), Stall(1 * S, 1300 * MS, "agent bob")]
            assert excuse(verdict, both) == verdict
            assert excuse(verdict, [*both[:2], Stall(1 * S, 1299 * MS, "agent bob")], LIFE) == verdict
            judged = excuse(verdict, both, LIFE)
            assert (judged.result, judged.blame) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT)
            assert "every agent stalled for 3 % of the run or more, and others had 20 % of the cores" in judged.note

    def test_agents_that_keep_each_other_busy_are_no_busy_machine(self) -> None:
        verdict = equal("calls refused as busy", 0, 41)
        both = [Stall(0, 4 * S, "agent alice"), Stall(0, 5 * S, "agent bob")]
        assert excuse(verdict, both, LIFE._replace(taken=19.9 * percent)) == verdict
        assert excuse(verdict, both, LIFE).result is Result.INCONCLUSIVE

    def test_an_agent_that_keeps_its_own_loop_from_running_is_no_busy_machine(self) -> None:
        verdict = at_most("connections that Bob holds", 103, 19)
        stalls = [Stall(0, 5 * S, "agent bob"), Stall(0, 9 * S, "runner"), Stall(0, 9 * S, "relay")]
        assert excuse(verdict, stalls, LIFE) == verdict
        assert excuse(verdict, [*stalls, Stall(0, 100 * MS, "agent alice")], LIFE) == verdict

    def test_a_gap_of_video_is_explained_by_a_machine_that_stood_still_too(self) -> None:
        """A stack that takes what the machine did for a narrow path stops its video for seconds; audio it never stops."""
        sound = silence((1000, 7250))
        picture = replace(sound, direction="alice → bob video", yields=True)
        stalls = [Stall(1 * S, 1300 * MS, "agent alice"), Stall(2 * S, 2300 * MS, "agent bob")]
        assert excuse(at_most("longest silence", sound, 500 * ms), stalls, LIFE).result is Result.FAIL
        assert excuse(at_most("longest silence", picture, 500 * ms), stalls, LIFE).result is Result.INCONCLUSIVE
        assert excuse(at_most("longest silence", picture, 500 * ms), stalls[1:], LIFE).result is Result.FAIL

    def test_what_no_delay_brings_about_stays_a_fail(self) -> None:
        packets = audio(500, lost=[100])
        packets[7] = again(packets[7], 9 * S)
        heard = Heard(packets, "alice → bob audio", 0, 10 * S, 150 * ms)
        for figure in (heard.lost(), heard.duplicates(), heard.network_loss()):
            verdict = equal("figure", figure, type(figure.value)(0))
            assert verdict.result is Result.FAIL
            assert excuse(verdict, [Stall(0, 9 * S, "relay")], LIFE) == verdict

    @pytest.mark.parametrize(
        ("stall", "excused"),
        [((1180, 1230), True), ((1180, 1229), False), ((950, 1000), True), ((700, 750), False), ((1251, 1400), False)],
    )
    def test_a_late_packet_is_explained_by_stalls_that_cover_its_excess(self, stall: Sequence[int], excused: bool) -> None:
        """Offered at 1000 ms, to be played by 1200, come at 1250."""
        late = Overdue("late", 1 * S, 1250 * MS, 50 * ms)
        for verdict in (
            equal("audio late", Figure(Count(1), overdue=(late,)), 0),
            at_most("audio lost", Figure(1 * percent, overdue=(late,), of=100), 0 * percent),
        ):
            judged = excuse(verdict, [Stall(stall[0] * MS, stall[1] * MS, "agent bob")])
            assert (judged.result is Result.INCONCLUSIVE) == excused
            assert judged.blame == (Blame.ENVIRONMENT if excused else Blame.PRODUCT)
            assert ("agent bob" in judged.note) == excused

    @pytest.mark.parametrize(
        ("stalls", "excused"),
        [
            ([(900, 950)], True),
            ([(900, 949)], False),  # it may wait 200 ms, and a quarter of that is 50
            ([(900, 925), (1000, 1025)], True),
            ([(700, 760)], True),
            ([(650, 700)], False),  # it has been worked off
            ([(1150, 1300)], True),
            ([(1200, 1900)], False),  # it was given up by then
        ],
    )
    def test_what_was_given_up_is_explained_by_what_a_stall_leaves_behind(self, stalls: Sequence[Sequence[int]], excused: bool) -> None:
        verdict = equal("video never sent", Figure(Count(1), overdue=(Overdue("given up", 1 * S, 1200 * MS),)), 0)
        judged = excuse(verdict, [Stall(start * MS, end * MS, "relay") for start, end in stalls])
        assert (judged.result is Result.INCONCLUSIVE) == excused

    @pytest.mark.parametrize(("stall", "excused"), [((1005, 1015), True), ((1005, 1014), False), ((900, 1000), False)])
    def test_an_overtaken_packet_is_explained_by_a_stall_that_held_it_on_its_way(self, stall: Sequence[int], excused: bool) -> None:
        verdict = equal("audio reordered", Figure(Count(1), overdue=(Overdue("overtaken", 1 * S, 1020 * MS),)), 0)
        judged = excuse(verdict, [Stall(stall[0] * MS, stall[1] * MS, "runner")])
        assert (judged.result is Result.INCONCLUSIVE) == excused

    @pytest.mark.parametrize(
        ("lost", "result", "left"),
        [(0, Result.INCONCLUSIVE, 3 * percent), (1, Result.FAIL, 1 * percent)],
    )
    def test_packets_lost_on_the_way_stay_lost(self, lost: int, result: Result, left: Quantity) -> None:
        """Of 100 packets 3 or 4 are not heard: 1 late and 2 given up, which a stall explains; what was lost on the way it does not."""
        overdue = (
            Overdue("late", 1 * S, 1250 * MS, 50 * ms),
            Overdue("given up", 1 * S, 1200 * MS),
            Overdue("given up", 1020 * MS, 1220 * MS),
        )
        verdict = at_most("audio lost", Figure((3 + lost) * percent, overdue=overdue, of=100), 0.5 * percent)
        judged = excuse(verdict, [Stall(1 * S, 1300 * MS, "runner")])
        assert (judged.result, judged.value) == (result, left)
        assert "3 of these packets explained by stalls of runner" in judged.note

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
    def test_coverage_counts_every_nanosecond_once(self, pairs: list[tuple[int, int]]) -> None:
        stalls = [Stall(start, end, "runner") for start, end in pairs]
        union = {at for start, end in pairs for at in range(max(start, 20), min(end, 70))}
        assert covered(stalls, 20, 70) == len(union)

    def test_from_records_to_the_excuse(self) -> None:
        heard = Heard(audio(500, lost=range(100, 130)), "alice → bob audio", 0, 10 * S, 150 * ms)
        verdict = at_most("longest silence at bob", heard.longest_gap(), 400 * ms)
        assert (verdict.result, verdict.value) == (Result.FAIL, 600 * ms)
        assert excuse(verdict, [Stall(2100 * MS, 2301 * MS, "relay")]).result is Result.INCONCLUSIVE
        assert excuse(verdict, [Stall(2100 * MS, 2299 * MS, "relay")]).result is Result.FAIL
