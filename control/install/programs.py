"""The two programs: Deployments that do without root, and what keeps them reachable and running.

In: Options. Out: for each its Service, Deployment, PodDisruptionBudget and NetworkPolicy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from milliroute.control.install.options import (
    CONTROL,
    CONTROL_ADMIN_PORT,
    GRPC_PORT,
    UID,
    WEBHOOK,
    WEBHOOK_ADMIN_PORT,
    WEBHOOK_PORT,
    Object,
    Options,
    metadata,
    selector,
)

# No limit on CPU: a table would have to wait for its turn.
_RESOURCES = {
    CONTROL: {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
    WEBHOOK: {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}},
}
_TLS_FOLDER = "/etc/milliroute/tls"
TLS_SECRET = f"{WEBHOOK}-tls"


@dataclass(frozen=True, slots=True)
class _Program:
    """`ports` by name; `secret`: of the certificate that it serves with."""

    name: str
    arguments: list[str]
    ports: dict[str, int]
    has_token: bool = False
    secret: str = ""


def control(options: Options) -> Iterator[Object]:
    arguments = ["control", "--kubernetes", "--listen", f"0.0.0.0:{GRPC_PORT}"]
    arguments += ["--admin", f"0.0.0.0:{CONTROL_ADMIN_PORT}"]
    if options.watched_namespace:
        arguments += ["--namespace", options.watched_namespace]
    ports = {"grpc": GRPC_PORT, "admin": CONTROL_ADMIN_PORT}
    yield _service(options, CONTROL, {"grpc": (GRPC_PORT, "kubernetes.io/h2c"), "admin": (CONTROL_ADMIN_PORT, "")})
    yield from _running(options, _Program(CONTROL, arguments, ports, has_token=True))


def webhook(options: Options) -> Iterator[Object]:
    arguments = ["webhook", "--listen", f"0.0.0.0:{WEBHOOK_PORT}", "--admin", f"0.0.0.0:{WEBHOOK_ADMIN_PORT}"]
    arguments += ["--tls-cert", f"{_TLS_FOLDER}/tls.crt", "--tls-key", f"{_TLS_FOLDER}/tls.key"]
    arguments += ["--image", options.image, "--destination", f"{CONTROL}.{options.namespace}.svc:{GRPC_PORT}"]
    ports = {"https": WEBHOOK_PORT, "admin": WEBHOOK_ADMIN_PORT}
    yield _service(options, WEBHOOK, {"https": (443, "https")})
    yield from _running(options, _Program(WEBHOOK, arguments, ports, secret=TLS_SECRET))


def _running(options: Options, program: _Program) -> Iterator[Object]:
    yield _deployment(options, program)
    yield _budget(options, program.name)
    yield _network_policy(options, program)


def _service(options: Options, name: str, ports: dict[str, tuple[int, str]]) -> Object:
    listed = [
        {"name": port, "port": number, "targetPort": port, **({"appProtocol": protocol} if protocol else {})}
        for port, (number, protocol) in ports.items()
    ]
    about = metadata(options, name)
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": about, "spec": {"selector": selector(name), "ports": listed},
    }  # fmt: skip


def _deployment(options: Options, program: _Program) -> Object:
    name = program.name
    labels = metadata(options, name)["labels"]
    spread = {
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(name)},
    }  # fmt: skip
    pod: Object = {
        "serviceAccountName": name,
        "automountServiceAccountToken": program.has_token,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [spread],
        "containers": [_container(options, program)],
    }
    if program.secret:
        pod["volumes"] = [{"name": "tls", "secret": {"secretName": program.secret}}]
    # Never itself in the mesh: proxies wait for it.
    annotations = {"linkerd.io/inject": "disabled", "milliroute.io/inject": "disabled"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(options, name),
        "spec": {
            "replicas": options.replicas,
            "selector": {"matchLabels": selector(name)},
            # One more before one less: proxies always find somebody.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def _container(options: Options, program: _Program) -> Object:
    made: Object = {
        "name": program.name.removeprefix("milliroute-"),
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "args": program.arguments,
        "ports": [{"name": port, "containerPort": number} for port, number in program.ports.items()],
        "startupProbe": _probe("/live", periodSeconds=1, failureThreshold=60),
        "readinessProbe": _probe("/ready", periodSeconds=5),
        "livenessProbe": _probe("/live", periodSeconds=10, failureThreshold=3),
        "resources": _RESOURCES[program.name],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": UID,
            "runAsGroup": UID,
        },
    }
    if program.secret:
        made["volumeMounts"] = [{"name": "tls", "mountPath": _TLS_FOLDER, "readOnly": True}]
    return made


def _probe(path: str, **more: int) -> Object:
    return {"httpGet": {"path": path, "port": "admin"}, **more}


def _budget(options: Options, name: str) -> Object:
    # Not minAvailable: of one replica that would stop every drain of its node.
    spec: Object = {"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(options, name), "spec": spec}


def _network_policy(options: Options, program: _Program) -> Object:
    """Its own ports from everywhere, because proxies and API servers are everywhere; no other port."""
    spec: Object = {
        "podSelector": {"matchLabels": selector(program.name)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in program.ports]}],
    }
    about = metadata(options, program.name)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": about, "spec": spec}
