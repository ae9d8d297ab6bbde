"""The objects of Kubernetes and SMI that we understand, as immutable values.

They come out of `parse` (from YAML or from an API server) and go into `snapshot`. Values here are already valid:
whoever builds one has checked it. Weights are integers in micro-units (1e-6), so that `900m` is 900000 and no float
is involved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from milliroute.control.gateway import ReferenceGrant, Route
from milliroute.control.origin import NOWHERE as NOWHERE
from milliroute.control.origin import Origin as Origin
from milliroute.control.traffic import TrafficPolicy as TrafficPolicy


@dataclass(frozen=True, slots=True)
class Leaf:
    """One weighted backend of a split; `service` as written, `weight_text` too."""

    service: str
    weight_micro: int
    weight_text: str


@dataclass(frozen=True, slots=True)
class Sticky:
    """The annotation milliroute.io/sticky: what picks the leaf; `name` is lower case for a header."""

    by: Literal["header", "cookie", "client-ip"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class FailureAccrual:
    """When endpoints that fail are left out; Linkerd's defaults. `max_failures` 0: those in a row do not matter;
    `success_rate_percent` 0: nor does their share. `max_out_percent`: of a Service's endpoints at one time.
    """

    max_failures: int = 7
    min_penalty_ms: int = 1000
    max_penalty_ms: int = 60_000
    jitter_percent: int = 50
    success_rate_percent: int = 80
    window_ms: int = 10_000
    min_requests: int = 5
    max_out_percent: int = 100


@dataclass(frozen=True, slots=True)
class FaultPart:
    """Of so many requests in a million; `value`: ms, a status, bytes a second, or nothing."""

    share_micro: int
    value: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """The annotation milliroute.io/fault: what goes wrong on purpose, of the requests that match; "", () match all."""

    delay: FaultPart | None = None
    abort: FaultPart | None = None
    reset: FaultPart | None = None
    leaf: str = ""
    path_regex: str = ""
    headers: tuple["HeaderMatch", ...] = ()
    bandwidth: FaultPart | None = None
    text: str = field(default="", compare=False)  # as written, for people

    @property
    def is_empty(self) -> bool:
        return self.delay is self.abort is self.reset is self.bandwidth is None


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in `period_ms`, evenly, and at most `burst` at once."""

    requests: int
    period_ms: int
    burst: int


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The annotation milliroute.io/rate-limit: of all clients together, and of each one; at least one of them."""

    total: Rate | None = None
    client: Rate | None = None
    text: str = ""  # as written, for people


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """split.smi-spec.io TrafficSplit of any version; `matches` are (kind, name) of the referenced groups."""

    namespace: str
    name: str
    apex: str
    backends: tuple[Leaf, ...]
    matches: tuple[tuple[str, str], ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0  # creationTimestamp in unix seconds, 0 when there is none
    sticky: Sticky | None = None
    ramp_ms: int = 0  # 0: weights hold at once
    strict_empty_leaf: bool = False
    is_failover: bool = False  # the first backend that is ready gets everything; weights above 0 say who takes part
    policy: TrafficPolicy | None = None
    fault: Fault | None = None
    rate_limit: RateLimit | None = None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """`name` is lower case; `regex` is RE2 and must match the whole value."""

    name: str
    regex: str


@dataclass(frozen=True, slots=True)
class Match:
    """All set parts must hold; an empty part means any."""

    name: str = ""
    path_regex: str = ""
    methods: tuple[str, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class HTTPRouteGroup:
    """specs.smi-spec.io HTTPRouteGroup of any version."""

    namespace: str
    name: str
    matches: tuple[Match, ...]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class ServicePort:
    """`target_port` is a number, a name, or 0 for the same as `port`."""

    port: int
    name: str = ""
    target_port: int | str = 0
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How the endpoints of a port that speaks TLS are verified; `ca_file` "": by the authorities of the system."""

    sni: str
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`kind`: http, tcp or grpc; `target`: the path of a GET, or the service, "" for all."""

    kind: str
    target: str = ""
    interval_ms: int = 5000
    timeout_ms: int = 1000
    unhealthy_after: int = 3
    healthy_after: int = 2


@dataclass(frozen=True, slots=True)
class Service:
    """v1 Service, TCP ports only; no ports at all means that it takes any (`--backend`, headless)."""

    namespace: str
    name: str
    ports: tuple[ServicePort, ...] = ()
    external_name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    policy: TrafficPolicy | None = None
    accrual: FailureAccrual | None = None
    tls: UpstreamTls | None = None  # of those ports that speak it
    health: HealthCheck | None = None
    origin: Origin = NOWHERE
    selector: tuple[tuple[str, str], ...] = ()  # labels of its pods
    cluster_ips: tuple[str, ...] = ()  # in one spelling each
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class SlicePort:
    """A port of an EndpointSlice; 0 means every port."""

    port: int
    name: str = ""
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One ready endpoint; its own `port` (from `--backend`) beats the ports of its slice, 0 means none of its own."""

    addresses: tuple[str, ...]
    port: int = 0
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """discovery.k8s.io EndpointSlice; `endpoints` are the ready and not terminating ones."""

    namespace: str
    name: str
    service: str  # the label kubernetes.io/service-name
    address_type: str = "IPv4"
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()
    origin: Origin = NOWHERE


# What holds where no policy lets a request in. Linkerd's words; cluster-...: from the cluster's networks only.
AccessMode: TypeAlias = Literal[
    "all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit"
]


@dataclass(frozen=True, slots=True)
class Server:
    """policy.linkerd.io Server: guards a port of the Services whose pods have all of `pod_labels`, or of `service`.

    `service` is a name as in a split; then `port` is the Service's, else that of the pods.
    """

    namespace: str
    name: str
    port: int | str
    pod_labels: tuple[tuple[str, str], ...] = ()
    service: str = ""
    mode: AccessMode = "deny"
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Reference:
    """Of another object; `namespace` is always set."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """policy.linkerd.io AuthorizationPolicy: lets in whom all of `required` take. `groups` are the HTTPRouteGroups of
    its namespace of which a request must match one; none: any request."""

    namespace: str
    name: str
    target: Reference  # a Server or a Namespace
    required: tuple[Reference, ...] = ()
    groups: tuple[str, ...] = ()
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Network:
    """CIDRs; `excepts` lie within `cidr`."""

    cidr: str
    excepts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkAuthentication:
    """policy.linkerd.io NetworkAuthentication: any of the networks."""

    namespace: str
    name: str
    networks: tuple[Network, ...]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class MeshTLSAuthentication:
    """policy.linkerd.io MeshTLSAuthentication: any of the identities, or of the ServiceAccounts and Namespaces.

    An identity is a name in a client's certificate: "*" any, "*.suffix", a DNS name, a SPIFFE id, "spiffe://.../*".
    """

    namespace: str
    name: str
    identities: tuple[str, ...] = ()
    accounts: tuple[Reference, ...] = ()
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class TargetRule:
    """Of a TrafficTarget: an HTTPRouteGroup of its namespace, all of its matches or those named. A TCPRoute has neither
    and lets connections in that are not HTTP."""

    group: str = ""
    matches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """access.smi-spec.io TrafficTarget of any version. `service` is the destination, as a name in a split; `port` 0 is
    any. Without rules everything of the sources is let in."""

    namespace: str
    name: str
    service: str
    sources: tuple[Reference, ...]
    rules: tuple[TargetRule, ...] = ()
    port: int = 0
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class RateOverride:
    """Of these ServiceAccounts together, in place of each client's own."""

    accounts: tuple[Reference, ...]
    rate: Rate


@dataclass(frozen=True, slots=True)
class HTTPLocalRateLimitPolicy:
    """policy.linkerd.io HTTPLocalRateLimitPolicy: of the requests to what a Server of its namespace guards."""

    namespace: str
    name: str
    server: str
    total: Rate | None = None
    client: Rate | None = None
    overrides: tuple[RateOverride, ...] = ()
    origin: Origin = NOWHERE


AccessObject: TypeAlias = (
    Server
    | AuthorizationPolicy
    | NetworkAuthentication
    | MeshTLSAuthentication
    | TrafficTarget
    | HTTPLocalRateLimitPolicy
)
KubeObject: TypeAlias = TrafficSplit | HTTPRouteGroup | Service | EndpointSlice | AccessObject | Route | ReferenceGrant

# Linkerd's clusterNetworks: the private address blocks.
CLUSTER_NETWORKS = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")


@dataclass(frozen=True, slots=True)
class AccessDefaults:
    """What flags say of access. `trust_domain`: of the identities of ServiceAccounts."""

    mode: AccessMode = "all-unauthenticated"
    cluster_networks: tuple[str, ...] = CLUSTER_NETWORKS
    trust_domain: str = "cluster.local"


# Of a file: "rest" is its newest content without what its errors name, "nothing" that it never had a good version. Of a
# kind in a cluster the same, and "absent" that the cluster does not have it.
InForce: TypeAlias = Literal["newest", "rest", "last good", "nothing", "absent"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One file, or one kind of a cluster, as it stands, and what is wrong with its newest content."""

    path: str
    in_force: InForce = "newest"
    errors: tuple[str, ...] = ()

    @property
    def state(self) -> Literal["ok", "broken", "absent"]:
        if self.in_force == "absent":
            return "absent"
        return "ok" if self.in_force == "newest" else "broken"


@dataclass(frozen=True, slots=True)
class Objects:
    """Everything the sources hold at one moment, without duplicates, in a stable order."""

    splits: tuple[TrafficSplit, ...] = ()
    route_groups: tuple[HTTPRouteGroup, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    access: tuple[AccessObject, ...] = ()
    routes: tuple[Route, ...] = ()
    grants: tuple[ReferenceGrant, ...] = ()
    defaults: AccessDefaults = AccessDefaults()
    sources: tuple[SourceStatus, ...] = ()

    @property
    def is_partial(self) -> bool:
        """A source has had no good version yet, or all of them together hold nothing: a folder that is not mounted."""
        return any(source.in_force == "nothing" for source in self.sources) or bool(
            self.sources and not (self.splits or self.services)
        )
