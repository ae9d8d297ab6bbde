"""Structural schemas of CRDs: what of a value is unknown, missing, of a wrong type or out of bounds; and defaults.

In: the openAPIV3Schema of a version and a value; out: a new value and lists of faults. Known are type, required, enum,
minimum, maximum, minLength, maxLength, pattern, minItems, maxItems, maxProperties, nullable, int-or-string, default and
preserve-unknown-fields; formats, oneOf and CEL rules are not looked at.
"""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from tests.kube.errors import Object

Faults = list[tuple[str, str]]  # field path, what is wrong

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "integer": (int,),
    "number": (int, float),
}  # fmt: skip
# The top of every object is known without being described.
_ENVELOPE = ("apiVersion", "kind", "metadata")


def prune(schema: Object, value: Any, path: str = "") -> tuple[Any, list[str]]:
    """The value with defaults and without what the schema does not know, and the paths of that."""
    if isinstance(value, list):
        pairs = [prune(schema.get("items") or {}, item, f"{path}[{i}]") for i, item in enumerate(value)]
        return [item for item, _ in pairs], [name for _, names in pairs for name in names]
    if not isinstance(value, dict):
        return value, []
    found: Object = {}
    unknown: list[str] = []
    for name, item in value.items():
        below = f"{path}.{name}" if path else name
        inner = _schema_of(schema, name)
        if inner is None and not path and name in _ENVELOPE:
            found[name] = item
        elif inner is None:
            unknown.append(below)
        elif not path and name == "metadata":
            found[name] = item
        else:
            found[name], lost = prune(inner, item, below)
            unknown += lost
    _default(schema, found)
    return found, unknown


def _schema_of(schema: Object, name: str) -> Object | None:
    """The schema of a field; None when the field is not known."""
    properties = schema.get("properties") or {}
    if name in properties:
        inner: Object = properties[name]
        return inner
    additional = schema.get("additionalProperties")
    if additional:
        return additional if isinstance(additional, dict) else _ANYTHING
    return _ANYTHING if schema.get("x-kubernetes-preserve-unknown-fields") else None


_ANYTHING: Object = {
    "x-kubernetes-preserve-unknown-fields": True,
    "items": {"x-kubernetes-preserve-unknown-fields": True},
}


def _default(schema: Object, value: Object) -> None:
    for name, inner in (schema.get("properties") or {}).items():
        if name not in value and "default" in inner:
            value[name], _ = prune(inner, deepcopy(inner["default"]), name)


def check(schema: Object, value: Any, path: str = "") -> Faults:
    """What is wrong with a value; the envelope is not looked at."""
    if value is None and schema.get("nullable"):
        return []
    if schema.get("x-kubernetes-int-or-string"):
        return (
            []
            if isinstance(value, int | str)
            else [(path, f"Invalid value: {_shown(value)}: must be integer or string")]
        )
    if fault := _wrong_type(schema, value):
        return [(path, fault)]
    return [(path, fault) for fault in _bounds(schema, value)] + list(_inside(schema, value, path))


def _wrong_type(schema: Object, value: Any) -> str:
    wanted = schema.get("type")
    if wanted not in _TYPES:
        return ""
    is_right = isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
    name = _type_name(value)
    return "" if is_right else f'Invalid value: "{name}": must be of type {wanted}: "{name}"'


def _type_name(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    return next(name for name, types in _TYPES.items() if isinstance(value, types))


def _inside(schema: Object, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from check(schema.get("items") or {}, item, f"{path}[{i}]")
    if isinstance(value, dict):
        for name in schema.get("required") or ():
            if name not in value:
                yield (f"{path}.{name}" if path else name), "Required value"
        for name, item in value.items():
            if path or name not in _ENVELOPE:
                yield from check(_schema_of(schema, name) or {}, item, f"{path}.{name}" if path else name)


def _bounds(schema: Object, value: Any) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(_shown(item) for item in schema["enum"])
        yield f"Unsupported value: {_shown(value)}: supported values: {supported}"
    for word, measured, is_least in _LIMITS:
        if word not in schema or (size := measured(value)) is None:
            continue
        if size < schema[word] if is_least else size > schema[word]:
            sign = "greater than or equal to" if is_least else "less than or equal to"
            yield f"Invalid value: {_shown(value)}: {word}: should be {sign} {schema[word]}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"Invalid value: {_shown(value)}: should match '{schema['pattern']}'"


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _length_of(wanted: type[str | list[Any] | Object]) -> Callable[[Any], float | None]:
    return lambda value: len(value) if isinstance(value, wanted) else None


_LIMITS: tuple[tuple[str, Callable[[Any], float | None], bool], ...] = (
    ("minimum", _number, True), ("maximum", _number, False),
    ("minLength", _length_of(str), True), ("maxLength", _length_of(str), False),
    ("minItems", _length_of(list), True), ("maxItems", _length_of(list), False),
    ("maxProperties", _length_of(dict), False),
)  # fmt: skip


def _shown(value: Any) -> str:
    return json.dumps(value)
