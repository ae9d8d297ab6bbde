"""What the control service is told at start, and how addresses are written.

Text comes in from flags and environment; values go out, or a ConfigError that names the flag, the value seen and the
form wanted. Light: the command line imports it before it knows which verb runs.
"""

from dataclasses import dataclass

from milliroute.control import errors
from milliroute.control.model import AccessDefaults

VERSION = "0.1.0"

# Linkerd's ports, because people have firewall rules for them. Loopback, until somebody asks for more.
DEFAULT_LISTEN = "127.0.0.1:8086"
DEFAULT_ADMIN = "127.0.0.1:9996"
DEFAULT_PROXY_ADMIN = "127.0.0.1:4191"

UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StreamSecurity:
    """Who may ask for tables. cert and key: PEM files, "" for plain text; client_ca: authorities of the proxies, who
    must show a certificate then; token_file: what a proxy must know. All are read anew when they change."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""
    token_file: str = ""


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach a cluster: a kubeconfig and one of its contexts ("": the pod's own, else as kubectl finds them), and
    the namespace that is looked at ("": all)."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """`listen` is HOST:PORT or unix:PATH; `admin` is HOST:PORT; `backends` are texts NAME=HOST:PORT,...; `cluster` is
    None without --kubernetes."""

    files: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    listen: str = DEFAULT_LISTEN
    admin: str = DEFAULT_ADMIN
    access: AccessDefaults = AccessDefaults()  # noqa: RUF009  # a frozen value
    security: StreamSecurity = StreamSecurity()
    cluster: ClusterAccess | None = None


def check_security(security: StreamSecurity, listen: str) -> None:
    """Raises ConfigError for flags that do not fit together."""
    if bool(security.cert) != bool(security.key):
        there, missing = ("cert", "key") if security.cert else ("key", "cert")
        raise errors.ConfigError(f"--tls-{there}: saw it without --tls-{missing}, want both or none")
    if security.client_ca and not security.cert:
        raise errors.ConfigError("--tls-client-ca: saw it without --tls-cert, want both or none")
    is_near = listen.startswith(UNIX) or parse_address(listen, "--listen").host in ("127.0.0.1", "::1", "localhost")
    if security.token_file and not security.cert and not is_near:
        raise errors.ConfigError(f"--token-file: saw {listen} without --tls-cert, want TLS where others can listen in")


def parse_address(text: str, flag: str) -> Address:
    """HOST:PORT, with brackets around an IPv6 host. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise errors.ConfigError(f"{flag}: saw {text!r}, want HOST:PORT, such as 127.0.0.1:8086 or [::1]:8086")
    return Address(host, int(port))
