"""A document as a tree of values that know where they stood, whatever it was read from.

`source.yaml` makes them from text and `parse` turns them into objects, so that no parser of objects knows of YAML
and each error names a line and a column. Lines and columns count from 1. A node may be shared (YAML aliases), never
cyclic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Scalar:
    """`is_plain`: written without quotes, so that null, true and numbers mean what they look like."""

    text: str
    line: int
    column: int
    is_plain: bool = True

    @property
    def is_null(self) -> bool:
        return self.is_plain and self.text in ("", "~", "null", "Null", "NULL")

    def __str__(self) -> str:
        return "nothing" if self.is_null else repr(self.text if len(self.text) <= 60 else self.text[:57] + "...")


@dataclass(frozen=True, slots=True)
class Items:
    """A YAML sequence."""

    nodes: tuple["Node", ...]
    line: int
    column: int

    def __str__(self) -> str:
        return f"a list of {len(self.nodes)}"


@dataclass(frozen=True, slots=True)
class Fields:
    """A YAML mapping; `keys` holds where each key stood."""

    nodes: Mapping[str, "Node"]
    line: int
    column: int
    keys: Mapping[str, Scalar] = field(default_factory=dict)

    def __str__(self) -> str:
        return "a mapping"

    def get(self, name: str) -> "Node | None":
        """The value under `name`; None where it is absent or null."""
        node = self.nodes.get(name)
        return None if node is None or (isinstance(node, Scalar) and node.is_null) else node


Node: TypeAlias = Scalar | Items | Fields
