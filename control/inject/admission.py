"""The webhook's answer to the API server: AdmissionReview v1 in, AdmissionReview v1 out, with a JSON patch or without.

The rule not to break: the answer is always "allowed". What cannot be meshed is left as it is and the reason goes along
as a warning, which kubectl shows; nobody's pod waits for us.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from milliroute.control.errors import ControlError, ValueTextError
from milliroute.control.inject import plan
from milliroute.control.inject.edits import Object, at, json_patch
from milliroute.control.inject.plan import Wish

Outcome: TypeAlias = Literal["injected", "skipped", "refused"]
Default: TypeAlias = Literal["enabled", "ingress", ""]

# What the API server calls, and what a pod there is to have that says nothing of itself: by its namespace's label.
PATHS: Mapping[str, Default] = {"/inject": "", "/inject/enabled": "enabled", "/inject/ingress": "ingress"}
# Kubernetes cuts longer ones off, and drops what goes beyond 4096 characters together.
MAX_WARNING_CHARS = 256
MAX_WARNINGS = 10


class ReviewError(ControlError):
    """No AdmissionReview; there is nobody to say "allowed" to."""


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    outcome: Outcome


def answered(body: bytes, wish: Wish, default: Default) -> Answer:
    """Raises ReviewError."""
    request = _request(body)
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise ReviewError("bad AdmissionReview: no request.uid")
    thing = _thing(request)
    if thing is None:
        return _answer(uid, "skipped")
    try:
        made = plan.mesh(thing, replace(wish, default=default))
    except ValueTextError as error:
        return _answer(uid, "refused", warnings=[f"no proxy: {error}"])
    if not made.edits:
        return _answer(uid, "skipped")
    return _answer(uid, "injected", json_patch(made.edits), made.warnings)


def allowed(body: bytes) -> Answer:
    """As it is: for when we fail. Raises ReviewError."""
    return _answer(
        str(_request(body).get("uid", "")), "refused", warnings=["no proxy: the webhook failed, see its log"]
    )


def _request(body: bytes) -> Object:
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ReviewError(f"bad AdmissionReview: not JSON ({type(error).__name__})") from error
    if not isinstance(review, dict) or review.get("apiVersion") != "admission.k8s.io/v1":
        saw = review.get("apiVersion") if isinstance(review, dict) else type(review).__name__
        raise ReviewError(f"bad AdmissionReview (saw {saw!r}, want apiVersion admission.k8s.io/v1)")
    request = review.get("request")
    if not isinstance(request, dict):
        raise ReviewError("bad AdmissionReview: no request")
    return request


def _thing(request: Object) -> Object | None:
    """What is about to be; None where a proxy cannot come into it: the containers of a pod that exists are fixed."""
    thing, kind = request.get("object"), request.get("kind")
    if not isinstance(thing, Mapping) or not isinstance(kind, Mapping) or request.get("subResource"):
        return None
    operation = request.get("operation")
    if operation != "CREATE" and (operation != "UPDATE" or kind.get("kind") == "Pod"):
        return None
    group = f"{kind['group']}/" if kind.get("group") else ""
    thing = {**thing, "apiVersion": f"{group}{kind.get('version', 'v1')}", "kind": kind.get("kind")}
    # A pod that a controller makes has its namespace only in the request.
    return thing if isinstance(at(thing, ("metadata",)), Mapping) else None


def _answer(uid: str, outcome: Outcome, patch: Sequence[Object] = (), warnings: Sequence[str] = ()) -> Answer:
    response: dict[str, object] = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    if warnings:
        response["warnings"] = [f"milliroute: {text}"[:MAX_WARNING_CHARS] for text in warnings[:MAX_WARNINGS]]
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return Answer(json.dumps(review).encode(), outcome)
