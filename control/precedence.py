"""Which match of several routes comes first, as the Gateway API says: the most specific one, then the oldest route.

In: routes of one kind that are in force together. Out: their matches in the order in which a request tries them. Where
the API leaves it open (regular expressions) they stand between exact paths and prefixes, the longer first.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from milliroute.control.gateway import Route, RouteMatch

_PATH_RANKS = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}


class Entry(NamedTuple):
    """One match of the rule with that number."""

    route: Route
    rule: int
    match: RouteMatch


def ordered(routes: Iterable[Route]) -> list[Entry]:
    """The first one that takes a request has it."""
    return sorted(_entries(routes), key=_rank)


def age(route: Route) -> tuple[float, str, str]:
    """Oldest first, then by "namespace/name"."""
    return route.created, f"{route.namespace}/{route.name}", route.group


def _entries(routes: Iterable[Route]) -> Iterator[Entry]:
    for route in routes:
        for number, rule in enumerate(route.rules):
            for match in rule.matches:
                yield Entry(route, number, match)


def _rank(entry: Entry) -> tuple[object, ...]:
    # Sorting is stable, so the matches of one rule keep their order.
    route, rule, match = entry
    specific = _of_grpc(match) if route.kind == "GRPCRoute" else _of_http(match)
    return *specific, age(route), rule


def _of_http(match: RouteMatch) -> tuple[int, ...]:
    # Of two exact paths that take one request neither is longer.
    chars = 0 if match.path_kind == "Exact" else len(match.path)
    return _PATH_RANKS[match.path_kind], -chars, not match.method, -len(match.headers), -len(match.query)


def _of_grpc(match: RouteMatch) -> tuple[int, ...]:
    return -match.service_chars, -match.method_chars, -len(match.headers)
