"""New weights for a TrafficSplit in the text of a manifest, with every other character as it was.

In: the text of a YAML or JSON file and the weights wanted. Out: the new text and what changed, or an EditError at
`path:line:col`. Pure. The scalars are found by PyYAML's marks and only their characters are replaced, so comments,
layout, quotes and line ends stay.

The one rule: what is not exactly one plain or quoted scalar of its own is refused, never guessed at. A weight that
hangs on an anchor would change elsewhere too.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from milliroute.control import errors
from milliroute.control.cli import apex as apexes
from milliroute.control.source.text import BOM

JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class EditError(errors.ControlError):
    """The file cannot be edited; the message begins with path:line:col where there is one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One weight; `line` counts from 1 (0: not in a file), `old` and `new` are as written, without quotes."""

    line: int
    leaf: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Edited:
    text: str
    split: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where the weight of a leaf stands."""

    leaf: str
    weight: yaml.ScalarNode


@dataclass(frozen=True, slots=True)
class Found:
    """A TrafficSplit in a file."""

    name: str
    namespace: str
    apex: str
    line: int
    spec: yaml.MappingNode


class Manifest:
    """One file's text, composed. Raises EditError when it is not YAML."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._bom = BOM if text.startswith(BOM) else ""
        self._text = text.removeprefix(BOM)
        self._documents = _compose(self._text, path)
        self._uses = _uses(self._documents)
        self._is_json = _is_json(self._text)

    def splits(self, asked: str) -> list[Found]:
        """The TrafficSplits that `asked` means."""
        return [split for split in self._all() if apexes.matches(asked, split.apex, split.namespace)]

    def edit(self, split: Found, weights: Mapping[str, str]) -> Edited:
        """Give the leaves named their weights and every other leaf of the split 0."""
        slots = self._slots(split)
        known = [slot.leaf for slot in slots]
        unknown = [leaf for leaf in weights if leaf not in known]
        if unknown:
            raise EditError(
                f"{self._path}:{split.line}: split {split.name} has no leaf {', '.join(unknown)}"
                f" (it has {', '.join(known)})"
            )
        text = self._text
        changes = []
        # From the end, so that the marks before stay true.
        for slot in reversed(slots):
            new = weights.get(slot.leaf, "0")
            start, end = slot.weight.start_mark.index, slot.weight.end_mark.index
            text = text[:start] + self._written(new, slot.weight.style) + text[end:]
            changes.append(Change(slot.weight.start_mark.line + 1, slot.leaf, slot.weight.value, new))
        return Edited(self._bom + text, split.name, tuple(reversed(changes)))

    def _written(self, weight: str, style: str | None) -> str:
        if style is None and self._is_json and not JSON_NUMBER.fullmatch(weight):
            style = '"'
        return f"{style or ''}{weight}{style or ''}"

    def _all(self) -> Iterator[Found]:
        for node in _objects(self._documents):
            if _text(node, "kind") != "TrafficSplit":
                continue
            metadata, spec = _get(node, "metadata"), _get(node, "spec")
            apex = _text(spec, "service")
            if isinstance(spec, yaml.MappingNode) and apex:
                namespace = _text(metadata, "namespace") or "default"
                line = node.start_mark.line + 1
                yield Found(f"{namespace}/{_text(metadata, 'name')}", namespace, apex, line, spec)

    def _slots(self, split: Found) -> list[_Slot]:
        self._own(split.spec, "spec")
        backends = _get(split.spec, "backends")
        if not isinstance(backends, yaml.SequenceNode):
            raise self._error(backends or split.spec, "spec.backends is no list")
        self._own(backends, "spec.backends")
        slots = [self._slot(node) for node in backends.value]
        for leaf, count in Counter(slot.leaf for slot in slots).items():
            if count > 1:
                raise self._error(backends, f"leaf {leaf} is listed {count} times")
        return slots

    def _slot(self, backend: yaml.Node) -> _Slot:
        self._own(backend, "backend")
        leaf = _text(backend, "service")
        if not leaf:
            raise self._error(backend, "backend without a service")
        weight = _get(backend, "weight")
        if weight is None:
            raise self._error(backend, f"backend {leaf} has no weight to replace (want 'weight: ...')")
        self._own(weight, f"weight of {leaf}")
        written = self._text[weight.start_mark.index : weight.end_mark.index]
        if not isinstance(weight, yaml.ScalarNode) or weight.style not in (None, '"', "'"):
            raise self._error(weight, f"weight of {leaf} is no plain value (saw {written[:40]!r})")
        if not written or written[0] in "&!*":
            raise self._error(weight, f"weight of {leaf} is no plain value (saw {written[:40]!r})")
        return _Slot(leaf, weight)

    def _own(self, node: yaml.Node, what: str) -> None:
        if self._uses[id(node)] > 1:
            raise self._error(node, f"{what} is shared by an anchor; edit the file by hand")

    def _error(self, node: yaml.Node, text: str) -> EditError:
        return EditError(f"{self._path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {text}")


def _compose(text: str, path: str) -> list[yaml.Node]:
    try:
        # Not the C loader: its marks count bytes in some versions and characters in others.
        return [node for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise EditError(f"{path}{where}: {error.problem or 'not YAML'}") from error
    except yaml.YAMLError as error:
        raise EditError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise EditError(f"{path}: nested too deeply") from error


def _uses(documents: list[yaml.Node]) -> Counter[int]:
    """How often each node (by id) hangs in the tree; more than once is an alias."""
    uses: Counter[int] = Counter()
    stack = list(documents)
    while stack:
        node = stack.pop()
        uses[id(node)] += 1
        if uses[id(node)] > 1:
            continue
        if isinstance(node, yaml.MappingNode):
            stack += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += node.value
    return uses


def _objects(documents: list[yaml.Node]) -> Iterator[yaml.Node]:
    for document in documents:
        items = _get(document, "items") if _text(document, "kind") == "List" else None
        if isinstance(items, yaml.SequenceNode):
            yield from items.value
        else:
            yield document


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """The last one of duplicate keys is nobody's choice, so they count as missing."""
    if not isinstance(node, yaml.MappingNode):
        return None
    found = [value for name, value in node.value if isinstance(name, yaml.ScalarNode) and name.value == key]
    return found[0] if len(found) == 1 else None


def _text(node: yaml.Node | None, key: str) -> str:
    value = _get(node, key)
    return value.value if isinstance(value, yaml.ScalarNode) else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
