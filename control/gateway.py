"""The Gateway API's routes with Services as parents, as immutable values: HTTPRoute, GRPCRoute, ReferenceGrant.

They come out of `manifest.gateway` and go into `attachment` (which are in force for whom), `routeviews` (what a
proxy is told) and `routestatus` (what their writer is told). Both kinds are one Route: a gRPC method is a path.
What the API allows and we do not do stands in `Route.unsupported`; such a route is not in force.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from milliroute.control.origin import NOWHERE, Origin
from milliroute.control.traffic import TrafficPolicy

GROUP = "gateway.networking.k8s.io"

RouteKind: TypeAlias = Literal["HTTPRoute", "GRPCRoute"]
PathKind: TypeAlias = Literal["Exact", "PathPrefix", "RegularExpression"]


@dataclass(frozen=True, slots=True)
class ParentRef:
    """As written, for a status that echoes it field by field: None where nothing was."""

    name: str
    namespace: str | None = None
    group: str | None = None
    kind: str | None = None
    section_name: str | None = None
    port: int | None = None

    @property
    def is_service(self) -> bool:
        # API servers fill the group in where it is left out, and then it is the Gateway API's.
        return self.kind == "Service" and self.group in (None, "", "core", GROUP)


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """Of a header (`name` in lower case) or a query parameter. `value` is RE2 and must match the whole, or is it."""

    name: str
    value: str
    is_regex: bool = False


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """All set parts must hold. `path` of a prefix has no slash at its end, and "" is every path.

    `service_chars` and `method_chars`: of a gRPC method, because those decide there which match comes first.
    """

    path_kind: PathKind = "PathPrefix"
    path: str = ""
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    service_chars: int = 0
    method_chars: int = 0

    @property
    def takes_all(self) -> bool:
        is_any_path = self.path_kind == "PathPrefix" and not self.path
        return is_any_path and not (self.method or self.headers or self.query)


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """Names in lower case. Removed and set ones go first, then all new ones come at the end."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathChange:
    """The whole path, or the part that `matched` (the rule's prefix) stands for."""

    path: str
    is_prefix: bool = False
    matched: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What the backend sees; "" and None: as it came."""

    hostname: str = ""
    path: PathChange | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """What the client is told; "", 0 and None: as it asked."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: PathChange | None = None
    status: int = 302


@dataclass(frozen=True, slots=True)
class Filters:
    """Of a rule or, without `rewrite` and `redirect`, of a backend in it."""

    request: HeaderChange | None = None
    response: HeaderChange | None = None
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None

    @property
    def is_empty(self) -> bool:
        return self == Filters()


@dataclass(frozen=True, slots=True)
class BackendRef:
    """`namespace` is always set; `port` 0: the one that was asked for."""

    name: str
    namespace: str
    port: int = 0
    weight: int = 1
    filters: Filters = Filters()
    group: str = ""
    kind: str = "Service"

    @property
    def is_service(self) -> bool:
        return self.kind == "Service" and self.group in ("", "core")


@dataclass(frozen=True, slots=True)
class Rule:
    """`matches`: OR, at least one. No backends: the parent's own endpoints. `policy` None: what the route's, else the
    Service's annotations say."""

    matches: tuple[RouteMatch, ...] = (RouteMatch(),)
    filters: Filters = Filters()
    backends: tuple[BackendRef, ...] = ()
    policy: TrafficPolicy | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """HTTPRoute or GRPCRoute of any version. `group` is of its apiVersion; `generation` 0 where there is none.

    `unsupported`: what of it we do not do, each a message; then it is not in force. `notes`: what is left out of it.
    `parents` are all of them, also those that are not ours. `skips_empty`: a backend without endpoints is skipped
    and does not answer 503.
    """

    kind: RouteKind
    namespace: str
    name: str
    parents: tuple[ParentRef, ...]
    rules: tuple[Rule, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    generation: int = 0
    group: str = GROUP
    skips_empty: bool = False
    unsupported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class GrantTo:
    """`name` "": all of that kind."""

    group: str
    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """Lets objects of (group, kind, namespace) refer to some of its own namespace."""

    namespace: str
    name: str
    froms: tuple[tuple[str, str, str], ...]
    tos: tuple[GrantTo, ...]
    origin: Origin = NOWHERE
