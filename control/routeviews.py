"""Gateway API routes as a proxy is told them: one route per rule and place in the order, each with its split.

In: the routes that are in force, and the backends of the authority. Out: RouteViews, the last of which always matches.
Rules that a request may meet at several places share one split, by its name `namespace/name/number`.

A backend that is refused keeps its share, which is answered with 500; one without endpoints answers 503, unless the
route says that it is skipped. What no rule takes is 404.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from milliroute.control import attachment, precedence
from milliroute.control.gateway import GROUP, BackendRef, Filters, Route, RouteMatch, ValueMatch
from milliroute.control.index import Index
from milliroute.control.quantity import MICRO
from milliroute.control.traffic import TrafficPolicy
from milliroute.control.views import HeaderMatchView, MatchView, RouteView, SplitView, WeightView

# gRPC's UNIMPLEMENTED, which the API demands where no rule of a GRPCRoute takes a call.
UNIMPLEMENTED = 12


class Table(Protocol):
    """The backends of the authority, each once."""

    def position(self, key: str, port: int = 0) -> int: ...

    def refused(self, key: str, namespace: str, port: int) -> int: ...


def title(route: Route, rule: int) -> str:
    """Linkerd's own HTTPRoute may have the name of another one."""
    name = route.name if route.group == GROUP else f"{route.name}:{route.group}"
    return f"{route.namespace}/{name}/{rule}"


def route_views(
    index: Index, host: str, routes: Sequence[Route], policy: TrafficPolicy | None, table: Table
) -> list[RouteView]:
    """`routes` are of one kind and not empty; `policy` is the Service's own, for rules that say nothing."""
    made: dict[str, RouteView] = {}
    found: list[RouteView] = []
    for entry in precedence.ordered(routes):
        name = title(entry.route, entry.rule)
        view = made.get(name)
        if view is None:
            view = made[name] = _rule(index, host, entry.route, entry.rule, policy, table)
        if entry.match.takes_all:
            return [*found, view]
        match = _match_view(entry.match)
        if found and found[-1].name == view.name:
            found[-1] = replace(view, matches=(*found[-1].matches, match))
        else:
            found.append(replace(view, matches=(match,)))
    is_grpc = routes[0].kind == "GRPCRoute"
    apex = index.services[host].name
    return [*found, RouteView(SplitView("", (), apex=apex), status=404, grpc_status=UNIMPLEMENTED if is_grpc else 0)]


def _rule(index: Index, host: str, route: Route, number: int, policy: TrafficPolicy | None, table: Table) -> RouteView:
    rule = route.rules[number]
    redirect = rule.filters.redirect
    weights: tuple[WeightView, ...] = ()
    if rule.backends:
        weights = tuple(_weight(index, route, ref, table) for ref in rule.backends)
    elif redirect is None:
        weights = (WeightView(table.position(host), MICRO, "1"),)
    filters = replace(rule.filters, redirect=None)
    has_share = any(weight.micro for weight in weights)
    split = SplitView(
        name=title(route, number),
        weights=weights,
        strict_empty_leaf=not route.skips_empty,
        source=route.origin.short,
        apex=index.services[host].name,
        policy=rule.policy or policy,
    )
    return RouteView(
        split,
        name=f"{route.kind} {split.name}",
        filters=None if filters.is_empty else filters,
        redirect=redirect,
        status=0 if redirect or has_share else 500,
    )


def _weight(index: Index, route: Route, ref: BackendRef, table: Table) -> WeightView:
    key = f"{ref.name}.{ref.namespace}"
    filters: Filters | None = None if ref.filters.is_empty else ref.filters
    if attachment.backend_refusal(index, route, ref) is not None:
        position = table.refused(key, ref.namespace, ref.port)
        return WeightView(position, ref.weight * MICRO, str(ref.weight), status=500)
    return WeightView(table.position(key, ref.port), ref.weight * MICRO, str(ref.weight), filters)


def _match_view(match: RouteMatch) -> MatchView:
    return MatchView(
        methods=(match.method,) if match.method else (),
        headers=tuple(_value_view(one) for one in match.headers),
        path_exact=match.path if match.path_kind == "Exact" else "",
        path_prefix=match.path if match.path_kind == "PathPrefix" else "",
        path_full_regex=match.path if match.path_kind == "RegularExpression" else "",
        query=tuple(_value_view(one) for one in match.query),
    )


def _value_view(one: ValueMatch) -> HeaderMatchView:
    return HeaderMatchView(one.name, one.value) if one.is_regex else HeaderMatchView(one.name, "", one.value)
