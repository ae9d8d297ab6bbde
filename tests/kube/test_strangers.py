"""The stand-in held honest by those who know the real one: the official client, lightkube and kubectl, over TLS."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.dynamic
import kubernetes.watch
import lightkube
import pytest
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Service
from lightkube.types import PatchType

from tests.kube.errors import Object
from tests.kube.place import DEFINITION, GROUP, config, split
from tests.kube.standin import Standin, certified

# Any: the client is typed in part, and not for bodies that are plain objects, which it takes.
kube: Any = kubernetes
KUBECTL = shutil.which("kubectl")
TIMEOUT_S = 30.0
Split = create_namespaced_resource(GROUP, "v1", "Split", "splits")
SplitStatus = Split.Status


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def api(tls: tuple[Path, Path, Path]) -> Iterator[Standin]:
    with Standin(tls=tls) as api:
        api.put(DEFINITION)
        yield api


# The official client


@pytest.fixture
def official(api: Standin, tmp_path: Path) -> Iterator[Any]:
    with kube.config.new_client_from_config(str(api.kubeconfig(tmp_path))) as client:
        yield client
        client.rest_client.pool_manager.clear()


def test_the_official_client_writes_and_reads(official: Any) -> None:
    core = kube.client.CoreV1Api(official)
    core.create_namespaced_config_map("default", config("one", a="b"))
    core.patch_namespaced_config_map("one", "default", {"data": {"c": "d"}})
    assert core.read_namespaced_config_map("one", "default").data == {"a": "b", "c": "d"}
    with pytest.raises(kube.client.ApiException) as refused:
        core.create_namespaced_config_map("default", config("one"))
    assert (refused.value.status, json.loads(refused.value.body)["reason"]) == (409, "AlreadyExists")
    core.delete_namespaced_config_map("one", "default")
    assert core.list_namespaced_config_map("default").items == []


def test_the_official_client_pages_through_a_list(official: Any) -> None:
    core = kube.client.CoreV1Api(official)
    for name in "abcde":
        core.create_namespaced_config_map("default", config(name))
    names, token = [], ""
    while True:
        page = core.list_namespaced_config_map("default", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == list("abcde")


def test_the_official_client_watches(api: Standin, official: Any) -> None:
    core = kube.client.CoreV1Api(official)
    start = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config("one"))
    core.delete_namespaced_config_map("one", "default")
    watch = kube.watch.Watch()
    stream = watch.stream(core.list_namespaced_config_map, "default", resource_version=start, timeout_seconds=1)
    assert [(event["type"], event["object"].metadata.name) for event in stream] == [
        ("ADDED", "one"),
        ("DELETED", "one"),
    ]
    api.expire_history()
    with pytest.raises(kube.client.ApiException) as gone:
        list(watch.stream(core.list_namespaced_secret, "default", resource_version=start, timeout_seconds=1))
    assert gone.value.status == 410


def test_the_official_client_writes_a_status(official: Any) -> None:
    custom = kube.client.CustomObjectsApi(official)
    place = (GROUP, "v1", "default", "splits")
    custom.create_namespaced_custom_object(*place, split("one"))
    found = custom.patch_namespaced_custom_object_status(*place, "one", {"status": {"ready": True}})
    assert (found["status"], found["metadata"]["generation"]) == ({"ready": True}, 1)


def test_the_official_dynamic_client_discovers_and_applies(official: Any, tmp_path: Path) -> None:
    dynamic = kube.dynamic.DynamicClient(official, cache_file=str(tmp_path / "cache"))
    splits = dynamic.resources.get(api_version=f"{GROUP}/v1", kind="Split")
    body = {**split("one"), "metadata": {"name": "one", "namespace": "default"}}
    splits.server_side_apply(body=body, field_manager="test")
    found = splits.get(name="one", namespace="default")
    assert [item.manager for item in found.metadata.managedFields] == ["test"]


def test_the_official_client_takes_and_renews_a_lease(official: Any) -> None:
    leases = kube.client.CoordinationV1Api(official)
    body: Object = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}
    held = leases.create_namespaced_lease("default", body)
    held.spec.holder_identity = "b"
    assert leases.replace_namespaced_lease("leader", "default", held).spec.holder_identity == "b"
    with pytest.raises(kube.client.ApiException) as stale:
        leases.replace_namespaced_lease("leader", "default", held)
    assert stale.value.status == 409


# lightkube


@pytest.fixture
def light(api: Standin, tmp_path: Path) -> Iterator[lightkube.Client]:
    client = lightkube.Client(KubeConfig.from_file(str(api.kubeconfig(tmp_path))), field_manager="light")
    yield client
    client.close()


def named(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace="default")


def test_lightkube_writes_and_reads(light: lightkube.Client) -> None:
    light.create(ConfigMap(metadata=named("one"), data={"a": "b"}))
    light.patch(ConfigMap, "one", {"data": {"a": None, "c": "d"}}, patch_type=PatchType.MERGE)
    found = light.get(ConfigMap, "one")
    assert found.data == {"c": "d"}
    light.replace(ConfigMap(metadata=found.metadata, data={"e": "f"}))
    with pytest.raises(ApiError) as stale:
        light.replace(ConfigMap(metadata=found.metadata, data={"g": "h"}))
    assert (stale.value.status.code, stale.value.status.reason) == (409, "Conflict")
    light.delete(ConfigMap, "one")
    assert list(light.list(ConfigMap)) == []


def test_lightkube_pages_through_a_list(light: lightkube.Client) -> None:
    for name in "abcde":
        light.create(ConfigMap(metadata=named(name)))
    assert [item.metadata.name for item in light.list(ConfigMap, chunk_size=2) if item.metadata] == list("abcde")


def test_lightkube_watches(light: lightkube.Client) -> None:
    listed = light.list(ConfigMap)
    assert list(listed) == []
    start = listed.resourceVersion
    light.create(ConfigMap(metadata=named("one")))
    light.delete(ConfigMap, "one")
    told = []
    for word, found in light.watch(ConfigMap, resource_version=start, server_timeout=60):
        told.append((word, found.metadata and found.metadata.name))
        if word == "DELETED":
            break
    assert told == [("ADDED", "one"), ("DELETED", "one")]


def test_lightkube_applies_and_hears_of_conflicts(light: lightkube.Client) -> None:
    def web(port: int) -> Service:
        ports = [ServicePort(port=80, protocol="TCP", targetPort=port)]
        return Service(apiVersion="v1", kind="Service", metadata=named("web"), spec=ServiceSpec(ports=ports))

    light.apply(web(1), field_manager="one")
    with pytest.raises(ApiError) as refused:
        light.apply(web(2), field_manager="two")
    assert 'conflict with "one"' in str(refused.value.status.message)
    light.apply(web(2), field_manager="two", force=True)


def test_lightkube_writes_a_status(light: lightkube.Client) -> None:
    light.create(Split(metadata=named("one"), spec={"service": "s"}))
    found = light.patch(SplitStatus, "one", {"status": {"ready": True}}, patch_type=PatchType.MERGE)
    assert found["status"] == {"ready": True}
    assert light.get(Split, "one")["metadata"]["generation"] == 1


def test_lightkube_takes_a_lease(light: lightkube.Client) -> None:
    spec = LeaseSpec(holderIdentity="a", leaseDurationSeconds=15)
    lease = light.create(Lease(metadata=named("leader"), spec=spec))
    lease.spec = LeaseSpec(holderIdentity="b", leaseDurationSeconds=15)
    assert light.replace(lease).spec == lease.spec


def test_lightkube_reads_a_rotated_token_again(api: Standin, light: lightkube.Client) -> None:
    assert list(light.list(ConfigMap)) == []
    api.rotate_token()
    assert list(light.list(ConfigMap)) == []


# kubectl


class Kubectl:
    def __init__(self, api: Standin, folder: Path) -> None:
        self._base = [str(KUBECTL), "--kubeconfig", str(api.kubeconfig(folder)), "--cache-dir", str(folder / "cache")]

    def __call__(self, *words: str, given: Object | None = None, code: int = 0) -> str:
        """What it prints, errors too; given: the object it reads from standard input."""
        done = subprocess.run(
            [*self._base, *words], input=json.dumps(given) if given else None, text=True, timeout=TIMEOUT_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def watch(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([*self._base, *words, "--watch"], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def kubectl(api: Standin, tmp_path: Path) -> Kubectl:
    if KUBECTL is None:
        pytest.skip("there is no kubectl here: what it does to the stand-in was not tested")
    return Kubectl(api, tmp_path)


def service(*ports: int) -> Object:
    spec = {"ports": [{"name": f"p{port}", "port": port} for port in ports], "selector": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def test_kubectl_applies_from_the_client_side(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", given=service(80, 81)) == "service/web created\n"
    assert kubectl("apply", "-f", "-", given=service(80, 82)) == "service/web configured\n"
    assert kubectl("apply", "-f", "-", given=service(80, 82)) == "service/web unchanged\n"
    ports = json.loads(kubectl("get", "service", "web", "-o", "json"))["spec"]["ports"]
    assert sorted(port["port"] for port in ports) == [80, 82]


def test_kubectl_applies_from_the_server_side(kubectl: Kubectl) -> None:
    one = ("apply", "--server-side", "-f", "-", "--field-manager")
    assert kubectl(*one, "a", given=split("one", weight=1)) == f"split.{GROUP}/one serverside-applied\n"
    refused = kubectl(*one, "b", given=split("one", weight=2), code=1)
    assert 'Apply failed with 1 conflict: conflict with "a": .spec.weight' in refused
    kubectl(*one, "b", "--force-conflicts", given=split("one", weight=2))


def test_kubectl_hears_what_the_schema_forbids(kubectl: Kubectl) -> None:
    assert "spec.weight" in kubectl("apply", "-f", "-", given=split("one", weight=-1), code=1)
    assert 'unknown field "spec.typo"' in kubectl("apply", "-f", "-", given=split("one", typo=1), code=1)


def test_kubectl_patches_a_status_and_deletes(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", given=split("one"))
    kubectl("patch", "split", "one", "--subresource=status", "--type=merge", "-p", '{"status":{"ready":true}}')
    kubectl("wait", "split/one", "--for=jsonpath={.status.ready}=true", "--timeout=60s")
    assert "deleted" in kubectl("delete", "split", "one")
    assert "(NotFound)" in kubectl("get", "split", "one", code=1)


def test_kubectl_prints_tables_and_selects(kubectl: Kubectl) -> None:
    for name in "ab":
        kubectl("create", "-f", "-", given={"apiVersion": "v1", "kind": "ConfigMap", **config(name)})
    assert kubectl("get", "configmaps", "-l", "app=b").split()[:3] == ["NAME", "AGE", "b"]


def test_kubectl_watches(api: Standin, kubectl: Kubectl) -> None:
    with kubectl.watch("get", "splits", "-o", "name") as process:
        assert process.stdout is not None
        api.put(split("one"))
        assert process.stdout.readline() == f"split.{GROUP}/one\n"
        process.terminate()


def test_kubectl_serves_a_kind_as_soon_as_it_is_established(api: Standin, kubectl: Kubectl) -> None:
    api.remove("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"splits.{GROUP}")
    kubectl("apply", "-f", "-", given=DEFINITION)
    kubectl("wait", "--for=condition=established", f"crd/splits.{GROUP}", "--timeout=60s")
    kubectl("create", "-f", "-", given=split("one"))
    assert f"splits.{GROUP}" in kubectl("api-resources", "-o", "name").split()


def test_kubectl_is_told_what_it_may(api: Standin, kubectl: Kubectl) -> None:
    api.refuse("splits", "list")
    assert "(Forbidden)" in kubectl("get", "splits", code=1)
    kubectl("create", "-f", "-", given=split("one"))
    assert kubectl("get", "split", "one", "-o", "name") == f"split.{GROUP}/one\n"


def test_kubectl_shows_a_difference_before_it_is_made(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", given=service(80))
    assert "+  - name: p81" in kubectl("diff", "-f", "-", given=service(80, 81), code=1)
    assert kubectl("diff", "-f", "-", given=service(80)) == ""
