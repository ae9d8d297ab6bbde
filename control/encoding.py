"""Snapshot views to bytes of destination.proto.

In: a Stamp and a view. Out: one serialised WatchResponse. The views mirror the messages one to one, so there
is no decision here; anything that needs one belongs to `snapshot`.
"""

from milliroute.control.api import destination_pb2 as pb
from milliroute.control.gateway import Filters, HeaderChange, PathChange, Redirect
from milliroute.control.hub import Stamp
from milliroute.control.model import FailureAccrual, Fault, FaultPart, HealthCheck, Rate, TrafficPolicy
from milliroute.control.views import (
    AuthorityView,
    AuthorizationView,
    BackendView,
    EndpointView,
    GuardView,
    HeaderMatchView,
    MatchView,
    RampView,
    RateLimitView,
    RouteView,
    SplitView,
    StickyView,
    WeightView,
)


def state(stamp: Stamp, view: AuthorityView | None) -> bytes:
    """The whole state of one authority; None is an authority that does not exist."""
    message = pb.State(
        key=stamp.key,
        epoch=stamp.epoch,
        version=stamp.version,
        published_unix_ns=stamp.published_unix_ns,
        is_partial=stamp.is_partial,
    )
    if view is None:
        message.unknown.SetInParent()
    else:
        message.authority.CopyFrom(_authority(view))
    return pb.WatchResponse(state=message).SerializeToString()


def resolved(authority: str, key: str, is_partial: bool) -> bytes:
    message = pb.Resolved(authority=authority, key=key, is_partial=is_partial)
    return pb.WatchResponse(resolved=message).SerializeToString()


def _authority(view: AuthorityView) -> pb.Authority:
    return pb.Authority(
        name=view.name,
        namespace=view.namespace,
        backends=[_backend(backend) for backend in view.backends],
        routes=[_route(route) for route in view.routes],
        warnings=view.warnings,
        access=[_guard(guard) for guard in view.access],
    )


def _guard(view: GuardView) -> pb.Guard:
    authorizations = [_authorization(one) for one in view.authorizations]
    return pb.Guard(kind=view.kind, name=view.name, authorizations=authorizations, is_audit=view.is_audit)


def _authorization(view: AuthorizationView) -> pb.Authorization:
    required = [
        pb.Authentication(
            name=one.name,
            networks=[pb.Network(cidr=network.cidr, excepts=network.excepts) for network in one.networks],
            identities=one.identities,
        )
        for one in view.required
    ]
    matches = [_match(match) for match in view.matches]
    return pb.Authorization(name=view.name, required=required, matches=matches, is_tcp_only=view.is_tcp_only)


def _backend(view: BackendView) -> pb.Backend:
    return pb.Backend(
        name=view.name,
        namespace=view.namespace,
        port=view.port,
        app_protocol=view.app_protocol,
        is_missing=view.is_missing,
        endpoints=[_endpoint(endpoint) for endpoint in view.endpoints],
        tls=pb.UpstreamTls(sni=view.tls.sni, ca_file=view.tls.ca_file) if view.tls else None,
        accrual=_accrual(view.accrual) if view.accrual else None,
        health=_health(view.health) if view.health else None,
    )


def _health(health: HealthCheck) -> pb.HealthCheck:
    return pb.HealthCheck(
        kind=health.kind,
        target=health.target,
        interval_ms=health.interval_ms,
        timeout_ms=health.timeout_ms,
        unhealthy_after=health.unhealthy_after,
        healthy_after=health.healthy_after,
    )


def _accrual(accrual: FailureAccrual) -> pb.FailureAccrual:
    return pb.FailureAccrual(
        max_failures=accrual.max_failures,
        min_penalty_ms=accrual.min_penalty_ms,
        max_penalty_ms=accrual.max_penalty_ms,
        jitter_percent=accrual.jitter_percent,
        success_rate_percent=accrual.success_rate_percent,
        window_ms=accrual.window_ms,
        min_requests=accrual.min_requests,
        max_out_percent=accrual.max_out_percent,
    )


def _fault(fault: Fault) -> pb.Fault:
    headers = [pb.HeaderMatch(name=header.name, regex=header.regex) for header in fault.headers]
    return pb.Fault(
        match=pb.Match(path_regex=fault.path_regex, headers=headers),
        leaf=fault.leaf,
        delay=_fault_part(fault.delay),
        abort=_fault_part(fault.abort),
        reset=_fault_part(fault.reset),
        bandwidth=_fault_part(fault.bandwidth),
        text=fault.text,
    )


def _fault_part(part: FaultPart | None) -> pb.FaultPart | None:
    return pb.FaultPart(share_micro=part.share_micro, value=part.value) if part else None


def _policy(policy: TrafficPolicy) -> pb.Policy:
    return pb.Policy(
        retry_statuses=[pb.StatusRange(first=first, last=last) for first, last in policy.retry_statuses],
        retry_grpc=policy.retry_grpc,
        retry_limit=policy.retry_limit,
        retry_methods=policy.retry_methods,
        try_timeout_ms=policy.try_timeout_ms,
        request_timeout_ms=policy.request_timeout_ms,
        response_timeout_ms=policy.response_timeout_ms,
        idle_timeout_ms=policy.idle_timeout_ms,
    )


def _endpoint(view: EndpointView) -> pb.Endpoint:
    return pb.Endpoint(host=view.host, port=view.port, labels=dict(view.labels))


def _route(view: RouteView) -> pb.Route:
    return pb.Route(
        matches=[_match(match) for match in view.matches],
        split=_split(view.split),
        rate_limits=[_rate_limit(limit) for limit in view.rate_limits],
        name=view.name,
        filters=_filters(view.filters) if view.filters else None,
        redirect=_redirect(view.redirect) if view.redirect else None,
        status=view.status,
        grpc_status=view.grpc_status,
    )


def _rate_limit(view: RateLimitView) -> pb.RateLimit:
    return pb.RateLimit(
        name=view.name,
        text=view.text,
        total=_rate(view.total) if view.total else None,
        client=_rate(view.client) if view.client else None,
        overrides=[pb.RateOverride(identities=who, rate=_rate(rate)) for who, rate in view.overrides],
    )


def _rate(rate: Rate) -> pb.Rate:
    return pb.Rate(requests=rate.requests, period_ms=rate.period_ms, burst=rate.burst)


def _match(view: MatchView) -> pb.Match:
    return pb.Match(
        path_regex=view.path_regex,
        methods=view.methods,
        headers=[_header_match(header) for header in view.headers],
        path_exact=view.path_exact,
        path_prefix=view.path_prefix,
        path_full_regex=view.path_full_regex,
        query=[_header_match(one) for one in view.query],
    )


def _header_match(view: HeaderMatchView) -> pb.HeaderMatch:
    return pb.HeaderMatch(name=view.name, regex=view.regex, exact=view.exact)


def _filters(filters: Filters) -> pb.Filters:
    rewrite = filters.rewrite
    return pb.Filters(
        request=_header_change(filters.request) if filters.request else None,
        response=_header_change(filters.response) if filters.response else None,
        rewrite=pb.Rewrite(hostname=rewrite.hostname, path=_path_change(rewrite.path)) if rewrite else None,
    )


def _header_change(change: HeaderChange) -> pb.HeaderChange:
    return pb.HeaderChange(
        set=[pb.Header(name=name, value=value) for name, value in change.set],
        add=[pb.Header(name=name, value=value) for name, value in change.add],
        remove=change.remove,
    )


def _path_change(change: PathChange | None) -> pb.PathChange | None:
    if change is None:
        return None
    return pb.PathChange(path=change.path, is_prefix=change.is_prefix, matched=change.matched)


def _redirect(redirect: Redirect) -> pb.Redirect:
    return pb.Redirect(
        scheme=redirect.scheme,
        hostname=redirect.hostname,
        port=redirect.port,
        path=_path_change(redirect.path),
        status=redirect.status,
    )


def _split(view: SplitView) -> pb.Split:
    return pb.Split(
        name=view.name,
        weights=[_weight(weight) for weight in view.weights],
        ramp=_ramp(view.ramp) if view.ramp else None,
        sticky=_sticky(view.sticky) if view.sticky else None,
        strict_empty_leaf=view.strict_empty_leaf,
        is_failover=view.is_failover,
        source=view.source,
        apex=view.apex,
        policy=_policy(view.policy) if view.policy else None,
        fault=_fault(view.fault) if view.fault else None,
    )


def _weight(view: WeightView) -> pb.Weight:
    return pb.Weight(
        backend=view.backend,
        micro=view.micro,
        text=view.text,
        filters=_filters(view.filters) if view.filters else None,
        status=view.status,
    )


def _ramp(view: RampView) -> pb.Ramp:
    return pb.Ramp(from_micro=view.from_micro, start_unix_ms=view.start_unix_ms, duration_ms=view.duration_ms)


def _sticky(view: StickyView) -> pb.Sticky:
    if view.client_ip:
        return pb.Sticky(client_ip=True)
    return pb.Sticky(cookie=view.cookie) if view.cookie else pb.Sticky(header=view.header)
