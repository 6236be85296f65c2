"""The tables of cheats and variants say of every claim, scenario and stack only what there is, and the campaign loses no run."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import msgspec
import pytest

from harness.verdict import Blame, Relation, Result, judge
from tests.cheats.__main__ import all_orders
from tests.cheats.campaign import Campaign, Done, Order, part_of, sliced, written
from tests.cheats.kinds import KINDS, functions_of, kind_of, kinds_of, own_names, verdicts
from tests.cheats.seams import Cheating
from tests.cheats.stack import DRIVERS, NAMES, OFTEN
from tests.cheats.table import BY_NAME, CHEATS, NOT_RUN, Cheat
from tests.unit.report.runs import made
from tests.variants import stack as variant_stack
from tests.variants.__main__ import named_by
from tests.variants.table import VARIANTS

MOST = 600
orders = cache(all_orders)


@pytest.mark.parametrize("scenario", sorted(verdicts()))
def test_every_verdict_of_a_scenario_has_a_kind(scenario: str) -> None:
    names = verdicts()[scenario]
    assert names, "no verdict was found in its source"
    assert {name: kind_of(name) for name in names if kind_of(name) not in KINDS} == {}


def test_every_verdict_of_the_lab_itself_has_a_kind() -> None:
    assert [name for name in own_names() if kind_of(name) not in KINDS] == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("longest silence, rebind 3", "silence"),
        ("longest audio silence", "silence"),
        ("longest video silence", "picture"),
        ("audio heard for 1s at bob within 6s: silent at last", "silence"),
        ("audio packets lost", "loss"),
        ("first fresh audio after the switch", "delay"),
        ("video reordered", "order"),
        ("video corrupted", "payload"),
        ("alice migrates to lte", "path"),
        ("end while Connected, caller", "refusal"),
        ("media after the hold", "hold"),
        ("call over at alice", "hang-up"),
        ("descriptors left at bob", "left behind"),
        ("connections that Bob holds", "defence"),
        ("how nice it was", None),
    ],
)
def test_kind_of_a_name(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


PLANTED = """
async def judge(lab, what, suffix=""):
    lab.at_most(f"{what} lost{suffix}", 1, 1)
    lab.equal("a" if suffix else "b", 1, 1)

async def test_it(lab):
    name = f"moment {lab.seed}"
    lab.same(name, 1, 1)
    await judge(lab, "audio", suffix=f", {name}")
    await judge(lab, "video")
"""


def test_names_are_read_through_variables_and_parameters() -> None:
    found = functions_of(ast.parse(PLANTED))
    assert found["test_it"].names == {"moment *"}
    assert found["test_it"].calls >= {"judge"}
    assert found["judge"].names == {"a", "b", "audio lost, *", "video lost, *", "audio lost*", "video lost*"} & found["judge"].names
    assert {"audio lost, *", "video lost, *", "a", "b"} <= found["judge"].names


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_is_tried_where_such_a_claim_is_made(cheat: Cheat) -> None:
    assert cheat.breaks
    assert {kind: scenario for kind, scenario in cheat.breaks.items() if kind not in kinds_of(scenario)} == {}
    assert {stack for stack in cheat.agents.values() if stack.removesuffix(f"@{OFTEN}") not in NAMES} == set()


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_that_waits_for_a_move_is_tried_where_something_moves(cheat: Cheat) -> None:
    drivers = [DRIVERS.get(stack) for stack in cheat.agents.values()]
    waits = any(driver is not None and issubclass(driver, Cheating) and driver.strike is not Cheating.strike for driver in drivers)
    still = {scenario for scenario in cheat.breaks.values() if not scenario.startswith(("migration.py", "rebinding.py"))}
    assert not (waits and still)


def test_every_row_that_is_a_stack_has_one() -> None:
    assert {cheat.row for cheat in CHEATS} >= {1, 2, 3, 4, 5, 6, 7, 9, 10, 12}
    assert {"greased-bit", "other-flow-ids", "on-streams", "unpadded-probes", "narrow", "far"} <= {variant.name for variant in VARIANTS}
    assert len(BY_NAME) == len(CHEATS)


def test_every_stack_is_used() -> None:
    used = {stack.partition("@")[0] for cheat in CHEATS for stack in cheat.agents.values()}
    assert set(NAMES) - used == set()
    assert set(variant_stack.NAMES) == {variant.name for variant in VARIANTS if not variant.lines}


def test_the_campaign_is_as_long_as_it_may_be() -> None:
    assert len(orders()) <= MOST
    assert len({order.key for order in orders()}) == len(orders())
    assert sum(cheat.worst for cheat in CHEATS) == 8


def test_the_parts_are_the_whole() -> None:
    parts = [sliced(orders(), (number, 8)) for number in range(1, 9)]
    assert sorted(order.key for part in parts for order in part) == sorted(order.key for order in orders())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("text", "part"), [("3/8", (3, 8)), ("commit", (4, 8)), ("1/1", (1, 1))])
def test_which_part(text: str, part: tuple[int, int]) -> None:
    assert part_of(text, "0000000b") == part


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "x/8", ""])
def test_no_part(text: str) -> None:
    with pytest.raises(ValueError, match="wanted is"):
        part_of(text, "00000000")


def test_a_commit_names_two_variants() -> None:
    for number in range(len(VARIANTS)):
        assert len({variant.name for variant in named_by(f"{number:08x}")}) == 2


@pytest.mark.parametrize(
    ("name", "result", "blame", "wrong"),
    [
        ("blocks", Result.FAIL, Blame.PRODUCT, ""),
        ("blocks", Result.PASS, None, "PASS, wanted FAIL"),
        ("blocks", Result.INCONCLUSIVE, Blame.ENVIRONMENT, "INCONCLUSIVE, wanted FAIL"),
        ("waits", Result.INCONCLUSIVE, Blame.ENVIRONMENT, ""),
        ("waits", Result.INCONCLUSIVE, Blame.AGENT, "blame agent, wanted environment"),
        ("misrecords", Result.FAIL, Blame.PRODUCT, "FAIL, wanted INCONCLUSIVE or PASS"),
        ("hides", Result.PASS, None, f"PASS, wanted {NOT_RUN}"),
    ],
)
def test_how_a_cheat_came_out(name: str, result: Result, blame: Blame | None, wrong: str) -> None:
    assert BY_NAME[name].came_out(msgspec.structs.replace(made(), result=result, blame=blame, verdicts=())) == wrong


def test_a_verdict_without_a_kind_is_wrong() -> None:
    strange = judge("how nice it was", Relation.AT_MOST, 2, 1)
    report = msgspec.structs.replace(made(), result=Result.FAIL, blame=Blame.PRODUCT, verdicts=(strange,))
    assert BY_NAME["blocks"].came_out(report) == "verdicts without a kind: how nice it was"


class Counted(Campaign):
    """A campaign that runs nothing."""

    ran: tuple[str, ...] = ()

    async def once(self, order: Order) -> Done:
        self.ran += (order.key,)
        return Done(key=order.key, result="FAIL", blame=None, told="", wrong="", runs=1, seconds=0.0)


def test_a_rerun_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    def judge(order: Order, report: object) -> tuple[str, str]:
        raise AssertionError

    wanted = [Order(name, "rebinding.py::test_it") for name in "abc"]
    first = Counted(wanted[:2], judge, tmp_path, state="1")
    assert [one.key for one in first.run()] == [order.key for order in wanted[:2]]
    second = Counted(wanted, judge, tmp_path, state="1")
    assert [one.key for one in second.run()] == [order.key for order in wanted]
    assert second.ran == (wanted[2].key,)
    assert len(Counted(wanted, judge, tmp_path, state="2").done) == 0
    assert len(Counted(wanted, judge, tmp_path, state="1", fresh=True).done) == 0


def test_a_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- cheats -->\nold\n<!-- end of cheats -->\nafter\n")
    written(page, "cheats", ["new", "lines"])
    assert page.read_text() == "before\n<!-- cheats -->\nnew\nlines\n<!-- end of cheats -->\nafter\n"
    with pytest.raises(ValueError, match="variants"):
        written(page, "variants", [])
