"""Picks while the weights move: from the shares in force at the start, linearly, to those of the end.

Each pick adds to every leaf's credit the leaf's share at that moment and takes 1 off the leaf with the most, so that
however the requests arrive, each leaf's picks follow the integral of its share: they stay within 2 of it. Measured, not
proved: the furthest that hill climbing over weights, arrival times and seeds could drive a leaf was 1.00 with 2 leaves,
1.46 with 4, 1.68 with 8 and 1.71 with 12. Earliest predicted deadline was tried too and came out no better (from a
start at nought 1.0 against 0.5 for 2 leaves, 1.2 against 1.3 for 8).

A RampPicker is for the duration of the ramp; when `is_over`, its owner puts an ordinary, ten times cheaper picker in
its place.
"""

import random
from collections.abc import Sequence

# Picks. A ramp starts as if up to this many had been made at the start shares, uniformly, so that a fleet told of a
# ramp at one moment does not herd: a leaf's probability at the first pick is then right to within 1.3 / 1024 = 0.13
# points. Costs up to 1 ms, once per ramp.
_PHASES = 1024


class RampPicker:
    """Picks indices by weights that move from `start_weights` to `end_weights` over `duration_s` from `start_s` on.

    Both are relative, each to its own sum: it is the shares that move linearly. Any clock will do, if `start_s` and
    every `now` are of the same one; it need not be monotonic. Raises ValueError when the two differ in length, a
    weight is negative, either has none above 0, or the duration is negative.
    """

    __slots__ = ("_credits", "_duration_s", "_shifts", "_start_s", "_starts")

    def __init__(
        self,
        start_weights: Sequence[int],
        end_weights: Sequence[int],
        start_s: float,
        duration_s: float,
        rng: random.Random,
    ) -> None:
        if len(start_weights) != len(end_weights):
            raise ValueError(f"a ramp from {len(start_weights)} weights to {len(end_weights)}: want as many")
        if duration_s < 0:
            raise ValueError(f"a ramp over {duration_s} s: want at least 0")
        self._start_s = start_s
        self._duration_s = duration_s
        self._starts = _shares(start_weights)
        self._shifts = [end - start for start, end in zip(self._starts, _shares(end_weights), strict=True)]
        self._credits = [0.0] * len(self._starts)
        for _ in range(rng.randrange(_PHASES)):
            self._pick_at(0.0)

    def pick(self, now: float) -> int:
        """The index for a request at `now` (seconds); one whose share is 0 at that moment is never picked."""
        return self._pick_at(self._position(now))

    def weights_at(self, now: float) -> list[float]:
        """The shares in force at `now`; they add up to 1."""
        position = self._position(now)
        return [start + shift * position for start, shift in zip(self._starts, self._shifts, strict=True)]

    def is_over(self, now: float) -> bool:
        return now >= self._start_s + self._duration_s

    def _position(self, now: float) -> float:
        if now >= self._start_s + self._duration_s:
            return 1.0
        return max(0.0, (now - self._start_s) / self._duration_s)

    def _pick_at(self, position: float) -> int:
        credits = self._credits
        picked, most = 0, -float("inf")
        for leaf, start in enumerate(self._starts):
            share = start + self._shifts[leaf] * position
            if share > 0.0:
                credits[leaf] = credit = credits[leaf] + share
                if credit > most:
                    picked, most = leaf, credit
        credits[picked] -= 1.0
        return picked


def _shares(weights: Sequence[int]) -> list[float]:
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError(f"weights {list(weights)}: want integers of at least 0, one of them above 0")
    return [weight / total for weight in weights]
