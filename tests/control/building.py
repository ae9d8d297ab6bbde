"""Objects for tests in few words: YAML texts to Objects, and splits and Services by hand."""

from milliroute.control.model import (
    EndpointSlice,
    Leaf,
    Objects,
    Origin,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
    TrafficSplit,
)
from milliroute.control.quantity import parse
from milliroute.control.source.merge import FileState, merge
from milliroute.control.source.reading import parsed

SPLIT = """\
apiVersion: split.smi-specs.io/v1alpha2
kind: TrafficSplit
metadata:
  name: reviews
spec:
  service: reviews
  backends:
  - service: reviews-v1
    weight: 900m
  - service: reviews-v2
    weight: 100m
"""


def errors(text: str) -> tuple[str, ...]:
    """What is wrong with a file of this content, named f.yaml."""
    return parsed(text.encode(), "f.yaml")[1]


def objects(text: str) -> Objects:
    """A file of this content; it must be right."""
    found, wrong = parsed(text.encode(), "f.yaml")
    assert wrong == ()
    return merge([FileState("f.yaml", found)])


def split(
    weights: dict[str, str], *, name: str = "reviews", apex: str = "reviews", created: float = 0.0, ramp_ms: int = 0
) -> TrafficSplit:
    """`weights` are quantities by leaf."""
    leaves = tuple(Leaf(leaf, parse(weight), weight) for leaf, weight in weights.items())
    return TrafficSplit("default", name, apex, leaves, created=created, ramp_ms=ramp_ms, origin=Origin("f.yaml", 1, 1))


def service(name: str, *ports: int) -> Service:
    """With the ports 80 and none else unless told otherwise."""
    return Service("default", name, tuple(ServicePort(port) for port in ports or (80,)))


def slice_of(name: str, *addresses: str, port: int = 8080) -> EndpointSlice:
    endpoints = tuple(SliceEndpoint((address,)) for address in addresses)
    return EndpointSlice("default", f"{name}-1", name, ports=(SlicePort(port),), endpoints=endpoints)


def world(*splits: TrafficSplit, names: tuple[str, ...] = ("reviews", "reviews-v1", "reviews-v2")) -> Objects:
    """Services with one endpoint each, and these splits."""
    services = tuple(service(name) for name in names)
    slices = tuple(slice_of(name, f"10.0.0.{number}") for number, name in enumerate(names))
    return Objects(splits=splits, services=services, slices=slices)
