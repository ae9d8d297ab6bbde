"""The API server over HTTP: one client with the configuration, TLS and auth that lightkube finds.

In: where the configuration is, and requests. Out: answers; NoAnswerError where there is none. The only module that
imports lightkube and its HTTP library, and imported only for a cluster. A token in a file is read again by lightkube
when it is refused; a token in a kubeconfig by us.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import httpx2 as httpx
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams, user_auth
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from milliroute.control import errors
from milliroute.control.config import VERSION, ClusterAccess
from milliroute.control.source.kubernetes import tree
from milliroute.control.source.kubernetes.reflector import Answer

# Seconds to connect. Answers have their own patience.
CONNECT_S = 5.0
# ValueError, LookupError: what a plugin for credentials prints.
_FAILURES = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ConfigError, OSError, ValueError, LookupError)
MERGE_PATCH = "application/merge-patch+json"


class NoAnswerError(errors.ControlError):
    """The API server cannot be reached, or went away before it answered."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A watch that was opened, or the refusal to; `chunks` raise NoAnswerError when the connection breaks."""

    answer: Answer
    chunks: AsyncIterator[bytes]


class Api:
    """One per process; close() once."""

    def __init__(self, access: ClusterAccess) -> None:
        """Raises ConfigError when there is no configuration, or not a good one."""
        self._access = access
        config = _load(access)
        self.server = config.cluster.server
        # The namespace of the configuration: of the pod, in a cluster.
        self.namespace = config.namespace
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request at INFO
        try:
            self._client = AsyncClient(config, ConnectionParams(timeout=httpx.Timeout(CONNECT_S)))
        except (ConfigError, OSError, ValueError, AssertionError) as error:
            raise errors.ConfigError(f"{_where(access)}: {_reason(error)}") from error
        self._client.headers["user-agent"] = f"milliroute/{VERSION}"

    async def get(self, path: str, params: Mapping[str, str], patience_s: float) -> Answer:
        """Raises NoAnswerError."""
        return await self.send("GET", path, params=params, patience_s=patience_s)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        kind: str = "application/json",
        params: Mapping[str, str] | None = None,
        patience_s: float = 10.0,
    ) -> Answer:
        """`body` as JSON of the content type `kind`. Raises NoAnswerError."""
        content = None if body is None else tree.encoded(body)
        headers = {} if content is None else {"content-type": kind}
        with self._mapped():
            response = await self._client.request(
                method, path, params=dict(params or {}), content=content, headers=headers, timeout=_timeout(patience_s)
            )
        if response.status_code == 401:
            self._reload()
        return Answer(response.status_code, response.content, response.headers.get("retry-after", ""))

    @contextlib.asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, str], patience_s: float) -> AsyncIterator[Stream]:
        """A watch; `patience_s` is the longest silence. Raises NoAnswerError."""
        with self._mapped():
            request = self._client.build_request("GET", path, params=dict(params), timeout=_timeout(patience_s))
            response = await self._client.send(request, stream=True)
        try:
            yield Stream(await self._answer(response), self._chunks(response))
        finally:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()

    async def _answer(self, response: httpx.Response) -> Answer:
        if response.status_code == 401:
            self._reload()
        with self._mapped():
            body = b"" if response.status_code == 200 else await response.aread()
        return Answer(response.status_code, body, response.headers.get("retry-after", ""))

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        with self._mapped():
            async for chunk in response.aiter_bytes():
                yield chunk

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except httpx.LocalProtocolError as error:
            # A token that no header can hold: its file was read while it was empty, and lightkube would keep that.
            self._reload()
            raise NoAnswerError(f"no answer: {_reason(error)}") from error
        except _FAILURES as error:
            raise NoAnswerError(f"no answer: {_reason(error)}") from error

    def _reload(self) -> None:
        """Whoever rotates tokens may have written a new one by now; a configuration that is broken meanwhile waits."""
        with contextlib.suppress(errors.ConfigError, ConfigError):
            auth = user_auth(_load(self._access).user)
            if auth is not None:
                self._client.auth = auth


def _timeout(patience_s: float) -> httpx.Timeout:
    return httpx.Timeout(patience_s, connect=CONNECT_S)


def _load(access: ClusterAccess) -> SingleConfig:
    """Raises ConfigError."""
    try:
        config = KubeConfig.from_file(access.kubeconfig) if access.kubeconfig else KubeConfig.from_env()
        found = config.get(access.context or None)
    except (ConfigError, OSError, LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise errors.ConfigError(f"{_where(access)}: {_reason(error)}") from error
    assert found is not None, "get() without a default raises"
    return found if found.user is not None else found._replace(user=User())


def _where(access: ClusterAccess) -> str:
    flag = f"--kubeconfig {access.kubeconfig}" if access.kubeconfig else "--kubernetes"
    return flag + (f" --context {access.context}" if access.context else "")


def _reason(error: BaseException) -> str:
    """One line."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return " ".join(str(error).split()) or type(error).__name__
