"""Edits written into the text of one YAML or JSON document, with every other character as it was.

In: a document's text, and edits. Out: the new text, or a LayoutError at `path:line:col`. The places are found by
PyYAML's marks. New entries stand in front of their neighbours, on lines of their own in block style and before the
first comma in flow style, so that taking them away leaves what was there, byte for byte.

The one rule: where a place is not what it looks like (an alias, a merge key, an exotic layout) nothing is guessed.
Whoever calls reads the new text again and compares, see `manifests`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from milliroute.control import errors
from milliroute.control.inject import syntax
from milliroute.control.inject.edits import Clear, Drop, Edit, Fill, Insert, Path, Put
from milliroute.control.inject.emitting import block, flow
from milliroute.control.inject.syntax import Place

_DASH = re.compile(r"[ \t]*-[ \t]+\Z")


class LayoutError(errors.ControlError):
    """The text cannot be edited; the message begins with path:line:col."""


@dataclass(frozen=True, slots=True)
class _Splice:
    """The characters from `start` to `end` become `text`."""

    start: int
    end: int
    text: str


class Layout:
    """One document; `first_line` counts from 1 in the file called `path`."""

    def __init__(self, text: str, path: str, first_line: int) -> None:
        self._text = text
        self._path = path
        self._first_line = first_line
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._root = self._composed()
        self._is_indented = syntax.indents_lists(self._root)

    def _composed(self) -> yaml.Node:
        # PyYAML's own scanner takes no tabs; in JSON they are blanks, and a blank is as long.
        text = self._text.replace("\t", " ") if "\t" in self._text and syntax.is_json(self._text) else self._text
        try:
            # Not the C loader: its marks count bytes in some versions and characters in others.
            root = yaml.compose(text, yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self._first_line + mark.line}:{mark.column + 1}" if mark else f"{self._first_line}:1"
            raise LayoutError(f"{self._path}:{where}: cannot edit: {error.problem or 'not YAML'}") from error
        assert root is not None, "an empty document has no edits"
        return root

    def line(self, path: Path) -> int:
        return self._first_line + self._place(path).node.start_mark.line

    def written(self, path: Path) -> str:
        """The characters of a value."""
        node = self._place(path).node
        return self._text[node.start_mark.index : node.end_mark.index]

    def edited(self, edits: Sequence[Edit]) -> str:
        """Raises LayoutError."""
        splices = [self._one(edit) for edit in edits if not isinstance(edit, Drop)]
        splices += self._drops([edit.path for edit in edits if isinstance(edit, Drop)])
        parts, done = [], 0
        for splice in sorted(splices, key=lambda splice: splice.start):
            parts += [self._text[done : splice.start], splice.text]
            done = splice.end
        return "".join([*parts, self._text[done:]])

    def _one(self, edit: Put | Insert | Fill | Clear) -> _Splice:
        place = self._place(edit.path)
        if isinstance(edit, Fill):
            return self._filled(place, edit.value)
        if isinstance(edit, Clear):
            return self._cleared(place, edit.text)
        assert isinstance(place.node, yaml.CollectionNode), "the plan looked there"
        entries = edit.entries if isinstance(edit, Put) else list(edit.items)
        if place.node.flow_style:
            return self._in_flow(place.node, flow(entries, *self._flow_indent(place.node)), _is_at_end(edit))
        if _is_at_end(edit):
            position = self._line_after(syntax.end(place.node, self._text))
        else:
            position = self._line_after(self._key_before(place))
        return self._lines(position, block(entries, self._column(place.node), self._is_indented))

    def _place(self, path: Path) -> Place:
        place = Place(None, self._root)
        for part in path:
            found = list(syntax.children(place.node, part))
            if len(found) != 1:
                raise self._error(
                    place.node, f"{syntax.dotted(path)} is not written here (saw a merge key or it twice)"
                )
            key = found[0].key
            if key is not None and found[0].node.start_mark.index < key.end_mark.index:
                raise self._error(key, f"{syntax.dotted(path)} is an alias (want it written out)")
            place = found[0]
        return place

    def _key_before(self, place: Place) -> int:
        """The end of the key, which has its line for itself and what follows on the next ones."""
        if place.key is None or place.key.end_mark.line >= syntax.first(place.node).start_mark.line:
            raise self._error(place.node, "begins on the line of its key (want a line of its own)")
        return int(place.key.end_mark.index)

    def _column(self, node: yaml.CollectionNode) -> int:
        """Where entries of a block collection begin; a list's with their dashes."""
        first = syntax.first(node)
        if isinstance(node, yaml.MappingNode):
            return int(first.start_mark.column)
        start = self._line_start(first.start_mark.index)
        before = self._text[start : first.start_mark.index]
        if not _DASH.match(before):
            raise self._error(first, "does not begin its line (want a line of its own)")
        return before.index("-")

    def _line_after(self, index: int) -> int:
        end = self._text.find("\n", index)
        return len(self._text) if end < 0 else end + 1

    def _line_start(self, index: int) -> int:
        return self._text.rfind("\n", 0, index) + 1

    def _lines(self, position: int, lines: str) -> _Splice:
        text = lines.replace("\n", self._newline)
        if position and self._text[position - 1] != "\n":
            text = self._newline + text.removesuffix(self._newline)
        return _Splice(position, position, text)

    def _filled(self, place: Place, value: object) -> _Splice:
        start, end = place.node.start_mark.index, place.node.end_mark.index
        key = place.key
        if start < end or key is None:
            return _Splice(start, end, flow(value))
        if self._is_in_flow(key):
            return _Splice(start, end, " " + flow(value))
        column = key.start_mark.column + (2 if isinstance(value, dict) or self._is_indented else 0)
        return self._lines(self._line_after(start), block(value, column, self._is_indented))

    def _cleared(self, place: Place, text: str) -> _Splice:
        node = place.node
        assert isinstance(node, yaml.CollectionNode), "what was filled holds something"
        if node.flow_style:
            start = node.start_mark.index
            if not text and self._text[start - 1] == " ":
                start -= 1
            return _Splice(start, node.end_mark.index, text)
        start = self._key_before(place)
        if text:  # somebody has written it anew, in block style
            return _Splice(self._text.index(":", start) + 1, syntax.end(node, self._text), f" {text}")
        return _Splice(self._line_after(start), self._line_after(syntax.end(node, self._text)), "")

    def _is_in_flow(self, key: yaml.Node) -> bool:
        """A key that does not begin its line, but for dashes, stands in braces."""
        return not re.fullmatch(r"[\s-]*", self._text[self._line_start(key.start_mark.index) : key.start_mark.index])

    # Flow style, which is also JSON.

    def _in_flow(self, node: yaml.CollectionNode, text: str, at_end: bool) -> _Splice:
        spans = syntax.spans(node)
        between = self._between(node, spans[0][0])
        inner = text[1:-1].strip()
        if at_end:
            position = spans[-1][1]
            return _Splice(position, position, f",{between}{inner}")
        position = spans[0][0]
        return _Splice(position, position, f"{inner},{between}")

    def _between(self, node: yaml.CollectionNode, first: int) -> str:
        """What stands between two entries: told by what stands before the first, or between it and the second."""
        if "\n" in self._text[node.start_mark.index : first]:
            return self._newline + self._text[self._line_start(first) : first]
        spans = syntax.spans(node)
        return self._text[spans[0][1] : spans[1][0]].replace(",", "", 1) if len(spans) > 1 else " "

    def _flow_indent(self, node: yaml.CollectionNode) -> tuple[str, str]:
        """What stands before an entry on its line, and how much of it is more than before the bracket; ("", ""): all
        is in one line."""
        first = syntax.spans(node)[0][0]
        if "\n" not in self._text[node.start_mark.index : first]:
            return "", ""
        start = self._line_start(node.start_mark.index)
        line = self._text[start : node.start_mark.index]
        entry = self._text[self._line_start(first) : first]
        return entry, entry[len(line) - len(line.lstrip()) :]

    # What goes.

    def _drops(self, paths: Sequence[Path]) -> Iterator[_Splice]:
        for parent in dict.fromkeys(path[:-1] for path in paths):
            node = self._place(parent).node
            assert isinstance(node, yaml.CollectionNode), "the plan looked there"
            gone = {syntax.index(node, path[-1]) for path in paths if path[:-1] == parent}
            yield from self._flow_drops(node, gone) if node.flow_style else self._block_drops(node, gone)

    def _block_drops(self, node: yaml.CollectionNode, gone: set[int]) -> Iterator[_Splice]:
        for index in sorted(gone):
            entry = node.value[index]
            key, value = entry if isinstance(entry, tuple) else (entry, entry)
            start = self._line_start(key.start_mark.index)
            before = self._text[start : key.start_mark.index]
            if not (_DASH.match(before) if key is value else not before.strip()):
                raise self._error(key, "does not begin its line (want a line of its own)")
            yield _Splice(start, self._line_after(syntax.end(value, self._text)), "")

    def _flow_drops(self, node: yaml.CollectionNode, gone: set[int]) -> Iterator[_Splice]:
        spans = syntax.spans(node)
        kept = [index for index in range(len(spans)) if index not in gone]
        for index in sorted(gone):
            if not kept or index < kept[-1]:
                end = spans[index + 1][0] if index + 1 < len(spans) else spans[index][1]
                yield _Splice(spans[index][0], end, "")
            else:
                yield _Splice(spans[index - 1][1], spans[index][1], "")

    def _error(self, node: yaml.Node, text: str) -> LayoutError:
        mark = node.start_mark
        return LayoutError(f"{self._path}:{self._first_line + mark.line}:{mark.column + 1}: cannot edit: {text}")


def _is_at_end(edit: Put | Insert) -> bool:
    return isinstance(edit, Insert) and edit.at_end
