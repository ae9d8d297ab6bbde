"""The webhooks of a MutatingWebhookConfiguration: which pods the API server asks us about.

Three entries, because a namespace's wish is seen by its label (`milliroute inject` writes it) and reaches the webhook
as the path: namespaces that want proxies, those that want them in ingress mode, and pods elsewhere that say so
themselves. Failure policy Ignore: without the webhook, pods start as they are.
"""

from collections.abc import Mapping, Sequence

from milliroute.control.inject.admission import PATHS
from milliroute.control.inject.annotations import INJECT, LINKERD_INJECT
from milliroute.control.inject.edits import Object

# Seconds; the API server holds the creation of a pod for so long at most.
TIMEOUT_S = 5


def webhooks(client: Object, but: Sequence[str]) -> list[Object]:
    """`client`: its clientConfig with a service, without a path. `but`: namespaces that are never asked about."""
    return [_webhook(path, mark, client, but) for path, mark in PATHS.items()]


def _webhook(path: str, mark: str, client: Object, but: Sequence[str]) -> Object:
    selects = {"operator": "In", "values": [mark]} if mark else {"operator": "NotIn", "values": ["enabled", "ingress"]}
    elsewhere = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(but)}
    service = client["service"]
    assert isinstance(service, Mapping), "a webhook in the cluster"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        "name": f"{mark or 'pods'}.inject.milliroute.io",
        "clientConfig": {**client, "service": {**service, "path": path}},
        "namespaceSelector": {"matchExpressions": [{"key": INJECT, **selects}, elsewhere]},
        # Of all other pods the API server asks about those that say something, from Kubernetes 1.30 on.
        **({} if mark else {"matchConditions": [{"name": "says-so", "expression": _says_so()}]}),
        "rules": [{**pods, "scope": "Namespaced"}],
        "failurePolicy": "Ignore",
        # Once more when another webhook has changed the pod after us: it may ask for a proxy only then.
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": TIMEOUT_S,
    }


def _says_so() -> str:
    """In CEL."""
    names = " || ".join(f"'{name}' in object.metadata.annotations" for name in (INJECT, LINKERD_INJECT))
    return f"has(object.metadata.annotations) && ({names})"
