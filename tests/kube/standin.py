"""The fixture: a cluster with one API server or more, in a thread of this process. Start reading at README.md.

Every method may be called from any thread; what it changes is in force when it returns. A replica is a Standin too: its
faults are its own, objects, tokens and refusals are the cluster's.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.certificates import authority
from tests.kube import errors
from tests.kube.cluster import Cluster
from tests.kube.errors import Object
from tests.kube.faults import Access
from tests.kube.kinds import Kind
from tests.kube.server import Server
from tests.kube.store import HISTORY_CHANGES, Store
from tests.kube.streams import Stream

T = TypeVar("T")

# What may be called by POST /standin/NAME.
KNOBS = (
    "put", "remove", "refuse", "allow", "next_status", "rotate_token", "expire_history", "expire_watches", "gone_as",
    "cut_watches", "cut_watch_after", "dribble", "send_bookmarks", "blackhole", "resume", "watches", "requests",
)  # fmt: skip


class Shared:
    """What the replicas of a cluster have in common: the loop, the store, who may come in."""

    def __init__(self, history_changes: int) -> None:
        self.cluster = Cluster(Store(history_changes), _now)
        self.access = Access("token-1")
        self.token = "token-1"
        self.token_files: list[Path] = []
        self.servers: list[Server] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="kube-standin", daemon=True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Standin:
    def __init__(
        self, *, port: int = 0, history_changes: int = HISTORY_CHANGES, tls: tuple[Path, Path, Path] | None = None,
        shared: Shared | None = None,
    ) -> None:  # fmt: skip
        """tls: files of the authority's certificate, the server's certificate (for localhost) and its key."""
        self._is_first = shared is None
        self._shared = shared or Shared(history_changes)
        self._tls = tls
        if self._is_first:
            self._shared.thread.start()
        self._server = self._on_loop(lambda: Server(self._shared.cluster, self._shared.access, self._knob))
        self.port = self._wait(self._server.start(port, _context(tls)))
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        self._shared.servers.append(self._server)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes the port and every connection. The first of a cluster ends the cluster, a replica only itself."""
        if not self._is_first:
            self.kill()
        elif self._shared.thread.is_alive():
            for server in [*self._shared.servers]:
                self._wait(server.stop())
            self._wait(_end_tasks())
            self._shared.loop.call_soon_threadsafe(self._shared.loop.stop)
            self._shared.thread.join(10)
            self._shared.loop.close()

    def kill(self) -> None:
        """Closes the port and every connection of this server alone, also of the first; the cluster goes on."""
        if self._shared.thread.is_alive():
            self._wait(self._server.stop())

    def replica(self, port: int = 0) -> "Standin":
        """Another server over the same cluster."""
        return Standin(port=port, tls=self._tls, shared=self._shared)

    # Credentials

    @property
    def token(self) -> str:
        return self._shared.token

    def kubeconfig(self, folder: Path, namespace: str = "default") -> Path:
        """Writes a kubeconfig and, beside it, the file of the token, which rotate_token rewrites."""
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / "token"
        token.write_text(self.token)
        self._shared.token_files.append(token)
        cluster: Object = {"server": self.url}
        if self._tls is not None:
            cluster["certificate-authority"] = str(self._tls[0])
        path = folder / "kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "standin",
            "clusters": [{"name": "standin", "cluster": cluster}],
            "users": [{"name": "standin", "user": {"tokenFile": str(token)}}],
            "contexts": [
                {"name": "standin", "context": {"cluster": "standin", "user": "standin", "namespace": namespace}}
            ],
        }))  # fmt: skip
        return path

    def rotate_token(self, keep_old: bool = False) -> str:
        """A new token, also written to every kubeconfig's token file; the old one is answered 401 unless kept."""
        new = f"token-{int(self.token.partition('-')[2]) + 1}"

        def rotate() -> None:
            self._shared.access.tokens = {new} | (self._shared.access.tokens if keep_old else set())
            self._shared.token = new
            for path in self._shared.token_files:
                path.write_text(new)

        self._on_loop(rotate)
        return new

    # Objects, without HTTP

    def put(self, *objects: Object) -> list[Object]:
        """Creates or replaces each, its status too; namespaces are made as needed. A CRD makes its kind served."""
        return self._on_loop(lambda: [self._shared.cluster.put(value) for value in objects])

    def get(self, api_version: str, kind: str, name: str, namespace: str = "default") -> Object:
        return self._on_loop(lambda: self._shared.cluster.get(self._kind(api_version, kind), namespace, name))

    def all(self, api_version: str, kind: str) -> list[Object]:
        """Of all namespaces."""

        def found() -> list[Object]:
            known = self._kind(api_version, kind)
            return [known.present(value) for _, value in self._shared.cluster.store.items(known.resource)]

        return self._on_loop(found)

    def remove(self, api_version: str, kind: str, name: str, namespace: str = "default") -> None:
        self._on_loop(lambda: self._shared.cluster.delete(self._kind(api_version, kind), namespace, name, {}))

    @property
    def version(self) -> int:
        """The newest resource version."""
        return self._on_loop(lambda: self._shared.cluster.store.version)

    # Faults of the cluster

    def refuse(self, plural: str, verb: str = "*", status: int = 403) -> None:
        """From now on, e.g. ("services", "list") or ("leases/status", "*"); "*" is any kind or verb."""
        self._on_loop(lambda: self._shared.access.refuse(plural, verb, status))

    def allow(self, plural: str, verb: str = "*") -> None:
        """Takes a refusal back."""
        self._on_loop(lambda: self._shared.access.allow(plural, verb))

    def expire_history(self) -> None:
        """Every resource version and continue token given out before is too old; open watches go on."""
        self._on_loop(self._shared.cluster.store.expire)

    # Faults of this server

    def next_status(self, code: int, retry_after_s: int | None = None, count: int = 1) -> None:
        """The next requests are answered so; 429 and 503 with Retry-After when it is given."""
        self._on_loop(lambda: self._server.faults.next_statuses.extend([(code, retry_after_s)] * count))

    def gone_as(self, form: str) -> None:
        """How a watch from a version that is too old hears of it: "event" (in the stream, the default) or "status"."""
        if form not in ("event", "status"):
            raise ValueError(f'{form!r}, wanted "event" or "status"')
        self._on_loop(lambda: setattr(self._server.faults, "is_gone_a_status", form == "status"))

    def expire_watches(self) -> None:
        """Open watches end with an ERROR event 410."""
        self._each(lambda stream: stream.fail(errors.too_old(0, self._shared.cluster.store.version)))

    def cut_watches(self, partial: str = "") -> None:
        """Closes the connection of every open watch, after this beginning of a line."""
        self._each(lambda stream: stream.cut(partial.encode()))

    def cut_watch_after(self, *byte_counts: int) -> None:
        """The next watches, one for each number, are cut after so many bytes of their bodies."""
        self._on_loop(lambda: self._server.faults.cuts.extend(byte_counts))

    def dribble(self, byte_count: int = 0, pause_s: float = 0.0) -> None:
        """Watches send so many bytes at a time with a pause between; 0 is whole lines again."""
        self._on_loop(lambda: setattr(self._server.faults, "dribble", (byte_count, pause_s) if byte_count else None))

    def send_bookmarks(self) -> None:
        """To every open watch that allowed them; by itself a bookmark comes only at the end of timeoutSeconds."""
        self._each(lambda stream: stream.bookmark())

    def blackhole(self) -> None:
        """Connections are accepted and kept, nothing is answered and no watch tells anything, until resume()."""
        self._on_loop(self._server.faults.awake.clear)

    def resume(self) -> None:
        self._on_loop(self._server.faults.awake.set)

    # What clients did

    def watches(self) -> int:
        """How many are open on this server."""
        return self._on_loop(lambda: len(self._server.streams))

    def requests(self) -> list[str]:
        """ "verb plural" of each request to this server so far, e.g. "list services", "patch leases/status"."""
        return self._on_loop(lambda: [*self._server.requests])

    def _kind(self, api_version: str, name: str) -> Kind:
        found = self._shared.cluster.kinds.of(api_version, name)
        if found is None:
            raise KeyError(f"{api_version} {name} is not served")
        return found

    def _each(self, act: Callable[[Stream], None]) -> None:
        def acting() -> None:
            for stream in list(self._server.streams):
                act(stream)

        self._on_loop(acting)

    def _knob(self, name: str, arguments: Object) -> object:
        if name not in KNOBS:
            raise errors.of_code(404, f"no knob {name!r}; there are: {', '.join(KNOBS)}")
        try:
            positional = arguments.pop("args", [])
            return getattr(self, name)(*positional, **arguments)
        except (TypeError, ValueError, KeyError) as error:
            raise errors.bad_request(f"{name}: {error}") from None

    def _on_loop(self, act: Callable[[], T]) -> T:
        """Runs it where the cluster is used; at once when that is here."""
        if threading.current_thread() is self._shared.thread:
            return act()

        async def acting() -> T:
            return act()

        return self._wait(acting())

    def _wait(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._shared.loop).result(10)


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # The loop closes sockets in the rounds after it was told to.
    for _ in range(5):
        await asyncio.sleep(0)


def certified(folder: Path) -> tuple[Path, Path, Path]:
    """Files for tls: an authority of its own and a certificate for localhost, made by openssl in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = authority(folder)
    files = made.server("localhost")
    return made.ca, Path(files.cert), Path(files.key)


def _context(tls: tuple[Path, Path, Path] | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls[1], tls[2])
    return context
