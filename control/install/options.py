"""What can be chosen of an installation."""

from dataclasses import dataclass

from milliroute.control.config import VERSION

CONTROL = "milliroute-control"
WEBHOOK = "milliroute-webhook"
# Of the Lease: only who holds it writes status and Events.
LEASE = CONTROL
UID = 2102

GRPC_PORT = 8086
CONTROL_ADMIN_PORT = 9996
WEBHOOK_PORT = 8443
WEBHOOK_ADMIN_PORT = 9995


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of the webhook, in PEM; `authority` is whom the API server verifies it by."""

    chain: str
    key: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`watched_namespace` "": all of them. `certificate` None: no webhook, unless cert-manager makes one."""

    namespace: str = "milliroute"
    image: str = f"milliroute:{VERSION}"
    pull_policy: str = "IfNotPresent"
    replicas: int = 2
    watched_namespace: str = ""
    has_crds: bool = True
    has_policy_crds: bool = False
    is_crds_only: bool = False
    certificate: Certificate | None = None
    has_cert_manager: bool = False

    @property
    def has_webhook(self) -> bool:
        return self.certificate is not None or self.has_cert_manager


Object = dict[str, object]


def metadata(options: Options, name: str, component: str = "", *, is_global: bool = False, **more: object) -> Object:
    """Name, namespace and the labels that Kubernetes recommends."""
    labels = {"app.kubernetes.io/name": component or name, "app.kubernetes.io/part-of": "milliroute"}
    where = {} if is_global else {"namespace": options.namespace}
    return {"name": name, **where, "labels": {**labels, "app.kubernetes.io/version": VERSION}, **more}


def selector(component: str) -> Object:
    """The labels that pods of a component have and keep from version to version."""
    return {"app.kubernetes.io/name": component, "app.kubernetes.io/part-of": "milliroute"}
