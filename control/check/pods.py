"""Of the pods that have a proxy: is it ready, and of the version that the control service is?"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from milliroute.control.check.findings import Finding, Group, judged
from milliroute.control.inject.containers import PROXY

# Of each kind of trouble so many are named.
_NAMED = 5


def group(pods: Iterable[Mapping[str, Any]], version: str) -> Group:
    """`version`: of the program that checks."""
    return Group("milliroute-data-plane", tuple(_findings(list(_meshed(pods)), version)))


def _meshed(pods: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, bool]]:
    """Name, image and readiness of each proxy; pods that have ended have none."""
    for pod in pods:
        spec, status, about = (pod.get(part, {}) for part in ("spec", "status", "metadata"))
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        statuses = {
            one.get("name"): one
            for kind in ("initContainerStatuses", "containerStatuses")
            for one in status.get(kind, ())
        }
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            if container.get("name") == PROXY:
                is_ready = bool(statuses.get(PROXY, {}).get("ready"))
                yield f"{about.get('namespace')}/{about.get('name')}", str(container.get("image", "")), is_ready


def _findings(proxies: list[tuple[str, str, bool]], version: str) -> Iterator[Finding]:
    if not proxies:
        hint = "milliroute inject FILE | kubectl apply -f -"
        yield Finding("warning", "some pods have a proxy", "none has", hint)
        return
    waiting = [name for name, _, is_ready in proxies if not is_ready]
    yield judged(
        not waiting,
        f"all {len(proxies)} proxies are ready",
        f"{len(waiting)} are not: {_some(waiting)}",
        "kubectl logs POD -c " + PROXY,
    )
    tags = Counter(image.rpartition(":")[2] for _, image, _ in proxies)
    others = [name for name, image, _ in proxies if image.rpartition(":")[2] != version]
    yield judged(
        not others,
        "proxies are of this version",
        f"want {version}, saw {', '.join(f'{count} of {tag}' for tag, count in sorted(tags.items()))}: {_some(others)}",
        "restart these workloads",
        "warning",
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
