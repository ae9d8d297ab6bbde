"""parse: which objects are ours, and a position for whatever is wrong with one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.control.model import HeaderMatch, Leaf, Match, Sticky
from milliroute.control.source.reading import parsed

from .building import SPLIT, errors, objects

GROUP = """\
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: canary}
spec:
  matches:
"""


def with_annotation(text: str) -> str:
    return SPLIT.replace("  name: reviews\n", f"  name: reviews\n  annotations: {{{text}}}\n")


def with_weight(text: str) -> str:
    return SPLIT.replace("900m", text)


@pytest.mark.parametrize("group", ["split.smi-spec.io", "split.smi-specs.io"])
@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"])
def test_both_spellings_and_all_versions_take_quantities(group: str, version: str) -> None:
    (split,) = objects(SPLIT.replace("split.smi-specs.io/v1alpha2", f"{group}/{version}")).splits
    assert split.backends == (Leaf("reviews-v1", 900_000, "900m"), Leaf("reviews-v2", 100_000, "100m"))
    assert (split.namespace, split.name, split.apex) == ("default", "reviews", "reviews")
    assert str(split.origin) == "f.yaml:1:1"


@pytest.mark.parametrize(("text", "micro"), [("1", 10**6), ('"1"', 10**6), ("1e3", 10**9), ("0.1", 10**5), ("0", 0)])
def test_a_weight_may_be_written_in_every_way_of_kubernetes(text: str, micro: int) -> None:
    assert objects(with_weight(text)).splits[0].backends[0].weight_micro == micro


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-1", "weight: negative quantity (saw '-1'"),
        (".nan", "weight: quantity is not a finite number (saw '.nan'"),
        ("NaN", "weight: quantity is not a finite number (saw 'NaN'"),
        ("heavy", "weight: bad quantity (saw 'heavy'"),
        ("", "missing weight (saw nothing"),
        ("null", "missing weight (saw nothing"),
        ('""', "weight: empty quantity (saw ''"),
        ("[1]", "bad weight (saw a list of 1"),
        ("1e13", "weight: quantity too large (saw '1e13'"),
    ],
)
def test_a_bad_weight_is_an_error_at_its_position(text: str, complaint: str) -> None:
    (error,) = errors(with_weight(text))
    assert error.startswith("f.yaml:9:")
    assert complaint in error
    assert error.endswith("900m, 1 or 0.1)")


def test_a_missing_weight_is_an_error_at_its_backend() -> None:
    (error,) = errors(SPLIT.replace("    weight: 900m\n", ""))
    assert error.startswith("f.yaml:8:5: missing weight")


def test_all_errors_of_a_file_are_reported_at_once() -> None:
    text = with_weight("-1").replace("100m", "heavy") + "---\n" + SPLIT.replace("  service: reviews\n", "")
    assert [error.split(":")[1] for error in errors(text)] == ["9", "11", "18"]


def test_a_split_of_itself_only_is_an_error() -> None:
    text = SPLIT[: SPLIT.index("  - service: reviews-v1")] + "  - {service: reviews.default.svc, weight: 1}\n"
    (error,) = errors(text)
    assert error.startswith("f.yaml:8:3: the split names only itself as a backend")


def test_the_apex_may_be_one_of_several_leaves() -> None:
    assert objects(SPLIT.replace("reviews-v1", "reviews")).splits[0].backends[0].service == "reviews"


def test_the_same_leaf_twice_is_an_error_however_it_is_written() -> None:
    (error,) = errors(SPLIT.replace("reviews-v2", "reviews-v1.default"))
    assert "f.yaml:10:14: backend listed twice (saw 'reviews-v1.default', first at line 8" in error


@pytest.mark.parametrize("written", ["", " []", " null"])
def test_a_split_without_backends_is_an_error(written: str) -> None:
    (error,) = errors(SPLIT[: SPLIT.index("backends:")] + f"backends:{written}\n")
    assert "no backends" in error


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("service: reviews\n", "service: Reviews\n"),
        ("service: reviews\n", "service: reviews:80\n"),
        ("service: reviews\n", "service: 'a b'\n"),
        ("service: reviews\n", "service: a..b\n"),
        ("service: reviews-v1", "service: reviews_v1"),
        ("  name: reviews", "  name: ''"),
        ("  name: reviews", "  name: reviews\n  namespace: a.b"),
        ("  name: reviews", "  name: reviews\n  creationTimestamp: yesterday"),
        ("backends:", "backend:"),
        ("    weight: 900m", "    weight: 900m\n    wieght: 1"),
        ("  service: reviews\n", "  service: reviews\n  matchs: []\n"),
        ("v1alpha2", "v1beta1"),
        ("split.smi-specs.io", "split.smi.io"),
        ("kind: TrafficSplit", "kind: TraficSplit"),
        ("kind: TrafficSplit\n", ""),
    ],
)
def test_a_typo_is_an_error_and_not_another_routing(old: str, new: str) -> None:
    assert old in SPLIT
    assert errors(SPLIT.replace(old, new, 1))


def test_the_annotations_say_sticky_ramp_and_strict() -> None:
    text = "milliroute.io/sticky: header=X-User, milliroute.io/ramp: 1m30s, milliroute.io/empty-leaf: strict"
    (split,) = objects(with_annotation(text)).splits
    assert (split.sticky, split.ramp_ms, split.strict_empty_leaf) == (Sticky("header", "x-user"), 90_000, True)


@pytest.mark.parametrize(
    ("text", "sticky"), [("cookie=Session", Sticky("cookie", "Session")), ("client-ip", Sticky("client-ip"))]
)
def test_sticky_may_go_by_cookie_or_address(text: str, sticky: Sticky) -> None:
    assert objects(with_annotation(f"milliroute.io/sticky: {text}")).splits[0].sticky == sticky


@pytest.mark.parametrize(
    "text",
    [
        "milliroute.io/sticky: header=",
        "milliroute.io/sticky: header=a b",
        "milliroute.io/sticky: client-ip=x",
        "milliroute.io/sticky: host",
        "milliroute.io/ramp: '60'",
        "milliroute.io/ramp: -1s",
        "milliroute.io/ramp: [1s]",
        "milliroute.io/empty-leaf: skip",
        "milliroute.io/stiky: client-ip",
    ],
)
def test_a_bad_annotation_of_ours_is_an_error_at_its_position(text: str) -> None:
    (error,) = errors(with_annotation(text))
    assert error.startswith("f.yaml:5:")


def test_foreign_annotations_are_kept_and_left_alone() -> None:
    (split,) = objects(with_annotation("linkerd.io/inject: enabled")).splits
    assert split.annotations == {"linkerd.io/inject": "enabled"}


def test_the_creation_time_is_read_in_unix_seconds() -> None:
    text = SPLIT.replace("  name: reviews\n", "  name: reviews\n  creationTimestamp: 2026-01-31T12:00:00Z\n")
    assert objects(text).splits[0].created == 1769860800.0


def test_matches_may_only_name_route_groups() -> None:
    tail = "  matches:\n  - {apiGroup: specs.smi-spec.io, kind: HTTPRouteGroup, name: canary}\n"
    assert objects(SPLIT + tail).splits[0].matches == (("HTTPRouteGroup", "canary"),)
    (error,) = errors(SPLIT + tail.replace("HTTPRouteGroup", "TCPRoute"))
    assert error.startswith("f.yaml:13:41:")


def test_both_shapes_of_headers_mean_the_same() -> None:
    as_map = GROUP + "  - headers: {X-User: 'a.*', Cookie: b}\n"
    as_list = GROUP + "  - headers:\n    - X-User: 'a.*'\n    - Cookie: b\n"
    wanted = (Match(headers=(HeaderMatch("x-user", "a.*"), HeaderMatch("cookie", "b"))),)
    assert [objects(text).route_groups[0].matches for text in (as_map, as_list)] == [wanted, wanted]


def test_matches_of_a_group_may_stand_at_the_top() -> None:
    text = (GROUP + "  - {name: m, pathRegex: /a, methods: [GET, '*']}\n").replace("spec:\n  matches:", "matches:")
    assert objects(text).route_groups[0].matches == (Match("m", "/a", ("GET", "*")),)


@pytest.mark.parametrize(
    ("match", "complaint"),
    [
        ("{pathRegex: '(a'}", "f.yaml:6:17: bad pathRegex: missing ): (a (saw '(a'"),
        ("{pathRegex: '(?=a)'}", "bad pathRegex: invalid perl operator"),
        ("{headers: {x: '*'}}", "bad x: no argument for repetition operator"),
        ("{headers: {'x y': a}}", "bad header name (saw 'x y'"),
        ("{methods: [get]}", "bad method (saw 'get'"),
        ("{pathRegexp: a}", "unknown field in a match (saw 'pathRegexp'"),
        ("[a]", "bad matches[0] (saw a list of 1, want a mapping)"),
    ],
)
def test_a_bad_match_is_an_error_at_its_position(match: str, complaint: str, capfd: pytest.CaptureFixture[str]) -> None:
    (error,) = errors(GROUP + f"  - {match}\n")
    assert complaint in error
    assert capfd.readouterr().err == ""


def test_a_group_without_matches_is_an_error() -> None:
    assert "missing matches" in errors(GROUP)[0]


def test_kinds_that_are_not_ours_are_skipped() -> None:
    foreign = "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: serving.knative.dev/v1\nkind: Service\n---\n"
    found = objects(foreign + SPLIT)
    assert (len(found.splits), found.services) == (1, ())


def test_a_list_is_unwrapped() -> None:
    inner = SPLIT.replace("\n", "\n  ").rstrip()
    found = objects(f"apiVersion: v1\nkind: List\nitems:\n- {inner}\n")
    assert str(found.splits[0].origin) == "f.yaml:4:3"


def test_a_document_that_is_no_object_is_an_error() -> None:
    assert "bad document (saw 'hello', want a mapping)" in errors("hello")[0]
    assert "missing kind" in errors("a: 1")[0]


@settings(max_examples=150)
@given(st.data())
def test_a_mutilated_split_is_read_or_refused_with_a_position(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SPLIT)))
    end = data.draw(st.integers(start, min(len(SPLIT), start + 20)))
    text = SPLIT[:start] + data.draw(st.text("ab:-[]{}1 \n'", max_size=4)) + SPLIT[end:]
    found, wrong = parsed(text.encode(), "f.yaml")
    assert all(error.startswith("f.yaml:") for error in wrong)
    assert len(found) <= 1
