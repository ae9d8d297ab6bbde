"""What the API server refuses with: each error knows its HTTP status and the Status body that clients read.

ApiError is the only one; the functions below make the usual ones in the words of the real server.
"""

from dataclasses import dataclass, field
from typing import Any

# JSON as the API speaks it. Any, because a precise recursive type makes every look into a manifest a cast.
Object = dict[str, Any]


@dataclass(slots=True)
class ApiError(Exception):
    code: int
    reason: str
    message: str
    details: Object = field(default_factory=dict)
    metadata: Object = field(default_factory=dict)

    def status(self) -> Object:
        body: Object = {
            "kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        }  # fmt: skip
        return body | ({"details": self.details} if self.details else {})


def qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str) -> Object:
    return {"name": name, **({"group": group} if group else {}), "kind": plural}


def not_found(plural: str, group: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(plural, group, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(plural, group, name))


def conflict(plural: str, group: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(plural, group, name))


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str]]) -> ApiError:
    """causes: (field path, what is wrong with it)."""
    lines = [f"{path}: {what}" for path, what in causes]
    text = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    details = _details(kind, group, name) | {
        "causes": [{"reason": "FieldValueInvalid", "message": what, "field": path} for path, what in causes]
    }
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {text}', details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def too_old(version: int, horizon: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {version} ({horizon})")


def too_large(version: int, current: int) -> ApiError:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details: Object = {"causes": [cause], "retryAfterSeconds": 1}
    return ApiError(504, "Timeout", f"Too large resource version: {version}, current: {current}", details)


def forbidden(plural: str, group: str, verb: str, where: str) -> ApiError:
    user = "system:serviceaccount:default:stand-in"
    what = f'User "{user}" cannot {verb} resource "{plural}" in API group "{group}" {where}'
    return ApiError(
        403, "Forbidden", f"{qualified(plural, group)} is forbidden: {what}", {"group": group, "kind": plural}
    )


# Status reasons by code, for those that a test asks for by number.
REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict",
    410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable",
    504: "Timeout",
}  # fmt: skip


def of_code(code: int, message: str = "") -> ApiError:
    reason = REASONS.get(code, "Unknown")
    return ApiError(code, reason, message or f"the stand-in was told to answer {code} {reason}")
