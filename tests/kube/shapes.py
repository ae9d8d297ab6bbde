"""Which lists are maps by key: the question of strategic merges and of server-side apply.

In: the path of a list and the schema of its kind; out: the names of the fields that make an item's key, or nothing when
the list is one value.
"""

from collections.abc import Callable
from typing import Any

from tests.kube.errors import Object
from tests.kube.kinds import Kind

Path = tuple[str, ...]
# The keys of the list at a path of field names (list items leave no trace in it); () is atomic.
Keys = Callable[[Path], tuple[str, ...]]

# Of built-in kinds, by the field's name: each means one thing in all the kinds that are served here.
_SERVER_SIDE = {
    "containers": ("name",), "initContainers": ("name",), "volumes": ("name",), "env": ("name",),
    "volumeMounts": ("mountPath",), "imagePullSecrets": ("name",), "conditions": ("type",),
    "ownerReferences": ("uid",), "webhooks": ("name",), "topologySpreadConstraints": ("topologyKey",),
}  # fmt: skip
_PORTS = {"Service": ("port", "protocol"), "EndpointSlice": (), "Endpoints": ()}


def keys_of(kind: Kind, strategic: bool = False) -> Keys:
    """strategic: a strategic merge knows one key per list, and ports of a Service by their number alone."""
    if kind.custom:
        return lambda path: () if strategic else _by_schema(kind.schema or {}, path)

    def find(path: Path) -> tuple[str, ...]:
        if path[-1] == "ports":
            keys = _PORTS.get(kind.name, ("containerPort", "protocol"))
            return keys[:1] if strategic else keys
        if path == ("metadata", "finalizers"):
            return SET
        return _SERVER_SIDE.get(path[-1], ())

    return find


# What a key field is when an item does not say.
KEY_DEFAULTS = {"protocol": "TCP"}
# A list whose items are their own keys.
SET = ("=",)


def _by_schema(schema: Object, path: Path) -> tuple[str, ...]:
    if path == ("metadata", "finalizers"):
        return SET
    if path == ("metadata", "ownerReferences"):
        return ("uid",)
    found: Any = schema
    for name in path:
        while "items" in found:
            found = found["items"]
        found = (found.get("properties") or {}).get(name) or found.get("additionalProperties") or {}
        if not isinstance(found, dict):
            return ()
    if found.get("x-kubernetes-list-type") == "set":
        return SET
    return tuple(found.get("x-kubernetes-list-map-keys") or ())
