"""ramp: from the old shares to the new ones, in integers, whatever the scales."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from milliroute.control import ramp
from milliroute.control.ramp import Ramp

from .building import split

vectors = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**12), min_size=1, max_size=4)
OLD = split({"a": "9", "b": "1"}, ramp_ms=1000)


def known(_: str) -> bool:
    return True


def share(weights: ramp.Weights, leaf: str) -> Fraction:
    return Fraction(weights.get(leaf, 0), sum(weights.values()))


def test_new_weights_start_from_the_old_shares_on_the_new_scale() -> None:
    new = split({"a": "100m", "b": "100m"}, ramp_ms=1000)
    assert ramp.follow(new, (OLD, None), known, 5000) == Ramp({"a.default": 180_000, "b.default": 20_000}, 5000, 1000)


def test_without_a_split_before_nothing_is_known_of_the_start() -> None:
    assert ramp.follow(OLD, None, known, 5000) == Ramp({}, 0, 1000)


def test_a_split_without_the_annotation_has_no_ramp() -> None:
    assert ramp.follow(split({"a": "1"}), (OLD, None), known, 0) is None


def test_a_change_in_mid_ramp_starts_from_the_weights_in_force() -> None:
    first = ramp.follow(split({"a": "0", "b": "1"}, ramp_ms=1000), (OLD, None), known, 0)
    half = ramp.follow(OLD, (split({"a": "0", "b": "1"}, ramp_ms=1000), first), known, 500)
    assert half == Ramp({"a.default": 4_500_000, "b.default": 5_500_000}, 500, 1000)


def test_other_changes_leave_a_running_ramp_alone() -> None:
    running = Ramp({"a.default": 10_000_000}, 0, 1000)
    assert ramp.follow(split({"a": "9", "b": "1"}, ramp_ms=7), (OLD, running), known, 999) is running


def test_equal_shares_on_another_scale_keep_the_ramp_on_that_scale() -> None:
    running = Ramp({"a.default": 10_000_000}, 0, 1000)
    kept = ramp.follow(split({"a": "900m", "b": "100m"}, ramp_ms=1000), (OLD, running), known, 10)
    assert kept == Ramp({"a.default": 1_000_000}, 0, 1000)


def test_an_ended_ramp_is_forgotten_at_the_next_change() -> None:
    running = Ramp({"a.default": 10_000_000}, 0, 1000)
    assert ramp.follow(OLD, (OLD, running), known, 1000) == Ramp({}, 0, 1000)


def test_a_leaf_that_left_runs_out_while_its_service_exists() -> None:
    new = split({"b": "1"}, ramp_ms=1000)
    assert ramp.follow(new, (OLD, None), known, 0) == Ramp({"a.default": 900_000, "b.default": 100_000}, 0, 1000)
    assert ramp.follow(new, (OLD, None), lambda _: False, 0) == Ramp({"b.default": 1_000_000}, 0, 1000)


def test_from_all_zero_or_to_all_zero_nothing_moves() -> None:
    zero = split({"a": "0", "b": "0"}, ramp_ms=1000)
    assert ramp.follow(OLD, (zero, None), known, 0) == Ramp({}, 0, 1000)
    assert ramp.follow(zero, (OLD, None), known, 0) == Ramp({}, 0, 1000)


def test_a_clock_that_goes_back_does_not_leave_the_line() -> None:
    running = Ramp({"a": 10}, 1000, 100)
    assert ramp.in_force({"b": 10}, running, 0) == {"a": 1000, "b": 0}
    assert ramp.in_force({"b": 10}, running, 10**9) == {"a": 0, "b": 1000}


@given(vectors, st.integers(0, 10**13))
def test_scaling_keeps_proportions_and_meets_the_total_exactly(vector: dict[str, int], total: int) -> None:
    found = ramp.scaled(vector, total)
    if not sum(vector.values()) or not total:
        assert found == {}
        return
    assert sum(found.values()) == total
    for leaf in vector:
        assert abs(found.get(leaf, 0) - share(vector, leaf) * total) < 1


@given(vectors, vectors, st.integers(0, 1200), st.integers(0, 1200))
def test_every_share_moves_one_way_only_and_stays_between_its_ends(
    one: dict[str, int], other: dict[str, int], early: int, late: int
) -> None:
    start = ramp.scaled(one, sum(other.values()))
    if not start:
        return
    moving = Ramp(start, 100, 1000)
    before, after = (ramp.in_force(other, moving, moment) for moment in sorted((early, late)))
    for leaf in {**start, **other}:
        path = [share(start, leaf), share(before, leaf), share(after, leaf), share(other, leaf)]
        assert path in (sorted(path), sorted(path, reverse=True))
