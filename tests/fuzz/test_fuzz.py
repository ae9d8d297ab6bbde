"""A short run of each fuzzing target, and all that longer runs have found."""

from pathlib import Path

import pytest

from tests.fuzz.catalog import TARGETS
from tests.fuzz.running import FOUND, hunt, run
from tests.fuzz.target import Target
from tests.sizes import cases

_SEED = 20240229
_CASES = cases(300)
KEPT = sorted(FOUND.rglob("*.bin"))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_parser_accepts_or_raises_what_it_documents(target: Target) -> None:
    outcome = run(target, _SEED, _CASES)
    assert outcome.error is None, outcome.failure
    assert outcome.cases >= _CASES // 2


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_seed_of_a_target_passes_as_it_is(target: Target) -> None:
    seeds = target.seeds()
    assert len(seeds) > 2
    for data in seeds:
        target.check(data)


@pytest.mark.parametrize("path", KEPT, ids=[f"{path.parent.name}-{path.stem}" for path in KEPT])
def test_what_fuzzing_has_found_stays_mended(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())


def _check(data: bytes) -> None:
    assert b"bug" not in data


_BUGGY = Target("t", lambda: [b"a long seed"], _check, (b"bug",))


def test_a_target_that_fails_is_found_and_made_small() -> None:
    outcome = run(_BUGGY, 1, 500)
    assert outcome.failure is not None
    assert b"bug" in outcome.failure
    assert len(outcome.failure) < 30


def test_a_long_run_ends_at_the_first_failure_with_the_least_of_it() -> None:
    outcome = hunt(_BUGGY, 60.0, 1)
    assert outcome.failure == b"bug"
    assert isinstance(outcome.error, AssertionError)
    assert outcome.seconds < 60.0
