"""The order of matches, against a slow and obvious reading of the Gateway API's words."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.control import snapshot
from milliroute.control.gateway import BackendRef, Filters, HeaderChange, ParentRef, Route, RouteMatch, Rule, ValueMatch
from milliroute.control.model import Objects
from milliroute.control.precedence import ordered
from tests.control.routing import head, tabled, whole

WORLD = whole()
# Few values, so that most matches take most requests and each criterion has to decide often.
PATHS = ("", "/a", "/a/b")
HEADERS = (ValueMatch("x-a", "1"), ValueMatch("x-b", "2"), ValueMatch("x-a", "1|2", is_regex=True))
QUERY = (ValueMatch("p", "1"), ValueMatch("q", "[0-9]", is_regex=True))

MATCHES = st.builds(
    RouteMatch,
    path_kind=st.sampled_from(("Exact", "PathPrefix")),
    path=st.sampled_from(PATHS),
    method=st.sampled_from(("", "GET")),
    headers=st.lists(st.sampled_from(HEADERS), max_size=2, unique_by=lambda one: one.name).map(tuple),
    query=st.lists(st.sampled_from(QUERY), max_size=2, unique_by=lambda one: one.name).map(tuple),
).map(lambda one: replace(one, path=one.path or "/") if one.path_kind == "Exact" else one)
RULES = st.builds(
    Rule,
    matches=st.lists(MATCHES, min_size=1, max_size=4).map(tuple),
    backends=st.just((BackendRef("reviews-v1", "default", 80),)),
    # Some rules do something, so that a table has all kinds of routes.
    filters=st.sampled_from((Filters(), Filters(request=HeaderChange(add=(("x-new", "1"),))))),
)
ROUTES = st.lists(
    st.tuples(st.lists(RULES, min_size=1, max_size=3), st.sampled_from((0.0, 1.0))), min_size=1, max_size=3
).map(
    lambda made: tuple(
        Route("HTTPRoute", "default", f"route-{n}", (ParentRef("reviews", kind="Service"),), tuple(rules), created=age)
        for n, (rules, age) in enumerate(made)
    )
)
REQUESTS = st.tuples(
    st.sampled_from(("/a/b", "/a", "/a/", "/a/b/c", "/ab", "/")),
    st.sampled_from(("?p=1&q=7", "?p=1", "", "?p=1&q=x", "?p=2&p=1")),
    st.sampled_from(("GET", "GET", "POST")),
    st.sampled_from((("X-A: 1", "x-b: 2"), ("x-a: 1",), ("X-A: 2", "X-B: 2"), ("x-a: 1", "x-a: 2"), ())),
)


def holds(match: RouteMatch, path: str, query: dict[str, str], method: str, fields: dict[str, str]) -> bool:
    if match.path_kind == "Exact":
        path_holds = path == match.path
    else:
        wanted, elements = [e for e in match.path.split("/") if e], path.split("/")[1:]
        path_holds = elements[: len(wanted)] == wanted
    if not path_holds or match.method not in ("", method):
        return False
    return all(one_holds(one, fields) for one in match.headers) and all(one_holds(one, query) for one in match.query)


def one_holds(one: ValueMatch, values: dict[str, str]) -> bool:
    found = values.get(one.name)
    if found is None or not one.is_regex:
        return found == one.value
    return found in {"1|2": "1 2", "[0-9]": "0 1 2 3 4 5 6 7 8 9"}[one.value].split()


def winner(routes: tuple[Route, ...], path: str, query: dict[str, str], method: str, fields: dict[str, str]) -> str:
    """Criterion by criterion, as the API lists them; "" where nothing matches."""
    left = [
        (route, number, match)
        for route in routes
        for number, rule in enumerate(route.rules)
        for match in rule.matches
        if holds(match, path, query, method, fields)
    ]
    if not left:
        return ""
    if any(match.path_kind == "Exact" for _, _, match in left):
        left = [one for one in left if one[2].path_kind == "Exact"]
    else:
        longest = max(len(match.path) for _, _, match in left)
        left = [one for one in left if len(one[2].path) == longest]
    if any(match.method for _, _, match in left):
        left = [one for one in left if one[2].method]
    most = max(len(match.headers) for _, _, match in left)
    left = [one for one in left if len(one[2].headers) == most]
    most = max(len(match.query) for _, _, match in left)
    left = [one for one in left if len(one[2].query) == most]
    oldest = min(route.created for route, _, _ in left)
    left = [one for one in left if one[0].created == oldest]
    first = min(f"{route.namespace}/{route.name}" for route, _, _ in left)
    left = [one for one in left if f"{one[0].namespace}/{one[0].name}" == first]
    return f"{first}/{min(number for _, number, _ in left)}"


@settings(max_examples=200, deadline=None)
@given(ROUTES, st.lists(REQUESTS, min_size=4, max_size=12))
def test_a_worker_takes_the_rule_that_the_api_demands(
    routes: tuple[Route, ...], requests: list[tuple[str, str, str, tuple[str, ...]]]
) -> None:
    objects: Objects = replace(WORLD, routes=routes)
    table = tabled(snapshot.build(objects, None, 0))
    for path, query, method, fields in requests:
        values = dict(reversed([part.split("=") for part in query[1:].split("&") if part]))
        named: dict[str, str] = {}
        for field in fields:
            name, value = field.lower().split(": ")
            named[name] = f"{named[name]}, {value}" if name in named else value
        found = table.route_for(head(path + query, *fields, method=method))
        name = "" if found.answer is not None else found.split.state.name
        assert name == winner(routes, path, values, method, named)


def test_a_regular_expression_stands_between_exact_paths_and_prefixes() -> None:
    kinds = ("PathPrefix", "RegularExpression", "Exact")
    rules = tuple(Rule((RouteMatch(kind, "/a"),)) for kind in kinds)  # type: ignore[arg-type]  # of these kinds
    route = Route("HTTPRoute", "default", "r", (), rules)
    assert [kinds[entry.rule] for entry in ordered([route])] == ["Exact", "RegularExpression", "PathPrefix"]


def test_of_a_grpc_route_the_longest_service_comes_first_then_the_longest_method() -> None:
    matches = [RouteMatch(service_chars=s, method_chars=m) for s, m in ((3, 9), (8, 0), (8, 4), (0, 0))]
    route = Route("GRPCRoute", "default", "r", (), tuple(Rule((match,)) for match in matches))
    assert [entry.rule for entry in ordered([route])] == [2, 1, 0, 3]
