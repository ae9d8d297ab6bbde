"""Server-side apply: merge what a manager says into what is there, keep who owns what, refuse what another owns.

In: the live object, the applied one, the manager; out: the merged object with its managedFields, or a 409 that names
every field and its owner.
"""

import json
from copy import deepcopy
from typing import Any

from tests.kube import fields, patches
from tests.kube.errors import ApiError, Object
from tests.kube.fields import Leaves, Paths
from tests.kube.kinds import Kind
from tests.kube.shapes import Path, keys_of


def applied(
    kind: Kind, live: Object, sent: Object, manager: str, is_forced: bool, subresource: str, now: str
) -> Object:  # fmt: skip
    """live and sent at the same version."""
    entries: list[Object] = live["metadata"].get("managedFields") or []
    own = [item for item in entries if fields.is_of(item, kind, manager, "Apply", subresource)]
    others = [item for item in entries if item not in own]
    wanted = _leaves(kind, sent, subresource)
    disputed = _disputed(others, fields.leaves(kind, live), wanted)
    if disputed and not is_forced:
        raise _conflict(disputed)
    others = fields.less(others, {path for path, _ in disputed})
    held = {path for item in others for path in fields.flat(item["fieldsV1"])}
    dropped = {path for item in own for path in fields.flat(item["fieldsV1"])} - wanted.keys() - held
    merged = patches.strategic_objects(live, _without_identity(sent), keys_of(kind))
    for path in _removals(dropped, held):
        _remove(merged, path)
    mine = entry(kind, set(wanted), manager, subresource, now)
    if own and own[0]["fieldsV1"] == mine["fieldsV1"]:
        mine = own[0]
    merged["metadata"]["managedFields"] = [*others, mine]
    return merged


def entry(kind: Kind, paths: Paths, manager: str, subresource: str, now: str) -> Object:
    return fields.entry(kind, paths, manager, "Apply", subresource, now)


def set_of(kind: Kind, sent: Object, subresource: str = "") -> Paths:
    return set(_leaves(kind, sent, subresource))


def _removals(dropped: Paths, held: Paths) -> list[Path]:
    """Whole items first; an item in which another holds a field stays, and so do the fields of its key."""
    kept = {path[:length] for path in held for length in range(len(path))}
    items = [path for path in dropped if path[-1] == "." and path[:-1] not in kept]
    return items + [path for path in dropped if path[-1] != "." and not _is_key_field(path)]


def _is_key_field(path: Path) -> bool:
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in _key_names(path[-2])


def _leaves(kind: Kind, sent: Object, subresource: str) -> Leaves:
    """What the manager owns by saying this: only the status by /status, anything else but it otherwise."""
    found = fields.leaves(kind, sent)
    if not kind.has_status:
        return found
    return {path: value for path, value in found.items() if (path[0] == "f:status") is (subresource == "status")}


def _without_identity(sent: Object) -> Object:
    found = deepcopy(sent)
    for name in ("resourceVersion", "uid", "managedFields", "creationTimestamp"):
        found["metadata"].pop(name, None)
    return found


def _disputed(others: list[Object], live: Leaves, wanted: Leaves) -> list[tuple[Path, str]]:
    return [
        (path, item["manager"])
        for item in others
        for path in sorted(fields.flat(item["fieldsV1"]) & wanted.keys())
        if live.get(path) != wanted[path]
    ]


def _conflict(disputed: list[tuple[Path, str]]) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{owner}"', "field": shown(path)}
        for path, owner in disputed
    ]
    word = "conflict" if len(causes) == 1 else "conflicts"
    listed = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    message = f"Apply failed with {len(causes)} {word}: {listed}"
    return ApiError(409, "Conflict", message, {"causes": causes})


def shown(path: Path) -> str:
    """As the API names a field: .spec.ports[name="x"].port"""
    words = [f".{word[2:]}" if word.startswith("f:") else f"[{word[2:]}]" for word in path if word != "."]
    return "".join(words)


def _remove(value: Object, path: Path) -> None:
    """The field or list item at path, if it is there."""
    _take(value, path[:-1] if path[-1] == "." else path)


def _take(place: Any, path: Path) -> None:
    """A map or list that is left empty goes as well."""
    first, *rest = path
    if rest:
        below = _step(place, first)
        if below is None:
            return
        _take(below, tuple(rest))
        if below:
            return
    if first.startswith("f:") and isinstance(place, dict):
        place.pop(first[2:], None)
    elif isinstance(place, list):
        place[:] = [item for item in place if not _is_item(item, first)]


def _step(place: Any, word: str) -> Any:
    if isinstance(place, dict):
        return place.get(word[2:])
    if isinstance(place, list):
        return next((item for item in place if _is_item(item, word)), None)
    return None


def _is_item(item: Any, word: str) -> bool:
    if word.startswith("v:"):
        return word == fields.word_of(item, ("=",))
    return isinstance(item, dict) and word == fields.word_of(item, tuple(_key_names(word)))


def _key_names(word: str) -> list[str]:
    return list(json.loads(word[2:]))
