"""What the sidecar of productpage says about the split of `reviews`: GET /splits of its admin port, decoded."""

import msgspec

from milliroute.control.cli.bookinfo.client import Unreachable, Upstream


class Leaf(msgspec.Struct, frozen=True):
    """One leaf, as docs/operating.md has it; only what the panel shows. Shares are from 0 to 1."""

    leaf: str
    weight: str
    share: float
    requests: int
    successes: int
    failures: int
    state: str = "ok"
    observed_share: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Split(msgspec.Struct, frozen=True):
    """One split; `name` is empty for a Service without a TrafficSplit."""

    name: str
    apex: str
    leaves: list[Leaf]


class Authority(msgspec.Struct, frozen=True):
    """One name the proxy was asked for, and the splits of it."""

    authority: str
    version: int = 0
    warnings: list[str] = []
    splits: list[Split] = []


class Control(msgspec.Struct, frozen=True):
    """The stream to the destination service."""

    state: str


class Reading(msgspec.Struct, frozen=True):
    """One whole answer."""

    control: Control
    authorities: list[Authority]

    def of(self, service: str) -> Authority | None:
        """The authority of a Service of the default namespace, whatever its port."""
        for authority in self.authorities:
            if authority.authority.partition(":")[0].split(".")[0] == service:
                return authority
        return None


async def read(admin: Upstream) -> Reading:
    """Ask once. Raises Unreachable."""
    reply = await admin.get("/splits")
    if reply.status != 200:
        raise Unreachable(f"{admin.address}/splits: status {reply.status}, wanted 200")
    try:
        return msgspec.json.decode(reply.body, type=Reading)
    except msgspec.DecodeError as error:
        raise Unreachable(f"{admin.address}/splits: {error}") from error
