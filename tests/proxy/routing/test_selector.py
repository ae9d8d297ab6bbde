"""Selector: exact over each period, never far from the due, and from a start that favours nobody."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from milliroute.proxy.routing.selector import MAX_CYCLE, build, sequence, tree

fixed = settings(derandomize=True, deadline=None, max_examples=60)
small_weights = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any)
long_weights = st.lists(st.integers(1, 3000), min_size=2, max_size=8).filter(lambda w: sum(w) > MAX_CYCLE)

# Weight vectors of long periods, coprime, one per number of leaves and shape.
TWO = (4999, 4)
THREE = (3000, 2000, 3)
FOUR = (9000, 1000, 6, 1)
MANY = (5000, 4000, 1000, 4, 2, 1)


class StartAt(random.Random):
    """The random source of a picker that starts at a given place of its period."""

    def __init__(self, start: int) -> None:
        super().__init__(0)
        self.start = start

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert self.start < start
        return self.start


def take(picker: Callable[[], int], number: int) -> list[int]:
    return [picker() for _ in range(number)]


def stray(weights: Sequence[int], picks: Iterable[int]) -> float:
    """The furthest any leaf gets from its due, in requests."""
    period = sum(weights)
    made = [0] * len(weights)
    furthest = 0
    for number, leaf in enumerate(picks, 1):
        made[leaf] += 1
        furthest = max(furthest, *(abs(m * period - number * w) for m, w in zip(made, weights, strict=True)))
    return furthest / period


def window_stray(weights: Sequence[int], picks: Sequence[int]) -> float:
    """The same over every window of `picks`: the distance between its highest and its lowest point."""
    period = sum(weights)
    widest = 0
    for leaf, weight in enumerate(weights):
        level = highest = lowest = 0
        for pick in picks:
            level += (period if pick == leaf else 0) - weight
            highest, lowest = max(highest, level), min(lowest, level)
        widest = max(widest, highest - lowest)
    return widest / period


def nginx(weights: Sequence[int]) -> Iterable[int]:
    credit = [0] * len(weights)
    for _ in range(sum(weights)):
        credit = [c + w for c, w in zip(credit, weights, strict=True)]
        leaf = max(range(len(weights)), key=credit.__getitem__)
        credit[leaf] -= sum(weights)
        yield leaf


def test_900m_100m_is_nine_and_one_in_any_ten_consecutive_picks() -> None:
    for start in range(10):
        picks = take(build([900_000, 100_000], StartAt(start)), 100)
        assert all(picks[at : at + 10].count(1) == 1 for at in range(91))


@fixed
@given(small_weights, st.integers(0, 2**32))
def test_any_window_of_one_period_is_exact(weights: list[int], seed: int) -> None:
    period = sum(weights)
    picks = take(build(weights, random.Random(seed)), 3 * period)
    for at in range(0, 2 * period, 7):
        assert [picks[at : at + period].count(leaf) for leaf in range(len(weights))] == weights


@fixed
@given(small_weights)
@example([9, 9, 1, 1, 1, 1, 1])
@example([14, 8, 7])
def test_from_the_start_of_a_period_no_leaf_strays_by_a_request_and_in_no_window_by_two(weights: list[int]) -> None:
    laid_out = sequence(tuple(weights))
    assert stray(weights, laid_out) < 1
    assert window_stray(weights, laid_out * 2) < 2


def test_nginx_smooth_round_robin_would_stray_by_more_than_a_request() -> None:
    assert stray([9, 9, 1, 1, 1, 1, 1], nginx([9, 9, 1, 1, 1, 1, 1])) > 1


@fixed
@given(small_weights, st.integers(1, 10**6), st.integers(0, 2**32))
def test_only_the_ratio_of_the_weights_counts(weights: list[int], factor: int, seed: int) -> None:
    plain = build(weights, random.Random(seed))
    scaled = build([weight * factor for weight in weights], random.Random(seed))
    assert take(plain, 100) == take(scaled, 100)


@fixed
@given(small_weights, st.integers(0, 2**32))
def test_zero_weight_leaf_is_never_picked(weights: list[int], seed: int) -> None:
    picks = take(build([0, *weights, 0], random.Random(seed)), 300)
    assert {leaf for leaf, weight in enumerate([0, *weights, 0]) if weight} >= set(picks)


def test_zero_weight_leaf_is_never_picked_in_a_long_period() -> None:
    assert set(take(build([0, 4999, 0, 3, 1], random.Random(1)), 10_006)) == {1, 3, 4}


def test_only_leaf_is_always_picked() -> None:
    assert set(take(build([0, 7, 0], random.Random(1)), 50)) == {1}


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [-1, 2], [5, -5]])
def test_weights_that_are_negative_or_all_zero_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        build(weights, random.Random(1))


@fixed
@given(small_weights)
def test_first_and_tenth_pick_have_exactly_their_leafs_probability(weights: list[int]) -> None:
    rounds = [take(build(weights, StartAt(start)), 10) for start in range(sequence_length(weights))]
    for number in (0, 9):
        counts = Counter(picks[number] for picks in rounds)
        assert all(counts[leaf] * sum(weights) == weight * len(rounds) for leaf, weight in enumerate(weights))


def sequence_length(weights: Sequence[int]) -> int:
    """The period; one leaf alone needs no random start, but has one for any."""
    seen: list[int] = []

    class Recording(StartAt):
        def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
            seen.append(start)
            return 0

    build(weights, Recording(0))
    return seen[0] if seen else 1


def test_rotation_is_uniform() -> None:
    rng = random.Random(5)
    first = Counter(build([900, 100], rng)() for _ in range(20_000))
    assert abs(first[1] - 2_000) < 4 * 42  # four standard deviations


@pytest.mark.parametrize("weights", [TWO, THREE, FOUR, MANY], ids=len)
def test_long_period_is_exact_from_any_start(weights: tuple[int, ...]) -> None:
    period = sum(weights)
    assert period in (5003, 10_007)
    for start in (0, 1, period // 3, period - 1):
        picks = take(build(weights, StartAt(start)), 2 * period)
        for at in (0, 1, 777, period):
            assert Counter(picks[at : at + period]) == dict(enumerate(weights))


@pytest.mark.parametrize("weights", [TWO, THREE, FOUR, MANY], ids=len)
def test_long_period_started_midway_goes_on_as_if_stepped_there(weights: tuple[int, ...]) -> None:
    stepped = take(tree(weights).picker(0), sum(weights) + 50)
    for start in range(0, sum(weights), 97):
        assert take(tree(weights).picker(start), 50) == stepped[start : start + 50]


@pytest.mark.slow
@pytest.mark.parametrize("weights", [TWO, THREE, FOUR, MANY], ids=len)
def test_long_periods_first_pick_has_exactly_its_leafs_probability(weights: tuple[int, ...]) -> None:
    counts = Counter(build(weights, StartAt(start))() for start in range(sum(weights)))
    assert counts == dict(enumerate(weights))


@pytest.mark.slow
@fixed
@given(long_weights)
@example([30_000, 29_999, 20, 19])
def test_long_periods_leaves_stay_within_the_trees_bound(weights: list[int]) -> None:
    picks = list(islice(iter(tree(weights).picker(0), -1), 3_000))
    bound = tree(weights).stray() + 1e-9
    assert stray(weights, picks) <= bound
    assert window_stray(weights, picks) <= 2 * bound


@pytest.mark.slow
@settings(fixed, max_examples=400)
@given(st.lists(st.integers(1, 10**12), min_size=2, max_size=12))
def test_tree_keeps_two_leaves_within_half_four_within_one_and_any_within_1_68(weights: list[int]) -> None:
    bound = tree(weights).stray()
    assert bound <= {2: 0.5, 3: 1.0, 4: 1.0}.get(len(weights), 1.68)


def test_huge_weights_cost_no_memory_and_stay_exact() -> None:
    weights = [10**15 + 1, 10**15, 10**12]
    picks = take(build(weights, random.Random(3)), 2_001)
    assert [picks.count(leaf) for leaf in range(3)] in ([1000, 1000, 1], [1001, 999, 1], [1000, 999, 2], [999, 1000, 2])


def test_equal_splits_share_one_laid_out_period() -> None:
    build([700, 300], random.Random(1))
    hits = sequence.cache_info().hits
    build([70_000, 30_000], random.Random(2))
    assert sequence.cache_info().hits == hits + 1
