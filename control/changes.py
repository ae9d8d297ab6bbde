"""What an operator wants to read when something changed: one line per split or file, old and new.

Two snapshots or two lists of source statuses come in, lines go out; nothing is logged here. An unchanged thing gives no
line, so a state is reported once, however often the files are read.
"""

from collections.abc import Iterator, Mapping, Sequence

from milliroute.control import routestatus
from milliroute.control.model import InForce, SourceStatus
from milliroute.control.snapshot import Snapshot, SplitReport

_IN_FORCE: Mapping[InForce, str] = {
    "last good": "its last good version stays in force",
    "nothing": "nothing of it is in force: it has no good version yet",
    "rest": "the rest of it is in force",
}
# Of a kind in a cluster: what became of it.
_SERVED = {("ok", "absent"): "not served any more", ("absent", "ok"): "served now"}


def split_lines(old: Sequence[SplitReport], new: Sequence[SplitReport]) -> Iterator[str]:
    """Lines for splits that came, changed or went."""
    before = {split.name: split for split in old}
    after = {split.name: split for split in new}
    for name, split in after.items():
        previous = before.get(name)
        if previous is None:
            yield f"split {name}: new, {_weights(split)} ({split.source})"
        elif _meaning(previous) != _meaning(split):
            yield f"split {name}: {_difference(previous, split)} ({split.source})"
    for name in before.keys() - after.keys():
        yield f"split {name}: removed"


def warning_lines(old: Snapshot | None, new: Snapshot) -> Iterator[str]:
    """Warnings that were not there before: a leaf is missing, two splits have one apex, ..."""
    before = {(p.split, text) for p in old.problems for text in p.warnings} if old else set()
    for problem in new.problems:
        for text in problem.warnings:
            if (problem.split, text) not in before:
                yield f"split {problem.split}: {text}"
    known = set(_route_warnings(old)) if old else set()
    yield from (text for text in _route_warnings(new) if text not in known)
    yield from (text for text in new.access_warnings if old is None or text not in old.access_warnings)


def _route_warnings(snapshot: Snapshot) -> Iterator[str]:
    for status in snapshot.routes:
        yield from routestatus.warnings(status)


def source_lines(old: Sequence[SourceStatus], new: Sequence[SourceStatus]) -> Iterator[tuple[bool, str]]:
    """(is it broken, line) for each new error and each recovery."""
    before = {source.path: source for source in old}
    for source in new:
        previous = before.get(source.path)
        known = previous.errors if previous else ()
        for error in source.errors:
            if error not in known:
                yield True, error
        if source.state == "broken" and not (previous and previous.in_force == source.in_force):
            yield True, f"{source.path}: broken, {_IN_FORCE[source.in_force]}"
        if source.state == "ok" and previous and previous.state == "broken":
            yield False, f"{source.path}: recovered"
        if previous and (previous.state, source.state) in _SERVED:
            yield False, f"{source.path}: {_SERVED[previous.state, source.state]}"


def _meaning(split: SplitReport) -> object:
    return split.apex, split.status, [(leaf.leaf, leaf.weight_micro) for leaf in split.leaves]


def _weights(split: SplitReport) -> str:
    return ", ".join(f"{leaf.leaf} {leaf.weight}" for leaf in split.leaves)


def _difference(old: SplitReport, new: SplitReport) -> str:
    words = []
    if old.apex != new.apex:
        words.append(f"apex {old.apex} -> {new.apex}")
    if old.status != new.status:
        words.append(f"{old.status} -> {new.status}")
    before = {leaf.leaf: leaf.weight for leaf in old.leaves}
    after = {leaf.leaf: leaf.weight for leaf in new.leaves}
    words += [
        f"{leaf} {before.get(leaf, 'none')} -> {after.get(leaf, 'none')}"
        for leaf in {**before, **after}
        if before.get(leaf) != after.get(leaf)
    ]
    return ", ".join(words) or "order of leaves"
