"""The retry budget: a share of recent requests and a few more."""

from milliroute.proxy.resilience.budget import MIN_PER_S, WINDOW_S, RetryBudget

RESERVE = int(MIN_PER_S * WINDOW_S)


def spend_all(budget: RetryBudget, now: float, limit: int = 10_000) -> int:
    return next(count for count in range(limit) if not budget.spend(now))


def test_without_requests_there_is_the_reserve() -> None:
    budget = RetryBudget(100.0)
    assert spend_all(budget, 100.0) == RESERVE


def test_a_fifth_of_the_requests_may_be_sent_again() -> None:
    budget = RetryBudget(100.0)
    assert budget.spend(100.0)
    budget.requests += 1000
    assert 1 + spend_all(budget, 100.5) == RESERVE + 200


def test_what_was_earned_is_forgotten_after_the_window() -> None:
    budget = RetryBudget(100.0)
    assert budget.spend(100.0)
    budget.requests += 1000
    assert budget.spend(101.0)
    assert spend_all(budget, 100.0 + WINDOW_S + 2) == RESERVE


def test_what_was_spent_is_forgotten_after_the_window() -> None:
    budget = RetryBudget(100.0)
    assert spend_all(budget, 100.0) == RESERVE
    assert not budget.spend(105.0)
    assert spend_all(budget, 100.0 + WINDOW_S) == RESERVE


def test_the_past_is_bounded() -> None:
    budget = RetryBudget(100.0)
    for second in range(1000):
        budget.requests += 1
        budget.spend(float(second))
    assert len(budget._past) <= WINDOW_S


def test_requests_that_came_before_the_first_retry_have_earned_theirs() -> None:
    budget = RetryBudget(100.0)
    budget.requests = 5000
    assert spend_all(budget, 105.0) == RESERVE + 1000


def test_of_a_long_time_without_retries_only_the_window_counts() -> None:
    budget = RetryBudget(100.0)
    budget.requests = 100_000
    assert spend_all(budget, 1100.0) == RESERVE + 180
