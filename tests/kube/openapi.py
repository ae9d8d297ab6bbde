"""The OpenAPI documents: as little of them as makes kubectl leave the checking of fields to the server."""

from tests.kube.discovery import VERSION
from tests.kube.errors import Object, no_such_path
from tests.kube.kinds import Kind, Kinds


def index(kinds: Kinds) -> Object:
    """The index: where the document of each group and version is."""
    names = {_place(kind.group, kind.version) for kind in kinds}
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=0"} for name in sorted(names)}}


def _place(name: str, version: str) -> str:
    return f"apis/{name}/{version}" if name else f"api/{version}"


def document(kinds: Kinds, place: str) -> Object:
    """Just enough for kubectl to see that the server checks fields itself."""
    found = [kind for kind in kinds if _place(kind.group, kind.version) == place]
    if not found:
        raise no_such_path()
    return {
        "openapi": "3.0.0", "info": {"title": "stand-in", "version": "v1.32.0"},
        "paths": {_path(kind): {"patch": _patch(kind)} for kind in found}, "components": {"schemas": {}},
    }  # fmt: skip


def _path(kind: Kind) -> str:
    namespace = "namespaces/{namespace}/" if kind.namespaced else ""
    return f"/{_place(kind.group, kind.version)}/{namespace}{kind.plural}/{{name}}"


def _patch(kind: Kind) -> Object:
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    types = ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
    types += [] if kind.custom else ["application/strategic-merge-patch+json"]
    return {
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        "requestBody": {"content": {name: {"schema": {"type": "object"}} for name in types}},
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.name, "version": kind.version},
    }


def version_2() -> Object:
    info = {"title": "stand-in", "version": VERSION["gitVersion"]}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}
