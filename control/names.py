"""Names of authorities: what a client writes becomes one canonical key.

In: `reviews`, `reviews.shop`, `reviews.shop.svc`, `Reviews.shop.svc.cluster.local.:9080`, `api.example.com`,
`[::1]:80`. Out: `name.namespace` or the dotted host itself, lower case, without a final dot, with `:port` where one
was written. Canonical keys are fixed points: canonical(canonical(x)) == canonical(x), whatever the namespace.
"""

import ipaddress
import re

from milliroute.control.errors import AuthorityError

DEFAULT_NAMESPACE = "default"

# RFC 1035 section 2.3.4: 255 octets in a name, 63 in a label; ":65535" is 6 more.
MAX_HOST_CHARS = 255
MAX_AUTHORITY_CHARS = MAX_HOST_CHARS + 6

# Labels as they are met in real life: underscores too (compose files, SRV names). ASCII only: the wire form of an
# internationalised name is its xn-- form. \Z and not $, which would let a final line feed through.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_LABEL_ONLY = re.compile(rf"{_LABEL}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")

_WANT = "name, name.namespace, name.namespace.svc.cluster.local or a host name, with or without :port"


def canonical(authority: str, namespace: str, cluster_domain: str = "cluster.local") -> str:
    """The canonical key; a bare name is looked up in `namespace` ("" means "default"). Raises AuthorityError."""
    # Two more: a final dot, brackets. ASCII first: the Kelvin sign is "k" in lower case.
    if not authority or len(authority) > MAX_AUTHORITY_CHARS + 2 or not authority.isascii():
        raise _error("bad authority", authority, _WANT)
    host, port = _split(authority.lower())
    if host.startswith("["):
        key = _ipv6(host)
    else:
        key = _host(host.removesuffix("."), namespace or DEFAULT_NAMESPACE, cluster_domain)
    return key if port is None else f"{key}:{port}"


def address(host: str) -> str:
    """The host of a canonical key as an address, without brackets; "" where it is a name."""
    if host.startswith("["):
        return host[1:-1]
    try:
        return str(ipaddress.IPv4Address(host)) if host[:1].isdigit() else ""
    except ValueError:
        return ""


def is_address(authority: str) -> bool:
    """Whether it is written as one, with or without a port."""
    return bool(address(authority.rpartition(":")[0] or authority) or address(authority))


def split_port(key: str) -> tuple[str, int | None]:
    """The host and the port of a canonical key; port None where there is none. Raises AuthorityError on a bad port."""
    return _split(key)


def _split(authority: str) -> tuple[str, int | None]:
    head, colon, tail = authority.rpartition(":")
    if not colon or tail.endswith("]"):  # "[::1]" has colons and no port
        return authority, None
    if not tail:  # RFC 3986 section 3.2.3: an empty port is the same as none
        return head, None
    if not _PORT.match(tail) or not 1 <= int(tail) <= 65535:
        raise _error("bad port in authority", authority, "a number from 1 to 65535")
    return head, int(tail)


def _ipv6(host: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(_unbracketed(host)).compressed}]"
    except ValueError:
        raise _error("bad authority", host, "an IPv6 address in brackets, without a zone") from None


def _unbracketed(host: str) -> str:
    if not host.endswith("]") or "%" in host:
        raise ValueError(host)
    return host[1:-1]


def _host(host: str, namespace: str, cluster_domain: str) -> str:
    if len(host) > MAX_HOST_CHARS or not _HOST.match(host):
        raise _error("bad authority", host, _WANT)
    labels = host.split(".")
    if len(labels) == 1:
        if not _LABEL_ONLY.match(namespace):
            raise _error("bad namespace", namespace, "a lower-case DNS label")
        return f"{host}.{namespace}"
    if labels[2:] in (["svc"], ["svc", *cluster_domain.lower().strip(".").split(".")]):
        return f"{labels[0]}.{labels[1]}"
    return host


def _error(what: str, saw: str, want: str) -> AuthorityError:
    shown = saw if len(saw) <= 80 else saw[:77] + "..."
    return AuthorityError(f"{what} (saw {shown!r}, want {want})")
