"""Whole files for `milliroute inject` and `uninject`: every object is asked for its plan, the text around stays.

In: the text of a file, YAML or JSON, of one document or many, Lists too. Out: the new text and what became of each
object. Raises ControlError, with path:line:col, when a file is not what it should be; then nothing of it is printed.

The one rule: what is printed was read again, and is the object that the plan wanted and no other.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import yaml

from milliroute.control.errors import ControlError, ValueTextError
from milliroute.control.inject import edits as changes
from milliroute.control.inject import workloads
from milliroute.control.inject.edits import Edit, Object, Path
from milliroute.control.inject.layout import Layout, LayoutError
from milliroute.control.inject.plan import Plan
from milliroute.control.source import text as texts
from milliroute.control.source import yaml as bounded

# A line that begins so ends a document, in a block scalar too (YAML 1.1 section 4.3.3).
_BOUNDARY = re.compile(r"^(?:---|\.\.\.)(?=\s|\Z)", re.MULTILINE)
_BLANK = re.compile(r"(?:%.*|(?:---|\.\.\.)?[ \t]*(?:#.*)?)\r?")

Decide = Callable[[Object, Callable[[Path], str]], Plan]


class ManifestError(ControlError):
    """A file cannot be read, or what an object says is wrong; one line each."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an object that has pods, or is a Namespace."""

    title: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Rewritten:
    text: str
    outcomes: tuple[Outcome, ...]


def rewrite(content: bytes, path: str, decide: Decide) -> Rewritten:
    """Raises ControlError."""
    if wrong := bounded.parse(content, path).errors:
        raise ManifestError("\n".join(wrong))
    text = texts.decoded(content, path)
    mark = texts.BOM if text.startswith(texts.BOM) else ""
    parts, outcomes = [mark], list[Outcome]()
    for line, chunk in _documents(text.removeprefix(mark)):
        done = _Document(chunk, path, line, decide).rewritten()
        parts.append(done.text)
        outcomes += done.outcomes
    return Rewritten("".join(parts), tuple(outcomes))


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """Each with the line at which it begins, together the whole text."""
    starts = sorted({0, *(found.start() for found in _BOUNDARY.finditer(text)), len(text)})
    line = 1
    for start, end in pairwise(starts):
        yield line, text[start:end]
        line += text.count("\n", start, end)


class _Document:
    def __init__(self, text: str, path: str, line: int, decide: Decide) -> None:
        self._text = text
        self._path = path
        self._line = line
        self._decide = decide
        self._composed: Layout | None = None

    def rewritten(self) -> Rewritten:
        if all(_BLANK.fullmatch(line) for line in self._text.split("\n")):
            return Rewritten(self._text, ())
        whole = self._load(self._text)
        found = [(path, thing) for path, thing in _objects(whole) if workloads.is_known(thing)]
        plans = [(path, thing, self._plan(path, thing)) for path, thing in found]
        outcomes = tuple(Outcome(workloads.title(thing), plan) for _, thing, plan in plans)
        all_edits = [_under(path, edit) for path, _, plan in plans for edit in plan.edits]
        return Rewritten(self._edited(whole, all_edits) if all_edits else self._text, outcomes)

    @property
    def _layout(self) -> Layout:
        """Made only where there is something to look at: it takes a hundred times as long as reading."""
        if self._composed is None:
            self._composed = Layout(self._text, self._path, self._line)
        return self._composed

    def _plan(self, path: Path, thing: Object) -> Plan:
        try:
            return self._decide(thing, lambda inner: self._layout.written((*path, *inner)))
        except ValueTextError as error:
            where = f"{self._path}:{self._layout.line(path)}:1"
            raise ManifestError(f"{where}: {workloads.title(thing)}: {error}") from error

    def _edited(self, whole: object, edits: Sequence[Edit]) -> str:
        assert isinstance(whole, Mapping), "the edits are of an object in it"
        text = self._layout.edited(edits)
        if self._load(text) != changes.applied(whole, edits):
            raise LayoutError(
                f"{self._path}:{self._line}:1: cannot edit this document without changing more of it (saw anchors or an"
                " unusual layout, want it plain; kubectl prints it so)"
            )
        return text

    def _load(self, text: str) -> object:
        try:
            return yaml.load(text, Loader=_Loader)  # a safe one
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self._line + mark.line}:{mark.column + 1}" if mark else f"{self._line}:1"
            raise ManifestError(f"{self._path}:{where}: YAML: {error.problem or 'cannot be read'}") from error


def _objects(whole: object, path: Path = ()) -> Iterator[tuple[Path, Object]]:
    if not isinstance(whole, Mapping):
        return
    items = whole.get("items") if whole.get("kind") == "List" else None
    if isinstance(items, list):
        for index, item in enumerate(items):
            yield from _objects(item, (*path, "items", index))
    else:
        yield path, whole


def _under(path: Path, edit: Edit) -> Edit:
    return replace(edit, path=(*path, *edit.path))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's where it is there
    """Dates and "=" are texts: the schemas of CRDs have both, and PyYAML cannot read the second."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML wants a class attribute
        first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] not in ("timestamp", "value")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
