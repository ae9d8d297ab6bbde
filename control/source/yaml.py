"""YAML text to nodes with positions, within bounds: no bomb, no endless nesting, no duplicate key passes.

In: the bytes of one file. Out: one node per document, and every error of the file as `path:line:col: message`.
After a syntax error reading goes on at the next `---`, so that one slip hides no other. The tree is made
here from parser events, without recursion, because PyYAML's own composer recurses with the nesting of its input, and
its constructor keeps the last of duplicate keys in silence. JSON is read as the YAML that it is.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from milliroute.control.manifest.nodes import Fields, Items, Node, Scalar
from milliroute.control.source import text as texts

# Larger than any etcd object (1.5 MiB) and than any hand-written folder; parsing it takes some seconds at most.
MAX_FILE_BYTES = 8 * 1024 * 1024

# Kubernetes objects are about 15 levels deep.
MAX_DEPTH = 64

# What aliases may add to a file once written out in full; the classic bomb of nine lines adds a thousand million.
MAX_ALIASED_NODES = 100_000

# One broken file must not fill the log.
MAX_ERRORS = 20

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NEXT_DOCUMENT = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The documents that could be read, and what was wrong with the file."""

    documents: tuple[Node, ...]
    errors: tuple[str, ...] = ()


def parse(content: bytes, path: str) -> Parsed:
    """All documents of a file, empty ones left out; never raises for what is in `content`."""
    if len(content) > MAX_FILE_BYTES:
        return Parsed((), (f"{path}: file too large (saw {len(content)} bytes, want at most {MAX_FILE_BYTES})",))
    try:
        text = texts.decoded(content, path).removeprefix(texts.BOM)
    except texts.EncodingError as error:
        return Parsed((), (str(error),))
    tree = _Tree(path)
    tree.read(text)
    return Parsed(tuple(tree.documents), tuple(tree.errors[:MAX_ERRORS]))


@dataclass(slots=True)
class _Open:
    """A collection under construction: its start, its values so far, and, in a mapping, the key that waits for one."""

    line: int
    column: int
    anchor: str | None
    is_mapping: bool
    size: int = 1
    values: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Scalar] = field(default_factory=dict)
    key: Scalar | None = None
    merges: list[Node] = field(default_factory=list)

    def node(self) -> Node:
        if not self.is_mapping:
            return Items(tuple(self.values), self.line, self.column)
        for merged in self.merges:  # YAML 1.1 merge keys: what is written here beats what is merged
            if isinstance(merged, Fields):
                self.entries = {**merged.nodes, **self.entries}
                self.keys = {**merged.keys, **self.keys}
        return Fields(self.entries, self.line, self.column, self.keys)


class _GivenUpError(Exception):
    """A document went beyond a bound; `line` counts from the start of the file.

    Reading on to its end would cost what the bound saves: libyaml's time grows with the square of the depth.
    """

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


class _Tree:
    """Builds the documents of one file from the events of the parser."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.documents: list[Node] = []
        self.errors: list[str] = []
        self._first_line = 1
        self._aliased_nodes = 0
        self._new_document()

    def _new_document(self) -> None:
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}

    def read(self, text: str) -> None:
        rest: str | None = text
        while rest is not None and len(self.errors) < MAX_ERRORS:
            rest = self._read_until_error(rest)

    def _read_until_error(self, text: str) -> str | None:
        """Read documents; what is left to read after an error, from the next `---` on, or None at the end."""
        self._new_document()
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except _GivenUpError as given_up:
            return self._rest(text, given_up.line - self._first_line)
        except yaml.YAMLError as error:
            line, column, message = _syntax_error(error, text, self._first_line)
            self._error(self._first_line + line - 1, column, message)
            return self._rest(text, line - 1)
        return None

    def _rest(self, text: str, line: int) -> str | None:
        """What begins with the next `---` at or after this line, from 0, but never the whole again."""
        found = _NEXT_DOCUMENT.search(text, max(_offset(text, line), 1))
        if found is None:
            return None
        self._first_line += text.count("\n", 0, found.start())
        return text[found.start() :]

    def _error(self, line: int, column: int, message: str) -> None:
        self.errors.append(f"{self.path}:{line}:{column}: {message}")

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._new_document()
        elif isinstance(event, yaml.ScalarEvent):
            line, column = self._where(event)
            is_plain = event.style in (None, "") and event.tag is None
            self._add(Scalar(event.value, line, column, is_plain), 1, event.anchor)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            self._add(done.node(), done.size, done.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)

    def _where(self, event: yaml.Event) -> tuple[int, int]:
        mark = event.start_mark
        assert mark is not None, "events of a parser have marks"
        return self._first_line + mark.line, mark.column + 1

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._give_up(event, f"nested too deeply (want at most {MAX_DEPTH} levels)")
        line, column = self._where(event)
        self._stack.append(_Open(line, column, event.anchor, isinstance(event, yaml.MappingStartEvent)))

    def _alias(self, event: yaml.AliasEvent) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            self._give_up(event, f"unknown alias (saw '*{event.anchor}', want an anchor that ends before it)")
        node, size = known
        self._aliased_nodes += size
        if self._aliased_nodes > MAX_ALIASED_NODES:
            self._give_up(event, f"aliases expand too far (want at most {MAX_ALIASED_NODES} nodes in a file)")
        self._add(node, size, None)

    def _give_up(self, event: yaml.Event, message: str) -> NoReturn:
        line, column = self._where(event)
        self._error(line, column, message)
        raise _GivenUpError(line)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._stack:
            self._end_document(node)
            return
        parent = self._stack[-1]
        parent.size += size
        if not parent.is_mapping:
            parent.values.append(node)
        elif parent.key is None:
            self._take_key(parent, node)
        else:
            self._take_value(parent, parent.key, node)
            parent.key = None

    def _end_document(self, node: Node) -> None:
        if not (isinstance(node, Scalar) and node.is_null):
            self.documents.append(node)

    def _take_key(self, parent: _Open, node: Node) -> None:
        if not isinstance(node, Scalar):
            self._error(node.line, node.column, f"bad key (saw {node}, want a text)")
            node = Scalar("\0", node.line, node.column)  # no YAML text holds a NUL, so it can hide no other key
        parent.key = node

    def _take_value(self, parent: _Open, key: Scalar, node: Node) -> None:
        if key.is_plain and key.text == "<<":
            parent.merges.extend(node.nodes if isinstance(node, Items) else (node,))
            return
        first = parent.keys.get(key.text)
        if first is not None and key.text != "\0":
            self._error(key.line, key.column, f"duplicate key (saw {key} again, first at line {first.line})")
            return
        parent.keys[key.text] = key
        parent.entries[key.text] = node


def _offset(text: str, line: int) -> int:
    """Where the line with this number, from 0, starts."""
    start = 0
    for _ in range(line):
        start = text.find("\n", start) + 1
        if not start:
            return len(text)
    return start


def _syntax_error(error: yaml.YAMLError, text: str, first_line: int) -> tuple[int, int, str]:
    """Line (in `text`) and column from 1, and a message without the parser's jargon where we know better."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        start = _offset(text, mark.line)
        if "\t" in text[start : start + mark.column + 1] and not text[start : start + mark.column].strip():
            return mark.line + 1, mark.column + 1, "YAML syntax: indented by a tab (saw a tab, want spaces)"
        return mark.line + 1, mark.column + 1, f"YAML syntax: {_said(error, first_line)}"
    position = getattr(error, "position", 0)
    line, column = texts.position(text[: position if isinstance(position, int) else 0])
    return line, column, f"YAML syntax: {getattr(error, 'reason', None) or error}".splitlines()[0]


def _said(error: yaml.MarkedYAMLError, first_line: int) -> str:
    said = error.problem or "cannot be read"
    mark = error.context_mark
    if error.context and mark is not None:
        return f"{said} {error.context} begun at line {first_line + mark.line}"
    return said
