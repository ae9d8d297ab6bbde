"""Entries that come into an object's metadata, and go again, so that nothing is left of them.

In: an object and what is wanted under which path. Out: edits. Where a file had an empty value (`annotations: {}`, or a
key with nothing behind it), an annotation remembers how it was written.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import chain

from milliroute.control.errors import ValueTextError
from milliroute.control.inject.edits import Clear, Drop, Edit, Fill, Object, Path, Put, at
from milliroute.control.inject.workloads import texts

# "annotations={},initContainers=": what stood in the file where ours stands now.
WAS_EMPTY = "milliroute.io/was-empty"

# The characters of a value in its file.
Written = Callable[[Path], str]


def added(
    thing: Object,
    annotations: Path,
    wanted: Mapping[Path, Mapping[str, object] | list[Object]],
    written: Written | None,
) -> tuple[Edit, ...]:
    """`wanted`: by path, entries for mappings and whole lists. No `written`: nobody will want it back as it was."""
    edits = tuple(_entering(thing, path, value) for path, value in wanted.items() if value)
    empty = [f"{edit.path[-1]}={written(edit.path).strip()}" for edit in edits if isinstance(edit, Fill) and written]
    if not empty:
        return edits
    marks = wanted.get(annotations, {})
    entries = {**(marks if isinstance(marks, Mapping) else {}), WAS_EMPTY: ",".join(empty)}
    return added(thing, annotations, {**wanted, annotations: entries}, None)


def _entering(thing: Object, path: Path, value: object) -> Edit:
    """As deep down as there is something already."""
    found, owner = at(thing, path), at(thing, path[:-1])
    if found:
        if isinstance(found, Mapping) and isinstance(value, Mapping):
            return Put(path, value)
        raise ValueTextError(f"bad {path[-1]}", f"{found}"[:40], "a mapping")
    if isinstance(owner, Mapping) and path[-1] in owner:
        return Fill(path, value)
    if isinstance(owner, Mapping) and owner:
        return Put(path[:-1], {str(path[-1]): value})
    return _entering(thing, path[:-1], {str(path[-1]): value})


def taken(
    thing: Object, annotations: Path, keys: Mapping[Path, Collection[str]], names: Mapping[Path, Collection[str]]
) -> tuple[Edit, ...]:
    """Away with `keys` of mappings and, of lists, with the items that have one of `names`."""
    said = texts(at(thing, annotations)).get(WAS_EMPTY, "")
    was = dict(part.partition("=")[::2] for part in said.split(",") if part)
    of_mappings = (_without(thing, path, gone, was) for path, gone in keys.items())
    of_lists = (_without_items(thing, path, gone, was) for path, gone in names.items())
    return tuple(chain.from_iterable([*of_mappings, *of_lists]))


def _without(thing: Object, path: Path, gone: Collection[str], was: Mapping[str, str]) -> list[Edit]:
    found = at(thing, path)
    if not isinstance(found, Mapping):
        return []
    ours = [key for key in found if key in gone]
    if ours and len(ours) == len(found):
        return [_whole(thing, path, was)]
    return [Drop((*path, key)) for key in ours]


def _without_items(thing: Object, path: Path, gone: Collection[str], was: Mapping[str, str]) -> list[Edit]:
    found = at(thing, path)
    if not isinstance(found, list):
        return []
    ours = [index for index, item in enumerate(found) if isinstance(item, Mapping) and item.get("name") in gone]
    if ours and len(ours) == len(found):
        return [_whole(thing, path, was)]
    return [Drop((*path, index)) for index in ours]


def _whole(thing: Object, path: Path, was: Mapping[str, str]) -> Edit:
    """All of it, and what holds nothing else."""
    if str(path[-1]) in was:
        return Clear(path, was[str(path[-1])])
    owner = at(thing, path[:-1])
    if isinstance(owner, Mapping) and len(owner) == 1:
        return _whole(thing, path[:-1], was)
    return Drop(path)
