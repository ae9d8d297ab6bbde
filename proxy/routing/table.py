"""What a worker routes by: per authority its routes, splits, leaves and endpoints, built from one AuthorityState.

A table is replaced whole; whatever a new state leaves unchanged keeps its running state: the selector's place in its
cycle, a ramp under way, an endpoint's load and connections. Pure.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from milliroute.proxy.errors import NoBackend, NoRoute, ProxyError
from milliroute.proxy.message import RequestHead
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.resilience.faults import Faults
from milliroute.proxy.routing.leaf import Backend, Endpoint, Leaf
from milliroute.proxy.routing.matching import Matcher, RouteMatcher, matcher
from milliroute.proxy.routing.split import Split
from milliroute.proxy.state import AuthorityState, BackendState, FiltersState, RouteState, SplitState, WeightState

if TYPE_CHECKING:
    from milliroute.proxy.guard.access import Access
    from milliroute.proxy.guard.limiter import Limiter
    from milliroute.proxy.heads.rewriting import Filters

# (authority key, split name, leaf name, leaf namespace) -> the counters that live over table swaps.
SeriesFor = Callable[[str, str, str, str], LeafSeries]


class Terms(NamedTuple):
    """What tables need of the proxy's own settings. workers: of this proxy, who share its rate limits. takes_faults:
    requests may ask for faults by their headers.
    """

    workers: int = 1
    takes_faults: bool = False


class Route:
    """Its matches: OR; none means always. filters: None where requests and responses pass as they are. answer: what it
    says instead of asking a backend.
    """

    __slots__ = ("_matches", "answer", "filters", "split", "takes")

    def __init__(self, state: RouteState, split: Split) -> None:
        self._matches = [matcher(match) for match in state.matches]
        # No method of its own: it would refer back to itself, and a replaced table would be left to the collector.
        self.takes = self._matches[0].takes if len(self._matches) == 1 else partial(_takes_any, self._matches)
        self.split = split
        self.filters: Filters | None = None
        self.answer: Callable[[RequestHead], ProxyError] | None = None
        if state.filters is not None or any(leaf.filters is not None for leaf in split.leaves):
            self.filters = _filters(state.filters or FiltersState(), split)
        if state.redirect is not None or state.status:
            self.answer = _answer(state)

    @property
    def is_plain(self) -> bool:
        """Nothing has to be asked of a request, nor changed in it."""
        return not self._matches and self.filters is None and self.answer is None


def _takes_any(matches: Sequence[Matcher | RouteMatcher], head: RequestHead) -> bool:
    return not matches or any(match.takes(head) for match in matches)


class AuthorityTable:
    """All of one authority. only: its split where nothing has to be asked of a request before but whether it is
    within its limits, else None. access: None
    where everybody may. limits: of its routes, each once.
    """

    __slots__ = ("access", "backends", "key", "limits", "only", "routes", "state", "version")

    def __init__(self, key: str, version: int, state: AuthorityState) -> None:
        self.key = key
        self.version = version
        self.state = state
        self.backends: tuple[Backend, ...] = ()
        self.routes: tuple[Route, ...] = ()
        self.only: Split | None = None
        self.access: Access | None = None
        self.limits: tuple[Limiter, ...] = ()

    def route_for(self, head: RequestHead) -> Route:
        """The first route that takes this request; raises NoRoute."""
        for route in self.routes:
            if route.takes(head):
                return route
        raise NoRoute("no route of this authority takes the request")

    def split_for(self, head: RequestHead) -> Split:
        """Its split; raises NoRoute."""
        return self.route_for(head).split

    def endpoints(self) -> Iterator[Endpoint]:
        for backend in self.backends:
            yield from backend.endpoints

    def leave(self, successor: "AuthorityTable | None") -> None:
        """It is not in force any more."""
        for backend in self.backends:
            if successor is None or backend not in successor.backends:
                backend.leave()


def build(
    key: str,
    version: int,
    state: AuthorityState,
    previous: AuthorityTable | None,
    *,
    rng: random.Random,
    now_s: float,
    unix_s: float,
    series_for: SeriesFor,
    terms: Terms = Terms(),  # noqa: B008  # a value
) -> AuthorityTable:
    """The table of a state; previous: the one in force for the same key, whose running state is kept.

    now_s: by the monotonic clock, for endpoint loads; unix_s: by the wall clock, for ramps. Raises ValueError or
    re2.error for a state that cannot be routed by.
    """
    table = AuthorityTable(key, version, state)
    known = {_backend_id(b.state): b for b in previous.backends} if previous else {}
    table.backends = tuple(_backend(b, known.get(_backend_id(b)), rng, now_s) for b in state.backends)
    before = {route.split.state.name: route.split for route in previous.routes} if previous else {}
    routes = []
    splits: dict[str, Split] = {}
    for number, route in enumerate(state.routes):
        # The matches of one Gateway API rule stand at several places and share its split.
        name = route.split.name if route.name else f"route {number}"
        split = splits.get(name)
        if split is None:
            leaves = [_leaf(w, table, route.split, series_for) for w in route.split.weights]
            split = splits[name] = Split(route.split, leaves, rng, now_s)
            if terms.takes_faults:
                split.faults = Faults(route.split.fault, rng, takes_headers=True)
            split.start(before.get(route.split.name), unix_s)
        routes.append(Route(route, split))
    table.routes = tuple(routes)
    for backend in table.backends:
        backend.enter((leaf, made) for made in splits.values() for leaf in made.leaves)
    for made in splits.values():
        made.rescue()
    if any(route.rate_limits for route in state.routes):
        _limit(table, previous, terms.workers, now_s)
    table.only = routes[0].split if routes and routes[0].is_plain else None
    table.access = _access(key, state, previous) if state.access else None
    return table


def _limit(table: AuthorityTable, previous: AuthorityTable | None, workers: int, now_s: float) -> None:
    """What the tables before allowed counts on, where the limit is the same."""
    # Here, because a worker without rate limits need not carry it.
    from milliroute.proxy.guard.limiter import Limiter, RouteLimits

    known = {limit.state: limit for limit in previous.limits} if previous is not None else {}
    wanted = dict.fromkeys(limit for route in table.state.routes for limit in route.rate_limits)
    made = {limit: known.get(limit) or Limiter(table.key, limit, workers, now_s) for limit in wanted}
    table.limits = tuple(made.values())
    for route, state in zip(table.routes, table.state.routes, strict=True):
        if state.rate_limits:
            route.split.limits = RouteLimits(made[limit] for limit in state.rate_limits)


def _access(key: str, state: AuthorityState, previous: AuthorityTable | None) -> "Access":
    # Here, because a worker without access policies need not carry it.
    from milliroute.proxy.guard.access import Access

    return Access(key, state.access, previous.access if previous is not None else None)


def _leaf(weight: WeightState, table: AuthorityTable, split: SplitState, series_for: SeriesFor) -> Leaf:
    backend = table.backends[weight.backend]
    series = series_for(table.key, split.name, backend.state.name, backend.state.namespace)
    return Leaf(backend, series, _leaf_filters(weight.filters) if weight.filters is not None else None, weight.status)


def _leaf_filters(state: FiltersState) -> "Filters":
    # Here, because a worker whose tables change nothing need not carry it.
    from milliroute.proxy.heads.rewriting import Filters

    return Filters(state)


def _filters(state: FiltersState, split: Split) -> "Filters":
    from milliroute.proxy.heads.rewriting import Filters

    return Filters(state, [leaf.filters for leaf in split.leaves if leaf.filters is not None])


def _answer(state: RouteState) -> Callable[[RequestHead], ProxyError]:
    if state.redirect is not None:
        from milliroute.proxy.heads.rewriting import Redirect

        return Redirect(state.redirect).answer
    return lambda _: _refusal(state)


def _refusal(state: RouteState) -> ProxyError:
    if state.status == NoRoute.status:
        return NoRoute("no rule takes the request", grpc_status=state.grpc_status)
    return NoBackend(f"{state.name}: no backend has a weight", status=state.status)


def _backend_id(state: BackendState) -> tuple[str, str, int, bool]:
    """A route may name a Service that it may not use, which another one does use."""
    return state.namespace, state.name, state.port, state.is_missing


def _backend(state: BackendState, known: Backend | None, rng: random.Random, now_s: float) -> Backend:
    if known is not None and known.state == state:
        return known
    old = {(e.host, e.port, e.tls): e for e in known.endpoints} if known else {}
    tls = state.tls
    endpoints = [old.get((e.host, e.port, tls)) or Endpoint(e, now_s, tls) for e in state.endpoints]
    return Backend(state, endpoints, rng, known)
