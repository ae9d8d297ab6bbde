"""Each thing that can be wrong with an installation is said, with what to do; a good one is all good."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from milliroute.control.check import findings, installation, pods, rendered
from milliroute.control.check.findings import Finding, Group
from milliroute.control.cli.checking import check
from milliroute.control.config import VERSION
from milliroute.control.install import certificates, manifests
from milliroute.control.install.options import CONTROL, WEBHOOK, Options
from milliroute.control.model import SourceStatus
from tests.kube.standin import Standin

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
READY = {"spec": {"replicas": 2}, "status": {"readyReplicas": 2}}
LEASE = {"spec": {"holderIdentity": "pod-1", "renewTime": "2026-11-21T11:59:58.000000Z"}}

Json = dict[str, Any]

SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: reviews, namespace: default}
spec:
  service: reviews
  backends:
  - {service: reviews-v1, weight: 9}
  - {service: reviews-v2, weight: 1}
"""


def bad(group: Group) -> list[str]:
    """What is not good, as "level text: detail"."""
    return [f"{one.level} {one.text}: {one.detail}" for one in group.findings if one.level != "ok"]


def test_every_finding_that_is_not_good_says_what_to_do() -> None:
    groups = [
        installation.api({"gitVersion": "v1.20.3"}),
        installation.kinds((SourceStatus("kubernetes services", "nothing", ("403",)),)),
        installation.control(None, None, NOW),
        installation.webhook(None, None, NOW),
        pods.group([], VERSION),
    ]
    assert all(one.hint for group in groups for one in group.findings if one.level != "ok")
    assert all(bad(group) for group in groups)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("v1.32.1", []),
        ("v1.29.0-eks-1", []),
        ("v1.28+", ["warning has native sidecars: v1.28+ is before v1.29"]),
        ("dev", ["warning is running the minimum Kubernetes version: its version is 'dev'"]),
    ],
)
def test_version_of_the_api_server_is_judged(version: str, said: list[str]) -> None:
    assert bad(installation.api({"gitVersion": version})) == said


def test_kind_that_is_needed_must_be_served_and_another_need_not() -> None:
    absent = [SourceStatus(f"kubernetes {name}", "absent") for name in ("trafficsplits.split.smi-spec.io", "x.y")]
    assert len(bad(installation.kinds(tuple(absent)))) == 1
    assert "trafficsplits" in bad(installation.kinds(tuple(absent)))[0]


def test_a_control_service_with_all_replicas_and_a_leader_is_good() -> None:
    assert bad(installation.control(READY, LEASE, NOW)) == []


def test_missing_replicas_are_a_warning_and_none_at_all_an_error() -> None:
    some, none = ({**READY, "status": status} for status in ({"readyReplicas": 1}, {}))
    assert bad(installation.control(some, LEASE, NOW)) == [f"warning {CONTROL} has all its replicas: 1 of 2 are ready"]
    assert bad(installation.control(none, LEASE, NOW)) == [f"error {CONTROL} has all its replicas: 0 of 2 are ready"]


def test_lease_that_nobody_renews_is_a_warning() -> None:
    (said,) = bad(installation.control(READY, LEASE, NOW + timedelta(minutes=1)))
    assert "held by pod-1, renewed 62 s ago" in said
    assert len(bad(installation.control(READY, None, NOW))) == 1


def hook(begin: datetime | None = None, policy: str = "Ignore", bundle: str | None = None) -> Json:
    """A registration whose authority was made at `begin`."""
    made = certificates.make("milliroute", begin or NOW).authority if bundle is None else bundle
    encoded = base64.b64encode(made.encode()).decode()
    return {"webhooks": [{"name": "inject", "failurePolicy": policy, "clientConfig": {"caBundle": encoded}}]}


def test_a_webhook_with_a_good_certificate_is_good() -> None:
    assert bad(installation.webhook(hook(), READY, NOW)) == []


def test_certificate_that_ends_soon_is_a_warning_and_one_that_ended_an_error() -> None:
    (soon,) = bad(installation.webhook(hook(NOW - certificates.VALID + timedelta(days=30)), READY, NOW))
    (ended,) = bad(installation.webhook(hook(NOW - certificates.VALID - timedelta(days=1)), READY, NOW))
    assert soon.startswith("warning")
    assert ended.startswith("error")
    (empty,) = bad(installation.webhook(hook(bundle=""), READY, NOW))
    (broken,) = bad(installation.webhook(hook(bundle="no certificate"), READY, NOW))
    assert "is empty" in empty
    assert "cannot be read" in broken


def test_webhook_that_can_stop_pods_is_a_warning() -> None:
    (said,) = bad(installation.webhook(hook(policy="Fail"), READY, NOW))
    assert said == "warning inject never keeps a pod from starting: its failurePolicy is Fail"


def pod(name: str, image: str, is_ready: bool = True, phase: str = "Running", kind: str = "containers") -> Json:
    status = "initContainerStatuses" if kind == "initContainers" else "containerStatuses"
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {kind: [{"name": "milliroute-proxy", "image": image}]},
        "status": {"phase": phase, status: [{"name": "milliroute-proxy", "ready": is_ready}]},
    }


def test_proxies_are_ready_and_of_our_version_native_or_not() -> None:
    good = [pod("a", f"milliroute:{VERSION}"), pod("b", f"milliroute:{VERSION}", kind="initContainers")]
    gone = pod("c", "milliroute:0.0.1", is_ready=False, phase="Succeeded")
    other = {"spec": {"containers": [{"name": "app"}]}}
    assert bad(pods.group([*good, gone, other], VERSION)) == []
    (waiting,) = bad(pods.group([*good, pod("d", f"milliroute:{VERSION}", is_ready=False)], VERSION))
    assert waiting == "error all 3 proxies are ready: 1 are not: shop/d"
    (old,) = bad(pods.group([*good, pod("e", "milliroute:0.0.1")], VERSION))
    assert "1 of 0.0.1" in old
    assert "shop/e" in old


def test_only_errors_fail_a_check() -> None:
    assert findings.is_good([Group("a", (Finding("warning", "b"),))])
    assert not findings.is_good([Group("a", (Finding("error", "b"),))])


def test_text_has_marks_and_hints_and_json_has_the_same() -> None:
    groups = [Group("a-group", (Finding("ok", "fine"), Finding("error", "not fine", "seen", "do it")))]
    assert rendered.text(groups).splitlines() == [
        "a-group", "-------", "\u221a fine", "\u00d7 not fine", "    seen", "    hint: do it", "",
        "Status check results are \u00d7",
    ]  # fmt: skip
    read = json.loads(rendered.document(groups))
    assert read["success"] is False
    assert read["categories"][0]["findings"][1]["hint"] == "do it"


def test_files_are_checked_without_a_cluster(tmp_path: Path) -> None:
    file = tmp_path / "split.yaml"
    file.write_text(SPLIT)
    good = CliRunner().invoke(check, ["-f", str(file)])
    assert good.exit_code == 0, good.output
    file.write_text(SPLIT + "---\n" + SPLIT.replace("name: reviews,", "name: other,"))
    conflict = CliRunner().invoke(check, ["-f", str(file)])
    assert conflict.exit_code == 1
    assert "\u00d7 split default/reviews divides reviews" in conflict.output
    file.write_text(SPLIT.replace("weight: 9", "weight: -9"))
    broken = CliRunner().invoke(check, ["-f", str(file), "-o", "json"])
    assert broken.exit_code == 1
    assert f"{file}:7:" in broken.output


ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: by-path, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules: [{backendRefs: [{name: nobody, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {ports: [{port: 80}]}
"""


def test_route_to_a_backend_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "route.yaml"
    file.write_text(ROUTE)
    done = CliRunner().invoke(check, ["-f", str(file)])
    assert done.exit_code == 0
    assert "\u203c HTTPRoute default/by-path is in force" in done.output
    assert "BackendNotFound" in done.output


@pytest.fixture
def api() -> Iterator[Standin]:
    with Standin() as made:
        made.put(
            *(one for one in manifests.objects(Options()) if one["kind"] in ("CustomResourceDefinition", "Namespace"))
        )
        yield made


def checked(api: Standin, folder: Path) -> dict[str, list[Json]]:
    done = CliRunner().invoke(check, ["--kubeconfig", str(api.kubeconfig(folder)), "-o", "json"])
    read = json.loads(done.stdout)
    assert done.exit_code == (0 if read["success"] else 1)
    return {group["title"]: group["findings"] for group in read["categories"]}


def test_a_cluster_is_asked_for_all_of_it(api: Standin, tmp_path: Path) -> None:
    api.put(*yaml.safe_load_all(SPLIT))
    found = checked(api, tmp_path)
    assert list(found) == [
        "kubernetes-api", "milliroute-kinds", "milliroute-control", "milliroute-webhook", "milliroute-data-plane",
        "milliroute-splits",
    ]  # fmt: skip
    assert [one["text"] for one in found["milliroute-control"] if one["level"] == "error"] == [
        f"{CONTROL} is installed"
    ]
    assert f"{WEBHOOK} is registered" in [one["text"] for one in found["milliroute-webhook"]]
    assert [one["level"] for one in found["milliroute-splits"]] == ["warning"]  # its Services are not there


def test_a_cluster_that_does_not_answer_is_a_finding_and_no_traceback(api: Standin, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path)
    api.stop()
    done = CliRunner().invoke(check, ["--kubeconfig", str(path)])
    assert done.exit_code == 1
    assert "\u00d7 can query the Kubernetes API" in done.output


def test_without_a_configuration_it_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(check, ["--kubeconfig", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "--kubeconfig" in done.output
