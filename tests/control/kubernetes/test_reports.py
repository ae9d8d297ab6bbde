"""source.kubernetes.reports: what the writer of a TrafficSplit reads, once for each thing that is to be said."""

import pytest

from milliroute.control.snapshot import SplitReport, Status
from milliroute.control.source.kubernetes import answers, reports
from milliroute.control.source.kubernetes.reports import Verdict
from tests.control.kubernetes.building import SPLIT, dumped, split

ORIGIN = "TrafficSplit shop/reviews"


def verdict(weight: str = "1", *found: SplitReport) -> Verdict:
    entry = answers.entry_of(dumped(split("reviews", weight)), SPLIT, "v1alpha1")
    [one] = reports.split_verdicts(SPLIT, "v1alpha1", [entry], {report.name: report for report in found})
    return one


def report(status: Status = "accepted", *warnings: str, source: str = ORIGIN) -> SplitReport:
    return SplitReport("shop/reviews", "reviews", source, status, warnings, ())


@pytest.mark.parametrize(
    ("one", "reason", "message"),
    [
        (verdict("1", report()), "Accepted", "in force for reviews"),
        (verdict("-1", report()), "Invalid", "weight: negative quantity (saw '-1', want a "),
        (verdict("1", report("conflict", "apex has another")), "Conflict", "not in force: apex has another"),
        (verdict("1", report("accepted", "no v2")), "Incomplete", "in force, but: no v2"),
        (verdict("1", report(source="/etc/a.yaml:1")), "Overridden", "not in force: /etc/a.yaml:1 has a split of"),
        (verdict("1"), "Overridden", "not in force: another object of this name is"),
    ],
)
def test_each_state_has_a_reason_and_a_sentence(one: Verdict, reason: str, message: str) -> None:
    assert one.reason == reason
    assert one.message.startswith(message)
    assert one.is_warning == (reason != "Accepted")


def test_an_event_is_of_its_object_and_named_after_what_it_says() -> None:
    one = verdict("1", report())
    event = reports.event(one, "me", "2026-01-31T12:00:00Z")
    assert event["involvedObject"] == {
        "apiVersion": "split.smi-spec.io/v1alpha1",
        "kind": "TrafficSplit",
        "namespace": "shop",
        "name": "reviews",
        "uid": "uid-reviews",
        "resourceVersion": "1",
    }
    assert reports.name_of(one) == reports.name_of(verdict("2", report()))
    assert reports.name_of(one) != reports.name_of(verdict("-1", report()))


def test_a_long_message_is_cut_to_what_the_api_takes() -> None:
    assert len(verdict("1", report("conflict", "x" * 5000)).message) == 1024
