"""Which protocol a client's connection speaks, told from its first bytes or from what its backends declare. Pure.

Asked only for bytes that are no HTTP/1 request (the codec has refused them). The rule not to break: a verdict holds
whatever follows and however the bytes were cut, and nothing that a lenient server could read as a request is opaque.
When in doubt it is HTTP, and refused.
"""

import re
from collections.abc import Iterable

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# A first line this long that has told nothing is HTTP and too long: the limit of a target, and room for the rest.
MAX_FIRST_LINE_BYTES = 8 * 1024 + 64
# The IANA registry of HTTP methods (RFC 9110 section 16.1), and QUERY: with one of these, in whatever case, a line is a
# request however malformed.
_METHODS = frozenset((
    b"ACL", b"BASELINE-CONTROL", b"BIND", b"CHECKIN", b"CHECKOUT", b"CONNECT", b"COPY", b"DELETE", b"GET", b"HEAD",
    b"LABEL", b"LINK", b"LOCK", b"MERGE", b"MKACTIVITY", b"MKCALENDAR", b"MKCOL", b"MKREDIRECTREF", b"MKWORKSPACE",
    b"MOVE", b"OPTIONS", b"ORDERPATCH", b"PATCH", b"POST", b"PRI", b"PROPFIND", b"PROPPATCH", b"PUT", b"QUERY",
    b"REBIND", b"REPORT", b"SEARCH", b"TRACE", b"UNBIND", b"UNCHECKOUT", b"UNLINK", b"UNLOCK", b"UPDATE",
    b"UPDATEREDIRECTREF", b"VERSION-CONTROL",
))  # fmt: skip
# What some parser takes for white space: the ASCII ones, and what str.split() adds of latin-1 (Python's http.server).
_SPACE = bytes((*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0))
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# No word of text holds one of these, so no parser finds a method in it.
_IN_BINARY = bytes((*range(0x09), *range(0x0E, 0x1C), 0x7F))
_BINARY_WORD = re.compile(b"[^%b%b]*+[%b]" % (re.escape(_SPACE), re.escape(_IN_BINARY), re.escape(_IN_BINARY)))

# The last word of a request line; up to ten digits a number, as many as Python's http.server takes.
_LAST_WORD = re.compile(rb"[%b]HTTP/[0-9]{1,10}(?:\.[0-9]{1,10})?\Z" % re.escape(_SPACE), re.IGNORECASE)
_MAX_LAST_WORD_BYTES = len(" HTTP/") + 10 + 1 + 10

# Values of a Service port's appProtocol. Those that run over HTTP/1 or HTTP/2: such a backend never gets a raw tunnel.
_HTTP = frozenset((
    "http", "https", "http2", "h2", "h2c", "grpc", "grpc-web", "grpcs", "ws", "wss", "kubernetes.io/h2c",
    "kubernetes.io/ws", "kubernetes.io/wss",
))  # fmt: skip
# Those that are not HTTP, for which no byte of the client's is awaited: plain TCP under the names in use, and what
# Linkerd takes for opaque by default port (its `opaque-ports`), where the server often speaks first.
_OPAQUE = frozenset((
    "tcp", "tls", "linkerd.io/tcp", "linkerd.io/opaque", "smtp", "submission", "mysql", "postgresql", "redis",
    "memcache",
))  # fmt: skip


def is_h2_preface(data: bytes) -> bool | None:
    """Whether HTTP/2 begins here with prior knowledge (RFC 9113 section 3.4); None while it is too short to tell."""
    if len(data) < len(_PREFACE):
        return None if _PREFACE.startswith(data) else False
    return data.startswith(_PREFACE)


def is_opaque(data: bytes) -> bool | None:
    """Whether no HTTP/1 request can begin like this; None while it is too short to tell.

    data: everything since the connection was made. Opaque is a first word with a byte that no text holds (TLS and most
    binary protocols: at once), and a whole first line with neither a registered method nor a version of HTTP.
    """
    text = data[:MAX_FIRST_LINE_BYTES].lstrip(_SPACE)
    word = _TOKEN.match(text)
    if word is not None and word.end() < len(text) and word[0].upper() in _METHODS:
        return False
    binary = _BINARY_WORD.match(text)
    if binary is not None:
        return b"http/" not in binary[0].lower()
    line, line_end, _ = text.partition(b"\n")
    if b"http/" in line.lower():
        return False
    if line_end:
        return True
    return None if len(data) < MAX_FIRST_LINE_BYTES else False


def may_be_opaque(data: bytes) -> bool:
    """Whether these bytes, the newest of a first line, can change what `is_opaque` says: a quick look at a drip."""
    return b"\n" in data or len(data.translate(None, _IN_BINARY)) < len(data)


class FirstLine:
    """Watches the first line of what was taken for opaque until it ends, however it is cut.

    A binary first word decides at once, because its sender may wait for an answer; some servers (Python's http.server)
    would take such a word for a method, were the rest of the line a request's.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> bool | None:
        """True: it ends as a request line does, so these bytes must not go on; False: it does not; None: no end yet."""
        window = self._tail + data if self._tail else data.lstrip(_SPACE)
        line, line_end, _ = window.partition(b"\n")
        text = line.rstrip(_SPACE)
        if line_end:
            return _LAST_WORD.search(text[-_MAX_LAST_WORD_BYTES:]) is not None
        self._tail = text[-_MAX_LAST_WORD_BYTES:] + (b" " if len(text) < len(line) else b"")
        return None


def is_declared_opaque(app_protocols: Iterable[str]) -> bool:
    """All backends say that they speak something else than HTTP; none: no."""
    names = {name.lower() for name in app_protocols}
    return bool(names) and names <= _OPAQUE


def is_declared_http(app_protocols: Iterable[str]) -> bool:
    """One backend at least says that it speaks HTTP."""
    return any(name.lower() in _HTTP for name in app_protocols)
