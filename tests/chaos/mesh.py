"""The files that a stage's control service reads: the split, the leaves' Services and their endpoints."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.e2e.stand import TUTORIAL

APEX = "reviews"
V1, V2 = "reviews-v1", "reviews-v2"
# What the owner of a Service writes who wants failures tried again and bad endpoints left out.
SAFE = {
    "retry.linkerd.io/http": "5xx",
    "retry.linkerd.io/limit": "3",
    "retry.linkerd.io/timeout": "1s",
    "balancer.linkerd.io/failure-accrual": "consecutive",
    "balancer.linkerd.io/failure-accrual-consecutive-max-failures": "3",
}
_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec:
  ports: [{{port: 80}}]
---
"""
_SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{port}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{port: {port}}}]
---
"""


def replace(path: Path, text: str) -> None:
    """In one step, as editors and `kubectl` users do."""
    fresh = path.with_name("." + path.name)
    fresh.write_text(text)
    fresh.replace(path)


def write_split(folder: Path, v1: str = "900m", v2: str = "100m", **annotations: str) -> Path:
    text = TUTORIAL.format(v1=v1, v2=v2)
    if annotations:
        lines = "".join(f"    milliroute.io/{name}: {value}\n" for name, value in annotations.items())
        text = text.replace("  name: reviews\n", f"  name: reviews\n  annotations:\n{lines}", 1)
    path = folder / "split.yaml"
    replace(path, text)
    return path


def services(names: Sequence[str], annotations: Mapping[str, str] = MappingProxyType({})) -> str:
    told = ", ".join(f"{name}: {value!r}" for name, value in annotations.items())
    return "".join(_SERVICE.format(name=name, annotations=told) for name in names)


def write_services(folder: Path, annotations: Mapping[str, str]) -> None:
    replace(folder / "services.yaml", services((APEX, V1, V2), annotations))


def endpoint_slices(ports: Mapping[str, Sequence[int]]) -> str:
    """ports: of each leaf."""
    return "".join(_SLICE.format(name=name, port=port) for name, of_leaf in ports.items() for port in of_leaf)


def write_endpoints(folder: Path, ports: Mapping[str, Sequence[int]]) -> None:
    replace(folder / "endpoints.yaml", endpoint_slices(ports) or "---\n")


def replace_with_time(path: Path, text: str, unix_s: int) -> None:
    """The same, with a time of last change of long ago."""
    fresh = path.with_name("." + path.name)
    fresh.write_text(text)
    os.utime(fresh, (unix_s, unix_s))
    fresh.replace(path)
