"""Answers of our own, as design section 7 has them: no body, the reason in l5d-proxy-error; gRPC clients get 200.

Pure: an error and the request in, bytes out.
"""

from http import HTTPStatus

from milliroute.proxy.errors import ProxyError
from milliroute.proxy.message import RequestHead

# RFC 9110's words, where Python 3.11 still has RFC 2616's.
_PHRASES = {414: "URI Too Long"}


def error_reply(error: ProxyError, head: RequestHead | None, *, closes: bool) -> bytes:
    """head: None when there was no request that could be read; closes: the connection ends after this answer."""
    text = _one_line(error.text)
    if head is not None and _is_grpc(head):
        # Here, because only such an answer needs it: 0.4 MiB in each worker (measured).
        from urllib.parse import quote

        # The error text doubles as grpc-message, percent-encoded (gRPC over HTTP/2, "Responses").
        lines = [
            "HTTP/1.1 200 OK",
            "content-type: application/grpc",
            f"grpc-status: {error.grpc_status}",
            f"grpc-message: {quote(text, safe=' ')}",
        ]
    else:
        lines = [f"HTTP/1.1 {error.status} {_PHRASES.get(error.status) or HTTPStatus(error.status).phrase}"]
    lines += [f"l5d-proxy-error: {text}", "content-length: 0"]
    if closes:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _is_grpc(head: RequestHead) -> bool:
    return any(n == b"content-type" and v.lower().startswith(b"application/grpc") for n, v in head.fields())


def _one_line(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:200]
