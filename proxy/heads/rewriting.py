"""What a Gateway API rule changes in requests and responses, and how it redirects. Pure.

Made once per table from a FiltersState or a RedirectState; loaded only where there is one. In comes a head, and it is
changed in place. The rule not to break: whatever goes into a head here was held to the strict rules when the table was
made (agent.destination), or came out of a head that a codec accepted.
"""

from collections.abc import Sequence
from typing import Protocol

from milliroute.proxy.errors import Redirected
from milliroute.proxy.message import Fields, RequestHead
from milliroute.proxy.state import FiltersState, HeaderChangeState, PathChangeState, RedirectState, RewriteState

# RFC 9110 section 4.2: the ports that a URL need not name.
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}


class Head(Protocol):
    """Of a request or of a response."""

    def alter(self, drop: frozenset[bytes], more: Fields) -> None: ...


class HeaderEdit:
    """Of one head: `drop` goes, `more` comes at its end."""

    __slots__ = ("_drop", "_more")

    def __init__(self, state: HeaderChangeState) -> None:
        self._drop = frozenset(name.encode() for name in (*state.remove, *(name for name, _ in state.set)))
        self._more = [(name.encode(), value.encode("latin-1")) for name, value in (*state.set, *state.add)]

    def apply(self, head: Head) -> None:
        head.alter(self._drop, self._more)


class UrlEdit:
    """What the backend sees in place of the path, or of the host."""

    __slots__ = ("_host", "_path")

    def __init__(self, state: RewriteState) -> None:
        self._host = state.hostname.encode()
        self._path = state.path

    def apply(self, head: RequestHead) -> None:
        target = changed_target(self._path, head.target) if self._path is not None else head.target
        head.retarget(target, self._host or head.host)


class Filters:
    """Of a route or of a leaf; None for what there is not. Of a route also whether a leaf of it changes requests, so
    that another try needs the request as it was before, or responses.
    """

    __slots__ = ("has_leaf_requests", "has_leaf_responses", "request", "response", "url")

    def __init__(self, state: FiltersState, leaves: "Sequence[Filters]" = ()) -> None:
        self.request = HeaderEdit(state.request) if state.request is not None else None
        self.response = HeaderEdit(state.response) if state.response is not None else None
        self.url = UrlEdit(state.rewrite) if state.rewrite is not None else None
        self.has_leaf_requests = any(leaf.request is not None for leaf in leaves)
        self.has_leaf_responses = any(leaf.response is not None for leaf in leaves)


class Redirect:
    """The answer to each request of a route."""

    __slots__ = ("_state",)

    def __init__(self, state: RedirectState) -> None:
        self._state = state

    def answer(self, head: RequestHead) -> Redirected:
        state = self._state
        scheme = state.scheme.encode() or head.scheme()
        name, port = _split_host(head.host)
        if state.port:
            port = b"%d" % state.port
        elif state.scheme:
            port = b""
        host = state.hostname.encode() or name
        if port and port != _DEFAULT_PORTS.get(scheme):
            host += b":" + port
        target = changed_target(state.path, head.target) if state.path is not None else head.target
        return Redirected(state.status, scheme + b"://" + host + (target if target.startswith(b"/") else b"/"))


def changed_target(change: PathChangeState, target: bytes) -> bytes:
    """The target with another path; its query stays. A target that has no path (`*`) stays as it is."""
    path, question, query = target.partition(b"?")
    if not path.startswith(b"/"):
        return target
    new = change.path.encode()
    if change.is_prefix:
        new = (new.rstrip(b"/") + path[len(change.matched) :]) or b"/"
    return new + question + query


def redressed(head: RequestHead, filters: Filters | None) -> RequestHead:
    """The head as another leaf is to see it."""
    # Not the head itself in its own attribute, which would be a cycle.
    bare: RequestHead = getattr(head, "bare", head)
    if filters is None or filters.request is None:
        return bare
    made = bare.fork()
    made.bare = bare
    filters.request.apply(made)
    return made


def _split_host(host: bytes) -> tuple[bytes, bytes]:
    """A name or an address in brackets, and a port or b""."""
    name, colon, port = host.rpartition(b":")
    return (name, port) if colon and port.isdigit() else (host, b"")
