"""What a worker routes by: per authority its routes, splits, leaves and endpoints, built from one AuthorityState.

A table is replaced whole; whatever a new state leaves unchanged keeps its running state: the selector's place in its
cycle, a ramp under way, an endpoint's load and connections. Pure; `Endpoint.pool` is filled in by the rim.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy import selector
from milliroute.proxy.accrual import Accrual
from milliroute.proxy.balancer import Balancer, EndpointLoad
from milliroute.proxy.budget import RetryBudget
from milliroute.proxy.errors import NoBackend, NoRoute
from milliroute.proxy.faults import Faults
from milliroute.proxy.matching import Matcher, sticky_key
from milliroute.proxy.message import RequestHead
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.policy import Policy
from milliroute.proxy.ramp import RampPicker
from milliroute.proxy.state import (
    AuthorityState,
    BackendState,
    EndpointState,
    MatchState,
    RampState,
    SplitState,
    TlsState,
    WeightState,
)
from milliroute.proxy.sticky import StickyTable

if TYPE_CHECKING:
    from milliroute.proxy.access import Access

# A sticky ramp moves clients over in this many steps: laying the table out costs some microseconds.
STICKY_RAMP_STEPS = 1000

# (authority key, split name, leaf name, leaf namespace) -> the counters that live over table swaps.
SeriesFor = Callable[[str, str, str, str], LeafSeries]


# appProtocol of the Service port: does the backend speak HTTP/2? Not listed: what the client speaks.
_PROTOCOLS = {"kubernetes.io/h2c": True, "grpc": True, "http": False}


class Closable(Protocol):
    def close(self) -> None: ...


class Endpoint:
    """One address of a backend. pool: the upstream connections, owned by the rim; None until the first use. tls: None
    for plain text. accrual: None where failures are not counted. backend: the one it stands in now.
    """

    __slots__ = ("accrual", "backend", "host", "labels", "load", "pool", "pool_h2", "port", "tls")
    backend: "Backend"

    def __init__(self, state: EndpointState, now_s: float, tls: TlsState | None = None) -> None:
        self.host = state.host
        self.port = state.port
        self.labels = state.labels
        self.load = EndpointLoad(now_s)
        self.pool: Closable | None = None
        self.pool_h2: Closable | None = None
        self.tls = tls
        self.accrual: Accrual | None = None

    def close_pools(self) -> None:
        for pool in (self.pool, self.pool_h2):
            if pool is not None:
                pool.close()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Backend:
    """A Service and its ready endpoints. balancer: over those that are in; None when there are none. leaves: its places
    in the splits of the table in force.
    """

    __slots__ = ("_rng", "balancer", "endpoints", "leaves", "out", "state")

    def __init__(
        self, state: BackendState, endpoints: Sequence[Endpoint], rng: random.Random, out: Collection[Endpoint] = ()
    ) -> None:
        """out: those left out so far; they stay so, unless what is counted has changed."""
        self.state = state
        self.endpoints = tuple(endpoints)
        self.leaves: list[Leaf] = []
        self._rng = rng
        for endpoint in endpoints:
            accrual = endpoint.accrual
            if state.accrual is None:
                endpoint.accrual = None
            elif accrual is None or accrual.state != state.accrual:
                endpoint.accrual = Accrual(state.accrual, rng)
        # Left out of the balancer for their failures.
        self.out = {e for e in endpoints if e in out and e.accrual is not None and e.accrual.is_out}
        self.balancer = self._balancer()

    def enter(self, leaves: "Iterable[Leaf]") -> None:
        """The table it stands in is in force from now on."""
        self.leaves = [leaf for leaf in leaves if leaf.backend is self]
        for endpoint in self.endpoints:
            endpoint.backend = self

    def leave_out(self, endpoint: Endpoint) -> bool:
        """False where that may not be: too many are out, or no leaf of a split would be left."""
        accrual = self.state.accrual
        if endpoint in self.out:
            return True
        if accrual is None or endpoint not in self.endpoints:
            return False
        if (len(self.out) + 1) * 100 > accrual.max_out_percent * len(self.endpoints):
            return False
        is_last = len(self.endpoints) - len(self.out) == 1
        if is_last and not all(leaf.split.has_other(leaf) for leaf in self.leaves):
            return False
        self.out.add(endpoint)
        self._rebalance()
        return True

    def take_back(self, endpoint: Endpoint) -> None:
        if endpoint in self.out:
            self.out.discard(endpoint)
            self._rebalance()

    def take_all_back(self) -> None:
        """They start anew: there is nothing else."""
        for endpoint in self.out:
            if endpoint.accrual is not None:
                endpoint.accrual.keep()
        self.out.clear()
        self._rebalance()

    def _rebalance(self) -> None:
        self.balancer = self._balancer()
        for leaf in self.leaves:
            leaf.balancer = self.balancer
            leaf.split.reweigh()

    def _balancer(self) -> Balancer[Endpoint] | None:
        ready = [endpoint for endpoint in self.endpoints if endpoint not in self.out]
        return Balancer(ready, self._rng) if ready else None


class Leaf:
    """A backend in its place in a split, with the counters of that place."""

    __slots__ = ("backend", "balancer", "is_h2", "name", "series", "split")
    split: "Split"

    def __init__(self, backend: Backend, series: LeafSeries) -> None:
        self.backend = backend
        self.balancer = backend.balancer
        self.name = backend.state.name
        self.series = series
        self.is_h2 = _PROTOCOLS.get(backend.state.app_protocol)


class Split:
    """pick: an index into leaves, set while nothing but the weights decides; else `choose` must be asked. policy: None
    where its owner says nothing of retries and times.
    """

    __slots__ = (
        "_plain",
        "_ramp",
        "_rng",
        "_sticky",
        "_sticky_step",
        "_was_empty",
        "budget",
        "faults",
        "leaves",
        "pick",
        "policy",
        "ramp",
        "state",
        "weights",
    )

    def __init__(self, state: SplitState, leaves: Sequence[Leaf], rng: random.Random, now_s: float) -> None:
        self.state = state
        self.ramp = state.ramp
        self.leaves = tuple(leaves)
        # In force once no ramp is under way; zero where a leaf is skipped because it has no ready endpoint.
        self.weights = _effective(self.micro(), leaves, state)
        self.pick: Callable[[], int] | None = None
        self._rng = rng
        self._plain: Callable[[], int] | None = None
        self._ramp: RampPicker | None = None
        self._sticky: StickyTable | None = None
        self._sticky_step = -1
        self._was_empty = self.empty()
        self.policy = Policy(state.policy) if state.policy is not None else None
        self.budget = RetryBudget(now_s)
        self.faults = Faults(state.fault, rng) if state.fault is not None else None
        for leaf in leaves:
            leaf.split = self

    def start(self, previous: "Split | None", unix_s: float) -> None:
        """Takes over what the previous split of this name was doing, as far as the weights are the same."""
        if previous is not None:
            self.budget = previous.budget
        if previous is not None and previous.leaf_names() == self.leaf_names():
            is_same_ramp = previous.micro() == self.micro() and _is_same_ramp(previous.ramp, self.ramp)
            if is_same_ramp:
                self.ramp = previous.ramp  # the new state may not know where it began
            if previous.weights == self.weights:
                self._plain = previous._plain
                # A leaf on its way to 0 may have become empty, which the weights at the end do not show.
                self._ramp = previous._ramp if is_same_ramp and previous.empty() == self.empty() else None
        if self._ramp is None:
            self._ramp = self._new_ramp(unix_s)
        if self._ramp is None:
            self._pick_plainly()

    def leaf_names(self) -> list[str]:
        return [leaf.name for leaf in self.leaves]

    def micro(self) -> list[int]:
        """The weights as the state has them, empty leaves or not."""
        return [w.micro for w in self.state.weights]

    def empty(self) -> list[bool]:
        return [leaf.balancer is None for leaf in self.leaves]

    def choose(self, head: RequestHead, client_ip: str, unix_s: float) -> Leaf:
        """The leaf of a request whose split is sticky, on the way to new weights, or without any ready leaf."""
        if self._ramp is not None and self._ramp.is_over(unix_s):
            self._ramp = None
            self._pick_plainly()
        if self._ramp is None and not any(self.weights):
            raise NoBackend("no leaf with a weight has a ready endpoint")
        key = sticky_key(self.state.sticky, head, client_ip) if self.state.sticky else None
        if key is not None:
            return self.leaves[self._sticky_table(unix_s).pick(key)]
        return self.leaves[self._ramp.pick(unix_s) if self._ramp else self._picker()()]

    def other(self, tried: Collection[Leaf]) -> Leaf | None:
        """Another leaf for a request whose leaf failed, by weight, or the next in order where that is what counts; no
        pick is taken out of the sequence for it."""
        pairs = zip(self.leaves, self._shares(), strict=True)
        rest = [(leaf, w) for leaf, w in pairs if w and leaf.balancer is not None and leaf not in tried]
        if not rest:
            return None
        if self.state.is_failover:
            return rest[0][0]
        return self._rng.choices([leaf for leaf, _ in rest], [w for _, w in rest])[0]

    def has_other(self, leaf: Leaf) -> bool:
        """Whether requests have somewhere to go without this leaf; the share of a strict one goes nowhere."""
        if self.state.strict_empty_leaf:
            return False
        pairs = zip(self.leaves, self._shares(), strict=True)
        return any(w and other.balancer is not None and other.backend is not leaf.backend for other, w in pairs)

    def _shares(self) -> list[int]:
        """Above 0 for who takes part, in its turn."""
        return self.micro() if self.state.is_failover else self.weights

    def reweigh(self) -> None:
        """An endpoint was left out for its failures or is back: a leaf may be empty by it, or so no more."""
        empty = self.empty()
        if empty == self._was_empty:
            return
        self._was_empty = empty
        self.weights = _effective(self.micro(), self.leaves, self.state)
        self.pick, self._plain, self._sticky = None, None, None
        self._ramp = self._new_ramp(0.0)  # whether it is over, `choose` finds out with the next request
        if self._ramp is None:
            self._pick_plainly()

    def rescue(self) -> None:
        """In a new table all that is ready may be out for its failures: then it is taken back, rather than refuse."""
        if any(weight and leaf.balancer is not None for leaf, weight in zip(self.leaves, self.weights, strict=True)):
            return
        for leaf, micro in zip(self.leaves, self.micro(), strict=True):
            if micro and leaf.backend.out:
                leaf.backend.take_all_back()

    def _pick_plainly(self) -> None:
        if self.state.sticky is None and any(self.weights):
            self.pick = self._picker()

    def _picker(self) -> Callable[[], int]:
        if self._plain is None:
            self._plain = selector.build(self.weights, self._rng)
        return self._plain

    def _new_ramp(self, unix_s: float) -> RampPicker | None:
        ramp = self.ramp
        if ramp is None or not ramp.from_micro or unix_s * 1000 >= ramp.start_unix_ms + ramp.duration_ms:
            return None
        start = _effective(ramp.from_micro, self.leaves, self.state)
        if not any(start):
            return None
        # Where all that the ramp leads to is empty, those it comes from have the whole until it is over.
        end = self.weights if any(self.weights) else start
        return RampPicker(start, end, ramp.start_unix_ms / 1000, ramp.duration_ms / 1000, self._rng)

    def _sticky_table(self, unix_s: float) -> StickyTable:
        """Laid out anew at each of STICKY_RAMP_STEPS steps of a ramp; once, where there is none."""
        step = int(unix_s * 1000 / self._ramp_step_ms()) if self._ramp else 0
        if self._sticky is None or step != self._sticky_step:
            shares = self._ramp.weights_at(unix_s) if self._ramp else None
            weights = [round(share * 1_000_000) for share in shares] if shares else self.weights
            self._sticky, self._sticky_step = StickyTable(weights, self.state.apex.encode()), step
        return self._sticky

    def _ramp_step_ms(self) -> float:
        return max(1.0, self.ramp.duration_ms / STICKY_RAMP_STEPS) if self.ramp else 1.0


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
    return Backend(state, endpoints, rng, known.out if known else ())


def _effective(weights: Sequence[int], leaves: Sequence[Leaf], state: SplitState) -> list[int]:
    """A leaf without a ready endpoint is skipped and its share goes to the others in proportion, unless strict. Of a
    failover split the first that is ready has all."""
    if state.strict_empty_leaf:
        return list(weights)
    if state.is_failover:
        first = next((i for i, w in enumerate(weights) if w and leaves[i].balancer is not None), None)
        return [int(i == first) for i in range(len(weights))]
    return [w if leaf.balancer is not None else 0 for w, leaf in zip(weights, leaves, strict=True)]


def _is_same_ramp(old: RampState | None, new: RampState | None) -> bool:
    """Also where the service was restarted and no longer knows where the ramp began: it goes on."""
    if old is None or new is None:
        return old is new
    return old == new or (not new.from_micro and old.duration_ms == new.duration_ms)
