"""Ramps: from which weights the weights of a split move, and since when.

In: a split, the one that it replaces with its ramp, and now. Out: the ramp. Weights are relative, so the starting
point is always scaled to the total of the target: then a straight line between the two is a straight line in every
leaf's share. Integers only; a rounding error is at most one micro-unit per leaf.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from milliroute.control import names
from milliroute.control.model import TrafficSplit

Weights = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ramp:
    """`start` maps leaf keys to micro-units, summing up to the split's own total; empty when nothing moves any more, or
    the service does not know (it was restarted)."""

    start: Weights
    start_unix_ms: int
    duration_ms: int


def weights(split: TrafficSplit) -> dict[str, int]:
    """Leaf keys to micro-units."""
    return {names.canonical(leaf.service, split.namespace): leaf.weight_micro for leaf in split.backends}


def follow(
    split: TrafficSplit,
    before: tuple[TrafficSplit, Ramp | None] | None,
    is_known: Callable[[str], bool],
    now_unix_ms: int,
) -> Ramp | None:
    """The ramp of `split` now that it replaces `before`; None when the split has no ramp.

    A leaf that is gone from the split runs out along the ramp as long as `is_known` says that its Service exists.
    """
    if not split.ramp_ms:
        return None
    rest = Ramp({}, 0, split.ramp_ms)
    if before is None:
        return rest
    old, running = before
    target = weights(split)
    if _shares_equal(weights(old), target):
        return _kept(running, target, now_unix_ms) or rest
    current = in_force(weights(old), running, now_unix_ms)
    start = scaled({leaf: w for leaf, w in current.items() if leaf in target or is_known(leaf)}, sum(target.values()))
    return Ramp(start, now_unix_ms, split.ramp_ms) if start else rest


def in_force(target: Weights, ramp: Ramp | None, now_unix_ms: int) -> dict[str, int]:
    """The weights at a moment, on any scale; a clock that went back counts as the ramp's start."""
    if ramp is None or not ramp.start:
        return dict(target)
    elapsed = min(max(now_unix_ms - ramp.start_unix_ms, 0), ramp.duration_ms)
    left = ramp.duration_ms - elapsed
    return {leaf: ramp.start.get(leaf, 0) * left + target.get(leaf, 0) * elapsed for leaf in {**target, **ramp.start}}


def scaled(vector: Weights, total: int) -> dict[str, int]:
    """The vector in the same proportions with this sum (largest remainders); without zeros, {} when all are zero."""
    whole = sum(vector.values())
    if not whole or not total:
        return {}
    found = {leaf: weight * total // whole for leaf, weight in vector.items()}
    by_remainder = sorted(vector, key=lambda leaf: -(vector[leaf] * total % whole))
    for leaf in by_remainder[: total - sum(found.values())]:
        found[leaf] += 1
    return {leaf: weight for leaf, weight in found.items() if weight}


def _kept(running: Ramp | None, target: Weights, now_unix_ms: int) -> Ramp | None:
    """The ramp that goes on because the shares did not change; None when there is none or it has ended."""
    if running is None or now_unix_ms >= running.start_unix_ms + running.duration_ms:
        return None
    if sum(running.start.values()) == sum(target.values()):
        return running
    return Ramp(scaled(running.start, sum(target.values())), running.start_unix_ms, running.duration_ms)


def _shares_equal(one: Weights, other: Weights) -> bool:
    total, other_total = sum(one.values()), sum(other.values())
    return all(one.get(leaf, 0) * other_total == other.get(leaf, 0) * total for leaf in {**one, **other}) and (
        bool(total) == bool(other_total)
    )
