"""The same client, the same leaf: a keyed hash of the client onto a circle that the weights divide.

In: a split's weights, a salt and a client's key (a header's or cookie's value, an address). Out: the index of its leaf.
The table holds no state: every proxy with the same weights and salt sends a client to the same leaf, across restarts.

The rule: leaf 0 is the stable one, the others are canaries. Raising a canary against the stable leaf moves clients
stable -> canary only, lowering it canary -> stable only. It holds without exception for up to two canaries, and for any
number while each has at most 1 / (their number) of the circle. More is impossible for any table without memory: canary
j's clients would have to depend on j's weight alone, every canary's would have to be what remains of every other's, and
so two canaries' would be the same. Past that point as few further clients move as the fixed order below allows.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

# Points of the circle: the values of an 8-byte digest.
CIRCLE = 1 << 64

# Start, end and leaf of one arc; the end is not part of it.
Arc = tuple[int, int, int]


class StickyTable:
    """Leaf by key. The shares of the circle are the weights' to within one of 2**64 points per leaf.

    `salt` decides which clients are the first to move; give each apex its own, or the same clients are everyone's
    canaries. Raises ValueError when a weight is negative or none is above 0.
    """

    __slots__ = ("_hash", "_leaves", "_starts")

    def __init__(self, weights: Sequence[int], salt: bytes) -> None:
        laid_out = arcs(weights)
        self._starts = [start for start, _, _ in laid_out]
        self._leaves = [leaf for _, _, leaf in laid_out]
        # BLAKE2's key is at most 64 bytes, a salt may be any length.
        self._hash = hashlib.blake2b(digest_size=8, key=hashlib.blake2b(salt, digest_size=32).digest())

    def pick(self, key: bytes) -> int:
        """The index of the leaf that `key` belongs to; one of weight 0 is never picked."""
        # A copy of the keyed state saves hashing the key's block for every client.
        keyed = self._hash.copy()
        keyed.update(key)
        return self._leaves[bisect_right(self._starts, int.from_bytes(keyed.digest(), "big")) - 1]


def arcs(weights: Sequence[int]) -> list[Arc]:
    """The circle laid out: arcs in order, without gaps, from 0 to CIRCLE.

    Canary j starts at the fixed place (j - 1) / canaries and grows to the right, as far as the next one's place. What
    exceeds that grows to the left from the ends of the following canaries' segments, in their order. The stable leaf
    has what remains.
    """
    lengths = _lengths(weights)
    segments = max(len(lengths), 1)
    places = [CIRCLE * segment // segments for segment in range(segments + 1)]
    free = [[place, end] for place, end in pairwise(places)]
    laid_out: list[Arc] = []
    for segment, length in enumerate(lengths):
        free[segment][0] += min(length, places[segment + 1] - places[segment])
        laid_out.append((places[segment], free[segment][0], segment + 1))
    for canary, length in enumerate(lengths, 1):
        excess = max(0, length - (places[canary] - places[canary - 1]))
        for segment in (*range(canary, segments), *range(canary - 1)):
            start, end = free[segment]
            free[segment][1] = max(start, end - excess)
            laid_out.append((free[segment][1], end, canary))
            excess -= end - free[segment][1]
    laid_out += [(start, end, 0) for start, end in free]
    return sorted(arc for arc in laid_out if arc[0] < arc[1])


def _lengths(weights: Sequence[int]) -> list[int]:
    """Points of the circle for each canary."""
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError(f"weights {list(weights)}: want integers of at least 0, one of them above 0")
    lengths = [weight * CIRCLE // total for weight in weights[1:]]
    if weights[0] == 0:
        # Without a stable leaf nobody else takes the points lost to rounding.
        lengths[next(canary for canary, length in enumerate(lengths) if length)] += CIRCLE - sum(lengths)
    return lengths


def cookie_value(header_value: bytes, name: bytes) -> bytes | None:
    """The value of the first cookie called `name` (case matters) in a Cookie field, or None.

    RFC 6265 section 4.2, read tolerantly: any or no white space around pairs, empty pairs, pairs without "=" (skipped).
    Double quotes around a value are not part of it. The value may be empty.
    """
    if name not in header_value:
        return None
    for pair in header_value.split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            return _unquoted(value.strip(b" \t"))
    return None


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == 0x22 else value
