"""Of what is installed: the API server, the kinds, the control service and the webhook.

In: JSON objects as the API server gave them, None for what is not there. Out: Findings. Shapes are Kubernetes' own;
what is missing in one is as good as empty.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from milliroute.control.check.findings import Finding, Group, judged
from milliroute.control.install.options import CONTROL, LEASE, WEBHOOK
from milliroute.control.model import SourceStatus
from milliroute.control.source.kubernetes.assembly import PREFIX

Found = Mapping[str, Any] | None

# Native sidecars are on from here on; older ones need `inject --classic`.
_NATIVE_SIDECARS = (1, 29)
_OLDEST = (1, 25)
# A Lease that nobody renewed for so long is nobody's.
_LEASE_S = 15
_EXPIRES_SOON = timedelta(days=60)
# Without these there is nothing to split.
_NEEDED = ("services", "endpointslices.discovery.k8s.io", "trafficsplits.split.smi-spec.io")
_INSTALL = "milliroute install | kubectl apply --server-side -f -"


def api(version: Found) -> Group:
    return Group("kubernetes-api", tuple(_api(version or {})))


def _api(version: Mapping[str, Any]) -> Iterator[Finding]:
    yield Finding("ok", "can query the Kubernetes API")
    said = str(version.get("gitVersion", "unknown"))
    numbers = _version(said)
    text = "is running the minimum Kubernetes version"
    if numbers is None:
        yield Finding("warning", text, f"its version is {said!r}", "want v1.25 or newer")
        return
    yield judged(numbers >= _OLDEST, text, f"it is {said}", "want v1.25 or newer")
    yield judged(
        numbers >= _NATIVE_SIDECARS,
        "has native sidecars",
        f"{said} is before v1.29",
        "inject with --classic",
        "warning",
    )


def _version(text: str) -> tuple[int, int] | None:
    major, _, rest = text.removeprefix("v").partition(".")
    minor = rest.partition(".")[0].rstrip("+")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def kinds(sources: tuple[SourceStatus, ...]) -> Group:
    """By what came of reading each of them."""
    return Group("milliroute-kinds", tuple(_kinds(sources)))


def _kinds(sources: tuple[SourceStatus, ...]) -> Iterator[Finding]:
    for source in sources:
        name = source.path.removeprefix(PREFIX)
        text = f"{name} can be read"
        why = "; ".join(source.errors) or "the API server does not have it"
        if source.in_force == "nothing":
            yield Finding(
                "error", text, why, "may this user list it? kubectl auth can-i list " + name.partition(".")[0]
            )
        elif source.in_force != "absent":
            yield Finding("ok", text)
        elif name in _NEEDED:
            yield Finding("error", text, why, "milliroute install --crds | kubectl apply --server-side -f -")


def control(deployment: Found, lease: Found, now: datetime) -> Group:
    return Group("milliroute-control", tuple(_control(deployment, lease, now)))


def _control(deployment: Found, lease: Found, now: datetime) -> Iterator[Finding]:
    if deployment is None:
        yield Finding("error", f"{CONTROL} is installed", "there is no such Deployment", _INSTALL)
        return
    yield Finding("ok", f"{CONTROL} is installed")
    yield _available(CONTROL, deployment)
    spec = (lease or {}).get("spec", {})
    age = _age(str(spec.get("renewTime", "")), now)
    yield judged(
        bool(spec.get("holderIdentity")) and age is not None and age <= timedelta(seconds=_LEASE_S),
        "one replica writes status and Events",
        f"the Lease {LEASE} is held by {spec.get('holderIdentity') or 'nobody'}, renewed "
        + ("never" if age is None else f"{age.total_seconds():.0f} s ago"),
        f"kubectl logs deploy/{CONTROL}: may it write Leases?",
        "warning",
    )


def _available(name: str, deployment: Mapping[str, Any]) -> Finding:
    wanted = deployment.get("spec", {}).get("replicas", 1)
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    level = "warning" if ready else "error"
    text = f"{name} has all its replicas"
    return judged(ready >= wanted, text, f"{ready} of {wanted} are ready", f"kubectl describe deploy/{name}", level)  # type: ignore[arg-type]  # mypy does not narrow a conditional expression to its literals


def _age(renewed: str, now: datetime) -> timedelta | None:
    try:
        return now - datetime.fromisoformat(renewed)
    except (ValueError, TypeError):
        return None


def webhook(configuration: Found, deployment: Found, now: datetime) -> Group:
    return Group("milliroute-webhook", tuple(_webhook(configuration, deployment, now)))


def _webhook(configuration: Found, deployment: Found, now: datetime) -> Iterator[Finding]:
    if configuration is None:
        hint = "workloads get proxies by `milliroute inject` only"
        yield Finding("warning", f"{WEBHOOK} is registered", "there is no such configuration", hint)
        return
    yield Finding("ok", f"{WEBHOOK} is registered")
    yield judged(deployment is not None, f"{WEBHOOK} is installed", "there is no such Deployment", _INSTALL)
    if deployment is not None:
        yield _available(WEBHOOK, deployment)
    for hook in configuration.get("webhooks", ()):
        name, policy = hook.get("name", ""), hook.get("failurePolicy", "Fail")
        yield judged(
            policy == "Ignore",
            f"{name} never keeps a pod from starting",
            f"its failurePolicy is {policy}",
            "want Ignore",
            "warning",
        )
        yield _bundle(name, str(hook.get("clientConfig", {}).get("caBundle", "")), now)


def _bundle(name: str, encoded: str, now: datetime) -> Finding:
    text = f"{name} has a certificate authority that is good for {_EXPIRES_SOON.days} days"
    try:
        pem = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return Finding("error", text, "its caBundle is not base64", _INSTALL)
    if not pem:
        return Finding("error", text, "its caBundle is empty", "is cert-manager there? or install once more")
    try:
        from cryptography import x509
    except ImportError:
        return Finding(
            "warning", text, "cryptography is not installed: not judged", "pip install 'milliroute[install]'"
        )
    try:
        ends = min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        return Finding("error", text, f"its caBundle cannot be read: {error}", _INSTALL)
    left = ends - now
    if left <= timedelta(0):
        return Finding("error", text, f"it ended on {ends:%Y-%m-%d}", _INSTALL)
    return judged(left > _EXPIRES_SOON, text, f"it ends on {ends:%Y-%m-%d}", _INSTALL, "warning")
