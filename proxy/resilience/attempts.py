"""Where a request may be sent after it has failed somewhere: another endpoint, then another leaf. Pure.

Made for a request at its first failure. The rule not to break: it never goes back to an endpoint that failed it while
another one is ready.
"""

from milliroute.proxy.routing.leaf import Endpoint, Leaf
from milliroute.proxy.routing.split import Split


class Attempts:
    """tries: sendings by the policy beyond the first. unprocessed: of a backend that had not begun it, for which any
    method may be sent again. is_replayed: once more because an idle connection had ended. moves: elsewhere because
    no answer came that can be read. Going on after a refused connection is none of these.
    """

    __slots__ = ("_failed", "is_replayed", "moves", "tries", "unprocessed")

    def __init__(self) -> None:
        self.tries = 0
        self.unprocessed = 0
        self.is_replayed = False
        self.moves = 0
        self._failed: list[Endpoint] = []

    def elsewhere(self, split: Split, leaf: Leaf, failed: Endpoint, now: float) -> tuple[Leaf, Endpoint] | None:
        """None when every endpoint of every leaf that gets requests has failed it."""
        self._failed.append(failed)
        seen: list[Leaf] = []
        following: Leaf | None = leaf
        while following is not None:
            other = following.balancer.pick_other(now, self._failed) if following.balancer is not None else None
            if other is not None:
                return following, other
            seen.append(following)
            following = split.other(seen)
        return None

    def again(self, split: Split, leaf: Leaf, failed: Endpoint, now: float) -> tuple[Leaf, Endpoint]:
        """When all have failed it and it has waited: from the beginning, and the last one to fail comes last."""
        self._failed = []
        return self.elsewhere(split, leaf, failed, now) or (leaf, failed)
