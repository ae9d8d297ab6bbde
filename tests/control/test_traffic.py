"""Annotations about failures and time: Linkerd's names and ours."""

import pytest

from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.manifest.traffic import read_accrual, read_traffic
from milliroute.control.model import FailureAccrual, TrafficPolicy


def annotated(**by_key: str) -> Fields:
    """retry__http="5xx" is retry.linkerd.io/http; retry__ours__http is ours."""
    nodes = {}
    for line, (name, text) in enumerate(by_key.items(), 1):
        family, *domain, rest = name.split("__")
        where = "milliroute.io" if domain == ["ours"] else "alpha.linkerd.io" if domain else "linkerd.io"
        nodes[f"{family}.{where}/{rest.replace('_', '-')}"] = Scalar(text, line, 5)
    return Fields(nodes, 1, 1)


def policy(**by_key: str) -> TrafficPolicy | None:
    report = Report("f.yaml")
    found = read_traffic(annotated(**by_key), report)
    assert report.errors == []
    return found


def errors(**by_key: str) -> list[str]:
    report = Report("f.yaml")
    read_traffic(annotated(**by_key), report)
    read_accrual(annotated(**by_key), report)
    return report.errors


def test_a_service_that_says_nothing_has_no_policy() -> None:
    assert policy() is None
    assert read_accrual(annotated(), Report("f")) is None


def test_linkerds_words_for_statuses() -> None:
    found = policy(retry__http="gateway-error, 429,500-501,5xx")
    assert found == TrafficPolicy(retry_statuses=((502, 504), (429, 429), (500, 501), (500, 599)))


def test_linkerds_words_for_calls() -> None:
    found = policy(retry__grpc="cancelled,unavailable", retry__limit="3", retry__timeout="300ms")
    assert found == TrafficPolicy(retry_grpc=(1, 14), retry_limit=3, try_timeout_ms=300)


def test_times_know_days() -> None:
    found = policy(timeout__request="1d", timeout__response="2s", timeout__idle="1m30s")
    assert found == TrafficPolicy(request_timeout_ms=86_400_000, response_timeout_ms=2000, idle_timeout_ms=90_000)


def test_ours_win_over_linkerds_whatever_comes_first() -> None:
    assert policy(retry__ours__limit="5", retry__limit="2") == TrafficPolicy(retry_limit=5)


def test_methods_are_ours_alone() -> None:
    assert policy(retry__ours__methods="POST, PATCH") == TrafficPolicy(retry_methods=("POST", "PATCH"))


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("retry__http", "6xx", "5xx, gateway-error"),
        ("retry__http", "504-500", "a range such as 500-504"),
        ("retry__http", "", "5xx"),
        ("retry__grpc", "aborted", "one or more of cancelled"),
        ("retry__limit", "-1", "a whole number from 0 to 10"),
        ("retry__limit", "99", "a whole number from 0 to 10"),
        ("retry__timeout", "300", "a duration"),
        ("retry__ours__methods", "post", "HTTP methods"),
        ("balancer__failure_accrual", "sometimes", "consecutive, success-rate or unified"),
        ("balancer__failure_accrual_success_rate_threshold", "80", "a number from 0 to 1"),
    ],
)
def test_a_bad_value_is_one_error_with_its_place_and_what_was_wanted(name: str, value: str, want: str) -> None:
    (error,) = errors(**{name: value})
    assert error.startswith("f.yaml:1:5: ")
    assert want in error


def test_an_unknown_one_of_ours_is_an_error_and_names_those_that_exist() -> None:
    (error,) = errors(retry__ours__limits="3")
    assert "retry.milliroute.io/limit" in error


def test_an_unknown_one_of_linkerds_is_left_alone() -> None:
    assert errors(retry__limits="3") == []


def test_consecutive_failures_alone() -> None:
    found = read_accrual(
        annotated(
            balancer__failure_accrual="consecutive",
            balancer__failure_accrual_consecutive_max_failures="3",
            balancer__failure_accrual_consecutive_jitter_ratio="0.1",
        ),
        Report("f"),
    )
    assert found == FailureAccrual(max_failures=3, jitter_percent=10, success_rate_percent=0)


def test_success_rate_alone() -> None:
    found = read_accrual(
        annotated(
            balancer__ours__failure_accrual="success-rate",
            balancer__alpha__failure_accrual_success_rate_threshold="0.9",
        ),
        Report("f"),
    )
    assert found == FailureAccrual(max_failures=0, success_rate_percent=90)


def test_parameters_without_the_mode_turn_nothing_on() -> None:
    assert read_accrual(annotated(balancer__failure_accrual_consecutive_max_failures="3"), Report("f")) is None
