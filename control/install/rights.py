"""Who may do what: of the kinds that are watched to read, of status and Events to write, and no more.

In: Options. Out: ServiceAccounts, roles and bindings. What is read follows from `source.kubernetes.resources`, so that
a kind that is watched is never forgotten here. The webhook asks the API server for nothing and may nothing.
"""

from collections.abc import Iterator

from milliroute.control.install.options import CONTROL, LEASE, WEBHOOK, Object, Options, metadata
from milliroute.control.source.kubernetes import resources

_RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]


def rights(options: Options) -> Iterator[Object]:
    yield _account(options, CONTROL)
    if options.has_webhook:
        yield _account(options, WEBHOOK)
    is_everywhere = not options.watched_namespace
    kind = "ClusterRole" if is_everywhere else "Role"
    where = {} if is_everywhere else {"namespace": options.watched_namespace}
    about = metadata(options, CONTROL, is_global=True) | where
    yield {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": about, "rules": list(_rules())}
    yield _binding(options, kind, about)
    leader = metadata(options, f"{CONTROL}-leader", CONTROL)
    yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": leader, "rules": list(_leader_rules())}
    yield _binding(options, "Role", leader)


def _rules() -> Iterator[Object]:
    plurals: dict[str, set[str]] = {}
    for resource in resources.WATCHED:
        plurals.setdefault(resource.group, set()).add(resource.plural)
    for group, names in plurals.items():
        yield _rule(group, sorted(names), _READ)
    for group in dict.fromkeys(resource.group for resource in resources.ROUTES):
        own = sorted({f"{resource.plural}/status" for resource in resources.ROUTES if resource.group == group})
        yield _rule(group, own, ["patch"])
    yield _rule("", ["events"], ["create", "patch"])


def _leader_rules() -> Iterator[Object]:
    """create cannot be limited to a name: the API server does not know it yet when it asks."""
    yield _rule("coordination.k8s.io", ["leases"], ["create"])
    yield {**_rule("coordination.k8s.io", ["leases"], ["get", "update"]), "resourceNames": [LEASE]}


def _rule(group: str, names: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": names, "verbs": verbs}


def _account(options: Options, name: str) -> Object:
    # The pods that need a token say so themselves.
    about = metadata(options, name)
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about, "automountServiceAccountToken": False}


def _binding(options: Options, kind: str, about: Object) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": about,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": about["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": CONTROL, "namespace": options.namespace}],
    }
