"""What the machine explains, and above all what it does not.  The numbered rows are the worked examples of the definition of silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.excuse import aftermath, covered, excuse, explain, explained, still
from harness.media.figure import Figure, Gap, Moment, Overdue
from harness.media.measures import Heard
from harness.units import Count, Duration, Quantity, ms, percent
from harness.verdict import Blame, Life, Result, Stall, Verdict, at_least, at_most, equal
from tests.unit.media.flows import MS, S, again, audio

ALICE, BOB, CAROL = "agent alice", "agent bob", "agent carol"


def stall(start: float, end: float, who: str = ALICE, kind: str = "waited") -> Stall:
    """Times in ms."""
    return Stall(round(start * MS), round(end * MS), who, kind)


def stolen(start: float, end: float) -> Stall:
    return stall(start, end, "machine", "stolen")


def life(own: Callable[[int, int], int] = lambda start, end: 0, cores: int = 2) -> Life:
    return Life(0, 10 * S, cores, own)


def spinning(cores: float) -> Life:
    """Agents that use so many of two cores all the time."""
    return life(lambda start, end: round((end - start) * cores))


def silence(*gaps: tuple[float, float], excess: float = 20, transit: float = 20, round_trip: float = 40) -> Figure:
    """Gaps (start ms, end ms), each counting all but ``excess`` ms of its stretch, of audio from alice to bob."""
    made = tuple(
        Gap(Duration(round((end - start - excess) * MS)), round(start * MS), round(end * MS), transit=round(transit * MS))
        for start, end in gaps
    )
    worst = max(gap.excess for gap in made)
    return Figure(worst, "alice → bob audio", made, speaker="alice", listener="bob", round_trip=round(round_trip * MS))


def judged(figure: Figure, stalls: Sequence[Stall], lived: Life | None = None, bound: Duration = 100 * ms) -> Verdict:
    verdict = at_most("silence", figure, bound)
    assert verdict.result is Result.FAIL
    return excuse(verdict, stalls, lived)


def length(figure: Figure, stalls: Sequence[Stall], lived: Life | None = None) -> float:
    """How many ms of its only gap are explained."""
    (gap,) = figure.gaps
    return explain(gap, figure, stalls, lived).length / MS


BURST = silence((1020, 1421))
"""The sender stood still from 1001 to 1401: silence 381."""


class TestWorkedExamples:
    def test_15_both_cores_stolen_the_sender_asleep(self) -> None:
        figure, stalls = silence((1020, 1171)), [stolen(1001, 1151), stolen(1001, 1151)]
        assert length(figure, stalls) == 150
        assert judged(figure, stalls).result is Result.INCONCLUSIVE

    def test_16_cores_taken_by_other_processes(self) -> None:
        figure = silence((1020, 1171))
        assert length(figure, [stall(1001, 1151)], life()) == 150
        assert length(figure, [stall(1003, 1151, "machine", "waited")], life()) == 148, "the ticker's own, where it is not realtime"
        assert judged(figure, [stall(1001, 1151)], life()).result is Result.INCONCLUSIVE

    def test_17_a_stack_blocks_while_a_core_is_stolen_for_less(self) -> None:
        verdict = judged(BURST, [stolen(1100, 1250)])
        assert (verdict.result, verdict.blame, verdict.value) == (Result.FAIL, Blame.PRODUCT, 381 * ms)
        assert verdict.note == "381ms, of which the machine explains 150ms: machine (stolen)"

    def test_18_a_stack_sleeps_and_spins_six_threads(self) -> None:
        stalls = [stall(1001, 1401)]
        assert length(BURST, stalls, spinning(2)) == 0
        assert judged(BURST, stalls, spinning(2)).result is Result.FAIL

    def test_19_its_own_decoder_held_one_of_two_cores(self) -> None:
        assert length(silence((1000, 1200)), [stall(1050, 1100)], spinning(1)) == 25
        assert length(silence((1000, 1200)), [stall(1050, 1100, BOB)], life(lambda start, end: (end - start) // 2, cores=1)) == 25

    def test_20_on_a_long_path_a_stall_of_the_sender_is_felt_later(self) -> None:
        figure = silence((1300, 1450), transit=300)
        assert length(figure, [stall(1000, 1150)]) == 150
        assert judged(figure, [stall(1000, 1150)]).result is Result.INCONCLUSIVE
        assert length(figure, [stall(1000, 1150, BOB)]) == 0, "the listener's is not shifted, and ended 150 before"

    def test_21_a_stall_before_the_gap_explains_it_within_the_aftermath(self) -> None:
        assert aftermath(40 * MS) == 145 * MS
        assert aftermath(0) == 50 * MS
        figure = silence((1000, 1150))
        assert length(figure, [stall(670, 730)]) == 0, "over 250 before"
        assert length(figure, [stall(820, 880)]) == 60, "over 100 before"
        assert [length(figure, [stall(700, 855, BOB)]), length(figure, [stall(700, 854.999, BOB)])] == [155, 0]

    def test_22_a_timer_loop_thrown_back_by_theft(self) -> None:
        figure = silence((1020, 1261))
        assert length(figure, [stolen(1001, 1241)]) == 240
        assert judged(figure, [stolen(1001, 1241)]).result is Result.INCONCLUSIVE

    def test_31_a_stack_that_stops_itself_is_not_seen_as_stopped(self) -> None:
        assert judged(BURST, []).result is Result.FAIL, "unconfined, so the lab makes no stall of it"
        assert judged(BURST, [stall(1001, 1401, kind="stopped")]).result is Result.INCONCLUSIVE, "confined, so it comes from outside"


class TestWhoseStalls:
    """Rows 3 to 5 of what was wrong."""

    @pytest.mark.parametrize(
        ("stalls", "result"),
        [
            ([], Result.FAIL),  # row 3: what the stack says of itself makes no stall
            ([stall(1001, 1401, kind="stopped")], Result.INCONCLUSIVE),  # row 4
            ([stall(1021, 1421, BOB, "stopped")], Result.INCONCLUSIVE),
            ([stall(1001, 1401, CAROL, "stopped")], Result.FAIL),  # row 5: an agent that is in no such call
            ([stall(1100, 1160, "runner", "")], Result.FAIL),
            ([stall(1020, 1421, "relay", "")], Result.INCONCLUSIVE),
            ([stall(500, 1019, "relay", "")], Result.FAIL),  # what it made late has been handed over
            ([stall(300, 700)], Result.FAIL),
        ],
    )
    def test_only_what_was_on_that_direction_s_way_then(self, stalls: Sequence[Stall], result: Result) -> None:
        assert judged(BURST, stalls).result is result

    def test_the_gap_is_made_shorter_and_what_remains_is_judged(self) -> None:
        for taken, result in ((280, Result.FAIL), (281, Result.INCONCLUSIVE)):
            verdict = judged(BURST, [stall(1100, 1100 + taken, BOB, "stopped")])
            assert verdict.result is result
            assert verdict.note == f"381ms, of which the machine explains {taken}ms: agent bob (stopped)"

    def test_a_figure_of_no_direction_knows_only_what_concerns_every_process(self) -> None:
        figure = replace(BURST, speaker="", listener="")
        assert [length(figure, [stall(1100, 1200, who)]) for who in (ALICE, BOB, "machine", "relay")] == [0, 0, 100, 100]
        assert length(figure, [stall(1100, 1200, "agent ")]) == 0

    def test_both_ends_stalled_at_once_count_once(self) -> None:
        assert length(BURST, [stall(1080, 1180), stall(1100, 1200, BOB), stolen(1100, 1150)]) == 100

    def test_theft_on_a_long_path_counts_no_more_than_its_length(self) -> None:
        assert length(silence((1000, 1900), transit=300), [stolen(1100, 1250)]) == 150

    @pytest.mark.parametrize("kind", ["waited", "throttled"])
    def test_what_the_agents_used_meanwhile_is_their_own_doing(self, kind: str) -> None:
        lived = life(lambda start, end: end - start if start >= 1200 * MS else 0)
        stalls = [stall(1100, 1200, BOB, kind), stall(1200, 1300, BOB, kind)]
        assert length(BURST, stalls, lived) == 200, "merged they begin before it"
        assert length(BURST, stalls[1:], lived) == 50
        assert length(BURST, [stalls[1], stall(1300, 1340, BOB, "stopped")], lived) == 90, "a stop is weighed by nothing"

    def test_the_work_that_a_call_is_makes_nobody_wait(self) -> None:
        """Else a wait of seconds, of which a call's own work is a twentieth, would leave more than a bound."""
        long = silence((1000, 4000), excess=2980)
        assert length(long, [stall(1000, 4000, BOB)], spinning(0.25)) == 3000
        assert length(long, [stall(1000, 4000, BOB)], spinning(0.26)) == 2610

    def test_an_explained_gap_does_not_hide_the_next(self) -> None:
        figure = silence((1000, 1920), (3300, 3820), (5000, 5100))
        verdict = judged(figure, [stolen(1000, 2000)], bound=400 * ms)
        assert (verdict.result, verdict.value, verdict.blame) == (Result.FAIL, 500 * ms, Blame.PRODUCT)
        assert [gap.start for gap in verdict.gaps] == [3300 * MS]
        assert verdict.where == verdict.gaps[0]
        assert verdict.note == "1 further gap explained by the machine left out"
        assert judged(figure, [stolen(1000, 4000)], bound=400 * ms).result is Result.INCONCLUSIVE

    def test_the_worst_remainder_decides(self) -> None:
        figure = silence((1000, 1920), (3300, 3820))
        verdict = judged(figure, [stolen(1000, 1450)])
        assert (verdict.value, verdict.where) == (500 * ms, figure.gaps[1])
        assert [gap.excess for gap in verdict.gaps] == [500 * ms, 900 * ms]

    def test_a_pass_on_an_upper_bound_stands(self) -> None:
        passed = at_most("silence", silence((1000, 1120)), 100 * ms)
        assert excuse(passed, [stolen(0, 9000)]) == passed

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8), st.integers(0, 2))
    def test_no_more_is_explained_than_there_is(self, pairs: list[tuple[int, int]], cores: int) -> None:
        whos = (ALICE, BOB, "machine", "relay")
        stalls = [stall(min(pair), max(pair) + 1, whos[number % 4], ("waited", "stolen")[number % 2]) for number, pair in enumerate(pairs)]
        figure = silence((20, 70), transit=7, round_trip=0)
        found = length(figure, stalls, spinning(cores))
        assert 0 <= found <= length(figure, stalls) <= 50 + 50 + sum(max(pair) + 1 - min(pair) for pair in pairs)
        inside = {at for number, pair in enumerate(pairs) for at in range(min(pair), max(pair) + 1) if number % 4 == 3 and 20 <= at < 70}
        assert length(figure, stalls) >= len(inside)


class TestPackets:
    @pytest.mark.parametrize(
        ("stalls", "excused"),
        [
            ([stall(1000, 1050)], True),
            ([stall(1000, 1049)], False),
            ([stall(1180, 1230, BOB)], True),
            ([stall(1050, 1100, BOB)], False),  # it had not come yet
            ([stall(1150, 1200)], False),  # it had left
            ([stall(1060, 1120, "relay", "")], True),
            ([stall(1000, 1050, "relay", "")], False),
            ([stall(1040, 1060), stall(1140, 1180, BOB), stall(1095, 1105, "relay", "")], True),  # 20, 10 and 20
            ([stolen(1180, 1230)], True),
            ([stall(1000, 1250, CAROL), stall(1000, 1250, "runner", "")], False),
            ([stall(900, 999.9)], False),
        ],
    )
    def test_a_late_packet_is_explained_leg_by_leg(self, stalls: Sequence[Stall], excused: bool) -> None:
        """Due at 1000 ms, departed at 1060, arrived at 1150, taken at 1250, which is 50 too late."""
        late = Overdue("late", 1 * S, 1250 * MS, 50 * ms, 1060 * MS, 1150 * MS)
        assert explained(late, silence((0, 1)), stalls) == excused
        for figure in (Figure(Count(1), overdue=(late,)), Figure(1 * percent, overdue=(late,), of=100)):
            whose = replace(figure, speaker="alice", listener="bob")
            verdict = excuse(at_most("audio late", whose, 0 if figure.of == 0 else 0 * percent), stalls)
            assert (verdict.result is Result.INCONCLUSIVE) == excused
            assert verdict.blame == (Blame.ENVIRONMENT if excused else Blame.PRODUCT)

    def test_where_its_legs_are_not_known_any_of_them_may_have_been_late(self) -> None:
        late = Overdue("late", 1 * S, 1250 * MS, 50 * ms)
        assert [explained(late, silence((0, 1)), [stall(1100, 1150, who)]) for who in (ALICE, BOB, "relay", CAROL)] == [
            True,
            True,
            True,
            False,
        ]

    def test_a_stack_that_uses_the_cores_makes_its_packets_late_itself(self) -> None:
        late = Overdue("late", 1 * S, 1250 * MS, 50 * ms)
        assert explained(late, silence((0, 1)), [stall(1100, 1180)], spinning(0.5))
        assert not explained(late, silence((0, 1)), [stall(1100, 1180)], spinning(1))

    @pytest.mark.parametrize(
        ("stalls", "excused"),
        [
            ([stall(930, 980)], True),
            ([stall(930, 979)], False),  # it may wait 200 ms, and a quarter of that is 50
            ([stall(930, 955), stall(1000, 1025)], True),
            ([stall(700, 760)], False),  # it has been worked off
            ([stall(1150, 1300, "relay", "")], True),
            ([stall(1200, 1900)], False),  # it was given up by then
            ([stall(900, 1300, CAROL)], False),
        ],
    )
    def test_what_was_given_up_is_explained_by_what_a_stall_leaves_behind(self, stalls: Sequence[Stall], excused: bool) -> None:
        assert explained(Overdue("given up", 1 * S, 1200 * MS), silence((0, 1)), stalls) == excused

    @pytest.mark.parametrize(
        ("stalls", "excused"),
        [
            ([stall(1005, 1015, "relay", "")], True),
            ([stall(1005, 1014, "relay", "")], False),
            ([stolen(1005, 1015)], True),
            ([stall(1005, 1015)], False),
            ([stall(900, 1000, "relay", "")], False),
        ],
    )
    def test_an_overtaken_packet_is_explained_by_what_held_it_on_its_way(self, stalls: Sequence[Stall], excused: bool) -> None:
        assert explained(Overdue("overtaken", 1 * S, 1020 * MS), silence((0, 1)), stalls) == excused

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
        found = excuse(verdict, [stolen(1000, 1300)])
        assert (found.result, found.value) == (result, left)
        assert "3 of these packets explained by stalls: machine (stolen)" in found.note

    def test_what_no_delay_brings_about_stays_a_fail(self) -> None:
        packets = audio(500, lost=[100])
        packets[7] = again(packets[7], 9 * S)
        heard = Heard(packets, "alice → bob audio", 0, 10 * S, 150 * ms)
        for figure in (heard.lost(), heard.duplicates(), heard.network_loss()):
            verdict = equal("figure", figure, type(figure.value)(0))
            assert verdict.result is Result.FAIL
            assert excuse(verdict, [stolen(0, 9000)], life()) == verdict


class TestBusyMachine:
    BOTH = (stall(1000, 1300), stall(1000, 1300, BOB))

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
            assert excuse(verdict, self.BOTH) == verdict
            assert excuse(verdict, [stall(0, 900), stall(1000, 1299, BOB)], life()) == verdict
            found = excuse(verdict, self.BOTH, life())
            assert (found.result, found.blame) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT)
            assert "every agent was kept from the cores for 3 % of the run or more: this machine is too busy" in found.note

    def test_agents_that_keep_each_other_busy_are_no_busy_machine(self) -> None:
        assert still(self.BOTH, spinning(2)) == 0 * percent
        assert still(self.BOTH, spinning(1)) == 1.5 * percent
        assert still(self.BOTH, life()) == 3 * percent

    def test_one_agent_that_waits_is_no_busy_machine_and_one_that_never_does_is_none_to_ask(self) -> None:
        assert still([stall(0, 5000, BOB), stall(0, 9000, "relay", "")], life()) == 0 * percent
        assert still([stall(0, 5000, BOB), stolen(0, 400)], life()) == 4 * percent
        assert still([*self.BOTH, stolen(1250, 1350)], life()) == 3.5 * percent

    def test_many_short_waits_are_what_any_machine_has(self) -> None:
        assert still([stall(at, at + 9, who) for at in range(0, 9000, 10) for who in (ALICE, BOB)], life()) == 0 * percent

    @pytest.mark.parametrize(
        ("stole", "back", "result"),
        [((1001, 1241), 221, Result.INCONCLUSIVE), ((1001, 1241), 450, Result.FAIL), ((1211, 1231), 221, Result.FAIL)],
    )
    def test_22_a_source_that_was_thrown_back_is_not_late_for_ever(self, stole: tuple[int, int], back: int, result: Result) -> None:
        """From 1020 on every packet leaves ``back`` ms after its place, of which 200 are allowed."""
        excess = Duration((back - 200) * MS)
        overdue = tuple(
            Overdue("late", at * MS, (at + back + 20) * MS, excess, (at + back) * MS, (at + back + 20) * MS) for at in range(1020, 5900, 20)
        )
        moments = tuple(Moment(packet.start) for packet in overdue)
        figure = Figure(Count(len(overdue)), overdue=overdue, moments=moments, interval=20 * MS, speaker="alice", listener="bob")
        assert excuse(equal("audio unheard", figure, 0), [stolen(*stole)]).result is result

    @pytest.mark.parametrize(("lost", "far", "result"), [(0, 3, Result.INCONCLUSIVE), (1, 3, Result.FAIL), (0, 4, Result.FAIL)])
    def test_what_waits_on_a_narrow_link_behind_a_stalled_burst(self, lost: int, far: int, result: Result) -> None:
        """Of 100 packets 4 are late inside the stalls and ``far`` after them: those too, if they are fewer, and nothing was lost."""
        overdue = tuple(Overdue("late", at * MS, at * MS + 250 * MS, 50 * ms) for at in [1000] * 4 + [5000] * far)
        verdict = at_most(
            "audio lost", Figure((4 + far + lost) * percent, overdue=overdue, of=100, speaker="alice", listener="bob"), 0.5 * percent
        )
        stalls = (stall(1000, 1300), stall(1000, 1300, BOB), stall(5200, 5210))
        assert excuse(verdict, stalls, life()).result is result
        assert excuse(verdict, stalls).result is Result.FAIL
        crowded = [*stalls, stall(6000, 6300), stall(6000, 6300, BOB)]
        assert excuse(verdict, crowded, life()).result is (Result.FAIL if lost else Result.INCONCLUSIVE)

    @pytest.mark.parametrize(("waited", "own", "result"), [(2500, 0, "INCONCLUSIVE"), (2499, 0, "FAIL"), (2500, 2, "FAIL")])
    def test_a_machine_that_is_swamped_says_nothing_of_silence(self, waited: int, own: float, result: str) -> None:
        """What waits behind stalls grows longer than they are; agents that took the cores themselves swamp nothing."""
        stalls = [stall(3000, 3000 + waited), stall(3000, 3000 + waited, BOB)]
        missed = Figure(Count(3), interval=20 * MS, moments=(Moment(9 * S),) * 3, speaker="alice", listener="bob")
        for verdict in (at_most("silence", silence((8000, 9000)), 100 * ms), at_most("audio unheard", missed, 1)):
            assert excuse(verdict, stalls, spinning(own)).result.value == result
            assert excuse(verdict, stalls).result is Result.FAIL

    @pytest.mark.parametrize(("until", "beside", "result"), [(8491, 300, "INCONCLUSIVE"), (8490, 300, "FAIL"), (8491, 0, "FAIL")])
    def test_what_a_busy_machine_explains_most_of_says_nothing(self, until: int, beside: int, result: str) -> None:
        """Of 980 ms of silence more than half, and both agents waited for 3 % of the run; one agent that waited is no busy machine."""
        stalls = [stall(8000, until), stall(2000, 2000 + beside), stall(2000, 2000 + beside, BOB)]
        found = excuse(at_most("silence", silence((8000, 9000)), 100 * ms), stalls, life())
        assert found.result.value == result

    def test_a_gap_of_video_is_explained_by_a_machine_that_stood_still_too(self) -> None:
        """A stack that takes what the machine did for a narrow path stops its video for seconds; audio it never stops."""
        sound = silence((1000, 7250))
        picture = replace(sound, direction="alice → bob video", yields=True)
        assert judged(sound, self.BOTH, life()).result is Result.FAIL
        assert judged(picture, self.BOTH, life()).result is Result.INCONCLUSIVE
        assert judged(picture, self.BOTH[1:], life()).result is Result.FAIL


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
def test_coverage_counts_every_nanosecond_once(pairs: list[tuple[int, int]]) -> None:
    stalls = [Stall(start, end, "relay") for start, end in pairs]
    union = {at for start, end in pairs for at in range(max(start, 20), min(end, 70))}
    assert covered(stalls, 20, 70) == len(union)


def test_from_records_to_the_excuse() -> None:
    heard = Heard(audio(500, lost=range(100, 130)), "alice → bob audio", 0, 10 * S, 150 * ms)
    verdict = at_most("longest silence at bob", heard.longest_gap(), 400 * ms)
    assert (verdict.result, verdict.value) == (Result.FAIL, 600 * ms)
    assert excuse(verdict, [stolen(2100, 2300)]).result is Result.INCONCLUSIVE
    assert excuse(verdict, [stolen(2100, 2299)]).result is Result.FAIL
