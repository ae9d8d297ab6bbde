"""Where an object was written, for messages."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object was written; line and column count from 1, 0 means unknown."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path

    @property
    def short(self) -> str:
        """`path:line`, as people and editors like it."""
        return f"{self.path}:{self.line}" if self.line else self.path


NOWHERE = Origin("-")
