"""Answers of our own, as design section 7 has them: no body, the reason in l5d-proxy-error; gRPC clients get 200.

Pure: an error and the request in, bytes out.
"""

from http import HTTPStatus

from milliroute.proxy.errors import LimitReached, ProxyError, Redirected
from milliroute.proxy.message import RequestHead

# RFC 9110's words, where Python 3.11 still has RFC 2616's.
_PHRASES = {414: "URI Too Long"}


def error_reply(error: ProxyError, head: RequestHead | None, *, closes: bool) -> bytes:
    """head: None when there was no request that could be read; closes: the connection ends after this answer."""
    (_, status), *fields = error_fields(error, head)
    phrase = _PHRASES.get(int(status)) or HTTPStatus(int(status)).phrase
    lines = [b"HTTP/1.1 %s %s" % (status, phrase.encode()), *(name + b": " + value for name, value in fields)]
    if closes:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def error_fields(error: ProxyError, head: RequestHead | None) -> list[tuple[bytes, bytes]]:
    """The same answer as HTTP/2 fields, :status first."""
    if isinstance(error, Redirected):
        return [(b":status", b"%d" % error.status), (b"location", error.location), (b"content-length", b"0")]
    text = _one_line(error.text)
    if head is not None and _is_grpc(head):
        # Here, because only such an answer needs it: 0.4 MiB in each worker (measured).
        from urllib.parse import quote

        # The error text doubles as grpc-message, percent-encoded (gRPC over HTTP/2, "Responses").
        fields = [
            (b":status", b"200"),
            (b"content-type", b"application/grpc"),
            (b"grpc-status", b"%d" % error.grpc_status),
            (b"grpc-message", quote(text, safe=" ").encode()),
        ]
    else:
        fields = [(b":status", b"%d" % error.status)]
    fields.append((b"l5d-proxy-error", text.encode()))
    if isinstance(error, LimitReached) and error.retry_after_s:
        fields.append((b"retry-after", b"%d" % error.retry_after_s))
    return [*fields, (b"content-length", b"0")]


def _is_grpc(head: RequestHead) -> bool:
    return any(n == b"content-type" and v.lower().startswith(b"application/grpc") for n, v in head.fields())


def _one_line(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:200]
