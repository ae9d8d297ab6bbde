"""Errors of the proxy. Each knows its HTTP and gRPC status, where the fault lies and whether a retry is safe.

ProxyError
├── ProtocolError         a message that is malformed or forbidden
│   ├── RequestRefused    downstream sent it: 400, 408, 414, 431, 501, 505, ...
│   ├── BadResponse       upstream sent it: 502
│   ├── StreamError       one HTTP/2 stream is malformed; its connection lives (RFC 9113 section 5.4.2)
│   │   └── HeadersTooLarge   over our field count or list size: 431
│   └── HpackError        a field block that can't be read; the connection ends with COMPRESSION_ERROR
├── RoutingError          no route (404), no ready backend (503, 500), denied by a policy (403)
├── Redirected            the rule says so, and it is no failure: 301 to 308
├── ConnectFailed         502 refused, 504 timed out; nothing was sent, so a retry is always safe
├── LimitReached
│   ├── Overloaded        503: more than this proxy takes on
│   └── RateLimited       429: more than this client or route may ask
├── LoopDetected          508
├── ClientTimeout         408
├── UpstreamFailed        502: the connection broke in the middle of an exchange
├── UpstreamTimeout       504
│   └── DeadlinePassed    the client's own deadline
└── ConfigError           argv, environment: exit code 2; a listener or a file that can't be had: exit code 1
"""

from enum import Enum
from math import ceil


class Source(Enum):
    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    PROXY = "proxy"


# gRPC codes of design section 7.
GRPC_DEADLINE, GRPC_NOT_FOUND, GRPC_DENIED, GRPC_EXHAUSTED = 4, 5, 7, 8
GRPC_INTERNAL, GRPC_UNAVAILABLE = 13, 14


class ProxyError(Exception):
    """text: what goes into l5d-proxy-error; one line, printable ASCII. label: the short name metrics use."""

    label = "unexpected"
    status = 500
    grpc_status = GRPC_INTERNAL
    source = Source.PROXY
    is_retry_safe = False

    def __init__(self, text: str, *, status: int | None = None, grpc_status: int = 0) -> None:
        """grpc_status: 0 for that of its kind."""
        super().__init__(text)
        self.text = text
        if status is not None:
            self.status = status
        if grpc_status:
            self.grpc_status = grpc_status


class ProtocolError(ProxyError):
    pass


class RequestRefused(ProtocolError):
    """The connection is closed after the answer: what follows on it cannot be trusted (RFC 9112 section 11.2)."""

    label = "malformed"
    status = 400
    source = Source.DOWNSTREAM


class BadResponse(ProtocolError):
    label = "bad response"
    status = 502
    grpc_status = GRPC_UNAVAILABLE
    source = Source.UPSTREAM


class StreamError(ProtocolError):
    """code: the HTTP/2 error code to reset the stream with (RFC 9113 section 7)."""

    label = "malformed"
    status = 400

    def __init__(self, code: int, text: str, *, status: int | None = None) -> None:
        super().__init__(text, status=status)
        self.code = code


class HeadersTooLarge(StreamError):
    """The dynamic table is in step all the same, so the connection lives (RFC 9113 section 10.5.1)."""

    status = 431


class HpackError(ProtocolError):
    """The dynamic tables are out of step from here on: COMPRESSION_ERROR (RFC 9113 section 4.3)."""

    label = "malformed"
    status = 400


class RoutingError(ProxyError):
    pass


class NoRoute(RoutingError):
    label = "no route"
    status = 404
    grpc_status = GRPC_NOT_FOUND
    source = Source.DOWNSTREAM


class NoBackend(RoutingError):
    label = "no backend"
    status = 503
    grpc_status = GRPC_UNAVAILABLE
    source = Source.UPSTREAM


class Redirected(ProxyError):
    """location: where to."""

    label = "redirect"

    def __init__(self, status: int, location: bytes) -> None:
        super().__init__("", status=status)
        self.location = location


class AccessDenied(RoutingError):
    label = "denied"
    status = 403
    grpc_status = GRPC_DENIED
    source = Source.DOWNSTREAM


class ConnectFailed(ProxyError):
    label = "connect"
    status = 502
    grpc_status = GRPC_UNAVAILABLE
    source = Source.UPSTREAM
    is_retry_safe = True


class ConnectTimeout(ConnectFailed):
    label = "connect timeout"
    status = 504
    grpc_status = GRPC_DEADLINE


class NoDescriptor(ConnectFailed):
    """This process, or its machine, has none left for the connection: no endpoint is to blame."""

    label = "descriptors"
    status = 503
    source = Source.PROXY


class UpstreamFailed(ProxyError):
    label = "i/o"
    status = 502
    grpc_status = GRPC_UNAVAILABLE
    source = Source.UPSTREAM


class ClientTimeout(ProxyError):
    """The client did not send what it had begun; the connection is closed after the answer."""

    label = "client timeout"
    status = 408
    grpc_status = GRPC_DEADLINE
    source = Source.DOWNSTREAM


class UpstreamTimeout(ProxyError):
    label = "response timeout"
    status = 504
    grpc_status = GRPC_DEADLINE
    source = Source.UPSTREAM


class DeadlinePassed(UpstreamTimeout):
    """The client's own: grpc-timeout."""

    label = "deadline"


class LimitReached(ProxyError):
    """retry_after_s: whole seconds, told to the client; 0: not said."""

    retry_after_s = 0


class Overloaded(LimitReached):
    """Refused before anything was done for it."""

    label = "overload"
    status = 503
    grpc_status = GRPC_UNAVAILABLE


class RateLimited(LimitReached):
    label = "rate limit"
    status = 429
    grpc_status = GRPC_EXHAUSTED

    def __init__(self, text: str, *, wait_s: float = 0.0) -> None:
        """wait_s: until a request would pass."""
        super().__init__(text)
        # A day is never, for whoever would wait; and inf is no integer.
        self.retry_after_s = ceil(min(wait_s, 86_400.0))


class LoopDetected(ProxyError):
    """The request has come through here already (RFC 5842 section 7.2)."""

    label = "loop"
    status = 508
    grpc_status = GRPC_INTERNAL


class FaultInjected(ProxyError):
    """By the annotation milliroute.io/fault. gRPC: Linkerd's FAILED_PRECONDITION would hide it, so UNAVAILABLE."""

    label = "fault"
    status = 503
    grpc_status = GRPC_UNAVAILABLE


class ConfigError(Exception):
    exit_code = 2


class ListenError(ConfigError):
    exit_code = 1


class TlsFileError(ConfigError):
    exit_code = 1
