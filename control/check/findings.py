"""A judgement: good, a warning or an error, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what should be, `detail` what was seen instead, `hint` what to do."""

    level: Level
    text: str
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    findings: tuple[Finding, ...]


def is_good(groups: Iterable[Group]) -> bool:
    """Warnings do not fail a check."""
    return all(finding.level != "error" for group in groups for finding in group.findings)


def judged(is_so: bool, text: str, detail: str, hint: str, otherwise: Level = "error") -> Finding:
    """`detail` and `hint` are said only where it is not so."""
    return Finding("ok", text) if is_so else Finding(otherwise, text, detail, hint)
