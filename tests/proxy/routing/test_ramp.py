"""Ramps: picks follow the integral of the moving shares, however the requests arrive."""

import random
from collections import Counter
from itertools import accumulate

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from milliroute.proxy.routing.ramp import RampPicker

fixed = settings(derandomize=True, deadline=None, max_examples=60)
seeds = st.integers(0, 2**32)
weight = st.one_of(st.sampled_from([0, 0, 1, 1, 10, 100, 1000]), st.integers(0, 10**6))
ramps = st.integers(2, 8).flatmap(lambda n: st.lists(st.tuples(weight, weight), min_size=n, max_size=n))
# Seconds between requests of a ramp of one second: bursts, trickles and long silences.
gaps = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1e-4, 0.003, 0.02, 0.3, 1.0]), min_size=1, max_size=200)


def furthest(picker: RampPicker, leaves: int, times: list[float]) -> float:
    """The furthest that any leaf's picks get from the integral of its share."""
    ahead = [0.0] * leaves
    distance = 0.0
    for now in times:
        ahead = [a - share for a, share in zip(ahead, picker.weights_at(now), strict=True)]
        ahead[picker.pick(now)] += 1.0
        distance = max(distance, *map(abs, ahead))
    return distance


@fixed
@given(ramps, gaps, seeds)
@example([(0, 1)] * 7 + [(7, 0)], [0.1] * 12, 1)
@example([(1, 0)] * 7 + [(7, 1)], [0.0] * 9 + [1.0] * 9, 2)
def test_picks_stay_within_two_of_the_integral(ramp: list[tuple[int, int]], gaps: list[float], seed: int) -> None:
    start, end = [a for a, _ in ramp], [b for _, b in ramp]
    assume(any(start) and any(end))
    picker = RampPicker(start, end, 50.0, 1.0, random.Random(seed))
    assert furthest(picker, len(ramp), [50.0 + t for t in accumulate(gaps)]) < 2


def test_steady_requests_over_a_ramp_give_the_area_under_the_line() -> None:
    picker = RampPicker([1, 0], [0, 1], 0.0, 60.0, random.Random(1))
    picks = Counter(picker.pick(second / 10) for second in range(600))
    assert abs(picks[1] - 300) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_leaf_at_share_zero_is_never_picked(seed: int) -> None:
    picker = RampPicker([1, 1, 1, 0, 0], [0, 0, 0, 1, 0], 10.0, 5.0, random.Random(seed))
    assert {picker.pick(now) for now in (0.0, 9.0, 10.0) for _ in range(20)} == {0, 1, 2}
    assert {picker.pick(10.0 + at / 10) for at in range(1, 50)} == {0, 1, 2, 3}
    assert {picker.pick(now) for now in (15.0, 99.0) for _ in range(20)} == {3}


def test_shares_move_linearly_and_hold_before_and_after() -> None:
    picker = RampPicker([900, 100], [1, 1], 100.0, 10.0, random.Random(1))
    assert picker.weights_at(0.0) == picker.weights_at(100.0) == [0.9, 0.1]
    assert picker.weights_at(105.0) == pytest.approx([0.7, 0.3])
    assert picker.weights_at(100.001) == pytest.approx([0.89996, 0.10004])
    assert picker.weights_at(110.0) == pytest.approx([0.5, 0.5])
    assert picker.weights_at(1e9) == pytest.approx([0.5, 0.5])


def test_ramp_is_over_at_its_end_and_not_before() -> None:
    picker = RampPicker([1, 0], [0, 1], 100.0, 10.0, random.Random(1))
    assert [picker.is_over(now) for now in (0.0, 100.0, 109.999, 110.0, 111.0)] == [False, False, False, True, True]


def test_ramp_of_no_duration_is_at_its_end_at_once() -> None:
    picker = RampPicker([1, 0], [0, 1], 100.0, 0.0, random.Random(1))
    assert picker.is_over(100.0)
    assert picker.pick(100.0) == 1


@pytest.mark.slow
def test_fleet_told_of_a_ramp_at_one_moment_does_not_herd() -> None:
    rng = random.Random(4)
    first = Counter(RampPicker([90, 9, 1], [0, 0, 1], 0.0, 60.0, rng).pick(0.0) for _ in range(2_000))
    expected = {0: 1_800, 1: 180, 2: 20}
    # Four standard deviations, and the 0.13 points by which the start is not exact.
    assert all(abs(first[leaf] - mean) < 4 * mean**0.5 + 2.6 for leaf, mean in expected.items())


@pytest.mark.parametrize(
    ("start", "end", "duration_s"),
    [([1], [1, 2], 1.0), ([0, 0], [1, 1], 1.0), ([1, 1], [0, 0], 1.0), ([-1, 2], [1, 1], 1.0), ([1, 1], [1, 1], -1.0)],
)
def test_ramps_that_make_no_sense_are_refused(start: list[int], end: list[int], duration_s: float) -> None:
    with pytest.raises(ValueError, match="want"):
        RampPicker(start, end, 0.0, duration_s, random.Random(1))
