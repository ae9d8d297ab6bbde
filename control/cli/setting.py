"""`split set`: find the file that holds the split, replace its weights, say what changed.

In: APEX, the weights, and either files and folders or what the proxies say the split came from. Out: the file on disk
and one line per leaf. Nothing is written unless the new text, read again, holds exactly the weights wanted.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from milliroute.control import errors, quantity
from milliroute.control.cli import apex as apexes
from milliroute.control.cli import editing, rewrite
from milliroute.control.cli.proxies import ProxyPage
from milliroute.control.source import reading
from milliroute.control.source import text as texts


@dataclass(frozen=True, slots=True)
class Done:
    """What was written, in a file or, where the lines of the changes are 0, in a cluster; `split` is
    "namespace/name"."""

    path: str
    split: str
    changes: tuple[editing.Change, ...]

    def lines(self) -> list[str]:
        return [
            f"{self.path}{f':{change.line}' if change.line else ''} {change.leaf} {change.old} -> {change.new}"
            for change in self.changes
        ]

    def weights_micro(self) -> dict[str, int]:
        return {change.leaf: quantity.parse(change.new) for change in self.changes}


def parse_weights(words: Sequence[str]) -> dict[str, str]:
    """LEAF=WEIGHT words. Raises ConfigError."""
    weights: dict[str, str] = {}
    for word in words:
        leaf, equals, weight = word.partition("=")
        if not (leaf and equals):
            raise errors.ConfigError(f"saw {word!r}, want LEAF=WEIGHT, such as reviews-v2=500m")
        if leaf in weights:
            raise errors.ConfigError(f"leaf {leaf} is given twice")
        try:
            quantity.parse(weight)
        except errors.QuantityError as error:
            raise errors.ConfigError(f"{word}: {error}") from error
        weights[leaf] = weight
    return weights


def apply(asked: str, weights: Mapping[str, str], paths: Iterable[str]) -> Done:
    """Edit the one file of `paths` that holds the split. Raises ControlError."""
    opened, text, found = _find(asked, list(paths))
    edited = editing.Manifest(text, opened.path).edit(found, weights)
    _check(edited, opened.path, asked, found)
    if edited.text != text:
        rewrite.replace(opened, edited.text.encode())
    return Done(opened.path, edited.split, edited.changes)


def files(paths: Sequence[str]) -> list[str]:
    """Files as they are, folders as the manifests that the control service would read there. Raises ControlError."""
    try:
        return [file for path in paths for file in (reading.listed(path) if os.path.isdir(path) else [path])]
    except OSError as error:
        raise errors.ControlError(f"{error.filename}: {(error.strerror or str(error)).lower()}") from error


def files_of_proxies(asked: str, pages: Sequence[ProxyPage]) -> list[str]:
    """Where the proxies' state of the split was written, by `source`. Raises ControlError."""
    sources = {
        split.source.rpartition(":")[0] or split.source
        for page in pages
        for authority in page.authorities
        for split in authority.splits
        if split.name and apexes.matches(asked, split.apex, split.namespace)
    }
    local = sorted(path for path in sources if os.path.isfile(path))
    if not sources:
        raise errors.ControlError(f"no proxy knows a split of {asked}; name its file with -f")
    if not local:
        raise errors.ControlError(f"{', '.join(sorted(sources))}: no file here; name the split's file with -f")
    return local


def _find(asked: str, paths: list[str]) -> tuple[rewrite.Opened, str, editing.Found]:
    hits: list[tuple[rewrite.Opened, str, editing.Found]] = []
    problems: list[errors.ControlError] = []
    for path in paths:
        try:
            opened = rewrite.read(path)
            text = texts.decoded(opened.content, opened.path)
            hits += [(opened, text, found) for found in editing.Manifest(text, opened.path).splits(asked)]
        except errors.ConfigError:
            raise
        except errors.ControlError as error:
            # A broken neighbour must not keep an operator from a rollback.
            problems.append(error)
    if len(hits) == 1:
        return hits[0]
    if hits:
        where = ", ".join(f"{opened.path}:{found.line} ({found.name})" for opened, _, found in hits)
        raise errors.ControlError(
            f"{asked} is the apex of {len(hits)} splits: {where}; want one, try NAMESPACE/{asked}"
        )
    if problems:
        raise problems[0]
    raise errors.ControlError(f"no TrafficSplit with the apex {asked} in {', '.join(paths) or 'an empty folder'}")


def _check(edited: editing.Edited, path: str, asked: str, found: editing.Found) -> None:
    """Read the new text as a stranger would. A difference is our own bug, found before it is written."""
    again = editing.Manifest(edited.text, path)
    [split] = [split for split in again.splits(asked) if split.line == found.line and split.name == found.name]
    wanted = {change.leaf: change.new for change in edited.changes}
    held = {change.leaf: change.old for change in again.edit(split, wanted).changes}
    if held != wanted:
        raise errors.ControlError(f"{path}: the edit would not hold (saw {held}, want {wanted}), nothing written")
