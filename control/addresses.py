"""What stands behind an address: the Service that has it as its ClusterIP, or the ready endpoints that have it.

In: the Services and EndpointSlices of an Index. Out: keys of Services, and where an address stands in their slices.
Both tables are made when first asked for, because only sidecars ask by address and a cluster has many endpoints. Pure.
"""

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from milliroute.control.model import EndpointSlice, Service, SliceEndpoint


class Place(NamedTuple):
    """One address of one endpoint; `service` is the key of its Service."""

    service: str
    slice: EndpointSlice
    endpoint: SliceEndpoint


class Addresses:
    """Of one Index; equal addresses in other spellings (IPv6) are the same."""

    __slots__ = ("_cluster_ips", "_places", "_services", "_slices")

    def __init__(self, services: Mapping[str, Service], slices: Mapping[str, tuple[EndpointSlice, ...]]) -> None:
        self._services = services
        self._slices = slices
        self._cluster_ips: dict[str, str] | None = None
        self._places: dict[str, list[Place]] | None = None

    def service_at(self, address: str) -> str | None:
        """The key of the Service with this ClusterIP. Kubernetes gives each once; of two the first by name has it."""
        if self._cluster_ips is None:
            self._cluster_ips = {}
            for key in sorted(self._services):
                for found in self._services[key].cluster_ips:
                    self._cluster_ips.setdefault(found, key)
        return self._cluster_ips.get(address)

    def places(self, address: str) -> tuple[Place, ...]:
        """Where a ready endpoint has this address, by the names of the Services."""
        if self._places is None:
            self._places = {}
            for key in sorted(self._slices):
                for one in self._slices[key]:
                    for endpoint in one.endpoints:
                        for found in endpoint.addresses:
                            self._places.setdefault(plain(found), []).append(Place(key, one, endpoint))
        return tuple(self._places.get(address, ()))


def plain(address: str) -> str:
    """The one spelling of an address; what is none stays as it is."""
    # Nearly all are IPv4, of which there is only one spelling; parsing one takes 2 us.
    if ":" not in address:
        return address
    try:
        return ipaddress.ip_address(address).compressed
    except ValueError:
        return address
