"""AdmissionReviews as the API server writes them, and what comes back, read."""

import base64
import json


def review(thing: object, **request: object) -> bytes:
    whole = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": thing,
        **request,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole}).encode()


def pod(**annotations: str) -> dict[str, object]:
    """Without kind and version, which are in the request."""
    said = {"milliroute.io/" + name: text for name, text in annotations.items()}
    return {"metadata": {"name": "a", "annotations": said}, "spec": {"containers": [{"name": "app"}]}}


def response(body: bytes) -> dict[str, object]:
    found = json.loads(body)["response"]
    assert isinstance(found, dict)
    return found


def patch(body: bytes) -> list[dict[str, object]]:
    """[]: none."""
    found = json.loads(base64.b64decode(str(response(body).get("patch", "W10="))))
    assert isinstance(found, list)
    return found
