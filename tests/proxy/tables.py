"""AuthorityStates in one line, for tests of the table and of what routes by it."""

from milliroute.proxy.message import RequestHead
from milliroute.proxy.state import (
    AuthorityState,
    BackendState,
    EndpointState,
    MatchState,
    RampState,
    RouteState,
    SplitState,
    StickyState,
    WeightState,
)

KEY = "reviews.default"


def backend(name: str, *ports: int) -> BackendState:
    return BackendState(name, "default", 80, endpoints=[EndpointState("127.0.0.1", port) for port in ports])


def split(
    *micro: int,
    first: int = 0,
    name: str = "default/reviews",
    ramp: RampState | None = None,
    sticky: StickyState | None = None,
    strict: bool = False,
) -> SplitState:
    """Weight number i is of backend first + i."""
    weights = [WeightState(first + i, m, f"{m}u") for i, m in enumerate(micro)]
    return SplitState(name, weights, ramp, sticky, strict, apex="reviews")


def authority(
    backends: list[BackendState], default: SplitState, *matched: tuple[SplitState, list[MatchState]]
) -> AuthorityState:
    """default: the split of what no match takes."""
    routes = [RouteState(of_match, matches) for of_match, matches in matched]
    return AuthorityState("reviews", "default", backends, [*routes, RouteState(default)])


def leaves(ports: dict[str, list[int]], *micro: int, strict: bool = False) -> AuthorityState:
    """One split over these backends, by name, with these weights."""
    backends = [backend(name, *numbers) for name, numbers in ports.items()]
    return authority(backends, split(*micro, strict=strict))


def request(path: str = "/", *fields: str, method: str = "GET") -> RequestHead:
    lines = [f"{method} {path} HTTP/1.1", "Host: reviews", *fields, "", ""]
    return RequestHead(method.encode(), path.encode(), b"reviews", "\r\n".join(lines).encode())
