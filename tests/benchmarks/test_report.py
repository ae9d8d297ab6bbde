"""Who is named, what is said, and what the verdict is."""

import json

import pytest

from benchmarks import peers, report
from benchmarks.run import Entrant, Outcome, Plan, turns
from benchmarks.scenario import SCENARIOS, Scenario
from benchmarks.scenario_h2 import H2_SCENARIOS, H2Scenario
from benchmarks.summary import Sample

NGINX = next(peer for peer in peers.ALL if peer.name == "nginx")
H1_ONLY = peers.Running({"h1": 1}, (), ())
PLAN = Plan(peers.ALL, SCENARIOS[:1], rounds=2, requests=1000)
RIGHT = {"stable": 900, "canary": 100}


UNARY = next(one for one in H2_SCENARIOS if one.name == "grpc-unary")
AnyScenario = Scenario | H2Scenario


def sample(peer: str, number: int, cpu_us: float | None, failed: int = 0, scenario: str = "get") -> Sample:
    """A measurement of 1,000 requests."""
    return Sample(peer, scenario, number, 1000, failed, (), 1.0, cpu_us, RIGHT, 1.0, float("nan") if failed else 2.0)


def outcome(*samples: Sample) -> Outcome:
    """These samples, nginx absent."""
    return Outcome(samples, {"envoy": "1.40.0"}, {"nginx": "apt-get install nginx"}, {})


def verdicts(scenario: AnyScenario, **cpu_us: float) -> list[bool | None]:
    """What the bars of one scenario say of one round."""
    samples = [sample(peer.replace("_", "-"), 0, cpu, scenario=scenario.name) for peer, cpu in cpu_us.items()]
    plan = Plan(peers.ALL, [scenario], rounds=1, requests=1000)
    return [verdict.is_met for verdict in report.verdicts(report.rows(plan, samples))]


def test_bar_over_http_1_is_met_at_four_fifths_of_envoy_and_missed_above() -> None:
    assert verdicts(SCENARIOS[0], milliroute=40.0, envoy=50.0)[0] is True
    assert verdicts(SCENARIOS[0], milliroute=40.1, envoy=50.0)[0] is False


@pytest.mark.parametrize("scenario", H2_SCENARIOS, ids=lambda scenario: scenario.name)
def test_bar_over_http_2_is_met_at_nine_tenths_of_envoy_and_missed_above(scenario: H2Scenario) -> None:
    assert verdicts(scenario, milliroute=45.0, envoy=50.0)[0] is True
    assert verdicts(scenario, milliroute=45.1, envoy=50.0)[0] is False


def test_grpc_scenarios_have_a_bar_against_grpc_aio_as_well() -> None:
    assert verdicts(UNARY, milliroute=35.0, envoy=50.0, grpc_aio=100.0)[:2] == [True, True]
    assert verdicts(UNARY, milliroute=35.1, envoy=50.0, grpc_aio=100.0)[:2] == [True, False]


def test_bar_of_what_protects_is_met_at_a_tenth_more_and_missed_above() -> None:
    assert verdicts(SCENARIOS[0], milliroute=20.0, guarded=22.0, envoy=50.0) == [True, True, True]
    assert verdicts(SCENARIOS[0], milliroute=20.0, guarded=22.1, envoy=50.0) == [True, False, True]
    assert verdicts(SCENARIOS[0], milliroute=20.0, guarded=40.1, envoy=50.0) == [True, False, False]


def test_bar_is_not_judged_without_its_reference() -> None:
    assert verdicts(SCENARIOS[0], milliroute=30.0) == [None] * 3
    assert verdicts(UNARY, milliroute=30.0, envoy=50.0) == [True, None, None]


def test_peer_that_does_not_speak_a_scenario_is_shown_as_such() -> None:
    made = Outcome([sample("envoy", 0, 50.0, scenario="h2-16")], {"envoy": "1", "nginx": "2"}, {}, {})
    lines = report.text(Plan(peers.ALL, H2_SCENARIOS[:1], 1, 1000), made, {}).splitlines()
    assert "nginx              N/A: it does not speak h2 on both sides" in lines


def test_absent_peers_and_failures_are_named() -> None:
    text = report.text(PLAN, outcome(sample("haproxy", 0, 20.0, failed=3)), {"commit": "abc"})
    assert "ABSENT: nginx is not installed (apt-get install nginx)" in text
    assert "FAILED: haproxy under get: 3 requests" in text


def test_split_is_judged_for_peers_that_split_only() -> None:
    wrong = {"stable": 500, "canary": 500}
    samples = [Sample(name, "get", 0, 1000, 0, (), 1.0, 9.0, wrong, 1.0, 2.0) for name in ("haproxy", "splice")]
    assert [row.is_split_wrong for row in report.rows(PLAN, samples)] == [True, False]


def test_document_is_strict_json_and_holds_every_sample() -> None:
    made = outcome(sample("envoy", 0, 50.0), sample("envoy", 1, 60.0, failed=1000))
    read = json.loads(report.document(PLAN, made, {"commit": "abc"}), parse_constant=lambda name: f"bad {name}")
    assert [one["cpu_us"] for one in read["samples"]] == [50.0, 60.0]
    assert read["samples"][1]["p99_ms"] is None
    assert read["rows"][0]["summary"]["cpu_us"] == {"median": 55.0, "low": 50.0, "high": 60.0}


def test_scenario_goes_to_those_who_speak_it_only() -> None:
    entrants = [Entrant(peers.ALL[0], peers.Running({"h1": 1, "h2": 2}, (), ())), Entrant(NGINX, H1_ONLY)]
    order = [(one.name, entrant.peer.name) for _, one, entrant in turns(1, [SCENARIOS[0], *H2_SCENARIOS[:1]], entrants)]
    assert order == [("get", "milliroute"), ("get", "nginx"), ("h2-16", "milliroute")]


def test_every_round_asks_everyone_and_begins_with_another() -> None:
    entrants = [Entrant(peer, H1_ONLY) for peer in peers.ALL[:3]]
    order = [(number, entrant.peer.name) for number, _, entrant in turns(2, SCENARIOS[:1], entrants)]
    assert order == [
        (0, "milliroute"),
        (0, "guarded"),
        (0, "envoy"),
        (1, "guarded"),
        (1, "envoy"),
        (1, "milliroute"),
    ]
