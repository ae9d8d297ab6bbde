"""What one authority means: its key, and its routes, splits and backends, by the rules of design section 3.

In: an Index, the running ramps, a canonical key. Out: an AuthorityView, or None when neither a Service nor a split
has that name, or what has it lacks the port. The leaves' endpoints are part of the view, so no proxy ever routes to a
leaf whose endpoints it does not know yet.

The one rule: ports are a client's to write, so a name has at most as many views as its Service has ports, and one.
"""

from collections.abc import Mapping

from milliroute.control import access, attachment, endpoints, limits, names, pods, routeviews
from milliroute.control.index import Index, title
from milliroute.control.model import Match, Sticky, TrafficPolicy, TrafficSplit
from milliroute.control.quantity import MICRO
from milliroute.control.ramp import Ramp, weights
from milliroute.control.views import (
    AuthorityView,
    BackendView,
    HeaderMatchView,
    MatchView,
    RampView,
    RouteView,
    SplitView,
    StickyView,
    WeightView,
)


def key_of(index: Index, authority: str, namespace: str) -> str:
    """The key under which to look up what a client wrote: without the port where that means nothing.

    A name that is unknown keeps its port, because what will have that name may have ports. Raises AuthorityError.
    """
    key = names.canonical(authority, namespace)
    host, port = names.split_port(key)
    if port is None or _ports(index, host) or not (host in index.services or host in index.splits):
        return key
    return host


def dialled_key(index: Index, authority: str, namespace: str) -> str:
    """The same of what a sidecar's app dialled: of an address the Service whose ClusterIP it is, else the pod that has
    it. Of what is no address as above. Raises AuthorityError."""
    key = names.canonical(authority, namespace)
    host, port = names.split_port(key)
    address = names.address(host)
    service = index.addresses.service_at(address) if address else None
    ports = _ports(index, service) if service is not None else frozenset()
    if service is None or (ports and port not in (None, *ports)):
        return f"{pods.DIALLED}{key}" if address else key_of(index, authority, namespace)
    return f"{service}:{port}" if ports and port is not None else service


def compose(index: Index, ramps: Mapping[str, Ramp], key: str) -> AuthorityView | None:
    """The view of a canonical key; None when it is unknown."""
    if key.startswith(pods.INBOUND):
        return pods.inbound(index, key)
    if key.startswith(pods.DIALLED):
        return pods.dialled(index, key)
    client, key = attachment.unscoped(key)
    host, port = names.split_port(key)
    service, split = index.services.get(host), index.splits.get(host)
    if service is None and split is None:
        return None
    if port is not None and (known := _ports(index, host)) and port not in known:
        return None
    if service is not None and port is None and service.ports:
        chosen = endpoints.service_port(service, None)
        port = chosen.port if chosen else None
    namespace = service.namespace if service else split.namespace if split else ""
    table = _Backends(index, namespace, port)
    routes = [] if split is None else _split_routes(index, split, ramps.get(host), table)
    attached = attachment.in_force(index, host, port, client)
    if attached:
        routes = routeviews.route_views(index, host, attached, _policy(index, host), table)
    # Behind Gateway API routes, too: they are about HTTP, and the other connections go where they went before.
    if attached or not routes or routes[-1].matches:
        routes.append(_own_route(index, host, split, table))
    warnings = [*(split_warnings(index, split) if split else ()), *table.warnings, *_conflicts(index, host)]
    reached = [
        table.places[weight.backend]
        for route in routes
        for weight in route.split.weights
        if _may_be_sent(route, weight)
    ]
    return AuthorityView(
        name=service.name if service else _short(host, namespace),
        namespace=namespace,
        backends=tuple(table.views),
        routes=limits.limited(index, host, namespace, port, routes),
        warnings=tuple(dict.fromkeys(warnings)),
        access=access.guards(index, host, namespace, port, reached),
    )


def split_warnings(index: Index, split: TrafficSplit) -> tuple[str, ...]:
    """What an operator should know of a split that is in force, whatever the port."""
    found: list[str] = []
    by_leaf = weights(split)
    if not any(by_leaf.values()):
        found.append("all weights are zero: requests go to the apex's own endpoints, as if there were no split")
    # A leaf of weight 0 may name a Service that does not exist yet.
    found += [f"backend {leaf}: no such Service" for leaf, w in by_leaf.items() if w and leaf not in index.services]
    found += [
        f"{kind} {name}: no such object in the namespace {split.namespace}, its requests are not split"
        for kind, name in split.matches
        if (split.namespace, name) not in index.groups
    ]
    apex = names.canonical(split.apex, split.namespace)
    if apex not in index.services and (split.matches or not any(by_leaf.values())):
        found.append(f"apex {apex}: no such Service, so requests that are not split have nowhere to go")
    return tuple(found)


class _Backends:
    """The backends of one authority, each once, in the order in which routes name them."""

    def __init__(self, index: Index, namespace: str, port: int | None) -> None:
        self.views: list[BackendView] = []
        self.places: list[tuple[str, int | None]] = []  # of the views: the Service's key, and the port
        self.warnings: list[str] = []
        self.index = index
        self._namespace = namespace
        self._port = port
        self._positions: dict[tuple[str, int | None, bool], int] = {}

    def position(self, key: str, port: int = 0) -> int:
        """`port` 0: the one that was asked for."""
        place = (key, port or self._port)
        found = self._positions.get((*place, True))
        if found is None:
            view, warning = endpoints.backend(self.index, key, self._namespace, place[1])
            found = self._add(view, place, is_reached=True)
            self.warnings += [warning] if warning else []
        return found

    def refused(self, key: str, namespace: str, port: int) -> int:
        """A name without endpoints, whatever stands behind it."""
        place = (key, port or self._port)
        found = self._positions.get((*place, False))
        if found is not None:
            return found
        view = BackendView(key.partition(".")[0], namespace, place[1] or 0, is_missing=True)
        return self._add(view, place, is_reached=False)

    def _add(self, view: BackendView, place: tuple[str, int | None], *, is_reached: bool) -> int:
        found = self._positions[*place, is_reached] = len(self.views)
        self.views.append(view)
        self.places.append(place)
        return found


def _ports(index: Index, host: str) -> frozenset[int]:
    """The ports that a client may name; none: they mean nothing. Those of the leaves where the apex has no Service."""
    if host in index.services or host not in index.splits:
        return endpoints.ports(index, host)
    return frozenset().union(*(endpoints.ports(index, leaf) for leaf in weights(index.splits[host])))


def _split_routes(index: Index, split: TrafficSplit, ramp: Ramp | None, table: _Backends) -> list[RouteView]:
    """The route of the split, if it applies to anything."""
    if not any(leaf.weight_micro for leaf in split.backends):
        return []
    groups = [index.groups.get((split.namespace, name)) for _, name in split.matches]
    matches = tuple(_match_view(match) for group in groups if group for match in group.matches)
    if split.matches and not matches:
        return []
    return [RouteView(_split_view(split, ramp, table), matches)]


def _own_route(index: Index, host: str, split: TrafficSplit | None, table: _Backends) -> RouteView:
    """To the apex's own endpoints, as if no split existed; it always matches."""
    service = index.services.get(host)
    weight = WeightView(table.position(host), MICRO, "1")
    apex = service.name if service else split.apex if split else host
    source = service.origin.short if service else ""
    return RouteView(SplitView("", (weight,), source=source, apex=apex, policy=_policy(index, host)))


def _split_view(split: TrafficSplit, ramp: Ramp | None, table: _Backends) -> SplitView:
    by_leaf = weights(split)
    texts = dict(zip(by_leaf, (leaf.weight_text for leaf in split.backends), strict=True))
    # What is only where the ramp comes from runs out along it.
    leaves = list(dict.fromkeys([*by_leaf, *(ramp.start if ramp else ())]))
    return SplitView(
        name=title(split),
        weights=tuple(WeightView(table.position(k), by_leaf.get(k, 0), texts.get(k, "0")) for k in leaves),
        ramp=_ramp_view(ramp, leaves) if ramp else None,
        sticky=_sticky_view(split.sticky) if split.sticky else None,
        strict_empty_leaf=split.strict_empty_leaf,
        is_failover=split.is_failover,
        fault=split.fault,
        source=split.origin.short,
        apex=split.apex,
        policy=split.policy or _policy(table.index, names.canonical(split.apex, split.namespace)),
    )


def _may_be_sent(route: RouteView, weight: WeightView) -> bool:
    """Whether requests may go to this leaf; along a ramp also to those it leads away from."""
    return (weight.micro > 0 or route.split.ramp is not None) and not weight.status


def _policy(index: Index, host: str) -> TrafficPolicy | None:
    """Of the apex's Service, for what has none of its own."""
    service = index.services.get(host)
    return service.policy if service else None


def _ramp_view(ramp: Ramp, leaves: list[str]) -> RampView:
    start = tuple(ramp.start.get(leaf, 0) for leaf in leaves) if ramp.start else ()
    return RampView(start, ramp.start_unix_ms, ramp.duration_ms)


def _sticky_view(sticky: Sticky) -> StickyView:
    if sticky.by == "header":
        return StickyView(header=sticky.name)
    return StickyView(cookie=sticky.name) if sticky.by == "cookie" else StickyView(client_ip=True)


def _match_view(match: Match) -> MatchView:
    headers = tuple(HeaderMatchView(header.name, header.regex) for header in match.headers)
    return MatchView(match.path_regex, match.methods, headers)


def _conflicts(index: Index, host: str) -> list[str]:
    return [
        f"split {title(loser)} is not in force: {reason}"
        for loser, reason in index.losers
        if names.canonical(loser.apex, loser.namespace) == host
    ]


def _short(host: str, namespace: str) -> str:
    name, _, rest = host.partition(".")
    return name if rest == namespace else host
