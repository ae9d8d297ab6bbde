"""The kinds that are watched, how they are found, and the paths they stand under.

In: what an API server says of a group (`GET /apis/GROUP`) and of its versions. Out: whether and where it serves a
kind. Versions are tried from the newest on: with a conversion that changes nothing but the version, which is what
SMI's definitions have, an older one would lose the fields it does not know, and a newer one keeps quantities as
written.
"""

from dataclasses import dataclass

from milliroute.control.gateway import GROUP as GATEWAY_GROUP
from milliroute.control.manifest.core import SERVICE_NAME_LABEL
from milliroute.control.manifest.gateway import GRANT_VERSIONS, LINKERD_VERSIONS, VERSIONS
from milliroute.control.manifest.objects import SMI_VERSIONS, SPECS_GROUPS, SPLIT_GROUPS
from milliroute.control.source.kubernetes import tree

_LINKERD = "policy.linkerd.io"
_SMI = SMI_VERSIONS[::-1]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of a group; `versions` from the newest on. `selector`: only objects with these labels are asked for.

    `is_vital`: not being allowed to read it is never as good as there being none, because proxies would lose their
    endpoints by it, or let everybody in.
    """

    kind: str
    group: str
    plural: str
    versions: tuple[str, ...]
    selector: str = ""
    is_vital: bool = False

    @property
    def name(self) -> str:
        """As kubectl has it: `trafficsplits.split.smi-spec.io`, `services`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version

    def group_path(self, version: str) -> str:
        """Where the API server lists the kinds of that version; of the group, for "", its versions."""
        return f"/apis/{self.group}/{version}".rstrip("/") if self.group else f"/api/{version}"

    def path(self, version: str, namespace: str = "", name: str = "") -> str:
        """Of one object, or of all, in one namespace or, for "", in every one."""
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.group_path(version)}{within}/{self.plural}" + (f"/{name}" if name else "")


SERVICES = Resource("Service", "", "services", ("v1",), is_vital=True)
SLICES = Resource(
    "EndpointSlice", "discovery.k8s.io", "endpointslices", ("v1", "v1beta1"), SERVICE_NAME_LABEL, is_vital=True
)
SPLITS = tuple(Resource("TrafficSplit", group, "trafficsplits", _SMI) for group in SPLIT_GROUPS)
ROUTES = (
    Resource("HTTPRoute", GATEWAY_GROUP, "httproutes", VERSIONS["HTTPRoute"]),
    Resource("GRPCRoute", GATEWAY_GROUP, "grpcroutes", VERSIONS["GRPCRoute"]),
    Resource("HTTPRoute", _LINKERD, "httproutes", LINKERD_VERSIONS[::-1]),
)

POLICIES = (
    Resource("Server", _LINKERD, "servers", ("v1beta3", "v1beta2", "v1beta1"), is_vital=True),
    Resource("AuthorizationPolicy", _LINKERD, "authorizationpolicies", ("v1alpha1",), is_vital=True),
    Resource("NetworkAuthentication", _LINKERD, "networkauthentications", ("v1alpha1",), is_vital=True),
    Resource("MeshTLSAuthentication", _LINKERD, "meshtlsauthentications", ("v1alpha1",), is_vital=True),
    Resource("HTTPLocalRateLimitPolicy", _LINKERD, "httplocalratelimitpolicies", ("v1alpha1",), is_vital=True),
    Resource(
        "TrafficTarget", "access.smi-spec.io", "traffictargets", ("v1alpha3", "v1alpha2", "v1alpha1"), is_vital=True
    ),
)

# In this order: of two splits of one name, under the right and the misspelt group, the right one counts.
WATCHED = (
    SERVICES,
    SLICES,
    *SPLITS,
    *(Resource("HTTPRouteGroup", group, "httproutegroups", _SMI) for group in SPECS_GROUPS),
    *ROUTES,
    Resource("ReferenceGrant", GATEWAY_GROUP, "referencegrants", GRANT_VERSIONS),
    *POLICIES,
)


def versions(body: bytes, resource: Resource) -> tuple[str, ...]:
    """Those of the resource that an APIGroup has. Raises msgspec.DecodeError."""
    found = tree.mapping(tree.decoded(body)).get("versions")
    served = [tree.mapping(one).get("version") for one in found] if isinstance(found, list) else []
    return tuple(version for version in resource.versions if version in served)


def serves(body: bytes, resource: Resource) -> bool:
    """Whether an APIResourceList has the kind, with list and watch. Raises msgspec.DecodeError."""
    found = tree.mapping(tree.decoded(body)).get("resources")
    for one in map(tree.mapping, found if isinstance(found, list) else ()):
        verbs = one.get("verbs")
        if one.get("name") == resource.plural and isinstance(verbs, list):
            return "list" in verbs and "watch" in verbs
    return False
