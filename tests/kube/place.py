"""What the conformance suite works on: a custom kind of several versions, and a namespace for each test."""

import uuid
from collections.abc import Callable

from tests.kube.errors import Object
from tests.kube.wire import Wire

GROUP = "conformance.milliroute.io"
CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/splits.{GROUP}"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object", "required": ["service"],
            "properties": {
                "service": {"type": "string"}, "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                "weight": {"type": "integer", "minimum": 0},
                "backends": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object", "required": ["name"],
                        "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}},
                    },
                },
            },
        },
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    },
}  # fmt: skip
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": f"splits.{GROUP}"},
    "spec": {
        "group": GROUP, "scope": "Namespaced", "names": {"plural": "splits", "singular": "split", "kind": "Split"},
        "versions": [
            {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": SCHEMA},
             "subresources": {"status": {}}}
            for name in ("v1", "v1beta1")
        ],
    },
}  # fmt: skip


def define(wire: Wire) -> None:
    assert wire.ask("POST", CRD.rpartition("/")[0], DEFINITION).status == 201
    for event in wire.watch(CRD.rpartition("/")[0], fieldSelector=f"metadata.name=splits.{GROUP}", timeoutSeconds=20):
        conditions = event["object"].get("status", {}).get("conditions", [])
        if any((found["type"], found["status"]) == ("Established", "True") for found in conditions):
            break
    _until(lambda: wire.ask("GET", f"/apis/{GROUP}/v1/splits").status == 200)


def _until(is_so: Callable[[], bool]) -> None:
    """The real server serves a kind a moment after it is established."""
    assert any(is_so() for _ in range(500))


class Place:
    """A namespace of one test."""

    def __init__(self, wire: Wire) -> None:
        self.name = f"t-{uuid.uuid4().hex[:8]}"
        self.ask, self.watch = wire.ask, wire.watch
        assert wire.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}}).status == 201
        self.maps = f"/api/v1/namespaces/{self.name}/configmaps"
        self.services = f"/api/v1/namespaces/{self.name}/services"
        self.leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.name}/leases"
        self.splits = f"/apis/{GROUP}/v1/namespaces/{self.name}/splits"

    def make(self, path: str, value: Object, status: int = 201) -> Object:
        answer = self.ask("POST", path, value)
        assert answer.status == status, answer.body
        found: Object = answer.body
        return found


def config(name: str, **data: str) -> Object:
    return {"metadata": {"name": name, "labels": {"app": name}}, "data": data}


def split(name: str, **spec: object) -> Object:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Split", "metadata": {"name": name}, "spec": {"service": "s", **spec}}


def version(value: Object) -> str:
    found: str = value["metadata"]["resourceVersion"]
    return found
