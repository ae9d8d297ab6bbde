"""What a proxy is told of one authority: the messages of destination.proto, one to one, as immutable values.

`snapshot` makes them and `service` turns them into bytes. Two equal views mean the same routing, so a view that did not
change need not be sent again. Weights are micro-units (1e-6), times are unix milliseconds.
"""

from dataclasses import dataclass

from milliroute.control.gateway import Filters, Redirect
from milliroute.control.model import FailureAccrual, Fault, HealthCheck, Network, Rate, TrafficPolicy, UpstreamTls


@dataclass(frozen=True, slots=True)
class EndpointView:
    host: str
    port: int
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BackendView:
    name: str
    namespace: str
    port: int = 0
    app_protocol: str = ""
    is_missing: bool = False
    endpoints: tuple[EndpointView, ...] = ()
    tls: UpstreamTls | None = None
    accrual: FailureAccrual | None = None
    health: HealthCheck | None = None


@dataclass(frozen=True, slots=True)
class HeaderMatchView:
    """`exact` "": the regex decides."""

    name: str
    regex: str
    exact: str = ""


@dataclass(frozen=True, slots=True)
class MatchView:
    """`path_regex` is anchored at the start only, `path_full_regex` at both ends; `path_prefix` is whole elements."""

    path_regex: str = ""
    methods: tuple[str, ...] = ()
    headers: tuple[HeaderMatchView, ...] = ()
    path_exact: str = ""
    path_prefix: str = ""
    path_full_regex: str = ""
    query: tuple[HeaderMatchView, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightView:
    """`backend` is an index into AuthorityView.backends. `status` not 0: its share is answered with it."""

    backend: int
    micro: int
    text: str = ""
    filters: Filters | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class RampView:
    """`from_micro` has one number per weight, on the scale of the weights; empty when the service does not know."""

    from_micro: tuple[int, ...]
    start_unix_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class StickyView:
    """Exactly one of the three is set."""

    header: str = ""
    cookie: str = ""
    client_ip: bool = False


@dataclass(frozen=True, slots=True)
class SplitView:
    name: str
    weights: tuple[WeightView, ...]
    ramp: RampView | None = None
    sticky: StickyView | None = None
    strict_empty_leaf: bool = False
    source: str = ""
    apex: str = ""
    policy: TrafficPolicy | None = None
    fault: Fault | None = None
    is_failover: bool = False


@dataclass(frozen=True, slots=True)
class RateLimitView:
    """`name`: whose it is; `overrides`: identities, and what they have together in place of `client`."""

    name: str
    text: str
    total: Rate | None = None
    client: Rate | None = None
    overrides: tuple[tuple[tuple[str, ...], Rate], ...] = ()


@dataclass(frozen=True, slots=True)
class RouteView:
    """Of a Gateway API rule: its `name`, what it changes, or how it is answered without a backend."""

    split: SplitView
    matches: tuple[MatchView, ...] = ()
    rate_limits: tuple[RateLimitView, ...] = ()
    name: str = ""
    filters: Filters | None = None
    redirect: Redirect | None = None
    status: int = 0
    grpc_status: int = 0


@dataclass(frozen=True, slots=True)
class AuthenticationView:
    """Any of the networks or identities; with neither: nobody."""

    name: str
    networks: tuple[Network, ...] = ()
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizationView:
    """Whom all of `required` take, with a request that one of `matches` takes; no matches: any, and TCP.

    `is_tcp_only`: connections that are not HTTP, and nothing else.
    """

    name: str
    required: tuple[AuthenticationView, ...] = ()
    matches: tuple[MatchView, ...] = ()
    is_tcp_only: bool = False


@dataclass(frozen=True, slots=True)
class GuardView:
    """Lets in whom any of its authorizations does. `is_audit`: the others too, but they are counted and logged."""

    kind: str
    name: str
    authorizations: tuple[AuthorizationView, ...] = ()
    is_audit: bool = False


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """A request must pass all of `access`."""

    name: str
    namespace: str
    backends: tuple[BackendView, ...]
    routes: tuple[RouteView, ...]
    warnings: tuple[str, ...] = ()
    access: tuple[GuardView, ...] = ()
