"""A client that hides nothing: one request per connection, answers as they come."""

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.kube.errors import Object

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: Any


@dataclass(frozen=True, slots=True)
class Wire:
    url: str
    token: str = ""
    tls: ssl.SSLContext | None = None
    timeout_s: float = 10.0

    def ask(
        self, method: str, path: str, body: object = None, content_type: str = "application/json",
        accept: str = "application/json", **query: object,
    ) -> Answer:  # fmt: skip
        headers = {"Content-Type": content_type, "Accept": accept}
        connection, response = self.open(method, path, query, body, headers)
        try:
            data = response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, json.loads(data) if is_json else data.decode())
        finally:
            connection.close()

    def watch(self, path: str, **query: object) -> Iterator[Object]:
        """The events until the server ends it; http.client.IncompleteRead when it breaks off, a 410 as its Status."""
        connection, response = self.open("GET", path, {"watch": "true", **query}, None, {})
        try:
            if response.status != 200:
                yield {"type": "STATUS", "object": json.loads(response.read())}
                return
            # Not readline(): that takes a body that broke off for one that ended.
            rest = b""
            while data := response.read1(65536):
                *lines, rest = (rest + data).split(b"\n")
                yield from (json.loads(line) for line in lines)
        finally:
            connection.close()

    def open(
        self, method: str, path: str, query: dict[str, object], body: object, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The head of the answer; the caller reads the body and closes the connection."""
        place = urlsplit(self.url)
        connection = (
            http.client.HTTPConnection(place.hostname or "", place.port, timeout=self.timeout_s)
            if place.scheme == "http"
            else http.client.HTTPSConnection(place.hostname or "", place.port, timeout=self.timeout_s, context=self.tls)
        )
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}"} | headers
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else body if isinstance(body, str) else json.dumps(body)
        try:
            connection.request(method, target, data, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise
