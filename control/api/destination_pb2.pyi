from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ack(_message.Message):
    __slots__ = ["applied_unix_ns", "epoch", "key", "version"]
    APPLIED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    applied_unix_ns: int
    epoch: str
    key: str
    version: int
    def __init__(self, key: _Optional[str] = ..., epoch: _Optional[str] = ..., version: _Optional[int] = ..., applied_unix_ns: _Optional[int] = ...) -> None: ...

class Authentication(_message.Message):
    __slots__ = ["identities", "name", "networks"]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedScalarFieldContainer[str]
    name: str
    networks: _containers.RepeatedCompositeFieldContainer[Network]
    def __init__(self, name: _Optional[str] = ..., networks: _Optional[_Iterable[_Union[Network, _Mapping]]] = ..., identities: _Optional[_Iterable[str]] = ...) -> None: ...

class Authority(_message.Message):
    __slots__ = ["access", "backends", "name", "namespace", "routes", "warnings"]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    access: _containers.RepeatedCompositeFieldContainer[Guard]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    name: str
    namespace: str
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., namespace: _Optional[str] = ..., backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., access: _Optional[_Iterable[_Union[Guard, _Mapping]]] = ...) -> None: ...

class Authorization(_message.Message):
    __slots__ = ["is_tcp_only", "matches", "name", "required"]
    IS_TCP_ONLY_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    is_tcp_only: bool
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    name: str
    required: _containers.RepeatedCompositeFieldContainer[Authentication]
    def __init__(self, name: _Optional[str] = ..., required: _Optional[_Iterable[_Union[Authentication, _Mapping]]] = ..., matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ..., is_tcp_only: bool = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ["accrual", "app_protocol", "endpoints", "health", "is_missing", "name", "namespace", "port", "tls"]
    ACCRUAL_FIELD_NUMBER: _ClassVar[int]
    APP_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    IS_MISSING_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    accrual: FailureAccrual
    app_protocol: str
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    health: HealthCheck
    is_missing: bool
    name: str
    namespace: str
    port: int
    tls: UpstreamTls
    def __init__(self, name: _Optional[str] = ..., namespace: _Optional[str] = ..., port: _Optional[int] = ..., app_protocol: _Optional[str] = ..., is_missing: bool = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., tls: _Optional[_Union[UpstreamTls, _Mapping]] = ..., accrual: _Optional[_Union[FailureAccrual, _Mapping]] = ..., health: _Optional[_Union[HealthCheck, _Mapping]] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ["host", "labels", "port"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    host: str
    labels: _containers.ScalarMap[str, str]
    port: int
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class FailureAccrual(_message.Message):
    __slots__ = ["jitter_percent", "max_failures", "max_out_percent", "max_penalty_ms", "min_penalty_ms", "min_requests", "success_rate_percent", "window_ms"]
    JITTER_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURES_FIELD_NUMBER: _ClassVar[int]
    MAX_OUT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PENALTY_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_PENALTY_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_RATE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    jitter_percent: int
    max_failures: int
    max_out_percent: int
    max_penalty_ms: int
    min_penalty_ms: int
    min_requests: int
    success_rate_percent: int
    window_ms: int
    def __init__(self, max_failures: _Optional[int] = ..., min_penalty_ms: _Optional[int] = ..., max_penalty_ms: _Optional[int] = ..., jitter_percent: _Optional[int] = ..., success_rate_percent: _Optional[int] = ..., window_ms: _Optional[int] = ..., min_requests: _Optional[int] = ..., max_out_percent: _Optional[int] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ["abort", "bandwidth", "delay", "leaf", "match", "reset", "text"]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    BANDWIDTH_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    abort: FaultPart
    bandwidth: FaultPart
    delay: FaultPart
    leaf: str
    match: Match
    reset: FaultPart
    text: str
    def __init__(self, match: _Optional[_Union[Match, _Mapping]] = ..., leaf: _Optional[str] = ..., delay: _Optional[_Union[FaultPart, _Mapping]] = ..., abort: _Optional[_Union[FaultPart, _Mapping]] = ..., reset: _Optional[_Union[FaultPart, _Mapping]] = ..., bandwidth: _Optional[_Union[FaultPart, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class FaultPart(_message.Message):
    __slots__ = ["share_micro", "value"]
    SHARE_MICRO_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    share_micro: int
    value: int
    def __init__(self, share_micro: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...

class Filters(_message.Message):
    __slots__ = ["request", "response", "rewrite"]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    request: HeaderChange
    response: HeaderChange
    rewrite: Rewrite
    def __init__(self, request: _Optional[_Union[HeaderChange, _Mapping]] = ..., response: _Optional[_Union[HeaderChange, _Mapping]] = ..., rewrite: _Optional[_Union[Rewrite, _Mapping]] = ...) -> None: ...

class Guard(_message.Message):
    __slots__ = ["authorizations", "is_audit", "kind", "name"]
    AUTHORIZATIONS_FIELD_NUMBER: _ClassVar[int]
    IS_AUDIT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    authorizations: _containers.RepeatedCompositeFieldContainer[Authorization]
    is_audit: bool
    kind: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., authorizations: _Optional[_Iterable[_Union[Authorization, _Mapping]]] = ..., is_audit: bool = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ["name", "value"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class HeaderChange(_message.Message):
    __slots__ = ["add", "remove", "set"]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    add: _containers.RepeatedCompositeFieldContainer[Header]
    remove: _containers.RepeatedScalarFieldContainer[str]
    set: _containers.RepeatedCompositeFieldContainer[Header]
    def __init__(self, set: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., add: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class HeaderMatch(_message.Message):
    __slots__ = ["exact", "name", "regex"]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    exact: str
    name: str
    regex: str
    def __init__(self, name: _Optional[str] = ..., regex: _Optional[str] = ..., exact: _Optional[str] = ...) -> None: ...

class HealthCheck(_message.Message):
    __slots__ = ["healthy_after", "interval_ms", "kind", "target", "timeout_ms", "unhealthy_after"]
    HEALTHY_AFTER_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_AFTER_FIELD_NUMBER: _ClassVar[int]
    healthy_after: int
    interval_ms: int
    kind: str
    target: str
    timeout_ms: int
    unhealthy_after: int
    def __init__(self, kind: _Optional[str] = ..., target: _Optional[str] = ..., interval_ms: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., unhealthy_after: _Optional[int] = ..., healthy_after: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ["admin_address", "capabilities", "labels", "namespace", "proxy_id"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ADMIN_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PROXY_ID_FIELD_NUMBER: _ClassVar[int]
    admin_address: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    namespace: str
    proxy_id: str
    def __init__(self, proxy_id: _Optional[str] = ..., namespace: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., capabilities: _Optional[_Iterable[str]] = ..., admin_address: _Optional[str] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ["headers", "methods", "path_exact", "path_full_regex", "path_prefix", "path_regex", "query"]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    PATH_EXACT_FIELD_NUMBER: _ClassVar[int]
    PATH_FULL_REGEX_FIELD_NUMBER: _ClassVar[int]
    PATH_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PATH_REGEX_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    headers: _containers.RepeatedCompositeFieldContainer[HeaderMatch]
    methods: _containers.RepeatedScalarFieldContainer[str]
    path_exact: str
    path_full_regex: str
    path_prefix: str
    path_regex: str
    query: _containers.RepeatedCompositeFieldContainer[HeaderMatch]
    def __init__(self, path_regex: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ..., headers: _Optional[_Iterable[_Union[HeaderMatch, _Mapping]]] = ..., path_exact: _Optional[str] = ..., path_prefix: _Optional[str] = ..., path_full_regex: _Optional[str] = ..., query: _Optional[_Iterable[_Union[HeaderMatch, _Mapping]]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ["epoch", "key", "reason", "version"]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    key: str
    reason: str
    version: int
    def __init__(self, key: _Optional[str] = ..., epoch: _Optional[str] = ..., version: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ["cidr", "excepts"]
    CIDR_FIELD_NUMBER: _ClassVar[int]
    EXCEPTS_FIELD_NUMBER: _ClassVar[int]
    cidr: str
    excepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cidr: _Optional[str] = ..., excepts: _Optional[_Iterable[str]] = ...) -> None: ...

class PathChange(_message.Message):
    __slots__ = ["is_prefix", "matched", "path"]
    IS_PREFIX_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    is_prefix: bool
    matched: str
    path: str
    def __init__(self, path: _Optional[str] = ..., is_prefix: bool = ..., matched: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ["idle_timeout_ms", "request_timeout_ms", "response_timeout_ms", "retry_grpc", "retry_limit", "retry_methods", "retry_statuses", "try_timeout_ms"]
    IDLE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    RETRY_GRPC_FIELD_NUMBER: _ClassVar[int]
    RETRY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    RETRY_METHODS_FIELD_NUMBER: _ClassVar[int]
    RETRY_STATUSES_FIELD_NUMBER: _ClassVar[int]
    TRY_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    idle_timeout_ms: int
    request_timeout_ms: int
    response_timeout_ms: int
    retry_grpc: _containers.RepeatedScalarFieldContainer[int]
    retry_limit: int
    retry_methods: _containers.RepeatedScalarFieldContainer[str]
    retry_statuses: _containers.RepeatedCompositeFieldContainer[StatusRange]
    try_timeout_ms: int
    def __init__(self, retry_statuses: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ..., retry_grpc: _Optional[_Iterable[int]] = ..., retry_limit: _Optional[int] = ..., retry_methods: _Optional[_Iterable[str]] = ..., try_timeout_ms: _Optional[int] = ..., request_timeout_ms: _Optional[int] = ..., response_timeout_ms: _Optional[int] = ..., idle_timeout_ms: _Optional[int] = ...) -> None: ...

class Ramp(_message.Message):
    __slots__ = ["duration_ms", "from_micro", "start_unix_ms"]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    FROM_MICRO_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    duration_ms: int
    from_micro: _containers.RepeatedScalarFieldContainer[int]
    start_unix_ms: int
    def __init__(self, from_micro: _Optional[_Iterable[int]] = ..., start_unix_ms: _Optional[int] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class Rate(_message.Message):
    __slots__ = ["burst", "period_ms", "requests"]
    BURST_FIELD_NUMBER: _ClassVar[int]
    PERIOD_MS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    burst: int
    period_ms: int
    requests: int
    def __init__(self, requests: _Optional[int] = ..., period_ms: _Optional[int] = ..., burst: _Optional[int] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ["client", "name", "overrides", "text", "total"]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    client: Rate
    name: str
    overrides: _containers.RepeatedCompositeFieldContainer[RateOverride]
    text: str
    total: Rate
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., total: _Optional[_Union[Rate, _Mapping]] = ..., client: _Optional[_Union[Rate, _Mapping]] = ..., overrides: _Optional[_Iterable[_Union[RateOverride, _Mapping]]] = ...) -> None: ...

class RateOverride(_message.Message):
    __slots__ = ["identities", "rate"]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedScalarFieldContainer[str]
    rate: Rate
    def __init__(self, identities: _Optional[_Iterable[str]] = ..., rate: _Optional[_Union[Rate, _Mapping]] = ...) -> None: ...

class Redirect(_message.Message):
    __slots__ = ["hostname", "path", "port", "scheme", "status"]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    path: PathChange
    port: int
    scheme: str
    status: int
    def __init__(self, scheme: _Optional[str] = ..., hostname: _Optional[str] = ..., port: _Optional[int] = ..., path: _Optional[_Union[PathChange, _Mapping]] = ..., status: _Optional[int] = ...) -> None: ...

class Resolved(_message.Message):
    __slots__ = ["authority", "is_partial", "key"]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    IS_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    authority: str
    is_partial: bool
    key: str
    def __init__(self, authority: _Optional[str] = ..., key: _Optional[str] = ..., is_partial: bool = ...) -> None: ...

class Rewrite(_message.Message):
    __slots__ = ["hostname", "path"]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    path: PathChange
    def __init__(self, hostname: _Optional[str] = ..., path: _Optional[_Union[PathChange, _Mapping]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ["filters", "grpc_status", "matches", "name", "rate_limits", "redirect", "split", "status"]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    GRPC_STATUS_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    filters: Filters
    grpc_status: int
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    name: str
    rate_limits: _containers.RepeatedCompositeFieldContainer[RateLimit]
    redirect: Redirect
    split: Split
    status: int
    def __init__(self, matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., rate_limits: _Optional[_Iterable[_Union[RateLimit, _Mapping]]] = ..., name: _Optional[str] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., redirect: _Optional[_Union[Redirect, _Mapping]] = ..., status: _Optional[int] = ..., grpc_status: _Optional[int] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ["apex", "fault", "is_failover", "name", "policy", "ramp", "source", "sticky", "strict_empty_leaf", "weights"]
    APEX_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    IS_FAILOVER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RAMP_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STICKY_FIELD_NUMBER: _ClassVar[int]
    STRICT_EMPTY_LEAF_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    apex: str
    fault: Fault
    is_failover: bool
    name: str
    policy: Policy
    ramp: Ramp
    source: str
    sticky: Sticky
    strict_empty_leaf: bool
    weights: _containers.RepeatedCompositeFieldContainer[Weight]
    def __init__(self, name: _Optional[str] = ..., weights: _Optional[_Iterable[_Union[Weight, _Mapping]]] = ..., ramp: _Optional[_Union[Ramp, _Mapping]] = ..., sticky: _Optional[_Union[Sticky, _Mapping]] = ..., strict_empty_leaf: bool = ..., source: _Optional[str] = ..., apex: _Optional[str] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., is_failover: bool = ..., fault: _Optional[_Union[Fault, _Mapping]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ["authority", "epoch", "is_partial", "key", "published_unix_ns", "unknown", "version"]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    IS_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    authority: Authority
    epoch: str
    is_partial: bool
    key: str
    published_unix_ns: int
    unknown: Unknown
    version: int
    def __init__(self, key: _Optional[str] = ..., epoch: _Optional[str] = ..., version: _Optional[int] = ..., published_unix_ns: _Optional[int] = ..., unknown: _Optional[_Union[Unknown, _Mapping]] = ..., authority: _Optional[_Union[Authority, _Mapping]] = ..., is_partial: bool = ...) -> None: ...

class StatusRange(_message.Message):
    __slots__ = ["first", "last"]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Sticky(_message.Message):
    __slots__ = ["client_ip", "cookie", "header"]
    CLIENT_IP_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    client_ip: bool
    cookie: str
    header: str
    def __init__(self, header: _Optional[str] = ..., cookie: _Optional[str] = ..., client_ip: bool = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ["authority"]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    authority: str
    def __init__(self, authority: _Optional[str] = ...) -> None: ...

class Unknown(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Unsubscribe(_message.Message):
    __slots__ = ["authority"]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    authority: str
    def __init__(self, authority: _Optional[str] = ...) -> None: ...

class UpstreamTls(_message.Message):
    __slots__ = ["ca_file", "sni"]
    CA_FILE_FIELD_NUMBER: _ClassVar[int]
    SNI_FIELD_NUMBER: _ClassVar[int]
    ca_file: str
    sni: str
    def __init__(self, sni: _Optional[str] = ..., ca_file: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ["ack", "hello", "nack", "subscribe", "unsubscribe"]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    UNSUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    hello: Hello
    nack: Nack
    subscribe: Subscribe
    unsubscribe: Unsubscribe
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., subscribe: _Optional[_Union[Subscribe, _Mapping]] = ..., unsubscribe: _Optional[_Union[Unsubscribe, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ["resolved", "state"]
    RESOLVED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    resolved: Resolved
    state: State
    def __init__(self, resolved: _Optional[_Union[Resolved, _Mapping]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class Weight(_message.Message):
    __slots__ = ["backend", "filters", "micro", "status", "text"]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    MICRO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    backend: int
    filters: Filters
    micro: int
    status: int
    text: str
    def __init__(self, backend: _Optional[int] = ..., micro: _Optional[int] = ..., text: _Optional[str] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., status: _Optional[int] = ...) -> None: ...
