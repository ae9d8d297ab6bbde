"""What a worker routes by: per authority its routes, splits, leaves and endpoints, built from one AuthorityState.

A table is replaced whole; whatever a new state leaves unchanged keeps its running state: the selector's place in its
cycle, a ramp under way, an endpoint's load and connections. Pure.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from milliroute.proxy.errors import NoRoute
from milliroute.proxy.leaf import Backend, Endpoint, Leaf
from milliroute.proxy.matching import Matcher
from milliroute.proxy.message import RequestHead
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.split import Split
from milliroute.proxy.state import AuthorityState, BackendState, MatchState, SplitState, WeightState

if TYPE_CHECKING:
    from milliroute.proxy.access import Access

# (authority key, split name, leaf name, leaf namespace) -> the counters that live over table swaps.
SeriesFor = Callable[[str, str, str, str], LeafSeries]


class Route:
    """matches: OR; none means always."""

    __slots__ = ("_matches", "split")

    def __init__(self, matches: Sequence[MatchState], split: Split) -> None:
        self._matches = [Matcher(match) for match in matches]
        self.split = split

    def takes(self, head: RequestHead) -> bool:
        return not self._matches or any(match.takes(head) for match in self._matches)


class AuthorityTable:
    """All of one authority. only: its split where that does not depend on the request, else None. access: None where
    everybody may."""

    __slots__ = ("access", "backends", "key", "only", "routes", "state", "version")

    def __init__(self, key: str, version: int, state: AuthorityState) -> None:
        self.key = key
        self.version = version
        self.state = state
        self.backends: tuple[Backend, ...] = ()
        self.routes: tuple[Route, ...] = ()
        self.only: Split | None = None
        self.access: Access | None = None

    def split_for(self, head: RequestHead) -> Split:
        """The split of the first route that takes this request; raises NoRoute."""
        for route in self.routes:
            if route.takes(head):
                return route.split
        raise NoRoute("no route of this authority takes the request")

    def endpoints(self) -> Iterator[Endpoint]:
        for backend in self.backends:
            yield from backend.endpoints


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
    for route in state.routes:
        leaves = [_leaf(w, table, route.split, series_for) for w in route.split.weights]
        split = Split(route.split, leaves, rng, now_s)
        split.start(before.get(route.split.name), unix_s)
        routes.append(Route(route.matches, split))
    table.routes = tuple(routes)
    for backend in table.backends:
        backend.enter(leaf for route in routes for leaf in route.split.leaves)
    for made in routes:
        made.split.rescue()
    table.only = routes[0].split if routes and not state.routes[0].matches else None
    table.access = _access(key, state, previous) if state.access else None
    return table


def _access(key: str, state: AuthorityState, previous: AuthorityTable | None) -> "Access":
    # Here, because a worker without access policies need not carry it.
    from milliroute.proxy.access import Access

    return Access(key, state.access, previous.access if previous is not None else None)


def _leaf(weight: WeightState, table: AuthorityTable, split: SplitState, series_for: SeriesFor) -> Leaf:
    backend = table.backends[weight.backend]
    return Leaf(backend, series_for(table.key, split.name, backend.state.name, backend.state.namespace))


def _backend_id(state: BackendState) -> tuple[str, str, int]:
    return state.namespace, state.name, state.port


def _backend(state: BackendState, known: Backend | None, rng: random.Random, now_s: float) -> Backend:
    if known is not None and known.state == state:
        return known
    old = {(e.host, e.port, e.tls): e for e in known.endpoints} if known else {}
    tls = state.tls
    endpoints = [old.get((e.host, e.port, tls)) or Endpoint(e, now_s, tls) for e in state.endpoints]
    return Backend(state, endpoints, rng, known)
