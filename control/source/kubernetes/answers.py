"""What an API server answers, as values: pages of a list, events of a watch, reasons of a refusal.

In: bytes. Out: entries (an object of the model, or what is wrong with it), or BadAnswerError for what no API server
should say. An object that is not valid is its writer's mistake and no bad answer.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from milliroute.control.gateway import ParentRef
from milliroute.control.manifest import objects as manifests
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Scalar
from milliroute.control.model import KubeObject
from milliroute.control.source.kubernetes import statuses, tree
from milliroute.control.source.kubernetes.resources import ROUTES, Resource

# Namespace, name.
Key = tuple[str, str]

_NOWHERE = Scalar("", 0, 0)


class BadAnswerError(Exception):
    """The answer is not what the API's conventions promise."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as last seen. `value` None without errors: it says nothing about routing. Of a route: what its status
    says in our name, and its parentRefs when there are errors."""

    key: Key
    revision: str
    uid: str = ""
    generation: int = 0
    value: KubeObject | None = None
    errors: tuple[str, ...] = ()
    status: str = ""
    parents: tuple[ParentRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """`rest`: the token of the next page, "" on the last one."""

    entries: tuple[Entry, ...]
    revision: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """`entry` is None for a BOOKMARK and an ERROR; `code` and `text` are an ERROR's."""

    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    revision: str = ""
    entry: Entry | None = None
    code: int = 0
    text: str = ""


def page(body: bytes, resource: Resource, version: str) -> Page:
    """Raises BadAnswerError."""
    found = _decoded(body)
    items = found.get("items")
    if not isinstance(items, list):
        items = () if items is None and "metadata" in found else None
    metadata = tree.mapping(found.get("metadata"))
    revision = tree.text(metadata.get("resourceVersion"))
    if items is None or not revision:
        raise BadAnswerError("a list without items or resourceVersion")
    entries = tuple(_entry(item, resource, version) for item in items)
    return Page(entries, revision, tree.text(metadata.get("continue")))


def event(line: bytes, resource: Resource, version: str) -> Event:
    """Raises BadAnswerError."""
    found = _decoded(line)
    kind, shown = found.get("type"), tree.mapping(found.get("object"))
    if kind == "ERROR":
        code = shown.get("code")
        reason = tree.text(shown.get("reason"))
        is_gone = reason in ("Expired", "Gone")
        text = tree.text(shown.get("message")) or reason
        return Event("ERROR", code=410 if is_gone else code if isinstance(code, int) else 0, text=text)
    revision = tree.text(tree.mapping(shown.get("metadata")).get("resourceVersion"))
    if not revision:
        raise BadAnswerError("an event without a resourceVersion")
    if kind == "BOOKMARK":
        return Event("BOOKMARK", revision)
    if kind not in ("ADDED", "MODIFIED", "DELETED"):
        raise BadAnswerError("an event of an unknown type")
    return Event(kind, revision, _entry(shown, resource, version))


def message(body: bytes) -> str:
    """What a Status says, in one line; "" when there is none."""
    try:
        return " ".join(tree.text(_decoded(body).get("message")).split())[:300]
    except BadAnswerError:
        return ""


def entry_of(body: bytes, resource: Resource, version: str) -> Entry:
    """One object. Raises BadAnswerError."""
    return _entry(_decoded(body), resource, version)


def _decoded(data: bytes) -> dict[str, object]:
    try:
        found = tree.decoded(data)
    except msgspec.DecodeError:
        raise BadAnswerError("not JSON") from None
    if not isinstance(found, dict):
        raise BadAnswerError("no JSON object")
    return found


def _entry(item: object, resource: Resource, version: str) -> Entry:
    metadata = tree.mapping(tree.mapping(item).get("metadata"))
    name, namespace = tree.text(metadata.get("name")), tree.text(metadata.get("namespace"))
    if not name or not f"{namespace}{name}".isprintable():  # they stand in messages of one line
        raise BadAnswerError("an object without a name")
    # Items of a list do not say what they are, where the kind is built in.
    whole = {**tree.mapping(item), "kind": resource.kind, "apiVersion": resource.api_version(version)}
    report = Report(f"{resource.kind} {namespace}/{name}")
    is_route = resource in ROUTES
    try:
        values = list(manifests.objects([tree.node(whole)], report))
        status = statuses.ours(whole) if is_route and tree.node(whole.get("status")) else ""
    except tree.TooDeepError:
        report.add(_NOWHERE, "nested too deeply", "more", f"at most {tree.MAX_DEPTH} levels")
        values, status = [], ""
    generation = metadata.get("generation")
    return Entry(
        key=(namespace, name),
        revision=tree.text(metadata.get("resourceVersion")),
        uid=tree.text(metadata.get("uid")),
        generation=generation if isinstance(generation, int) else 0,
        value=values[0] if values else None,
        errors=tuple(report.errors),
        status=status,
        parents=statuses.parents_of(whole) if is_route and report.errors else (),
    )
