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
# Envoy's edge guide: 10,000 on a listener. Above: 503 and a close, at once.
DEFAULT_MAX_CONNECTIONS = 10_000
# linkerd2-proxy sheds at 100,000 in flight, spread over its threads; ours is for one process of one thread. Above: 503.
DEFAULT_MAX_REQUESTS = 10_000
# A connection may hold some 400 KiB for a peer that does not read; so many of them together are cut off above this.
DEFAULT_MAX_QUEUED_BYTES = 256 * 1024 * 1024
# ASP.NET's Kestrel and Apache's mod_reqtimeout: slower senders of a body and slower readers are cut off.
DEFAULT_MIN_RATE_BYTES_S = 240
# Of that rate nothing is owed for so long: slow starts and lost packets are nobody's fault.
DEFAULT_RATE_GRACE_S = 10.0
# HAProxy's timeout client class: a body that stands still this long, or a client that reads nothing, is given up.
DEFAULT_STALL_S = 30.0

# Linkerd's opaque ports: SMTP, MySQL, Galera, PostgreSQL, Redis, Elasticsearch, memcached. Many a server there speaks
# first, and would wait for the client as the client does for it.
DEFAULT_OPAQUE_PORTS = (25, 587, 3306, 4444, 5432, 6379, 9300, 11211)
# Linkerd's protocol detection timeout.
DEFAULT_DETECT_S = 10.0
# Beside an app nobody asked for our time limits: as in Linkerd there is none on responses, and an idle connection is
# the app's to close, unless that takes this long.
SIDECAR_IDLE_S = 600.0
# A slow body between an app and its client is no attack on it; a day is never.
SIDECAR_STALL_S = 86_400.0


@dataclass(frozen=True, slots=True)
class HostPort:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Side = Literal["", "outbound", "inbound"]
InboundDefault = Literal["all-unauthenticated", "deny"]


@dataclass(frozen=True, slots=True)
class Listener:
    """apex "": route by the authority each request names; else everything goes to that apex. side: of a sidecar, which
    routes each connection by its original destination. is_optional: this machine may not have the address's family.
    """

    address: HostPort
    apex: str = ""
    side: Side = ""
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Sidecar:
    """opaque_ports: of original destinations that are not looked into. detect_s: how long a client may be silent until
    it is taken to wait for the server; 0: for ever. labels: the pod's, by which policies find it.
    """

    opaque_ports: tuple[int, ...] = DEFAULT_OPAQUE_PORTS
    detect_s: float = DEFAULT_DETECT_S
    is_ingress: bool = False
    inbound_default: InboundDefault = "all-unauthenticated"
    workload: str = ""
    pod: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: the certificate with those between it and its authority, and its key, not encrypted.

    client_ca: authorities of clients, who must show a certificate then; "": they are not asked. may_be_nobody: they may
    also show none. trust_domain: the only one that SPIFFE ids may be of; "": any.
    """

    cert: str
    key: str
    client_ca: str = ""
    may_be_nobody: bool = False
    trust_domain: str = ""


@dataclass(frozen=True, slots=True)
class ControlTls:
    """How the control service is spoken to. ca: of its certificate, "" for plain text; cert and key: shown to it;
    token_file: what is in it goes along as a bearer token. All are read anew for each connection."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    token_file: str = ""


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
class Limits:
    """Of each worker process; connections of each of its listeners. 0 is no limit, but of rate_grace_s and stall_s.

    connections_per_address: off unless asked for, because a load balancer or a sidecar is one address. An IPv6 client
    counts by its /64.
    """

    connections: int = DEFAULT_MAX_CONNECTIONS
    connections_per_address: int = 0
    requests: int = DEFAULT_MAX_REQUESTS
    queued_bytes: int = DEFAULT_MAX_QUEUED_BYTES
    min_rate_bytes_s: int = DEFAULT_MIN_RATE_BYTES_S
    rate_grace_s: float = DEFAULT_RATE_GRACE_S
    stall_s: float = DEFAULT_STALL_S

    @property
    def initial_debt_s(self) -> float:
        """With what a peer begins who may owe for stall_s, so that it is over the limit after rate_grace_s."""
        return max(self.stall_s - self.rate_grace_s, 0.0) if self.min_rate_bytes_s else 0.0


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What is said of clients to backends. is_on: x-forwarded-* are ours to write; else they pass as they came.

    trusted: networks whose word is kept and added to, "ADDRESS/BITS"; of all others it is removed. via: our name in the
    Via field, by which a loop is noticed; "": no such field.
    """

    is_on: bool = False
    trusted: tuple[str, ...] = ()
    via: str = ""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """destination: "HOST:PORT" or "unix:PATH", as grpc takes it. admin None: no admin listener. lifeline_fd: the proxy
    drains when it reads the end of this inherited pipe; -1 for none. tls: of all listeners; None: they take plain text.
    upstream_tls: shown to backends that ask for a certificate. takes_faults: requests may ask for faults.
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
    upstream_tls: TlsFiles | None = None
    control_tls: ControlTls = ControlTls()
    limits: Limits = Limits()
    forwarding: Forwarding = Forwarding()
    sidecar: Sidecar | None = None
    takes_faults: bool = False


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
