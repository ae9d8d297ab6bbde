"""The annotations about TLS to a Service's endpoints: milliroute.io/upstream-ca and milliroute.io/upstream-sni.

In: a Service's ports and its annotations with their positions. Out: an UpstreamTls, None where no port speaks TLS. What
protects nothing, or otherwise than its writer believes, is an error.
"""

import ipaddress
import re
from collections.abc import Sequence

from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.model import UpstreamTls

PREFIX = "milliroute.io/upstream-"
UPSTREAM_CA = PREFIX + "ca"
UPSTREAM_SNI = PREFIX + "sni"
# Values of appProtocol that mean TLS; the second is of Kubernetes' own list (KEP-3726).
TLS_PROTOCOLS = frozenset(("https", "kubernetes.io/wss"))

# A host name as certificates have it: RFC 6125 section 6.4, without wildcards, since somebody asks for it.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
# Absolute, because it is of the proxy's machine and nobody knows where that works; printable, because it is logged.
_PATH = re.compile(r"/[\x20-\x7e]{1,4095}\Z")


def speaks_tls(app_protocol: str) -> bool:
    return app_protocol.lower() in TLS_PROTOCOLS


def read_tls(annotations: Fields, app_protocols: Sequence[str], default_sni: str, report: Report) -> UpstreamTls | None:
    """default_sni: what the endpoints' certificate is asked for when no annotation says it."""
    found = {key: node for key, node in annotations.nodes.items() if key.startswith(PREFIX)}
    is_wanted = any(speaks_tls(protocol) for protocol in app_protocols)
    for key, node in found.items():
        if key not in (UPSTREAM_CA, UPSTREAM_SNI):
            report.add(
                annotations.keys.get(key, node), "unknown annotation", repr(key), f"{UPSTREAM_CA} or {UPSTREAM_SNI}"
            )
        elif not is_wanted:
            report.add(
                annotations.keys.get(key, node), f"{key} without TLS", "no such port", "a port with appProtocol: https"
            )
    sni, ca_file = found.get(UPSTREAM_SNI), found.get(UPSTREAM_CA)
    if isinstance(sni, Scalar) and not _is_host(sni.text):
        report.add(sni, f"bad {UPSTREAM_SNI}", sni, "a host name or an address")
    if isinstance(ca_file, Scalar) and not _PATH.match(ca_file.text):
        report.add(ca_file, f"bad {UPSTREAM_CA}", ca_file, "an absolute path on the machine of the proxies")
    if not is_wanted:
        return None
    return UpstreamTls(
        sni=sni.text if isinstance(sni, Scalar) else default_sni,
        ca_file=ca_file.text if isinstance(ca_file, Scalar) else "",
    )


def _is_host(text: str) -> bool:
    if _HOST.match(text):
        return True
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
