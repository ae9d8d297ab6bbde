"""Waits before the next try."""

from random import Random

import pytest

from milliroute.proxy.agent.backoff import control_delay_s, worker_delay_s


def test_the_first_retry_comes_within_a_tenth_of_a_second() -> None:
    assert 0.05 <= control_delay_s(0, 0.0, Random(1)) <= 0.1


@pytest.mark.parametrize("failures", [0, 1, 5, 10, 100, 10_000])
def test_in_the_first_minute_of_an_outage_no_wait_is_longer_than_a_second(failures: int) -> None:
    assert all(control_delay_s(failures, 59.0, Random(seed)) <= 1.0 for seed in range(50))


def test_waits_grow_with_a_long_outage_up_to_a_minute() -> None:
    at = {down_s: control_delay_s(10_000, down_s, Random(1)) for down_s in (60.0, 600.0, 3_600.0, 1e9)}
    assert sorted(at.values()) == list(at.values())
    assert at[1e9] <= 60.0


def test_a_fleet_that_lost_its_service_at_once_comes_back_spread_out() -> None:
    waits = {round(control_delay_s(10, 30.0, Random(seed)), 3) for seed in range(100)}
    assert len(waits) > 50


def test_a_worker_that_lived_is_restarted_at_once() -> None:
    assert worker_delay_s(0) == 0.0


def test_a_worker_that_keeps_dying_young_waits_longer_each_time_up_to_five_seconds() -> None:
    assert [worker_delay_s(deaths) for deaths in (1, 2, 3, 7, 1_000)] == [0.1, 0.2, 0.4, 5.0, 5.0]
