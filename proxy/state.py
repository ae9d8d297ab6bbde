"""What a proxy knows of one authority, and the messages between the agent and its workers.

The agent decodes protobuf once and sends these down a pipe; a worker never imports grpc or protobuf. They are values:
a table is built from them, nothing here is ever changed. Shapes and meaning are those of destination.proto.
"""

import msgspec


class EndpointState(msgspec.Struct, frozen=True, array_like=True):
    host: str
    port: int
    labels: dict[str, str] = {}


class AccrualState(msgspec.Struct, frozen=True, array_like=True):
    """When endpoints that fail are left out. max_failures 0: those in a row do not matter; success_rate 0: nor that.

    min_penalty_ms, max_penalty_ms, jitter: the backoff before a probe, doubled with each that fails (Linkerd's
    defaults). max_out_percent: of a Service's endpoints, at most so many are out at one time.
    """

    max_failures: int = 7
    min_penalty_ms: int = 1000
    max_penalty_ms: int = 60_000
    jitter_percent: int = 50
    success_rate_percent: int = 0
    window_ms: int = 10_000
    min_requests: int = 5
    max_out_percent: int = 100


class HealthState(msgspec.Struct, frozen=True, array_like=True):
    """kind: "http", "tcp" or "grpc". target: the path of a GET; of grpc the service, "" for all."""

    kind: str
    target: str = ""
    interval_ms: int = 5000
    timeout_ms: int = 1000
    unhealthy_after: int = 3
    healthy_after: int = 2


class TlsState(msgspec.Struct, frozen=True, array_like=True):
    """sni: the name asked for and verified. ca_file: on the machine of the proxy; "" for the system's authorities."""

    sni: str
    ca_file: str = ""


class BackendState(msgspec.Struct, frozen=True, array_like=True):
    """tls: how its endpoints are spoken to; None: in plain text."""

    name: str
    namespace: str
    port: int = 0
    app_protocol: str = ""
    is_missing: bool = False
    endpoints: list[EndpointState] = []
    tls: TlsState | None = None
    accrual: AccrualState | None = None
    health: HealthState | None = None


class HeaderMatchState(msgspec.Struct, frozen=True, array_like=True):
    """exact: the value; "" where the regex decides."""

    name: str
    regex: str
    exact: str = ""


class MatchState(msgspec.Struct, frozen=True, array_like=True):
    """path_regex is anchored at the start only; path_prefix is of whole elements and has no slash at its end."""

    path_regex: str = ""
    methods: list[str] = []
    headers: list[HeaderMatchState] = []
    path_exact: str = ""
    path_prefix: str = ""
    path_full_regex: str = ""
    query: list[HeaderMatchState] = []


class HeaderChangeState(msgspec.Struct, frozen=True, array_like=True):
    """What is removed and set goes first, then the new ones come at the end; names in lower case."""

    set: list[tuple[str, str]] = []
    add: list[tuple[str, str]] = []
    remove: list[str] = []


class PathChangeState(msgspec.Struct, frozen=True, array_like=True):
    """is_prefix: in place of `matched`, else of the whole path."""

    path: str
    is_prefix: bool = False
    matched: str = ""


class RewriteState(msgspec.Struct, frozen=True, array_like=True):
    hostname: str = ""
    path: PathChangeState | None = None


class FiltersState(msgspec.Struct, frozen=True, array_like=True):
    request: HeaderChangeState | None = None
    response: HeaderChangeState | None = None
    rewrite: RewriteState | None = None


class RedirectState(msgspec.Struct, frozen=True, array_like=True):
    """What is "", 0 or None stays as the client asked."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: PathChangeState | None = None
    status: int = 302


class WeightState(msgspec.Struct, frozen=True, array_like=True):
    """status: not 0 where its share is answered so."""

    backend: int
    micro: int
    text: str = ""
    filters: FiltersState | None = None
    status: int = 0


class RampState(msgspec.Struct, frozen=True, array_like=True):
    from_micro: list[int]
    start_unix_ms: int
    duration_ms: int


class StickyState(msgspec.Struct, frozen=True, array_like=True):
    """At most one of the three is set."""

    header: str = ""
    cookie: str = ""
    client_ip: bool = False


class PolicyState(msgspec.Struct, frozen=True, array_like=True):
    """retry_statuses: (first, last) of HTTP statuses; retry_grpc: codes. retry_methods: beyond the idempotent ones, "*"
    for all. Times are 0 where there is no limit; try and response both end one try before its response begins.
    """

    retry_statuses: list[tuple[int, int]] = []
    retry_grpc: list[int] = []
    retry_limit: int = 1
    retry_methods: list[str] = []
    try_timeout_ms: int = 0
    request_timeout_ms: int = 0
    response_timeout_ms: int = 0
    idle_timeout_ms: int = 0


class FaultPartState(msgspec.Struct, frozen=True, array_like=True):
    """Of so many requests in a million; value: ms, a status or bytes a second."""

    share_micro: int
    value: int = 0


class FaultState(msgspec.Struct, frozen=True, array_like=True):
    match: MatchState = MatchState()
    leaf: str = ""
    delay: FaultPartState | None = None
    abort: FaultPartState | None = None
    reset: FaultPartState | None = None
    bandwidth: FaultPartState | None = None
    text: str = ""


class RateState(msgspec.Struct, frozen=True, array_like=True):
    """So many requests in period_ms, evenly, and at most burst at once; of a proxy with all its workers."""

    requests: int
    period_ms: int
    burst: int


class RateLimitState(msgspec.Struct, frozen=True, array_like=True):
    """total: of all clients together; client: of each one. overrides: (identities, what they have together instead).

    text: as written. Two that are equal are one limit, also in a newer table.
    """

    name: str
    text: str = ""
    total: RateState | None = None
    client: RateState | None = None
    overrides: tuple[tuple[tuple[str, ...], RateState], ...] = ()


class SplitState(msgspec.Struct, frozen=True, array_like=True):
    name: str
    weights: list[WeightState]
    ramp: RampState | None = None
    sticky: StickyState | None = None
    strict_empty_leaf: bool = False
    source: str = ""
    apex: str = ""
    policy: PolicyState | None = None
    fault: FaultState | None = None
    is_failover: bool = False


class RouteState(msgspec.Struct, frozen=True, array_like=True):
    split: SplitState
    matches: list[MatchState] = []
    rate_limits: tuple[RateLimitState, ...] = ()
    name: str = ""
    filters: FiltersState | None = None
    redirect: RedirectState | None = None
    status: int = 0
    grpc_status: int = 0


class NetworkState(msgspec.Struct, frozen=True, array_like=True):
    cidr: str
    excepts: list[str] = []


class AuthenticationState(msgspec.Struct, frozen=True, array_like=True):
    """Any of the networks or identities; with neither: nobody."""

    name: str
    networks: list[NetworkState] = []
    identities: list[str] = []


class AuthorizationState(msgspec.Struct, frozen=True, array_like=True):
    """All of required; matches: OR, none for any request and for connections that are not HTTP."""

    name: str
    required: list[AuthenticationState] = []
    matches: list[MatchState] = []
    is_tcp_only: bool = False


class GuardState(msgspec.Struct, frozen=True, array_like=True):
    """Lets in whom any of its authorizations does. is_audit: the others too, counted and logged."""

    kind: str
    name: str
    authorizations: list[AuthorizationState] = []
    is_audit: bool = False


class AuthorityState(msgspec.Struct, frozen=True, array_like=True):
    """access: a request must pass all of these guards; none: everybody may."""

    name: str
    namespace: str
    backends: list[BackendState]
    routes: list[RouteState]
    warnings: list[str] = []
    access: list[GuardState] = []
