"""Whether filters, redirects and answers of Gateway API rules may go into heads: the strict rules for messages.

In: states as they were decoded. Out: nothing, or a ValueError for what must not get into a head, so that all of it
is refused: whatever passes here goes into requests and responses as it is. Pure.
"""

import re

from milliroute.proxy.codec import rules
from milliroute.proxy.state import FiltersState, HeaderChangeState, PathChangeState, RedirectState

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,256}\Z")  # RFC 9110 section 5.6.2, in lower case
_VALUE = re.compile(r"[\t -~\x80-\xff]{0,8192}\Z")
_PATH = re.compile(r"/[!-\"$->@-~]{0,8191}\Z")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z")
_FORBIDDEN = frozenset(name.decode() for name in (*rules.REQUEST_NAMES, b"trailer"))


def check_filters(filters: FiltersState, where: str) -> None:
    for change in (filters.request, filters.response):
        if change is not None:
            _check_change(change, where)
    if filters.rewrite is not None:
        _check_host(filters.rewrite.hostname, where)
        if filters.rewrite.path is not None:
            _check_path(filters.rewrite.path, where)


def check_redirect(redirect: RedirectState, where: str) -> None:
    if redirect.scheme not in ("", "http", "https"):
        raise ValueError(f"saw the scheme {redirect.scheme!r} in {where}, wanted http or https")
    if not (redirect.port <= 65535 and 300 <= redirect.status <= 399):
        saw = f"port {redirect.port} and status {redirect.status}"
        raise ValueError(f"saw {saw} in {where}, wanted a port and a status of a redirect")
    _check_host(redirect.hostname, where)
    if redirect.path is not None:
        _check_path(redirect.path, where)


def check_status(status: int, where: str) -> None:
    """0 or a failure that there is an answer for without a backend."""
    if status not in (0, 404, 500, 503):
        raise ValueError(f"saw status {status} in {where}, wanted 404, 500 or 503")


def _check_change(change: HeaderChangeState, where: str) -> None:
    for name in (*(name for name, _ in (*change.set, *change.add)), *change.remove):
        if not _NAME.match(name) or name in _FORBIDDEN or rules.is_order(name.encode()):
            raise ValueError(f"saw the field {name!r} in a filter of {where}, wanted one that only passes through")
    for _, value in (*change.set, *change.add):
        if not _VALUE.match(value) or value != value.strip():
            raise ValueError(f"saw the value {value[:80]!r} in a filter of {where}, wanted visible characters")


def _check_path(change: PathChangeState, where: str) -> None:
    matched = change.matched
    if not _PATH.match(change.path) or (matched and (not _PATH.match(matched) or matched.endswith("/"))):
        raise ValueError(f"saw the path {change.path!r} for {matched!r} in {where}, wanted paths from their slash on")


def _check_host(host: str, where: str) -> None:
    if host and not _HOST.match(host):
        raise ValueError(f"saw the host {host!r} in {where}, wanted a lower-case name")
