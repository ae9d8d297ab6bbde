"""States and counters that several tests of the agent's side begin with."""

from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.ipc import LatencyDelta, LeafDelta, ResponseDelta, Stats, Update
from milliroute.proxy.state import AuthorityState, BackendState, EndpointState, RouteState, SplitState, WeightState

KEY = "reviews.default:9080"


def backend(name: str, endpoints: int = 1, *, is_missing: bool = False) -> BackendState:
    points = [EndpointState("10.0.0.1", 9000 + number) for number in range(endpoints)]
    return BackendState(name, "default", 9080, "http", is_missing, points)


def state(v1: int = 900_000, v2: int = 100_000) -> AuthorityState:
    """reviews -> reviews-v1 and reviews-v2, in micro-units."""
    weights = [WeightState(0, v1, f"{v1 // 1000}m"), WeightState(1, v2, f"{v2 // 1000}m")]
    split = SplitState("default/reviews", weights, source="split.yaml:1", apex="reviews")
    return AuthorityState("reviews", "default", [backend("reviews-v1"), backend("reviews-v2")], [RouteState(split)])


def offer(version: int = 1, body: AuthorityState | None = None, *, epoch: str = "e1", is_known: bool = True) -> Offer:
    content = (body or state()) if is_known else None
    return Offer(Update(KEY, epoch, version, content), published_unix_ns=1_000, received_unix_ns=2_000)


def leaf_delta(
    leaf: str,
    requests: int,
    *,
    status: int = 200,
    bucket: int = 0,
    split: str = "default/reviews",
    authority: str = KEY,
) -> LeafDelta:
    """requests of one leaf, all answered with one status inside one latency bucket."""
    buckets = [0] * 26
    buckets[bucket] = requests
    responses = [ResponseDelta(status, "", status < 500, "", requests)]
    latencies = [LatencyDelta(status, buckets, 0.5 * requests)]
    return LeafDelta(authority, split, leaf, "default", requests, responses, latencies)


def stats(*leaves: LeafDelta) -> Stats:
    return Stats(list(leaves), [], [])
