"""Who owns which field: values as leaves by path, sets of paths as fieldsV1, and what a plain write does to them.

A path is a tuple of fieldsV1 words: "f:name" a field, 'k:{"name":"x"}' a list item by key, "v:1" an item of a set, "."
the item. Leaves only: the ownership of a bare map is not tracked, unlike in the real server.
"""

import json
from typing import Any

from tests.kube.errors import Object
from tests.kube.kinds import Kind
from tests.kube.shapes import KEY_DEFAULTS, SET, Keys, Path, keys_of

Leaves = dict[Path, Any]
Paths = set[Path]

_UNOWNED = {
    "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
}  # fmt: skip


def leaves(kind: Kind, value: Object) -> Leaves:
    """Every ownable field with its value."""
    found: Leaves = {}
    body = {name: item for name, item in value.items() if name not in ("apiVersion", "kind")}
    body["metadata"] = {name: item for name, item in value["metadata"].items() if name not in _UNOWNED}
    for name, item in body.items():
        if name != "metadata" or item:
            _walk(item, (name,), (f"f:{name}",), keys_of(kind), found)
    return found


def _walk(value: Any, names: Path, path: Path, keys: Keys, found: Leaves) -> None:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            _walk(item, (*names, name), (*path, f"f:{name}"), keys, found)
    elif isinstance(value, list) and (by := keys(names)):
        for item in value:
            below = (*path, word_of(item, by))
            found[(*below, ".")] = True
            if isinstance(item, dict):
                for name, inner in item.items():
                    _walk(inner, (*names, name), (*below, f"f:{name}"), keys, found)
    else:
        found[path] = value


def word_of(item: Any, by: tuple[str, ...]) -> str:
    """The fieldsV1 word of a list item."""
    if by == SET:
        return f"v:{json.dumps(item)}"
    key = {name: item.get(name, KEY_DEFAULTS.get(name)) for name in by}
    return "k:" + json.dumps(
        {name: value for name, value in sorted(key.items()) if value is not None}, separators=(",", ":")
    )


def nested(paths: Paths) -> Object:
    """As fieldsV1 writes a set."""
    found: Object = {}
    for path in sorted(paths):
        place = found
        for word in path:
            place = place.setdefault(word, {})
    return found


def flat(fields_v1: Object, path: Path = ()) -> Paths:
    """The paths of a fieldsV1."""
    found: Paths = set()
    for word, below in fields_v1.items():
        found |= flat(below, (*path, word)) if below else {(*path, word)}
    return found


def entry(kind: Kind, paths: Paths, manager: str, operation: str, subresource: str, now: str) -> Object:
    """One item of managedFields."""
    return {
        "manager": manager, "operation": operation, "apiVersion": kind.api_version, "time": now,
        "fieldsType": "FieldsV1", "fieldsV1": nested(paths),
    } | ({"subresource": subresource} if subresource else {})  # fmt: skip


def is_of(found: Object, kind: Kind, manager: str, operation: str, subresource: str) -> bool:
    wanted = (manager, operation, kind.api_version, subresource)
    return (found["manager"], found["operation"], found["apiVersion"], found.get("subresource", "")) == wanted


def less(entries: list[Object], lost: Paths) -> list[Object]:
    """The entries without these paths, and without those that hold nothing then."""
    kept = [(item, flat(item["fieldsV1"])) for item in entries]
    return [
        item if not paths & lost else {**item, "fieldsV1": nested(paths - lost)} for item, paths in kept if paths - lost
    ]


def tracked(kind: Kind, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> Object:
    """new with the managedFields of a write by manager; what a client says of them is not believed."""
    before = leaves(kind, old) if old is not None else {}
    after = leaves(kind, new)
    entries: list[Object] = (old or {"metadata": {}})["metadata"].get("managedFields") or []
    written = {path for path, value in after.items() if path not in before or before[path] != value}
    if written or before.keys() - after.keys():
        own = [item for item in entries if is_of(item, kind, manager, "Update", subresource)]
        mine = written | {path for item in own for path in flat(item["fieldsV1"]) if path in after}
        others = less([item for item in entries if item not in own], written | (before.keys() - after.keys()))
        entries = [*others, *([entry(kind, mine, manager, "Update", subresource, now)] if mine else [])]
    return {**new, "metadata": {**new["metadata"], "managedFields": entries}}


def is_same(one: Object, other: Object) -> bool:
    """But for the times at which fields were written, and the version."""
    return _timeless(one) == _timeless(other)


def _timeless(value: Object) -> Object:
    metadata = {
        name: item for name, item in value["metadata"].items() if name not in ("resourceVersion", "managedFields")
    }
    managed = value["metadata"].get("managedFields") or []
    return {**value, "metadata": metadata, "managed": [{**item, "time": ""} for item in managed]}
