"""milliroute.io/failover: from the annotation to what a proxy is told."""

from dataclasses import replace

import pytest

from milliroute.control import snapshot
from milliroute.control.api import destination_pb2 as pb
from milliroute.control.encoding import _split as encoded
from milliroute.proxy.agent.destination import _split as decoded

from .building import SPLIT, errors, objects, split, world

PLAIN = split({"reviews-v1": "1", "reviews-v2": "1"})


def with_annotations(text: str) -> str:
    return SPLIT.replace("  name: reviews\n", f"  name: reviews\n  annotations: {{{text}}}\n")


@pytest.mark.parametrize(("text", "is_failover"), [("'true'", True), ("'false'", False), ("true", True)])
def test_the_annotation_makes_a_split_a_failover(text: str, is_failover: bool) -> None:
    assert objects(with_annotations(f"milliroute.io/failover: {text}")).splits[0].is_failover is is_failover


@pytest.mark.parametrize("text", ["'yes'", "primary", "''"])
def test_any_other_value_is_an_error_at_its_position(text: str) -> None:
    (error,) = errors(with_annotations(f"milliroute.io/failover: {text}"))
    assert error.startswith("f.yaml:5:")


@pytest.mark.parametrize("other", ["milliroute.io/ramp: 1m", "milliroute.io/empty-leaf: strict"])
def test_what_contradicts_it_is_an_error(other: str) -> None:
    (error,) = errors(with_annotations(f"milliroute.io/failover: 'true', {other}"))
    assert other.partition(":")[0] in error


@pytest.mark.parametrize("is_failover", [True, False])
def test_a_proxy_is_told_with_the_leaves_in_their_order(is_failover: bool) -> None:
    view = snapshot.build(world(replace(PLAIN, is_failover=is_failover)), None, 0).view("reviews.default")
    assert view is not None
    wire = encoded(view.routes[0].split).SerializeToString()
    state = decoded(pb.Split.FromString(wire), len(view.backends))
    assert state.is_failover is is_failover
    assert [view.backends[weight.backend].name for weight in state.weights] == ["reviews-v1", "reviews-v2"]
