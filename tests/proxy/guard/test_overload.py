"""The arithmetic of limits."""

import math

from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.guard.overload import Counts, TokenBucket, connection_ceiling, earned_until, largest


def test_bytes_pay_for_their_time_and_no_more() -> None:
    assert earned_until(100.0, 110.0, 240, 240) == 101.0
    assert earned_until(100.0, 110.0, 1_000_000, 240) == 110.0


def test_without_a_rate_any_byte_pays_for_all() -> None:
    assert earned_until(100.0, 110.0, 1, 0) == 110.0


def test_a_drip_below_the_rate_owes_ever_more_and_one_above_it_nothing() -> None:
    slow = fast = 0.0
    for second in range(1, 61):
        slow = earned_until(slow, float(second), 120, 240)
        fast = earned_until(fast, float(second), 241, 240)
    assert (60.0 - slow, 60.0 - fast) == (30.0, 0.0)


def test_half_of_the_descriptors_are_for_backends_and_some_for_neither() -> None:
    assert connection_ceiling(1024) == 480
    assert connection_ceiling(10) == 1


def test_those_who_hold_most_are_cut_off_and_as_few_as_possible() -> None:
    assert largest([(10, "a"), (50, "b"), (30, "c")], 45) == ["b"]
    assert largest([(10, "a"), (50, "b"), (30, "c")], 90) == []
    assert largest([(10, "a"), (50, "b"), (30, "c")], 20) == ["b", "c"]


@given(st.lists(st.integers(0, 1000)), st.integers(0, 3000))
def test_what_is_left_is_within_the_limit(sizes: list[int], limit: int) -> None:
    chosen = largest([(size, number) for number, size in enumerate(sizes)], limit)
    left = sum(size for number, size in enumerate(sizes) if number not in chosen)
    assert left <= limit
    assert all(left + sizes[number] > limit for number in chosen[-1:])


def test_a_key_that_nobody_holds_any_more_is_forgotten() -> None:
    counts = Counts()
    for key in ("a", "b", "a"):
        counts.add(key)
    counts.remove("a")
    assert (counts["a"], counts["b"], counts["c"]) == (1, 1, 0)
    counts.remove("a")
    counts.remove("b")
    counts.remove("b")
    assert len(counts) == 0


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.1]
    assert math.isclose(bucket.take(0.05), 0.05)
    assert (bucket.take(0.1), bucket.take(0.1)) == (0.0, 0.1)


def test_a_bucket_holds_no_more_than_its_burst_however_long_it_stands() -> None:
    bucket = TokenBucket(10.0, 2, 0.0)
    assert [bucket.take(1e6) > 0 for _ in range(3)] == [False, False, True]


def test_a_bucket_with_no_rate_ends_for_good() -> None:
    bucket = TokenBucket(0.0, 1, 0.0)
    assert (bucket.take(0.0), bucket.take(1e9)) == (0.0, math.inf)


@given(st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 0.5), max_size=200))
def test_a_bucket_never_lets_more_pass_than_burst_and_rate_allow(rate: float, burst: int, gaps: list[float]) -> None:
    bucket, now, passed = TokenBucket(rate, burst, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.take(now) == 0.0
    assert passed <= burst + now * rate + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 20))
def test_after_the_wait_that_a_bucket_names_there_is_a_token(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    while (wait_s := bucket.take(0.0)) == 0.0:
        pass
    assert bucket.take(wait_s * (1 + 1e-9) + 1e-9) == 0.0


@given(st.floats(0, 1000), st.integers(1, 5), st.lists(st.floats(-0.5, 0.5), max_size=100))
def test_taking_is_asking_and_spending_also_where_the_clock_goes_back(
    rate: float, burst: int, gaps: list[float]
) -> None:
    short, long, now = TokenBucket(rate, burst, 0.0), TokenBucket(rate, burst, 0.0), 0.0
    for gap in gaps:
        now += gap
        wait_s = long.wait_s(now)
        if not wait_s:
            long.spend()
        assert short.take(now) == wait_s
