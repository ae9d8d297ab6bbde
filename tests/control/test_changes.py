"""Log lines: one per change, old and new, and silence when nothing changed."""

from typing import Literal

from milliroute.control.changes import source_lines, split_lines
from milliroute.control.model import SourceStatus
from milliroute.control.snapshot import LeafReport, SplitReport


def report(
    *weights: str, apex: str = "reviews", status: Literal["accepted", "conflict"] = "accepted", line: int = 1
) -> SplitReport:
    leaves = tuple(LeafReport(f"v{n}", weight, int(weight), 0.5) for n, weight in enumerate(weights, 1))
    return SplitReport("default/reviews", apex, f"split.yaml:{line}", status, (), leaves)


def test_changed_weights_are_one_line_with_old_and_new() -> None:
    assert list(split_lines([report("9", "1", "0")], [report("5", "5", "0")])) == [
        "split default/reviews: v1 9 -> 5, v2 1 -> 5 (split.yaml:1)"
    ]


def test_a_split_that_only_moved_in_its_file_is_silent() -> None:
    assert list(split_lines([report("9", "1")], [report("9", "1", line=7)])) == []


def test_new_and_removed_splits_and_leaves_are_told() -> None:
    assert list(split_lines([], [report("9", "1")])) == ["split default/reviews: new, v1 9, v2 1 (split.yaml:1)"]
    assert list(split_lines([report("9")], [])) == ["split default/reviews: removed"]
    assert list(split_lines([report("9", "1")], [report("9")])) == [
        "split default/reviews: v2 1 -> none (split.yaml:1)"
    ]


def test_a_split_that_lost_its_apex_is_told() -> None:
    lines = list(split_lines([report("1")], [report("1", status="conflict", apex="other")]))
    assert lines == ["split default/reviews: apex reviews -> other, accepted -> conflict (split.yaml:1)"]


def test_each_error_of_a_file_is_told_once_and_so_is_its_recovery() -> None:
    ok = [SourceStatus("a.yaml")]
    broken = [SourceStatus("a.yaml", "last good", ("a.yaml:1:2: x", "a.yaml:3:4: y"))]
    assert list(source_lines(ok, broken)) == [
        (True, "a.yaml:1:2: x"),
        (True, "a.yaml:3:4: y"),
        (True, "a.yaml: broken, its last good version stays in force"),
    ]
    assert list(source_lines(broken, broken)) == []
    assert list(source_lines(broken, ok)) == [(False, "a.yaml: recovered")]


def test_a_file_without_any_good_version_is_not_said_to_have_one() -> None:
    broken = [SourceStatus("a.yaml", "nothing", ("a.yaml:1:2: x",))]
    said = (True, "a.yaml: broken, nothing of it is in force: it has no good version yet")
    assert list(source_lines([], broken)) == [(True, "a.yaml:1:2: x"), said]
    assert list(source_lines(broken, broken)) == []


def test_what_is_in_force_of_a_broken_file_is_told_again_when_it_changes() -> None:
    nothing, rest = SourceStatus("a.yaml", "nothing", ("x",)), SourceStatus("a.yaml", "rest", ("x",))
    assert list(source_lines([nothing], [rest])) == [(True, "a.yaml: broken, the rest of it is in force")]
