"""Changes of one object as values, whoever makes them: in an object, as a JSON patch, or in a file's text (`layout`).

In: an object as JSON or YAML gave it, and edits. The rule not to break: edits do not depend on each other; all paths
are those of the object as it was before any of them. So they can be written into a text in one go.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
# What JSON can say; from YAML also dates, which stay where they are.
Object: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Put:
    """New entries at the front of the mapping at `path`, which has others already."""

    path: Path
    entries: Object


@dataclass(frozen=True, slots=True)
class Insert:
    """New items of the list at `path`, which has others already; in front of them, or after them."""

    path: Path
    items: tuple[Object, ...]
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Fill:
    """A value for a key that is there with null, {} or []."""

    path: Path
    value: object


@dataclass(frozen=True, slots=True)
class Drop:
    """Away with a key or an item of a list; something stays beside it."""

    path: Path


@dataclass(frozen=True, slots=True)
class Clear:
    """Away with all that a key holds: what `Fill` brought. `text` is what a file had there: "{}", "null" or ""."""

    path: Path
    text: str


Edit: TypeAlias = Put | Insert | Fill | Drop | Clear
EMPTY: Mapping[str, object] = {"{}": {}, "[]": []}


def at(value: object, path: Path) -> object:
    """What stands at `path`; None where there is nothing."""
    for part in path:
        if isinstance(value, Mapping) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def applied(value: Object, edits: Sequence[Edit]) -> object:
    """A copy, changed; what an alias shares it has twice, so that one place does not change with another."""
    result = _copied(value)
    # From the back, so that items that go do not move those that are still to go.
    for edit in sorted(edits, key=_from_the_back):
        _apply(result, edit)
    return result


def _copied(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _from_the_back(edit: Edit) -> int:
    last = edit.path[-1] if edit.path else 0
    return -last if isinstance(edit, Drop) and isinstance(last, int) else -1_000_000


def _apply(root: object, edit: Edit) -> None:
    target = at(root, edit.path)
    if isinstance(edit, Put) and isinstance(target, dict):
        target.update(edit.entries)
    elif isinstance(edit, Insert) and isinstance(target, list):
        target[len(target) if edit.at_end else 0 : 0] = edit.items
    elif isinstance(edit, Drop):
        _drop(at(root, edit.path[:-1]), edit.path[-1])
    elif isinstance(edit, Fill | Clear):
        owner = at(root, edit.path[:-1])
        if isinstance(owner, dict):
            owner[edit.path[-1]] = edit.value if isinstance(edit, Fill) else _emptied(edit.text)


def _drop(owner: object, key: str | int) -> None:
    if isinstance(owner, list) and isinstance(key, int):
        owner.pop(key)
    elif isinstance(owner, dict):
        del owner[key]


def _emptied(text: str) -> object:
    return copy.copy(EMPTY.get("".join(text.split())))


def json_patch(edits: Sequence[Edit]) -> list[dict[str, object]]:
    """The same by RFC 6902, for edits that add."""
    return [operation for edit in edits for operation in _operations(edit)]


def _operations(edit: Edit) -> Iterator[dict[str, object]]:
    if isinstance(edit, Put):
        for key, value in edit.entries.items():
            yield {"op": "add", "path": _pointer((*edit.path, key)), "value": value}
    elif isinstance(edit, Insert):
        for index, item in enumerate(edit.items):
            yield {"op": "add", "path": _pointer((*edit.path, "-" if edit.at_end else index)), "value": item}
    elif isinstance(edit, Fill):
        yield {"op": "replace", "path": _pointer(edit.path), "value": edit.value}


def _pointer(path: Path) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
