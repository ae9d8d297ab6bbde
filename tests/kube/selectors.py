"""Label and field selectors: text in, a test of one object out. What cannot be read is a 400."""

import re
from collections.abc import Callable

from tests.kube.errors import Object, bad_request

Test = Callable[[Object], bool]

_SET = re.compile(r"\s*(?P<key>[^\s!=(),]+)\s+(?P<verb>in|notin)\s*\((?P<values>[^)]*)\)\s*$")
_EQUAL = re.compile(r"\s*(?P<key>[^\s!=(),]+)\s*(?P<verb>==|=|!=)\s*(?P<values>[^\s!=(),]*)\s*$")
_EXISTS = re.compile(r"\s*(?P<verb>!?)\s*(?P<key>[^\s!=(),]+)\s*$")
# A comma that is not inside brackets.
_COMMA = re.compile(r",(?![^(]*\))")
_FIELDS = {
    "metadata.name", "metadata.namespace", "type", "reason", "involvedObject.kind", "involvedObject.name",
    "involvedObject.namespace", "involvedObject.uid", "spec.nodeName", "status.phase",
}  # fmt: skip


def selector(labels: str, fields: str) -> Test | None:
    """None when there is nothing to select by."""
    tests = [_label(part) for part in _COMMA.split(labels) if labels.strip()]
    tests += [_field(part) for part in fields.split(",") if fields.strip()]
    return (lambda value: all(test(value) for test in tests)) if tests else None


def _label(text: str) -> Test:
    if match := _SET.match(text):
        wanted = {word.strip() for word in match["values"].split(",")}
        return _among(match["key"], wanted, match["verb"] == "in")
    if match := _EQUAL.match(text):
        return _among(match["key"], {match["values"]}, match["verb"] != "!=")
    if match := _EXISTS.match(text):
        key, wanted_there = match["key"], not match["verb"]
        return lambda value: (key in labels_of(value)) is wanted_there
    raise bad_request(f"unable to parse requirement: {text!r}")


def _among(key: str, wanted: set[str], is_wanted: bool) -> Test:
    return lambda value: (labels_of(value).get(key) in wanted) is is_wanted


def _field(text: str) -> Test:
    match = _EQUAL.match(text)
    if match is None:
        raise bad_request(f"invalid selector: {text!r}; can't understand {text!r}")
    path, wanted, is_equal = match["key"], match["values"], match["verb"] != "!="
    if path not in _FIELDS:
        raise bad_request(f'field label not supported: "{path}"')
    return lambda value: (_at(value, path) == wanted) is is_equal


def labels_of(value: Object) -> dict[str, str]:
    return value["metadata"].get("labels") or {}


def _at(value: Object, path: str) -> str:
    found: object = value
    for name in path.split("."):
        found = found.get(name, "") if isinstance(found, dict) else ""
    return str(found)
