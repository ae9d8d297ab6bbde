"""Who is named, what is said, and what the verdict is."""

import json

from benchmarks import peers, report
from benchmarks.run import Entrant, Outcome, Plan, turns
from benchmarks.scenario import SCENARIOS
from benchmarks.summary import Sample

PLAN = Plan(peers.ALL, SCENARIOS[:1], rounds=2, requests=1000)
RIGHT = {"stable": 900, "canary": 100}


def sample(peer: str, number: int, cpu_us: float | None, failed: int = 0) -> Sample:
    """A measurement of 1,000 requests."""
    return Sample(peer, "get", number, 1000, failed, (), 1.0, cpu_us, RIGHT, 1.0, float("nan") if failed else 2.0)


def outcome(*samples: Sample) -> Outcome:
    """These samples, nginx absent."""
    return Outcome(samples, {"envoy": "1.40.0"}, {"nginx": "apt-get install nginx"}, {})


def verdict(milliroute_us: float) -> tuple[bool | None, str]:
    """Against an Envoy of 50 us."""
    made = outcome(sample("milliroute", 0, milliroute_us), sample("envoy", 0, 50.0))
    return report.verdict(report.rows(PLAN, made.samples))


def test_bar_is_met_at_four_fifths_of_envoy_and_missed_above() -> None:
    assert verdict(40.0)[0] is True
    assert verdict(40.1)[0] is False
    assert verdict(40.1)[1].endswith("MISSED")


def test_bar_is_not_judged_without_envoy() -> None:
    assert report.verdict(report.rows(PLAN, [sample("milliroute", 0, 30.0)]))[0] is None


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


def test_every_round_asks_everyone_and_begins_with_another() -> None:
    running = peers.Running(1, (), ())
    entrants = [Entrant(peer, running) for peer in peers.ALL[:3]]
    order = [(number, entrant.peer.name) for number, _, entrant in turns(2, SCENARIOS[:1], entrants)]
    assert order == [
        (0, "milliroute"),
        (0, "envoy"),
        (0, "haproxy"),
        (1, "envoy"),
        (1, "haproxy"),
        (1, "milliroute"),
    ]
