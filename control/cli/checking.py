"""`milliroute check`: asks the API server, or reads files, and prints what it thinks of them.

Exit code 1 where something is an error. Nothing is changed.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from milliroute.control import errors
from milliroute.control.check import findings, rendered, splits
from milliroute.control.check.findings import Finding, Group
from milliroute.control.cli.mesh import option
from milliroute.control.config import VERSION, ClusterAccess

# Seconds for one answer, and for the first list of everything.
PATIENCE_S = 10.0


@click.command()
@click.option("-f", "files", multiple=True, metavar="PATH", help="Check these files and no cluster. May repeat.")
@option("--kubeconfig", "kubeconfig", None, "", "Of the cluster; as kubectl finds it otherwise.")
@option("--context", "context", None, "", "Of the kubeconfig.")
@option("--namespace", "namespace", None, "milliroute", "Where milliroute is installed.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def check(files: tuple[str, ...], kubeconfig: str, context: str, namespace: str, form: str) -> None:
    """Say whether an installation, and the splits, are well."""
    try:
        groups = of_files(files) if files else asyncio.run(of_cluster(ClusterAccess(kubeconfig, context), namespace))
    except errors.ConfigError as error:
        raise click.ClickException(str(error)) from None
    sys.stdout.write(rendered.text(groups) if form == "text" else rendered.document(groups))
    raise SystemExit(0 if findings.is_good(groups) else 1)


def of_files(files: Sequence[str]) -> list[Group]:
    from milliroute.control.source.files import FileSource

    return [splits.group(FileSource(files, ()).read(), _now_ms())]


async def of_cluster(access: ClusterAccess, namespace: str) -> list[Group]:
    """Raises ConfigError without a configuration; a cluster that does not answer is a finding."""
    try:
        from milliroute.control.source.kubernetes.api import Api, NoAnswerError
    except ImportError as error:
        want = "pip install 'milliroute[kubernetes]'"
        raise errors.ConfigError(f"a cluster: {error.name} is not installed, want {want}") from error
    api = Api(access)
    try:
        return await _groups(api, access, namespace)
    except NoAnswerError as error:
        hint = "kubectl version: does it answer?"
        return [Group("kubernetes-api", (Finding("error", "can query the Kubernetes API", str(error), hint),))]
    finally:
        await api.close()


async def _groups(api: Any, access: ClusterAccess, namespace: str) -> list[Group]:
    from milliroute.control.check import installation, pods
    from milliroute.control.install.options import CONTROL, LEASE, WEBHOOK
    from milliroute.control.source.kubernetes.source import KubernetesSource

    async def get(path: str) -> Mapping[str, Any] | None:
        answer = await api.get(path, {}, PATIENCE_S)
        return json.loads(answer.body) if answer.status == 200 else None

    apps = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    now = datetime.now(UTC)
    groups = [installation.api(await get("/version"))]
    source = KubernetesSource(api, access.namespace)
    source.begin()
    try:
        await source.is_known_within(PATIENCE_S)
        objects = source.read()
    finally:
        await source.close()
    groups.append(installation.kinds(objects.sources))
    lease = await get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
    groups.append(installation.control(await get(f"{apps}/{CONTROL}"), lease, now))
    hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    groups.append(installation.webhook(await get(f"{hooks}/{WEBHOOK}"), await get(f"{apps}/{WEBHOOK}"), now))
    found = await get("/api/v1/pods") or {}
    groups.append(pods.group(found.get("items", ()), VERSION))
    groups.append(splits.group(objects, _now_ms()))
    return groups


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
