"""The arithmetic of a run."""

import math

import pytest

from benchmarks.summary import Sample, Spread, is_split_right, paired_ratio, percentile, spread, stable_share, summarize


def sample(peer: str = "p", number: int = 0, cpu_us: float | None = 10.0, failed: int = 0) -> Sample:
    """100 requests in half a second, 90 of them to stable."""
    answered = {"stable": 90, "canary": 10}
    return Sample(peer, "get", number, 100, failed, ("lost",) if failed else (), 0.5, cpu_us, answered, 1.0, 2.0)


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 5.0), (90, 9.0), (99, 10.0), (100, 10.0)])
def test_percentile_is_the_value_at_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 11)], percent) == value


def test_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 50))


def test_spread_is_median_least_and_greatest() -> None:
    assert spread([4.0, 1.0, 2.0, 9.0]) == Spread(3.0, 1.0, 9.0)


def test_ratio_is_taken_within_each_round_and_then_the_median() -> None:
    own = [sample(number=0, cpu_us=10.0), sample(number=1, cpu_us=40.0), sample(number=2, cpu_us=15.0)]
    reference = [sample(number=0, cpu_us=20.0), sample(number=1, cpu_us=100.0), sample(number=2, cpu_us=20.0)]
    assert paired_ratio(own, reference) == Spread(0.5, 0.4, 0.75)


def test_rounds_that_one_side_lacks_do_not_count_in_the_ratio() -> None:
    own = [sample(number=0, cpu_us=10.0), sample(number=1, cpu_us=None), sample(number=2, cpu_us=99.0)]
    assert paired_ratio(own, [sample(number=0, cpu_us=20.0), sample(number=1)]) == Spread(0.5, 0.5, 0.5)


def test_ratio_without_a_common_round_is_none() -> None:
    assert paired_ratio([sample()], []) is None


def test_summary_adds_requests_and_failures_and_keeps_each_reason_once() -> None:
    folded = summarize([sample(number=0, failed=50), sample(number=1, failed=50), sample(number=2)])
    assert (folded.requests, folded.failed, folded.reasons) == (300, 100, ("lost",))
    assert folded.requests_per_s == Spread(100.0, 100.0, 200.0)


def test_busy_is_the_part_of_one_core_that_the_proxy_used() -> None:
    assert summarize([sample(cpu_us=1000.0)]).busy == pytest.approx(0.2)


def test_peer_without_a_process_has_no_cpu_time() -> None:
    folded = summarize([sample(cpu_us=None)])
    assert folded.cpu_us is None
    assert folded.busy is None


def test_share_is_of_answers_and_none_without_any() -> None:
    assert stable_share({"stable": 3, "canary": 1}) == 0.75
    assert stable_share({}) is None


@pytest.mark.parametrize(
    ("stable", "is_right"), [(9000, True), (9002, True), (9170, True), (9250, False), (8000, False)]
)
def test_split_is_right_within_six_deviations_of_a_random_chooser(stable: int, is_right: bool) -> None:
    assert is_split_right(stable / 10000, 10000) is is_right
