"""The three patches of the API: JSON (RFC 6902), merge (RFC 7396) and strategic merge. Values in, a new value out.

Nothing given in is changed. A patch that does not fit is a 422, one that cannot be read a 400.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.kube.errors import ApiError, Object, bad_request
from tests.kube.shapes import KEY_DEFAULTS, SET, Keys, Path


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge(found.get(name), value)
    return found


def merge_objects(target: Object, patch: Any) -> Object:
    if not isinstance(patch, dict):
        raise bad_request(f"a merge patch is an object, not {type(patch).__name__}")
    merged: Object = merge(target, patch)
    return merged


def strategic_objects(target: Object, patch: Any, keys: Keys) -> Object:
    if not isinstance(patch, dict):
        raise bad_request(f"a strategic merge patch is an object, not {type(patch).__name__}")
    merged: Object = strategic(target, patch, keys)
    return merged


def strategic(target: Any, patch: Any, keys: Keys, path: Path = ()) -> Any:
    """A merge that merges the lists which have a key; understands $patch and $deleteFromPrimitiveList."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    found = dict(target) if isinstance(target, dict) and patch.get("$patch") != "replace" else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            listed = name.partition("/")[2]
            found[listed] = [item for item in found.get(listed, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            found.pop(name, None)
        elif isinstance(value, list):
            found[name] = _list(found.get(name) or [], value, keys, (*path, name))
        else:
            found[name] = strategic(found.get(name), value, keys, (*path, name))
    return found


def _list(target: list[Any], patch: list[Any], keys: Keys, path: Path) -> list[Any]:
    names = keys(path)
    if {"$patch": "replace"} in patch or not names:
        return [deepcopy(item) for item in patch if item != {"$patch": "replace"}]
    if names == SET:
        return target + [item for item in patch if item not in target]
    found = list(target)
    for item in patch:
        place = next((i for i, old in enumerate(found) if same_key(old, item, names)), None)
        if item.get("$patch") == "delete":
            found = [old for old in found if not same_key(old, item, names)]
        elif place is None:
            found.append(strategic({}, item, keys, path))
        else:
            found[place] = strategic(found[place], item, keys, path)
    return found


def same_key(one: Object, other: Object, names: tuple[str, ...]) -> bool:
    return all(_key(one, name) == _key(other, name) for name in names)


def _key(item: Object, name: str) -> Any:
    return item.get(name, KEY_DEFAULTS.get(name))


def json_patch(target: Object, operations: list[Object]) -> Object:
    """RFC 6902."""
    found = deepcopy(target)
    for operation in operations:
        apply = _OPERATIONS.get(operation.get("op", ""))
        if apply is None:
            raise bad_request(f"unexpected patch operation: {operation.get('op')!r}")
        try:
            apply(found, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _unfit(operation, error) from None
    return found


def _unfit(operation: Object, error: Exception) -> ApiError:
    return ApiError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {operation}: {error}"
    )


def _place(target: Any, pointer: str) -> tuple[Any, Any]:
    """The container that a pointer points into, and the name or index in it."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in way:
        target = target[int(part) if isinstance(target, list) else part]
    if isinstance(target, list):
        return target, len(target) if last == "-" else int(last)
    return target, last


def _add(target: Object, operation: Object) -> None:
    container, at = _place(target, operation["path"])
    value = deepcopy(operation["value"])
    if isinstance(container, list):
        if at > len(container):
            raise IndexError(at)
        container.insert(at, value)
    else:
        container[at] = value


def _remove(target: Object, operation: Object) -> None:
    container, at = _place(target, operation["path"])
    del container[at]


def _replace(target: Object, operation: Object) -> None:
    container, at = _place(target, operation["path"])
    container[at]  # raises when it is not there
    container[at] = deepcopy(operation["value"])


def _test(target: Object, operation: Object) -> None:
    container, at = _place(target, operation["path"])
    if container[at] != operation.get("value"):
        raise ValueError("test failed")


def _copy(target: Object, operation: Object) -> None:
    container, at = _place(target, operation["from"])
    _add(target, {"path": operation["path"], "value": container[at]})


def _move(target: Object, operation: Object) -> None:
    container, at = _place(target, operation["from"])
    value = container[at]
    del container[at]
    _add(target, {"path": operation["path"], "value": value})


_OPERATIONS: dict[str, Callable[[Object, Object], None]] = {
    "add": _add, "remove": _remove, "replace": _replace, "test": _test, "copy": _copy, "move": _move,
}  # fmt: skip
