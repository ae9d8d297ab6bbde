"""What a route or a sticky split reads of a request: path, method and header matches, and the client's key.

User-supplied expressions run on RE2, never on `re`: backtracking on user input is a denial of service. RE2 is imported
when the first expression is compiled, so a proxy without matches does not carry it.
"""

import re
from typing import TYPE_CHECKING

from milliroute.proxy.message import Fields, RequestHead
from milliroute.proxy.state import MatchState, StickyState
from milliroute.proxy.sticky import cookie_value

if TYPE_CHECKING:
    import re2


# An expression that says nothing but how a path begins, as most do; it needs no RE2, which is 4 us through its wrapper.
_PLAIN_PREFIX = re.compile(r"([A-Za-z0-9/_~%=&,:@!-]*)(?:\.\*)?\Z")


class Matcher:
    """One match of an HTTPRouteGroup: all its set parts must hold (SMI traffic specs v1alpha4)."""

    __slots__ = ("_headers", "_methods", "_path", "_prefix")

    def __init__(self, state: MatchState) -> None:
        """Raises re2.error for an expression RE2 does not take."""
        plain = _PLAIN_PREFIX.match(state.path_regex)
        self._prefix = plain[1].encode() if plain is not None else b""
        self._path = _compile(state.path_regex) if plain is None else None
        self._methods = frozenset(m.encode() for m in state.methods) if "*" not in state.methods else frozenset()
        self._headers = [(h.name.lower().encode(), _compile(h.regex)) for h in state.headers]

    def takes(self, head: RequestHead) -> bool:
        if self._methods and head.method not in self._methods:
            return False
        if not head.target.startswith(self._prefix):
            return False
        # Anchored at the start only: that is what SMI says of pathRegex.
        if self._path is not None and self._path.match(head.target.partition(b"?")[0].decode("latin-1")) is None:
            return False
        return not self._headers or self._takes_headers(head.fields())

    def _takes_headers(self, fields: Fields) -> bool:
        for name, regex in self._headers:
            values = [value for field, value in fields if field == name]
            # Several fields of one name are one list (RFC 9110 section 5.3).
            if not values or regex.fullmatch(b", ".join(values).decode("latin-1")) is None:
                return False
        return True


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


def _compile(pattern: str) -> "re2._Regexp[str]":
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)
