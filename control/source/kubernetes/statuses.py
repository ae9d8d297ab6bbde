"""The status of a Gateway API route: our entries in `status.parents`, and what becomes of them.

In: a RouteStatus, or what is wrong with a route, and the route as the API server has it. Out: the entries to write, or
None where nothing changes. Pure. As the API demands: one entry per parentRef and controller, the parentRef echoed
field by field, `observedGeneration` on each condition, times only of changes, entries of other controllers untouched.
"""

from collections.abc import Iterable, Mapping, Sequence

from milliroute.control.gateway import ParentRef
from milliroute.control.routestatus import ParentStatus
from milliroute.control.source.kubernetes import tree

CONTROLLER = "milliroute.io/destination"
# Of status.parents, in the API's definition; of a condition's message.
MAX_PARENTS = 32
MAX_MESSAGE_CHARS = 32_768

Json = dict[str, object]


def wanted(parents: Iterable[ParentStatus], generation: int) -> list[Json]:
    """Our entries without times."""
    return [
        {
            "parentRef": reference(parent.parent),
            "controllerName": CONTROLLER,
            "conditions": [
                {
                    "type": condition.type,
                    "status": "True" if condition.is_true else "False",
                    "reason": condition.reason,
                    "message": condition.message[:MAX_MESSAGE_CHARS],
                    "observedGeneration": generation,
                }
                for condition in parent.conditions
            ],
        }
        for parent in parents
    ]


def reference(parent: ParentRef) -> Json:
    """As written."""
    fields = {
        "group": parent.group,
        "kind": parent.kind,
        "namespace": parent.namespace,
        "name": parent.name,
        "sectionName": parent.section_name,
        "port": parent.port,
    }
    return {name: value for name, value in fields.items() if value is not None}


def parents_of(route: Mapping[str, object]) -> tuple[ParentRef, ...]:
    """The parentRefs of a route that could not be read; what is no reference is left out."""
    found = tree.mapping(route.get("spec")).get("parentRefs")
    return tuple(
        ParentRef(
            name=tree.text(ref.get("name")),
            namespace=_text(ref, "namespace"),
            group=_text(ref, "group"),
            kind=_text(ref, "kind"),
            section_name=_text(ref, "sectionName"),
            port=port if isinstance(port := ref.get("port"), int) else None,
        )
        for ref in map(tree.mapping, found if isinstance(found, list) else ())
        if tree.text(ref.get("name"))
    )


def ours(route: Mapping[str, object]) -> str:
    """What our entries of a route say, times left out; "" without any. Equal to said() of what was written."""
    return said([entry for entry in _entries(route) if entry.get("controllerName") == CONTROLLER])


def said(entries: Sequence[Mapping[str, object]]) -> str:
    if not entries:
        return ""
    timeless = [entry | {"conditions": [_timeless(c) for c in _conditions(entry)]} for entry in map(dict, entries)]
    return tree.encoded(timeless).decode()


def merged(route: Mapping[str, object], entries: Sequence[Json], now: str) -> list[Json] | None:
    """All of status.parents with `entries` in place of ours; None when they say what is there already."""
    if ours(route) == said(entries):
        return None
    before = [entry for entry in _entries(route) if entry.get("controllerName") == CONTROLLER]
    others = [dict(entry) for entry in _entries(route) if entry.get("controllerName") != CONTROLLER]
    timed = [entry | {"conditions": [_timed(c, entry, before, now) for c in _conditions(entry)]} for entry in entries]
    return [*others, *timed][:MAX_PARENTS]


def _timed(condition: Mapping[str, object], entry: Json, before: Sequence[Mapping[str, object]], now: str) -> Json:
    """With the time it had, where its status is the same."""
    for old in before:
        for known in _conditions(old) if old.get("parentRef") == entry["parentRef"] else ():
            if (known.get("type"), known.get("status")) == (condition["type"], condition["status"]):
                return dict(condition) | {"lastTransitionTime": known.get("lastTransitionTime") or now}
    return dict(condition) | {"lastTransitionTime": now}


def _timeless(condition: Mapping[str, object]) -> Json:
    return {name: value for name, value in condition.items() if name != "lastTransitionTime"}


def _entries(route: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = tree.mapping(route.get("status")).get("parents")
    return [tree.mapping(entry) for entry in found] if isinstance(found, list) else []


def _conditions(entry: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = entry.get("conditions")
    return [tree.mapping(condition) for condition in found] if isinstance(found, list) else []


def _text(ref: Mapping[str, object], name: str) -> str | None:
    return value if isinstance(value := ref.get(name), str) else None
