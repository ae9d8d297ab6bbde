"""Sticky splits: exact shares of the circle, and no client moves that need not."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.proxy.routing.sticky import CIRCLE, Arc, StickyTable, arcs, cookie_value

fixed = settings(derandomize=True, deadline=None, max_examples=200)
any_weights = st.lists(st.one_of(st.integers(0, 10), st.integers(0, 10**9)), min_size=1, max_size=8).filter(any)
share = st.integers(0, 1000)


def moves(before: Sequence[Arc], after: Sequence[Arc]) -> set[tuple[int, int]]:
    """Which leaf loses points of the circle to which; a point or two of rounding is not counted."""
    found = set()
    for start, end, leaf in before:
        for new_start, new_end, new_leaf in after:
            if leaf != new_leaf and min(end, new_end) - max(start, new_start) > 2:
                found.add((leaf, new_leaf))
    return found


def points(laid_out: Sequence[Arc]) -> Counter[int]:
    total: Counter[int] = Counter()
    for start, end, leaf in laid_out:
        total[leaf] += end - start
    return total


@fixed
@given(any_weights)
def test_arcs_cover_the_circle_once_and_in_order(weights: list[int]) -> None:
    laid_out = arcs(weights)
    assert [laid_out[0][0], *(end for _, end, _ in laid_out)] == [*(start for start, _, _ in laid_out), CIRCLE]


@fixed
@given(any_weights)
def test_shares_of_the_circle_are_exact_to_a_point_per_leaf(weights: list[int]) -> None:
    held = points(arcs(weights))
    for leaf, weight in enumerate(weights):
        assert abs(held[leaf] - weight * CIRCLE // sum(weights)) <= len(weights)
        assert weight or not held[leaf]


@fixed
@given(share, share)
def test_raising_one_canary_moves_clients_from_stable_to_it_and_lowering_moves_them_back(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert moves(arcs([1000 - low, low]), arcs([1000 - high, high])) <= {(0, 1)}
    assert moves(arcs([1000 - high, high]), arcs([1000 - low, low])) <= {(1, 0)}


@fixed
@given(share, share, share)
def test_of_two_canaries_one_moves_without_the_other_at_any_shares(a: int, b: int, c: int) -> None:
    low, high = sorted((a, b))
    other = c * (1000 - high) // 1000
    for changed, kept in ((1, 2), (2, 1)):
        weights = {changed: low, kept: other, 0: 1000 - low - other}
        raised = {changed: high, kept: other, 0: 1000 - high - other}
        before, after = (arcs([w[leaf] for leaf in range(3)]) for w in (weights, raised))
        assert moves(before, after) <= {(0, changed)}
        assert moves(after, before) <= {(changed, 0)}


@fixed
@given(st.lists(st.integers(0, 1000), min_size=3, max_size=7), st.integers(0, 1000), st.data())
def test_of_many_canaries_one_moves_without_the_others_inside_its_segment(
    canaries: list[int], raised: int, data: st.DataObject
) -> None:
    whole = 1000 * len(canaries)
    changed = data.draw(st.integers(0, len(canaries) - 1))
    after = [*canaries]
    after[changed] = max(raised, canaries[changed])
    laid_out = [arcs([whole - sum(weights), *weights]) for weights in (canaries, after)]
    assert moves(*laid_out) <= {(0, changed + 1)}


def test_weight_zero_is_never_picked_and_no_stable_leaf_leaves_no_gap() -> None:
    table = StickyTable([0, 1, 0, 2], b"salt")
    assert {table.pick(b"%d" % client) for client in range(2_000)} == {1, 3}


def test_clients_fall_to_leaves_by_weight() -> None:
    table = StickyTable([700_000, 200_000, 100_000], b"default/reviews")
    counts = Counter(table.pick(b"user-%d" % client) for client in range(10_000))
    assert all(abs(counts[leaf] - mean) < 4 * mean**0.5 for leaf, mean in enumerate((7_000, 2_000, 1_000)))


def test_client_keeps_its_leaf_in_every_process() -> None:
    clients = [b"alice", b"bob", b"", b"10.0.0.1", b"\xff" * 300]
    tables = [StickyTable([1, 1], b"default/reviews") for _ in range(2)]
    assert [[table.pick(client) for client in clients] for table in tables] == [[1, 1, 0, 1, 0]] * 2


def test_salt_decides_who_moves_first() -> None:
    rng = random.Random(1)
    clients = [rng.randbytes(8) for _ in range(4_000)]
    one, other = (StickyTable([9, 1], salt) for salt in (b"a" * 100, b"b"))
    both = sum(one.pick(client) == other.pick(client) == 1 for client in clients)
    assert both < 80  # 40 by chance, 400 were the salt without effect


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [-1, 2], [3, -1]])
def test_weights_that_are_negative_or_all_zero_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        StickyTable(weights, b"salt")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"id=1", b"1"),
        (b"a=0; id=1; b=2", b"1"),
        (b"a=0;id=1", b"1"),
        (b"a=0 ;\t id = 1 ", b"1"),
        (b'id="quoted"; b=2', b"quoted"),
        (b'id="', b'"'),
        (b"id=a=b==", b"a=b=="),
        (b"id=first; id=second", b"first"),
        (b"id=; b=2", b""),
        (b";; id=1;;", b"1"),
        (b"id; id=1", b"1"),
        (b"xid=1; id2=2; ID=3", None),
        (b"a=id", None),
        (b"a=0; b", None),
        (b"", None),
    ],
)
def test_cookie_is_found_by_its_exact_name(header: bytes, value: bytes | None) -> None:
    assert cookie_value(header, b"id") == value


@fixed
@given(st.binary(max_size=40).filter(lambda noise: b"id" not in noise), st.binary(max_size=40))
def test_any_bytes_are_a_cookie_field(before: bytes, after: bytes) -> None:
    assert cookie_value(before + b";id=1;" + after, b"id") == b"1"
