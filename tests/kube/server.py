"""The HTTP face of one replica: a request to a verb of the cluster, an answer or an error to JSON.

In: a Cluster, who may come in, the faults of this replica; out: a listening server. Everything runs in one loop, from
which alone the cluster is used.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml
from aiohttp import web

from tests.kube import discovery, errors, openapi, paging
from tests.kube.cluster import Cluster, Options, patcher
from tests.kube.errors import ApiError, Object
from tests.kube.faults import Access, Faults
from tests.kube.kinds import Kind
from tests.kube.streams import Stream
from tests.kube.tables import table, wants_table
from tests.kube.watching import Watch

# A watch does not end by itself, and 0 means forever.
_SHUTDOWN_S = 0.05
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names; name is "" for a collection, namespace "" for all of them."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


class Server:
    def __init__(self, cluster: Cluster, access: Access, knobs: Callable[[str, Object], object]) -> None:
        """knobs: called for POST /standin/NAME, with NAME and the JSON body."""
        self._cluster, self._access, self._knobs = cluster, access, knobs
        self.faults = Faults()
        self.streams: set[Stream] = set()
        # A watch whose client went away ends at once, not when it has something to tell.
        self._face = web.Server(self._handle, handler_cancellation=True)
        self._runner = web.ServerRunner(self._face, shutdown_timeout=_SHUTDOWN_S)
        # "verb plural" of each request that came in, for tests of what a client does.
        self.requests: list[str] = []

    async def start(self, port: int, tls: ssl.SSLContext | None) -> int:
        """Listens on loopback; the port it got."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """At once: no connection says goodbye, which under TLS would wait for the client."""
        for connection in self._face.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.path.startswith("/standin/"):
                body = json.loads(await request.read() or b"{}")
                return _json({"result": self._knobs(request.path.removeprefix("/standin/"), body)})
            await self.faults.awake.wait()
            self._access.check_token(request.headers.get("Authorization", ""), request.secure)
            self.faults.check_next()
            return await self._answer(request)
        except ApiError as error:
            retry = error.details.get("retryAfterSeconds")
            headers = {} if retry is None else {"Retry-After": str(retry)}
            return _json(error.status(), status=error.code, headers=headers)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path.strip("/").split("/"):
            case ["healthz" | "livez" | "readyz", *_]:
                return web.Response(text="ok")
            case ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]:
                return _json(self._review(await _body(request)), status=201)
            case ["api", "v1", first, *rest]:
                return await self._resource(request, self._target("", "v1", [first, *rest]))
            case ["apis", group, version, first, *rest]:
                return await self._resource(request, self._target(group, version, [first, *rest]))
            case parts:
                return self._describe(parts, request.headers.get("Accept", ""))

    def _describe(self, parts: list[str], accept: str) -> web.Response:
        kinds = self._cluster.kinds
        match parts:
            case ["api" | "apis" as root] if "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept:
                found = discovery.aggregated(kinds, root == "api")
                return _json(found, headers={"Content-Type": discovery.AGGREGATED})
            case ["api"]:
                found = discovery.core()
            case ["apis"]:
                found = discovery.groups(kinds)
            case ["api", "v1"]:
                found = discovery.resources(kinds, "", "v1")
            case ["apis", group]:
                found = discovery.group(kinds, group)
            case ["apis", group, version]:
                found = discovery.resources(kinds, group, version)
            case ["version"]:
                found = discovery.VERSION
            case ["openapi", "v2"]:
                found = openapi.version_2()
            case ["openapi", "v3"]:
                found = openapi.index(kinds)
            case ["openapi", "v3", *place]:
                found = openapi.document(kinds, "/".join(place))
            case _:
                raise errors.no_such_path()
        return _json(found)

    def _target(self, group: str, version: str, parts: list[str]) -> Target:
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        kind = self._cluster.kinds.find(group, version, parts[0])
        name, subresource = [*parts[1:], "", ""][:2]
        if kind is None or len(parts) > 3 or subresource not in ("", "status"):
            raise errors.no_such_path()
        if (subresource and not kind.has_status) or (namespace and not kind.namespaced):
            raise errors.no_such_path()
        return Target(kind, namespace, name, subresource)

    async def _resource(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        query = request.query
        is_watch = query.get("watch", "") in ("1", "true", "True")
        verb = _VERBS.get(request.method) or _reading(request.method, target.name, is_watch)
        resource = f"{target.kind.plural}/{target.subresource}".rstrip("/")
        self.requests.append(f"{verb} {resource}")
        self._access.check(resource, target.kind.group, verb, target.namespace)
        is_table = wants_table(request.headers.get("Accept", ""))
        if verb == "watch":
            return await self._watch(request, target, is_table)
        if verb == "list":
            return _json(self._list(target, query, is_table))
        if verb == "get":
            found = self._cluster.get(target.kind, target.namespace, target.name)
            return _json(table(target.kind, [found], {}, _now()) if is_table else found)
        answer, status = self._write(request, target, await _body(request))
        is_object = is_table and answer.get("kind") == target.kind.name
        return _json(table(target.kind, [answer], {}, _now()) if is_object else answer, status=status)

    def _list(self, target: Target, query: Mapping[str, str], is_table: bool) -> Object:
        found = paging.page(self._cluster.store, target.kind.resource, target.namespace, query)
        metadata = found.metadata(paging.has_selector(query))
        items = [target.kind.present(item) for item in found.items]
        if is_table:
            return table(target.kind, items, metadata, _now())
        head = {"kind": f"{target.kind.name}List", "apiVersion": target.kind.api_version, "metadata": metadata}
        return {**head, "items": items}

    async def _watch(self, request: web.BaseRequest, target: Target, is_table: bool) -> web.StreamResponse:
        watch = Watch(self._cluster.store, target.kind, target.namespace, request.query, target.name)
        if self.faults.is_gone_a_status:
            self._cluster.store.since(watch.position)
        stream = Stream(watch, target.kind, self.faults, is_table)
        self.streams.add(stream)
        try:
            return await stream.run(request, self._cluster.store)
        finally:
            self.streams.discard(stream)

    def _write(self, request: web.BaseRequest, target: Target, body: Any) -> tuple[Object, int]:
        """The answer and its status."""
        kind, namespace, name = target.kind, target.namespace, target.name
        options = _options(request, target.subresource)
        content_type = request.headers.get("Content-Type", "").partition(";")[0]
        match request.method:
            case "POST" if not name:
                return self._cluster.create(kind, namespace, body, options), 201
            case "PUT" if name:
                return self._cluster.update(kind, namespace, name, body, options), 200
            case "PATCH" if name and content_type == "application/apply-patch+yaml":
                if not request.query.get("fieldManager"):
                    raise errors.bad_request("fieldManager is required for apply patch")
                found, is_new = self._cluster.apply(kind, namespace, name, body, options)
                return found, 201 if is_new else 200
            case "PATCH" if name:
                return self._cluster.patch(kind, namespace, name, patcher(content_type, body), options), 200
            case "DELETE" if name:
                return self._cluster.delete(kind, namespace, name, body or {}, options.is_dry_run), 200
            case "DELETE":
                return self._delete_all(target, request.query, options.is_dry_run), 200
        raise errors.of_code(405, "the server does not allow this method on the requested resource")

    def _delete_all(self, target: Target, query: Mapping[str, str], is_dry_run: bool) -> Object:
        listed = self._list(target, query, is_table=False)
        for item in listed["items"]:
            metadata = item["metadata"]
            self._cluster.delete(target.kind, metadata.get("namespace", ""), metadata["name"], {}, is_dry_run)
        return listed

    def _review(self, body: Object) -> Object:
        asked = body.get("spec", {}).get("resourceAttributes") or {}
        try:
            self._access.check(asked.get("resource", ""), asked.get("group", ""), asked.get("verb", ""), "")
        except ApiError as error:
            return {**body, "status": {"allowed": False, "reason": error.message}}
        return {**body, "status": {"allowed": True}}


def _json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    # Without a charset: some clients take the body for JSON only then, and the real server sends none.
    named = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(value).encode(), status=status, headers=named)


def _now() -> datetime:
    return datetime.now(UTC)


def _reading(method: str, name: str, is_watch: bool) -> str:
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return "watch" if is_watch else "get" if name else "list"


def _options(request: web.BaseRequest, subresource: str) -> Options:
    query = request.query
    agent = request.headers.get("User-Agent", "").partition("/")[0] or "unknown"
    return Options(
        manager=query.get("fieldManager") or agent, force=query.get("force", "") in ("1", "true", "True"),
        is_dry_run=query.get("dryRun", "") == "All", subresource=subresource,
        strictness=query.get("fieldValidation", ""),
    )  # fmt: skip


async def _body(request: web.BaseRequest) -> Any:
    """Of a write; JSON is YAML as well, which server-side apply is allowed to send."""
    data = await request.read()
    content_type = request.headers.get("Content-Type", "")
    # Without a type it is taken for JSON, as some clients rely on.
    if data and content_type and "json" not in content_type and "yaml" not in content_type:
        message = f"the body of the request was in an unknown format: {content_type}"
        raise ApiError(415, "UnsupportedMediaType", message)
    is_yaml = "yaml" in content_type
    try:
        return (yaml.safe_load(data) if is_yaml else json.loads(data)) if data else {}
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"the object provided is unrecognized: {error}") from None
