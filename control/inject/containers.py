"""What a meshed pod has more: `milliroute-init`, which lays the rules, `milliroute-proxy`, and its labels in a volume.

In: Settings. Out: objects. The rule not to break: the proxy's container may do nothing that a proxy need not: no root,
no capability, nothing to write to. Only the other one, which ends before the application begins, touches the network.
"""

from collections.abc import Iterator

from milliroute.control.inject import ports as port_lists
from milliroute.control.inject.edits import Object
from milliroute.control.inject.ports import Ports
from milliroute.control.inject.settings import Settings

PROXY = "milliroute-proxy"
INIT = "milliroute-init"
VOLUME = "milliroute-pod"

# The pod's labels as the kubelet writes them; by the environment only single ones could be had.
_FOLDER = "/etc/milliroute/pod"
_LABELS = "labels"

# Linkerd's numbers: the application waits two minutes for its proxy at most.
STARTUP_TRIES = 120
READINESS_DELAY_S = 2
LIVENESS_DELAY_S = 10


def volume() -> Object:
    label_file = {"path": _LABELS, "fieldRef": {"fieldPath": "metadata.labels"}}
    return {"name": VOLUME, "downwardAPI": {"items": [label_file]}}


def proxy(settings: Settings, workload: str) -> Object:
    """Native: a container of initContainers that goes on. Classic: the first of containers."""
    probe = {"httpGet": {"path": "/ready", "port": settings.admin_port}}
    container: dict[str, object] = {"name": PROXY, **_image(settings)}
    if settings.is_native:
        container["restartPolicy"] = "Always"
    container["command"] = ["milliroute"]
    container["args"] = ["proxy", *_flags(settings, workload)]
    container["env"] = _environment()
    container["ports"] = [
        {"name": "milliroute-in", "containerPort": settings.inbound_port},
        {"name": "milliroute-adm", "containerPort": settings.admin_port},
    ]
    if settings.is_native and settings.is_awaited:
        container["startupProbe"] = {**probe, "periodSeconds": 1, "failureThreshold": STARTUP_TRIES}
    container["readinessProbe"] = {**probe, "initialDelaySeconds": READINESS_DELAY_S}
    container["livenessProbe"] = {
        "httpGet": {"path": "/live", "port": settings.admin_port},
        "initialDelaySeconds": LIVENESS_DELAY_S,
    }
    if not settings.is_native and settings.is_awaited:
        # The kubelet starts no container after this one before the hook has ended.
        wait = ["milliroute", "await", "--admin", f"127.0.0.1:{settings.admin_port}"]
        container["lifecycle"] = {"postStart": {"exec": {"command": [*wait, "--timeout", str(STARTUP_TRIES)]}}}
    mounts = [{"name": VOLUME, "mountPath": _FOLDER, "readOnly": True}]
    return {
        **container,
        **_resources(settings),
        "securityContext": _unprivileged(settings),
        "volumeMounts": mounts,
    }


def init(settings: Settings) -> Object:
    """Root, because iptables asks for it, and of root's powers the two that it needs."""
    return {
        "name": INIT,
        **_image(settings),
        "command": ["milliroute"],
        "args": ["iptables", *_rules(settings)],
        # iptables-legacy takes a lock in a file; this is the one folder that may be written to.
        "env": [{"name": "XTABLES_LOCKFILE", "value": "/dev/shm/xtables.lock"}],
        **_resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _image(settings: Settings) -> Object:
    """A name that has a tag or a digest keeps it."""
    has_tag = ":" in settings.image.rpartition("/")[2]
    image = settings.image if has_tag else f"{settings.image}:{settings.version}"
    return {"image": image, "imagePullPolicy": settings.pull_policy}


def _resources(settings: Settings) -> Object:
    """Of both: a namespace with a quota wants them of every container."""
    return (
        {"resources": {kind: dict(values) for kind, values in settings.resources.items()}} if settings.resources else {}
    )


def _flags(settings: Settings, workload: str) -> Iterator[str]:
    yield from ("--outbound", str(settings.outbound_port), "--inbound", str(settings.inbound_port))
    yield from ("--destination", settings.destination)
    # Of all addresses, because the kubelet asks from outside of the pod.
    yield from ("--admin", f"0.0.0.0:{settings.admin_port}", "--log-level", settings.log_level)
    if settings.opaque is not None:
        yield from ("--opaque-ports", port_lists.written(settings.opaque))
    for name, seconds in (("grace-s", settings.grace_s), ("connect-timeout-s", settings.connect_timeout_s)):
        if seconds is not None:
            yield from (f"--{name}", f"{seconds:g}")
    if settings.is_ingress:
        yield from ("--ingress-mode", "true")
    if workload:
        yield from ("--workload", workload)
    yield from ("--pod-labels", f"{_FOLDER}/{_LABELS}")


def _environment() -> list[Object]:
    """Who this proxy is; a variable may name those before it."""
    return [
        _from_pod("MILLIROUTE_POD", "metadata.name"),
        _from_pod("MILLIROUTE_NAMESPACE", "metadata.namespace"),
        {"name": "MILLIROUTE_ID", "value": "$(MILLIROUTE_POD).$(MILLIROUTE_NAMESPACE)"},
    ]


def _from_pod(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _unprivileged(settings: Settings) -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        **({} if settings.gid is None else {"runAsGroup": settings.gid}),
        "runAsNonRoot": True,
        "runAsUser": settings.uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _rules(settings: Settings) -> Iterator[str]:
    yield from ("--incoming-proxy-port", str(settings.inbound_port))
    yield from ("--outgoing-proxy-port", str(settings.outbound_port))
    yield from ("--proxy-uid", str(settings.uid))
    if settings.gid is not None:
        yield from ("--proxy-gid", str(settings.gid))
    # Probes and scrapes of the proxy itself go to it directly.
    ignored = (Ports(settings.admin_port, settings.admin_port), *settings.skip_inbound)
    yield from ("--inbound-ports-to-ignore", port_lists.written(ignored))
    if settings.skip_outbound:
        yield from ("--outbound-ports-to-ignore", port_lists.written(settings.skip_outbound))
    if settings.skip_subnets:
        yield from ("--subnets-to-ignore", ",".join(settings.skip_subnets))
    yield from ("--firewall-mode", settings.firewall_mode)
