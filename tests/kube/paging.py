"""Lists by page: which version a list is of, what comes on this page, and the token of the next.

In: the query of a list request and the store; out: objects, version and token. An expired token is a 410 that carries a
fresh, inconsistent one, as the real server answers.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.kube import errors
from tests.kube.errors import ApiError, Object
from tests.kube.kinds import Resource
from tests.kube.selectors import Test, selector
from tests.kube.store import Key, Store

_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    items: list[Object]
    version: int
    token: str = ""
    remaining: int = 0

    def metadata(self, has_selector: bool) -> Object:
        found: Object = {"resourceVersion": str(self.version)}
        if self.token:
            found["continue"] = self.token
            if not has_selector:
                found["remainingItemCount"] = self.remaining
        return found


def page(store: Store, resource: Resource, namespace: str, query: Mapping[str, str]) -> Page:
    """namespace: "" is all of them."""
    version, after = _start(store, query)
    # A list "at any version" is answered from the watch cache, which knows no pages.
    limit = 0 if query.get("resourceVersion") == "0" else whole(query, "limit")
    test = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    found = [
        (key, value)
        for key, value in store.items(resource, version)
        if _follows(key, after) and namespace in ("", key[0]) and (test is None or test(value))
    ]
    at = store.version if version is None else version
    if not limit or len(found) <= limit:
        return Page(items=[value for _, value in found], version=at)
    shown = found[:limit]
    token = _token(at, shown[-1][0])
    return Page(items=[value for _, value in shown], version=at, token=token, remaining=len(found) - limit)


def _follows(key: Key, after: Key | None) -> bool:
    return after is None or key > after


def _start(store: Store, query: Mapping[str, str]) -> tuple[int | None, Key | None]:
    """The version to list (None is the newest) and the key after which to begin."""
    if token := query.get("continue", ""):
        if query.get("resourceVersion", "0") not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        return _continued(store, token)
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if match and not version:
        raise _list_options("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in ("", "Exact", "NotOlderThan"):
        raise _list_options(f'resourceVersionMatch: Unsupported value: "{match}"')
    if match == "Exact" and version == "0":
        raise _list_options('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    asked = whole(query, "resourceVersion")
    if asked > store.version:
        raise errors.too_large(asked, store.version)
    return (asked if match == "Exact" else None), None


def _list_options(what: str) -> ApiError:
    return errors.invalid("ListOptions", "meta.k8s.io", "", [("resourceVersionMatch", what)])


def _continued(store: Store, token: str) -> tuple[int | None, Key]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(token))
        version, after = int(parts["rv"]), (str(parts["start"][0]), str(parts["start"][1]))
    except (ValueError, KeyError, IndexError, TypeError):
        raise errors.bad_request(f"continue key is not valid: {token!r}") from None
    if version == INCONSISTENT:
        return None, after
    if version < store.horizon:
        raise ApiError(410, "Expired", _EXPIRED, metadata={"continue": _token(INCONSISTENT, after)})
    return version, after


INCONSISTENT = -1


def _token(version: int, after: Key) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": after})
    return base64.urlsafe_b64encode(text.encode()).decode()


def whole(query: Mapping[str, str], name: str) -> int:
    """A number of a query, 0 when it is not there."""
    text = query.get(name) or "0"
    if not text.isdecimal():
        raise errors.bad_request(f"invalid {name}: {text!r}, wanted a whole number")
    return int(text)


def has_selector(query: Mapping[str, str]) -> bool:
    test: Test | None = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    return test is not None
