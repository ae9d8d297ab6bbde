"""Nodes of PyYAML and the characters they stand for: where an entry begins and ends, and what is in it.

In: nodes as `yaml.compose` gives them, with marks. Out: nodes and indexes into the text.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from milliroute.control.inject.edits import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A value and its key; key None: an item of a list, or the document."""

    key: yaml.Node | None
    node: yaml.Node


def children(node: yaml.Node, part: str | int) -> Iterator[Place]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                yield Place(key, value)
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        yield Place(None, node.value[part])


def index(node: yaml.CollectionNode, part: str | int) -> int:
    if isinstance(part, int):
        return part
    return [key.value for key, _ in node.value].index(part)


def spans(node: yaml.CollectionNode) -> list[tuple[int, int]]:
    """From where to where each entry goes."""
    pairs = [entry if isinstance(entry, tuple) else (entry, entry) for entry in node.value]
    return [(first.start_mark.index, last.end_mark.index) for first, last in pairs]


def end(node: yaml.Node, text: str) -> int:
    """Behind its last character; the end mark of a block collection is where the next thing begins."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    behind: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        behind = len(text[:behind].rstrip())
    return behind


def indents_lists(root: yaml.Node) -> bool:
    """Whether dashes stand further in than the key of their list; told by the first list there is."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, yaml.SequenceNode):
            stack += reversed(node.value)
        if not isinstance(node, yaml.MappingNode):
            continue
        for key, value in node.value:
            if isinstance(value, yaml.SequenceNode) and value.flow_style is False:
                return bool(value.start_mark.column > key.start_mark.column)
        stack += reversed([value for _, value in node.value])
    return False


def first(node: yaml.Node) -> yaml.Node:
    """What an anchor or a tag does not stand before."""
    if not isinstance(node, yaml.CollectionNode) or not node.value:
        return node
    entry: yaml.Node | tuple[yaml.Node, yaml.Node] = node.value[0]
    return entry[0] if isinstance(entry, tuple) else entry


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)
