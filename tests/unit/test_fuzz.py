"""Every reader of untrusted bytes on a few inputs (``make fuzz`` has millions), and that the fuzzer itself would see a defect."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tests.fuzz.targets
from tests.examples import examples
from tests.fuzz import __main__ as fuzz
from tests.fuzz import engine
from tests.fuzz.engine import Hang, Outcome
from tests.fuzz.mutations import mutated, scramble
from tests.fuzz.target import TARGETS, Defect, Ready, Target, need, refusing

assert tests.fuzz.targets
SLOW = ("seen", "heard", "on_the_way", "compared", "peer_", "run", "list_of", "report_told", "initial")
"""How the names of targets begin whose inputs take tens of milliseconds each."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ready]:
    """Targets, each made once."""

    class Made(dict[str, Ready]):
        def __missing__(self, name: str) -> Ready:
            self[name] = TARGETS[name].make(tmp_path_factory.mktemp("target"))
            return self[name]

    return Made()


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_takes_its_seeds_and_anything_else_or_refuses_it_in_words(name: str, made: dict[str, Ready]) -> None:
    target, ready = TARGETS[name], made[name]
    assert all(len(seed) <= target.longest for seed in ready.seeds), "a seed is longer than any input may be"

    @settings(max_examples=examples(20 if name.startswith(SLOW) else 100), suppress_health_check=list(HealthCheck))
    @given(seed=st.sampled_from(ready.seeds), number=st.integers(0, 2**32), times=st.integers(0, 4))
    def run(seed: bytes, number: int, times: int) -> None:
        rng = Random(number)
        for _ in range(times):
            seed = mutated(rng, target.kind, seed, target.longest)
        ready.run(seed)

    run()


@settings(max_examples=examples(200))
@given(kind=st.sampled_from(["bytes", "json", "lines", "framed"]), data=st.binary(max_size=300), number=st.integers(0, 2**32))
def test_a_change_is_the_same_again_and_no_longer_than_allowed(kind: str, data: bytes, number: int) -> None:
    first, again = (mutated(Random(number), kind, data, 200) for _ in range(2))  # type: ignore[arg-type]
    assert first == again
    assert len(first) <= 200


def test_changed_json_is_mostly_json_still() -> None:
    rng, seed = Random(1), TARGETS["agent_line"].make(Path("/nowhere")).seeds[1]
    changed = [mutated(rng, "json", seed, 4096) for _ in range(200)]
    assert sum(one[:1] in b'{["' for one in changed) > 100
    assert len(set(changed)) > 150
    assert len({scramble(rng, seed, 4096) for _ in range(200)}) > 180


# -- what the fuzzer sees ------------------------------------------------------------------------------------------------------------------


def _played(tmp_path: Path, run: object, **changes: object) -> Outcome:
    target = Target("made_up", "bytes", 1, 64, lambda folder: Ready(lambda data: None, [b"seed"]))
    ready = Ready(run, [b"seed", b"other"], **changes)  # type: ignore[arg-type]
    return engine.run_random(target, ready, 300, 7, engine.Shared(tmp_path / "shared"))


def test_a_reader_in_order_is_none(tmp_path: Path) -> None:
    seen: list[bytes] = []
    outcome = _played(tmp_path, seen.append)
    assert (outcome.inputs, fuzz.verdict(outcome)) == (300, "")
    assert seen[:2] == [b"seed", b"other"]
    assert engine.Shared(tmp_path / "shared").latest() == (300, seen[-1])
    again: list[bytes] = []
    _played(tmp_path, again.append)
    assert again == seen, "the same seed gives the same inputs"


def test_an_error_that_is_not_allowed_is_a_defect_and_its_input_is_kept(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        with refusing(ValueError):
            if len(data) > 8:
                {}[data]

    outcome = _played(tmp_path, run)
    assert "KeyError" in fuzz.verdict(outcome)
    with pytest.raises(KeyError):
        run(outcome.input)


def test_only_the_class_that_is_named_is_allowed_and_only_with_words() -> None:
    with pytest.raises(UnicodeDecodeError), refusing(ValueError):
        b"\xff".decode()
    with pytest.raises(Defect, match="without a word"), refusing(ValueError):
        raise ValueError
    with refusing(ValueError):
        raise ValueError("it is too long")
    with pytest.raises(Defect):
        need([], "nothing came of it")


def test_a_hang_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LONGEST", 0.05)
    before = engine.signal.getsignal(engine.signal.SIGPROF)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    try:
        engine.signal.signal(engine.signal.SIGPROF, engine._hang)

        def run(data: bytes) -> None:
            while len(data) > 6:
                pass

        outcome = _played(tmp_path, run)
    finally:
        engine.signal.signal(engine.signal.SIGPROF, before)
    assert Hang.__name__ in outcome.defect
    assert limit == resource.getrlimit(resource.RLIMIT_AS)


def test_what_grows_is_told(tmp_path: Path) -> None:
    held: list[bytes] = []
    outcome = _played(tmp_path, held.append, state=lambda: len(held))
    assert outcome.state_grown == 240
    assert fuzz.verdict(outcome) == "IT GROWS"


def test_a_process_that_dies_leaves_the_input_that_killed_it(tmp_path: Path) -> None:
    def die(data: bytes) -> None:
        if len(data) != 4:
            os._exit(3)

    target = Target("dies", "bytes", 1, 64, lambda folder: Ready(die, [b"seed"]))
    folder = tmp_path / "dies"
    process = fuzz.start(target, 1000, 1, folder, instrumented=False)
    _, status = os.waitpid(process, 0)
    outcome = fuzz.outcome_of("dies", folder, status, stuck=False)
    assert outcome.defect
    assert len(outcome.input) != 4
    assert 0 < outcome.inputs < 1000


def test_inputs_are_split_by_weight_and_none_is_left_out() -> None:
    split = fuzz.shares(100_000, list(TARGETS))
    assert set(split) == set(TARGETS)
    assert 100_000 <= sum(split.values()) < 102_000
    assert min(split.values()) >= 20
