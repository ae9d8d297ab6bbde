"""What a route or a sticky split reads of a request: path, method, header and query matches, and the client's key.

User-supplied expressions run on RE2, never on `re`: backtracking on user input is a denial of service. RE2 is imported
when the first expression is compiled, so a proxy without matches does not carry it.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from milliroute.proxy.message import RequestHead
from milliroute.proxy.routing.sticky import cookie_value
from milliroute.proxy.state import HeaderMatchState, MatchState, StickyState

if TYPE_CHECKING:
    import re2


# An expression that says nothing but how a path begins, as most do; it needs no RE2, which is 4 us through its wrapper.
_PLAIN_PREFIX = re.compile(r"([A-Za-z0-9/_~%=&,:@!-]*)(?:\.\*)?\Z")


class Matcher:
    """One match of an HTTPRouteGroup: all its set parts must hold (SMI traffic specs v1alpha4)."""

    __slots__ = ("_headers", "_methods", "_path", "_prefix", "plain")

    def __init__(self, state: MatchState) -> None:
        """Raises re2.error for an expression RE2 does not take. plain: the methods, none for all, and the prefix of the
        path, where it asks for nothing else."""
        plain = _PLAIN_PREFIX.match(state.path_regex)
        self._prefix = plain[1].encode() if plain is not None else b""
        self._path = _compile(state.path_regex) if plain is None else None
        self._methods = frozenset(m.encode() for m in state.methods) if "*" not in state.methods else frozenset()
        self._headers = [(h.name.lower().encode(), _value_test(h)) for h in state.headers]
        self.plain = None if self._path is not None or self._headers else (self._methods, self._prefix)

    def takes(self, head: RequestHead) -> bool:
        if self._methods and head.method not in self._methods:
            return False
        if not head.target.startswith(self._prefix):
            return False
        # Anchored at the start only: that is what SMI says of pathRegex.
        if self._path is not None and self._path.match(head.target.partition(b"?")[0].decode("latin-1")) is None:
            return False
        return not self._headers or _take_headers(self._headers, head)


class RouteMatcher:
    """One match of a Gateway API rule that looks at the path or the query: all its set parts must hold."""

    __slots__ = ("_exact", "_headers", "_method", "_path", "_prefix", "_query")

    def __init__(self, state: MatchState) -> None:
        """Raises re2.error for an expression RE2 does not take."""
        self._method = state.methods[0].encode() if state.methods else b""
        self._exact = state.path_exact.encode()
        self._prefix = state.path_prefix.encode()
        self._path = _compile(state.path_full_regex).fullmatch if state.path_full_regex else None
        self._headers = [(h.name.lower().encode(), _value_test(h)) for h in state.headers]
        self._query = [(q.name, _value_test(q)) for q in state.query]

    def takes(self, head: RequestHead) -> bool:
        if self._method and head.method != self._method:
            return False
        target, prefix = head.target, self._prefix
        if prefix:
            # By whole elements: what stands behind it begins another one, or the query.
            if not target.startswith(prefix) or target[len(prefix) : len(prefix) + 1] not in (b"", b"/", b"?"):
                return False
        elif self._exact:
            if not target.startswith(self._exact) or target[len(self._exact) : len(self._exact) + 1] not in (b"", b"?"):
                return False
        elif self._path is not None and self._path(target.partition(b"?")[0].decode("latin-1")) is None:
            return False
        if self._headers and not _take_headers(self._headers, head):
            return False
        return not self._query or self._takes_query(target)

    def _takes_query(self, target: bytes) -> bool:
        # Here, because few matches look at the query.
        from urllib.parse import parse_qsl

        first: dict[str, str] = {}
        text = target.partition(b"?")[2].decode("latin-1")
        for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
            first.setdefault(name, value)
        return all(name in first and test(first[name]) is not None for name, test in self._query)


def matcher(state: MatchState) -> Matcher | RouteMatcher:
    """Raises re2.error for an expression RE2 does not take."""
    is_of_route = state.path_exact or state.path_prefix or state.path_full_regex or state.query
    return RouteMatcher(state) if is_of_route else Matcher(state)


def sticky_key(sticky: StickyState, head: RequestHead, client_ip: str) -> bytes | None:
    """What identifies the client to a sticky split; None when the request does not carry it."""
    if sticky.client_ip:
        return client_ip.encode()
    name = (sticky.header or "cookie").lower().encode()
    for field, value in head.fields():
        if field == name:
            key = value if sticky.header else cookie_value(value, sticky.cookie.encode())
            if key is not None:
                return key
    return None


def _take_headers(tests: Sequence[tuple[bytes, Callable[[str], object]]], head: RequestHead) -> bool:
    fields = head.fields()
    for name, test in tests:
        values = [value for field, value in fields if field == name]
        if name == b"host":  # over HTTP/2 it is no field
            values = [head.host]
        # Several fields of one name are one list (RFC 9110 section 5.3), and so are crumbs (RFC 9113 section 8.2.3).
        between = b"; " if name == b"cookie" else b", "
        if not values or test(between.join(values).decode("latin-1")) is None:
            return False
    return True


def _value_test(state: HeaderMatchState) -> Callable[[str], object]:
    """None for a value that it does not take; a plain comparison needs no RE2."""
    if not state.exact:
        takes: Callable[[str], object] = _compile(state.regex).fullmatch
        return takes
    exact = state.exact
    return lambda value: True if value == exact else None


def _compile(pattern: str) -> "re2._Regexp[str]":
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)
