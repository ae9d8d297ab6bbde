"""What a proxy is told at its start, parsed and checked: values only, no argv and no environment here.

Every default is a constant with its unit, origin and consequence; those of design section 7.
"""

from dataclasses import dataclass
from typing import Literal

from milliroute.proxy.errors import ConfigError

Codec = Literal["fast", "reference"]

# Linkerd's admin port, on loopback unless told otherwise: people have firewall rules for it.
DEFAULT_ADMIN = "127.0.0.1:4191"
# Linkerd: LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD. What still runs after it is cut off.
DEFAULT_GRACE_S = 120.0
# Linkerd: outbound connect timeout 1 s; then the next endpoint is tried.
DEFAULT_CONNECT_TIMEOUT_S = 1.0
# nginx proxy_read_timeout: a backend that has not begun to answer after it counts as failed (504); 0 is never.
DEFAULT_RESPONSE_TIMEOUT_S = 60.0
# Envoy's edge guide and HAProxy's timeout http-request: a head must be complete this long after its first byte.
DEFAULT_HEADER_TIMEOUT_S = 10.0
# Envoy: stream_idle_timeout 5 min. A response of which nothing more comes for this long is broken off; 0 is never.
DEFAULT_STREAM_IDLE_S = 300.0
# A keep-alive connection without a request is closed after it.
DEFAULT_IDLE_TIMEOUT_S = 60.0
# Linkerd: H1 pool idle 3 s; an upstream connection unused this long is closed by us, before the backend does.
DEFAULT_POOL_IDLE_S = 3.0
# gRPC's MAX_CONNECTION_AGE, for which its guide names minutes: HTTP/2 connections live long, and whoever balances
# connections can only spread new ones. An older one takes no new streams; 0 is never.
DEFAULT_H2_MAX_AGE_S = 600.0
# Linkerd: profile discovery initial timeout 3 s; a request for a name that got no answer is refused after it.
DEFAULT_DISCOVERY_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class HostPort:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listener:
    """apex "": route by the authority each request names; else everything goes to that apex."""

    address: HostPort
    apex: str = ""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: the certificate with those between it and its authority, and its key, not encrypted."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect_s: float = DEFAULT_CONNECT_TIMEOUT_S
    response_s: float = DEFAULT_RESPONSE_TIMEOUT_S
    header_s: float = DEFAULT_HEADER_TIMEOUT_S
    idle_s: float = DEFAULT_IDLE_TIMEOUT_S
    stream_idle_s: float = DEFAULT_STREAM_IDLE_S
    pool_idle_s: float = DEFAULT_POOL_IDLE_S
    discovery_s: float = DEFAULT_DISCOVERY_TIMEOUT_S
    h2_max_age_s: float = DEFAULT_H2_MAX_AGE_S


@dataclass(frozen=True, slots=True)
class H2Config:
    """Of each HTTP/2 connection; codec/h2_limits.py says where the other defaults come from.

    stream_window_bytes: four times linkerd2-proxy's; Envoy's 16 MiB would be no bound. A body of 1 MiB costs half the
    CPU it does with 64 KiB (measured), and the connection window still bounds what one client can make us hold.
    The rates are what a client may keep up of stream resets, and of control frames beyond those that useful ones earn.
    """

    max_streams: int = 100
    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    resets_per_s: int = 20
    control_frames_per_s: int = 100


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """destination: "HOST:PORT" or "unix:PATH", as grpc takes it. admin None: no admin listener. lifeline_fd: the proxy
    drains when it reads the end of this inherited pipe; -1 for none. tls: of all listeners; None: they take plain text.
    """

    proxy_id: str
    destination: str
    listeners: tuple[Listener, ...]
    admin: HostPort | None
    workers: int = 1
    codec: Codec = "fast"
    namespace: str = "default"
    grace_s: float = DEFAULT_GRACE_S
    timeouts: Timeouts = Timeouts()
    h2: H2Config = H2Config()
    state_dir: str = ""
    lifeline_fd: int = -1
    tls: TlsFiles | None = None


def parse_host_port(text: str) -> HostPort:
    """ "HOST:PORT", "[V6]:PORT" or ":PORT" (all addresses); port 0 takes a free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"saw {text!r}, wanted HOST:PORT with a port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"saw {text!r}, wanted an IPv6 address in brackets: [ADDRESS]:PORT")
    return HostPort(host or "0.0.0.0", int(port))


def parse_listener(text: str) -> Listener:
    """ "HOST:PORT" or "HOST:PORT=APEX"."""
    address, equals, apex = text.partition("=")
    if equals and not apex:
        raise ConfigError(f"saw {text!r}, wanted the name of an apex after '='")
    return Listener(parse_host_port(address), apex.lower())
