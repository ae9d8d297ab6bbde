"""AdmissionReview in, AdmissionReview out."""

import json

import pytest

from milliroute.control.inject import admission
from milliroute.control.inject.admission import Answer, ReviewError
from milliroute.control.inject.plan import Wish
from milliroute.control.inject.settings import Settings
from tests.control.inject.reviews import patch, pod, response, review

WISH = Wish(Settings(), "milliroute/test", {}, "")


def answered(body: bytes, default: admission.Default = "") -> Answer:
    return admission.answered(body, WISH, default)


def test_the_answer_is_a_review_with_the_requests_uid() -> None:
    body = json.loads(answered(review(pod(inject="enabled"))).body)
    assert (body["apiVersion"], body["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert body["response"]["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert body["response"]["patchType"] == "JSONPatch"


def test_a_pod_is_injected_when_it_or_its_namespace_says_so() -> None:
    assert patch(answered(review(pod(inject="enabled"))).body)
    assert patch(answered(review(pod()), "enabled").body)
    assert not patch(answered(review(pod())).body)
    assert not patch(answered(review(pod(inject="disabled")), "enabled").body)


def test_ingress_mode_comes_from_the_namespace_too() -> None:
    assert "--ingress-mode" in str(patch(answered(review(pod()), "ingress").body))


@pytest.mark.parametrize(
    "request_",
    [{"operation": "UPDATE"}, {"operation": "DELETE", "object": None}, {"subResource": "ephemeralcontainers"},
     {"kind": None}, {"object": []}, {"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}}],
)  # fmt: skip
def test_what_a_proxy_cannot_come_into_is_allowed_as_it_is(request_: dict[str, object]) -> None:
    made = answered(review(pod(inject="enabled"), **request_), "enabled")
    assert made.outcome == "skipped"
    assert response(made.body)["allowed"] is True
    assert not patch(made.body)


def test_a_workload_may_be_sent_as_well() -> None:
    thing = {"metadata": {"name": "web"}, "spec": {"template": pod(inject="enabled")}}
    made = answered(review(thing, kind={"group": "apps", "version": "v1", "kind": "Deployment"}))
    assert {str(one["path"]).split("/")[1:3][-1] for one in patch(made.body)} == {"template"}


def test_a_bad_annotation_lets_the_pod_start_and_is_a_warning() -> None:
    made = answered(review(pod(inject="yes")))
    assert made.outcome == "refused"
    assert response(made.body)["allowed"] is True
    assert "bad milliroute.io/inject" in str(response(made.body)["warnings"])


def test_warnings_stay_within_what_kubernetes_shows() -> None:
    made = answered(review(pod(inject="x" * 5000)))
    warnings = response(made.body)["warnings"]
    assert isinstance(warnings, list)
    assert [len(text) for text in warnings] == [256]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'"\xff"', b"[" * 100_000, b"{}", b'{"apiVersion": "admission.k8s.io/v1"}',
     b'{"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "1"}}',
     b'{"apiVersion": "admission.k8s.io/v1", "request": {"uid": 1}}'],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_review_is_a_documented_error(body: bytes) -> None:
    with pytest.raises(ReviewError):
        answered(body)


def test_a_failure_of_ours_is_allowed() -> None:
    assert response(admission.allowed(review(pod())).body)["allowed"] is True
