"""Messages of the destination protocol as values: the one place of the proxy that knows protobuf.

Bytes of WatchResponse come in, Resolved and Offer go out; requests go out as bytes. A State that is well-formed
protobuf but makes no sense raises StateError with enough to Nack it. Whoever imports this has google.protobuf in the
process: the agent does so only after its workers are forked.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from milliroute.control.api import destination_pb2 as pb
from milliroute.proxy.agent.catalog import Accepted, Offer, Refused, Verdict
from milliroute.proxy.agent.filtercheck import check_filters, check_redirect, check_status
from milliroute.proxy.ipc import Update
from milliroute.proxy.state import (
    AccrualState,
    AuthenticationState,
    AuthorityState,
    AuthorizationState,
    BackendState,
    EndpointState,
    FaultPartState,
    FaultState,
    FiltersState,
    GuardState,
    HeaderChangeState,
    HeaderMatchState,
    HealthState,
    MatchState,
    NetworkState,
    PathChangeState,
    PolicyState,
    RampState,
    RateLimitState,
    RateState,
    RedirectState,
    RewriteState,
    RouteState,
    SplitState,
    StickyState,
    TlsState,
    WeightState,
)

WATCH_METHOD = "/milliroute.destination.v1.Destination/Watch"


# What a health check asks for goes into a request as it is.
_TARGETS = {"http": re.compile("/[!-~]{0,255}"), "tcp": re.compile(""), "grpc": re.compile(r"[!-~]{0,127}")}
# No endpoint is asked more often.
MIN_CHECK_MS = 100


class GarbledError(Exception):
    """Not a WatchResponse at all; the stream cannot be trusted further."""


class StateError(Exception):
    """A State that cannot be used; nack says which, and why."""

    def __init__(self, nack: Refused) -> None:
        super().__init__(f"{nack.key} version {nack.version}: {nack.reason}")
        self.nack = nack


@dataclass(frozen=True, slots=True)
class Resolved:
    authority: str
    key: str
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Hello:
    proxy_id: str
    namespace: str
    admin_address: str
    capabilities: tuple[str, ...] = ("ramp", "sticky", "matches", "access", "routes")
    labels: Mapping[str, str] = field(default_factory=dict)


def hello_request(hello: Hello) -> bytes:
    message = pb.Hello(
        proxy_id=hello.proxy_id,
        namespace=hello.namespace,
        capabilities=hello.capabilities,
        labels=hello.labels,
        admin_address=hello.admin_address,
    )
    return pb.WatchRequest(hello=message).SerializeToString()


def subscribe_request(authority: str) -> bytes:
    return pb.WatchRequest(subscribe=pb.Subscribe(authority=authority)).SerializeToString()


def unsubscribe_request(authority: str) -> bytes:
    return pb.WatchRequest(unsubscribe=pb.Unsubscribe(authority=authority)).SerializeToString()


def verdict_request(verdict: Verdict) -> bytes:
    key, epoch, version = verdict.key, verdict.epoch, verdict.version
    if isinstance(verdict, Accepted):
        ack = pb.Ack(key=key, epoch=epoch, version=version, applied_unix_ns=verdict.applied_unix_ns)
        return pb.WatchRequest(ack=ack).SerializeToString()
    nack = pb.Nack(key=key, epoch=epoch, version=version, reason=verdict.reason)
    return pb.WatchRequest(nack=nack).SerializeToString()


def decode_response(data: bytes, now_unix_ns: int) -> tuple[Resolved | Offer | None, bytes]:
    """The answer and, for a State, its own bytes (to keep on disk). None: a kind from the future, to be ignored.

    Raises GarbledError and StateError.
    """
    try:
        response = pb.WatchResponse.FromString(data)
    except DecodeError as error:
        raise GarbledError(f"saw {len(data)} bytes that are no WatchResponse") from error
    match response.WhichOneof("kind"):
        case "resolved":
            answer = response.resolved
            return Resolved(answer.authority, answer.key, answer.is_partial), b""
        case "state":
            return _offer(response.state, now_unix_ns, is_from_disk=False), response.state.SerializeToString()
    return None, b""


def decode_kept(data: bytes, now_unix_ns: int) -> Offer:
    """A State read back from disk. Raises GarbledError and StateError."""
    try:
        state = pb.State.FromString(data)
    except DecodeError as error:
        raise GarbledError(f"saw {len(data)} bytes that are no State") from error
    return _offer(state, now_unix_ns, is_from_disk=True)


def _offer(state: pb.State, now_unix_ns: int, *, is_from_disk: bool) -> Offer:
    try:
        body = _body(state)
    except ValueError as error:
        raise StateError(Refused(state.key, state.epoch, state.version, str(error))) from error
    update = Update(state.key, state.epoch, state.version, body)
    return Offer(update, state.published_unix_ns, now_unix_ns, is_from_disk, state.is_partial and not is_from_disk)


def _body(state: pb.State) -> AuthorityState | None:
    kind = state.WhichOneof("body")
    if kind == "unknown":
        return None
    if kind is None:
        raise ValueError("saw a state without a body, wanted unknown or authority")
    authority = state.authority
    backends = [_backend(backend) for backend in authority.backends]
    routes = [_route(route, len(backends)) for route in authority.routes]
    if not routes or routes[-1].matches:
        raise ValueError(f"saw {len(routes)} routes, wanted a last one that always matches")
    access = [_guard(guard) for guard in authority.access]
    return AuthorityState(authority.name, authority.namespace, backends, routes, list(authority.warnings), access)


def _guard(guard: pb.Guard) -> GuardState:
    authorizations = [_authorization(one) for one in guard.authorizations]
    return GuardState(guard.kind, guard.name, authorizations, guard.is_audit)


def _authorization(one: pb.Authorization) -> AuthorizationState:
    required = [
        AuthenticationState(
            authentication.name,
            [_network(network) for network in authentication.networks],
            list(authentication.identities),
        )
        for authentication in one.required
    ]
    return AuthorizationState(one.name, required, [_match(match) for match in one.matches], one.is_tcp_only)


def _network(network: pb.Network) -> NetworkState:
    """Raises ValueError, here already: a table that a worker refuses would leave the old access in force."""
    # Here, because most tables name no network.
    import ipaddress

    for cidr in (network.cidr, *network.excepts):
        ipaddress.ip_network(cidr)
    return NetworkState(network.cidr, list(network.excepts))


def _backend(backend: pb.Backend) -> BackendState:
    where = f"backend {backend.name!r}"
    return BackendState(
        backend.name,
        backend.namespace,
        _port(backend.port, where, low=0),
        backend.app_protocol,
        backend.is_missing,
        [EndpointState(e.host, _port(e.port, where, low=1), dict(e.labels)) for e in backend.endpoints],
        tls=_tls(backend.tls, where) if backend.HasField("tls") else None,
        accrual=_accrual(backend.accrual) if backend.HasField("accrual") else None,
        health=_health(backend.health, where) if backend.HasField("health") else None,
    )


def _health(health: pb.HealthCheck, where: str) -> HealthState:
    if health.kind not in _TARGETS:
        raise ValueError(f"saw {health.kind!r} as the health check of {where}, wanted http, tcp or grpc")
    if not _TARGETS[health.kind].fullmatch(health.target):
        raise ValueError(f"saw {health.target!r} in the health check of {where}, wanted a path or a service")
    interval_ms, timeout_ms = max(health.interval_ms, MIN_CHECK_MS), max(health.timeout_ms, MIN_CHECK_MS)
    after = max(1, health.unhealthy_after), max(1, health.healthy_after)
    return HealthState(health.kind, health.target, interval_ms, timeout_ms, *after)


def _tls(tls: pb.UpstreamTls, where: str) -> TlsState:
    try:
        is_name = bool(tls.sni.encode("idna")) and "\0" not in tls.sni  # what the ssl module asks of it
    except UnicodeError:
        is_name = False
    if not is_name:
        raise ValueError(f"saw {tls.sni!r} in the TLS of {where}, wanted the name that its certificate has")
    return TlsState(tls.sni, tls.ca_file)


def _accrual(accrual: pb.FailureAccrual) -> AccrualState:
    return AccrualState(
        max_failures=accrual.max_failures,
        min_penalty_ms=accrual.min_penalty_ms,
        max_penalty_ms=accrual.max_penalty_ms,
        jitter_percent=accrual.jitter_percent,
        success_rate_percent=accrual.success_rate_percent,
        window_ms=accrual.window_ms,
        min_requests=accrual.min_requests,
        max_out_percent=accrual.max_out_percent,
    )


def _port(port: int, where: str, *, low: int) -> int:
    if not low <= port <= 65535:
        raise ValueError(f"saw port {port} in {where}, wanted {low} to 65535")
    return port


def _route(route: pb.Route, backends: int) -> RouteState:
    where = f"the route {route.name!r}"
    check_status(route.status, where)
    return RouteState(
        _split(route.split, backends),
        [_match(match) for match in route.matches],
        tuple(_rate_limit(limit) for limit in route.rate_limits),
        route.name,
        _filters(route.filters, where) if route.HasField("filters") else None,
        _redirect(route.redirect, where) if route.HasField("redirect") else None,
        route.status,
        route.grpc_status,
    )


def _filters(filters: pb.Filters, where: str) -> FiltersState:
    made = FiltersState(
        _header_change(filters.request) if filters.HasField("request") else None,
        _header_change(filters.response) if filters.HasField("response") else None,
        _rewrite(filters.rewrite) if filters.HasField("rewrite") else None,
    )
    check_filters(made, where)
    return made


def _header_change(change: pb.HeaderChange) -> HeaderChangeState:
    return HeaderChangeState(
        [(header.name, header.value) for header in change.set],
        [(header.name, header.value) for header in change.add],
        list(change.remove),
    )


def _rewrite(rewrite: pb.Rewrite) -> RewriteState:
    return RewriteState(rewrite.hostname, _path_change(rewrite.path) if rewrite.HasField("path") else None)


def _path_change(change: pb.PathChange) -> PathChangeState:
    return PathChangeState(change.path, change.is_prefix, change.matched)


def _redirect(redirect: pb.Redirect, where: str) -> RedirectState:
    path = _path_change(redirect.path) if redirect.HasField("path") else None
    made = RedirectState(redirect.scheme, redirect.hostname, redirect.port, path, redirect.status)
    check_redirect(made, where)
    return made


def _rate_limit(limit: pb.RateLimit) -> RateLimitState:
    where = f"the rate limit of {limit.name!r}"
    return RateLimitState(
        limit.name,
        limit.text,
        _rate(limit.total, where) if limit.HasField("total") else None,
        _rate(limit.client, where) if limit.HasField("client") else None,
        tuple((tuple(one.identities), _rate(one.rate, where)) for one in limit.overrides),
    )


def _rate(rate: pb.Rate, where: str) -> RateState:
    if not (rate.requests and rate.period_ms and rate.burst):
        saw = f"{rate.requests} requests in {rate.period_ms} ms, {rate.burst} at once"
        raise ValueError(f"saw {saw} in {where}, wanted at least 1 of each")
    return RateState(rate.requests, rate.period_ms, rate.burst)


def _match(match: pb.Match) -> MatchState:
    return MatchState(
        match.path_regex,
        list(match.methods),
        [HeaderMatchState(header.name, header.regex, header.exact) for header in match.headers],
        match.path_exact,
        match.path_prefix,
        match.path_full_regex,
        [HeaderMatchState(one.name, one.regex, one.exact) for one in match.query],
    )


def _split(split: pb.Split, backends: int) -> SplitState:
    weights = [_weight(weight, split.name) for weight in split.weights]
    _check_indices((weight.backend for weight in weights), split.name, backends)
    return SplitState(
        split.name,
        weights,
        _ramp(split) if split.HasField("ramp") else None,
        _sticky(split.sticky) if split.HasField("sticky") else None,
        split.strict_empty_leaf,
        split.source,
        split.apex,
        _policy(split) if split.HasField("policy") else None,
        fault=_fault(split) if split.HasField("fault") else None,
        is_failover=split.is_failover,
    )


def _weight(weight: pb.Weight, split: str) -> WeightState:
    where = f"the split {split!r}"
    check_status(weight.status, where)
    filters = _filters(weight.filters, where) if weight.HasField("filters") else None
    return WeightState(weight.backend, weight.micro, weight.text, filters, weight.status)


def _fault(split: pb.Split) -> FaultState:
    fault = split.fault
    if fault.HasField("abort") and not 200 <= fault.abort.value <= 599:
        raise ValueError(f"saw status {fault.abort.value} in the fault of split {split.name!r}, wanted 200 to 599")
    return FaultState(
        _match(fault.match),
        fault.leaf,
        _fault_part(fault.delay) if fault.HasField("delay") else None,
        _fault_part(fault.abort) if fault.HasField("abort") else None,
        _fault_part(fault.reset) if fault.HasField("reset") else None,
        _fault_part(fault.bandwidth) if fault.HasField("bandwidth") else None,
        fault.text,
    )


def _fault_part(part: pb.FaultPart) -> FaultPartState:
    return FaultPartState(part.share_micro, part.value)


def _policy(split: pb.Split) -> PolicyState:
    policy = split.policy
    ranges = [(status.first, status.last) for status in policy.retry_statuses]
    if not all(100 <= first <= last <= 599 for first, last in ranges):
        raise ValueError(f"saw statuses {ranges} in the policy of split {split.name!r}, wanted 100 to 599")
    return PolicyState(
        retry_statuses=ranges,
        retry_grpc=list(policy.retry_grpc),
        retry_limit=policy.retry_limit,
        retry_methods=list(policy.retry_methods),
        try_timeout_ms=policy.try_timeout_ms,
        request_timeout_ms=policy.request_timeout_ms,
        response_timeout_ms=policy.response_timeout_ms,
        idle_timeout_ms=policy.idle_timeout_ms,
    )


def _check_indices(indices: Iterable[int], name: str, backends: int) -> None:
    for index in indices:
        if index >= backends:
            raise ValueError(f"saw backend {index} in split {name!r}, wanted one below {backends}")


def _ramp(split: pb.Split) -> RampState:
    ramp = split.ramp
    if ramp.from_micro and len(ramp.from_micro) != len(split.weights):
        raise ValueError(
            f"saw {len(ramp.from_micro)} ramp weights in split {split.name!r}, wanted {len(split.weights)} or none"
        )
    return RampState(list(ramp.from_micro), ramp.start_unix_ms, ramp.duration_ms)


def _sticky(sticky: pb.Sticky) -> StickyState | None:
    match sticky.WhichOneof("by"):
        case "header":
            return StickyState(header=sticky.header)
        case "cookie":
            return StickyState(cookie=sticky.cookie)
        case "client_ip":
            return StickyState(client_ip=sticky.client_ip)
    return None
