"""What the proxy beside one workload is to be: values, with Linkerd's numbers as defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from milliroute.control.config import VERSION
from milliroute.control.inject.ports import Ports
from milliroute.control.inject.rules import Mode

DEFAULT_DESTINATION = "milliroute-control.milliroute.svc.cluster.local:8086"
# Linkerd's: Galera, whose ports do not bear a proxy between.
DEFAULT_IGNORED = (Ports(4567, 4568),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`is_native`: a sidecar in Kubernetes' own sense, from 1.29 on. `is_awaited`: the application starts after the
    proxy is ready. None: as the image or the proxy have it. `resources`: "requests" and "limits", each by resource.
    """

    image: str = "milliroute"
    version: str = VERSION
    pull_policy: str = "IfNotPresent"
    destination: str = DEFAULT_DESTINATION
    outbound_port: int = 4140
    inbound_port: int = 4143
    admin_port: int = 4191
    uid: int = 2102
    gid: int | None = None
    log_level: str = "info"
    firewall_mode: Mode = "nft"
    is_native: bool = True
    is_awaited: bool = True
    is_ingress: bool = False
    skip_inbound: tuple[Ports, ...] = DEFAULT_IGNORED
    skip_outbound: tuple[Ports, ...] = DEFAULT_IGNORED
    skip_subnets: tuple[str, ...] = ()
    opaque: tuple[Ports, ...] | None = None
    grace_s: float | None = None
    connect_timeout_s: float | None = None
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
