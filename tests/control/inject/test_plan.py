"""Whether an object gets a proxy, which, and what is said about it."""

import copy
from dataclasses import replace

import pytest

from milliroute.control.errors import ValueTextError
from milliroute.control.inject import plan
from milliroute.control.inject.edits import applied, at
from milliroute.control.inject.plan import Plan, Wish
from milliroute.control.inject.settings import Settings

WISH = Wish(Settings(), "milliroute/test", {})
CLASSIC = replace(WISH, settings=Settings(is_native=False))


def pod(annotations: dict[str, str] | None = None, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", **({"annotations": annotations} if annotations else {})},
        "spec": {"containers": [{"name": "app"}], **spec},
    }


def mesh(thing: dict[str, object], wish: Wish = WISH) -> Plan:
    before = copy.deepcopy(thing)
    made = plan.mesh(thing, wish)
    assert thing == before
    return made


def names(thing: dict[str, object], key: str, wish: Wish = WISH) -> list[str]:
    found = at(applied(thing, mesh(thing, wish).edits), ("spec", key))
    assert isinstance(found, list)
    return [item["name"] for item in found]


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (pod({"milliroute.io/inject": "disabled"}), "disabled"),
        (pod({"linkerd.io/inject": "disabled"}), "disabled"),
        (pod(hostNetwork=True), "hostNetwork"),
        (pod(initContainers=[{"name": "milliroute-proxy"}]), "milliroute-proxy already"),
        (pod(containers=[{"name": "istio-proxy"}]), "istio-proxy already"),
    ],
)
def test_a_pod_that_must_not_have_a_proxy_is_left_and_the_reason_said(thing: dict[str, object], reason: str) -> None:
    assert mesh(thing).edits == ()
    assert reason in mesh(thing).skipped


@pytest.mark.parametrize(
    "thing",
    [
        {"apiVersion": "v1", "kind": "Service", "spec": {}},
        {"apiVersion": "example.org/v1", "kind": "Deployment", "spec": pod()},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": None}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": []},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": None}},
        {"kind": 7},
        {},
    ],
)
def test_what_has_no_pods_of_ours_is_nothing_to_say_about(thing: dict[str, object]) -> None:
    assert mesh(thing) == plan.unmesh(thing) == Plan()


def test_a_native_sidecar_runs_before_other_init_containers_so_that_they_have_the_network() -> None:
    assert names(pod(initContainers=[{"name": "b"}]), "initContainers") == ["milliroute-init", "milliroute-proxy", "b"]


def test_with_a_classic_sidecar_the_rules_come_after_other_init_containers() -> None:
    thing = pod(initContainers=[{"name": "b"}])
    assert names(thing, "initContainers", CLASSIC) == ["b", "milliroute-init"]
    assert names(thing, "containers", CLASSIC) == ["milliroute-proxy", "app"]


def test_without_a_default_a_pod_has_to_ask() -> None:
    wish = replace(WISH, default="")
    assert mesh(pod(), wish).edits == ()
    assert mesh(pod({"milliroute.io/inject": "enabled"}), wish).edits


def test_a_workloads_annotation_beats_the_operators_word() -> None:
    wish = replace(WISH, config={"proxy-uid": "1000", "admin-port": "9000"})
    edits = mesh(pod({"config.linkerd.io/proxy-uid": "1001"}), wish).edits
    assert "'runAsUser': 1001" in str(edits)
    assert "'0.0.0.0:9000'" in str(edits)


def test_udp_ports_are_warned_of() -> None:
    thing = pod(containers=[{"name": "dns", "ports": [{"containerPort": 53, "protocol": "UDP"}]}])
    assert mesh(thing).warnings == ("UDP is not redirected: port 53 bypasses the proxy",)


def test_a_container_that_runs_as_the_proxys_user_is_warned_of() -> None:
    assert "user 2102" in mesh(pod(securityContext={"runAsUser": 2102})).warnings[0]


def test_a_job_with_a_classic_sidecar_is_warned_of() -> None:
    job: dict[str, object] = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": pod()}}
    assert mesh(job).warnings == ()
    assert "never completes" in mesh(job, CLASSIC).warnings[0]


def test_a_bad_annotation_is_an_error_and_no_guess() -> None:
    with pytest.raises(ValueTextError, match=r"bad config\.milliroute\.io/admin-port"):
        mesh(pod({"config.milliroute.io/admin-port": "x"}))


def test_a_pod_of_a_deployment_is_called_by_the_deployment() -> None:
    thing = pod()
    thing["metadata"] = {
        "generateName": "web-6d4cf56db6-",
        "labels": {"pod-template-hash": "6d4cf56db6"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-6d4cf56db6"}],
    }
    assert "'--workload', 'web'," in str(mesh(thing).edits)


def test_uninject_leaves_what_the_object_asked_for_itself_and_says_so() -> None:
    thing = pod({"milliroute.io/inject": "enabled"})
    meshed = applied(thing, mesh(thing).edits)
    assert isinstance(meshed, dict)
    taken = plan.unmesh(meshed)
    assert applied(meshed, taken.edits) == thing
    assert taken.warnings == ("milliroute.io/inject still asks the webhook for a proxy",)
    assert applied(thing, plan.unmesh(thing).edits) == pod()


def test_uninject_never_takes_a_refusal_away() -> None:
    assert plan.unmesh(pod({"milliroute.io/inject": "disabled"})).edits == ()


def test_a_name_with_a_tag_or_a_digest_gets_no_version() -> None:
    for image in ("localhost:5000/a:1", "a@sha256:" + "0" * 64):
        thing = pod({"config.milliroute.io/proxy-image": image})
        assert f"'image': '{image}'" in str(mesh(thing).edits)
    assert "'image': 'localhost:5000/a:0.1.0'" in str(
        mesh(pod({"config.milliroute.io/proxy-image": "localhost:5000/a"}))
    )
