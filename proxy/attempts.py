"""Where a request may be sent after it has failed somewhere: another endpoint, then another leaf. Pure.

Made for a request at its first failure. The rule not to break: it never goes back to an endpoint that failed it while
another one is ready.
"""

from milliroute.proxy.table import Endpoint, Leaf, Split


class Attempts:
    """count: sendings beyond the first that its backend was to answer; going on after a refused connection is none."""

    __slots__ = ("_endpoints", "_leaves", "count")

    def __init__(self) -> None:
        self.count = 0
        self._endpoints: list[Endpoint] = []
        self._leaves: list[Leaf] = []

    def elsewhere(self, split: Split, leaf: Leaf, failed: Endpoint, now: float) -> tuple[Leaf, Endpoint] | None:
        """None when every endpoint of every leaf that gets requests has failed it."""
        self._endpoints.append(failed)
        other = leaf.balancer.pick_other(now, self._endpoints) if leaf.balancer is not None else None
        if other is not None:
            return leaf, other
        self._leaves.append(leaf)
        next_leaf = split.other(self._leaves)
        if next_leaf is None or next_leaf.balancer is None:
            return None
        return next_leaf, next_leaf.balancer.pick(now)
