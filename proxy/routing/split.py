"""A split at work: which leaf the next request goes to, and which one takes over when that fails.

Weights decide, in the order of a selector, along a ramp or by a sticky key; leaves without a ready endpoint are
skipped. A split lives as long as its table, and what it was doing goes over to its successor. Pure: time and chance
come in.
"""

import random
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from milliroute.proxy.errors import NoBackend
from milliroute.proxy.message import RequestHead
from milliroute.proxy.resilience.budget import RetryBudget
from milliroute.proxy.resilience.faults import Faults
from milliroute.proxy.resilience.policy import Policy
from milliroute.proxy.routing import selector
from milliroute.proxy.routing.leaf import Leaf
from milliroute.proxy.routing.matching import sticky_key
from milliroute.proxy.routing.ramp import RampPicker
from milliroute.proxy.routing.sticky import StickyTable
from milliroute.proxy.state import RampState, SplitState

if TYPE_CHECKING:
    from milliroute.proxy.guard.limiter import RouteLimits

# A sticky ramp moves clients over in this many steps: laying the table out costs some microseconds.
STICKY_RAMP_STEPS = 1000


class Split:
    """pick: an index into leaves, set while nothing but the weights decides; else `choose` must be asked. policy: None
    where its owner says nothing of retries and times.
    """

    __slots__ = (
        "_plain",
        "_ramp",
        "_rng",
        "_sticky",
        "_sticky_step",
        "_was_empty",
        "budget",
        "faults",
        "leaves",
        "limits",
        "pick",
        "policy",
        "ramp",
        "state",
        "weights",
    )

    def __init__(self, state: SplitState, leaves: Sequence[Leaf], rng: random.Random, now_s: float) -> None:
        self.state = state
        self.ramp = state.ramp
        self.leaves = tuple(leaves)
        # In force once no ramp is under way; zero where a leaf is skipped because it has no ready endpoint.
        self.weights = _effective(self.micro(), leaves, state)
        self.pick: Callable[[], int] | None = None
        self._rng = rng
        self._plain: Callable[[], int] | None = None
        self._ramp: RampPicker | None = None
        self._sticky: StickyTable | None = None
        self._sticky_step = -1
        self._was_empty = self.empty()
        self.policy = Policy(state.policy) if state.policy is not None else None
        self.budget = RetryBudget(now_s)
        self.faults = Faults(state.fault, rng) if state.fault is not None else None
        self.limits: RouteLimits | None = None  # of the requests of its route; set by the table

    def start(self, previous: "Split | None", unix_s: float) -> None:
        """Takes over what the previous split of this name was doing, as far as the weights are the same."""
        if previous is not None:
            self.budget = previous.budget
        if previous is not None and previous.leaf_names() == self.leaf_names():
            is_same_ramp = previous.micro() == self.micro() and _is_same_ramp(previous.ramp, self.ramp)
            if is_same_ramp:
                self.ramp = previous.ramp  # the new state may not know where it began
            if previous.weights == self.weights:
                self._plain = previous._plain
                # A leaf on its way to 0 may have become empty, which the weights at the end do not show.
                self._ramp = previous._ramp if is_same_ramp and previous.empty() == self.empty() else None
        if self._ramp is None:
            self._ramp = self._new_ramp(unix_s)
        if self._ramp is None:
            self._pick_plainly()

    def leaf_names(self) -> list[str]:
        return [leaf.name for leaf in self.leaves]

    def micro(self) -> list[int]:
        """The weights as the state has them, empty leaves or not."""
        return [w.micro for w in self.state.weights]

    def empty(self) -> list[bool]:
        return [leaf.balancer is None for leaf in self.leaves]

    def choose(self, head: RequestHead, client_ip: str, unix_s: float) -> Leaf:
        """The leaf of a request whose split is sticky, on the way to new weights, or without any ready leaf."""
        if self._ramp is not None and self._ramp.is_over(unix_s):
            self._ramp = None
            self._pick_plainly()
        if self._ramp is None and not any(self.weights):
            raise NoBackend("no leaf with a weight has a ready endpoint")
        key = sticky_key(self.state.sticky, head, client_ip) if self.state.sticky else None
        if key is not None:
            return self.leaves[self._sticky_table(unix_s).pick(key)]
        return self.leaves[self._ramp.pick(unix_s) if self._ramp else self._picker()()]

    def other(self, tried: Collection[Leaf]) -> Leaf | None:
        """Another leaf for a request whose leaf failed, by weight, or the next in order where that is what counts; no
        pick is taken out of the sequence for it."""
        pairs = zip(self.leaves, self._shares(), strict=True)
        rest = [(leaf, w) for leaf, w in pairs if w and leaf.balancer is not None and leaf not in tried]
        if not rest:
            return None
        if self.state.is_failover:
            return rest[0][0]
        return self._rng.choices([leaf for leaf, _ in rest], [w for _, w in rest])[0]

    def has_other(self, leaf: Leaf) -> bool:
        """Whether requests have somewhere to go without this leaf; the share of a strict one goes nowhere."""
        if self.state.strict_empty_leaf:
            return False
        pairs = zip(self.leaves, self._shares(), strict=True)
        return any(w and other.balancer is not None and other.backend is not leaf.backend for other, w in pairs)

    def _shares(self) -> list[int]:
        """Above 0 for who takes part, in its turn."""
        return self.micro() if self.state.is_failover else self.weights

    def reweigh(self) -> None:
        """An endpoint was left out for its failures or is back: a leaf may be empty by it, or so no more."""
        empty = self.empty()
        if empty == self._was_empty:
            return
        self._was_empty = empty
        self.weights = _effective(self.micro(), self.leaves, self.state)
        self.pick, self._plain, self._sticky = None, None, None
        self._ramp = self._new_ramp(0.0)  # whether it is over, `choose` finds out with the next request
        if self._ramp is None:
            self._pick_plainly()

    def rescue(self) -> None:
        """In a new table all that is ready may be out for its failures: then it is taken back, rather than refuse."""
        if any(weight and leaf.balancer is not None for leaf, weight in zip(self.leaves, self.weights, strict=True)):
            return
        for leaf, micro in zip(self.leaves, self.micro(), strict=True):
            if micro and (leaf.backend.out or leaf.backend.sick):
                leaf.backend.take_all_back()

    def _pick_plainly(self) -> None:
        if self.state.sticky is None and any(self.weights):
            self.pick = self._picker()

    def _picker(self) -> Callable[[], int]:
        if self._plain is None:
            self._plain = selector.build(self.weights, self._rng)
        return self._plain

    def _new_ramp(self, unix_s: float) -> RampPicker | None:
        ramp = self.ramp
        if ramp is None or not ramp.from_micro or unix_s * 1000 >= ramp.start_unix_ms + ramp.duration_ms:
            return None
        start = _effective(ramp.from_micro, self.leaves, self.state)
        if not any(start):
            return None
        # Where all that the ramp leads to is empty, those it comes from have the whole until it is over.
        end = self.weights if any(self.weights) else start
        return RampPicker(start, end, ramp.start_unix_ms / 1000, ramp.duration_ms / 1000, self._rng)

    def _sticky_table(self, unix_s: float) -> StickyTable:
        """Laid out anew at each of STICKY_RAMP_STEPS steps of a ramp; once, where there is none."""
        step = int(unix_s * 1000 / self._ramp_step_ms()) if self._ramp else 0
        if self._sticky is None or step != self._sticky_step:
            shares = self._ramp.weights_at(unix_s) if self._ramp else None
            weights = [round(share * 1_000_000) for share in shares] if shares else self.weights
            self._sticky, self._sticky_step = StickyTable(weights, self.state.apex.encode()), step
        return self._sticky

    def _ramp_step_ms(self) -> float:
        return max(1.0, self.ramp.duration_ms / STICKY_RAMP_STEPS) if self.ramp else 1.0


def _effective(weights: Sequence[int], leaves: Sequence[Leaf], state: SplitState) -> list[int]:
    """A leaf without a ready endpoint is skipped and its share goes to the others in proportion, unless strict; a share
    that is answered with a status stays. Of a failover split the first that is ready has all."""
    if state.strict_empty_leaf:
        return list(weights)
    if state.is_failover:
        first = next((i for i, w in enumerate(weights) if w and leaves[i].balancer is not None), None)
        return [int(i == first) for i in range(len(weights))]
    return [w if leaf.balancer is not None or leaf.status else 0 for w, leaf in zip(weights, leaves, strict=True)]


def _is_same_ramp(old: RampState | None, new: RampState | None) -> bool:
    """Also where the service was restarted and no longer knows where the ramp began: it goes on."""
    if old is None or new is None:
        return old is new
    return old == new or (not new.from_micro and old.duration_ms == new.duration_ms)
