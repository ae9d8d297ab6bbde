"""What a proxy knows of one authority, and the messages between the agent and its workers.

The agent decodes protobuf once and sends these down a pipe; a worker never imports grpc or protobuf. They are values:
a table is built from them, nothing here is ever changed. Shapes and meaning are those of destination.proto.
"""

import msgspec


class EndpointState(msgspec.Struct, frozen=True, array_like=True):
    host: str
    port: int
    labels: dict[str, str] = {}


class BackendState(msgspec.Struct, frozen=True, array_like=True):
    name: str
    namespace: str
    port: int = 0
    app_protocol: str = ""
    is_missing: bool = False
    endpoints: list[EndpointState] = []


class HeaderMatchState(msgspec.Struct, frozen=True, array_like=True):
    name: str
    regex: str


class MatchState(msgspec.Struct, frozen=True, array_like=True):
    path_regex: str = ""
    methods: list[str] = []
    headers: list[HeaderMatchState] = []


class WeightState(msgspec.Struct, frozen=True, array_like=True):
    backend: int
    micro: int
    text: str = ""


class RampState(msgspec.Struct, frozen=True, array_like=True):
    from_micro: list[int]
    start_unix_ms: int
    duration_ms: int


class StickyState(msgspec.Struct, frozen=True, array_like=True):
    """At most one of the three is set."""

    header: str = ""
    cookie: str = ""
    client_ip: bool = False


class SplitState(msgspec.Struct, frozen=True, array_like=True):
    name: str
    weights: list[WeightState]
    ramp: RampState | None = None
    sticky: StickyState | None = None
    strict_empty_leaf: bool = False
    source: str = ""
    apex: str = ""


class RouteState(msgspec.Struct, frozen=True, array_like=True):
    split: SplitState
    matches: list[MatchState] = []


class AuthorityState(msgspec.Struct, frozen=True, array_like=True):
    name: str
    namespace: str
    backends: list[BackendState]
    routes: list[RouteState]
    warnings: list[str] = []
