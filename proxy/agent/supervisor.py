"""Keeps the workers alive: makes them, restarts the dead, replaces the living, drains or kills them.

In: listening sockets, one set per worker. Out: what workers say (on_up) and their deaths (on_gone) to the owner;
messages for one worker or for all. It knows nothing of tables. A dead worker's sockets stay open here, so that its
successor finds the connections in the backlog; in a drain there is no successor.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Protocol

from milliroute.proxy.agent.backoff import WORKER_STABLE_S, worker_delay_s
from milliroute.proxy.agent.children import Child, RunWorker, fork, spawn
from milliroute.proxy.agent.workerlink import WorkerLink
from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.ipc import Down, Drain, Ready, Up, encode

log = logging.getLogger(__name__)

# A worker closes its pipe by dying; one that has not died this long after is stuck and is killed.
_REAP_POLL_S, _REAP_TRIES = 0.01, 100
# What a worker may take beyond its grace to report its last counters.
_DRAIN_SLACK_S = 5.0
# A new interpreter listens after some 0.3 s. One that takes this long is given up; whom it was to replace stays.
SUCCESSION_S = 20.0

Spawn = Callable[[Sequence[socket.socket], ProxyConfig], tuple[Child, socket.socket]]


class SupervisorOwner(Protocol):
    """Called on the loop. replay: all a new worker must be told, as (slot, message)."""

    def on_up(self, worker_id: int, message: Up) -> None: ...

    def on_gone(self, worker_id: int) -> None: ...

    def replay(self) -> Iterable[tuple[str, Down]]: ...


class Worker:
    """One process. index: which set of listening sockets is its own; two have the same while one replaces the other.

    is_retiring: it takes no new connections and ends when all is answered. settled: it is ready, or gone.
    """

    __slots__ = (
        "child",
        "early_deaths",
        "gone",
        "index",
        "is_ready",
        "is_retiring",
        "link",
        "pipe",
        "settled",
        "started_s",
        "worker_id",
    )

    def __init__(self, worker_id: int, index: int, child: Child, pipe: socket.socket, early_deaths: int) -> None:
        self.worker_id = worker_id
        self.index = index
        self.child = child
        self.pipe = pipe
        self.early_deaths = early_deaths
        self.started_s = 0.0
        self.is_ready = False
        self.is_retiring = False
        self.settled = asyncio.Event()
        self.gone = asyncio.Event()
        self.link: WorkerLink | None = None


class Supervisor:
    """fork_first() before any loop or thread; then start() on the loop; drain() or kill() end it.

    Without fork_first() the first workers are spawned like the later ones.
    """

    def __init__(self, config: ProxyConfig, listening: Sequence[Sequence[socket.socket]], spawn: Spawn = spawn) -> None:
        self.restarts = 0
        self.is_draining = False
        self._config = config
        self._listening = listening
        self._spawn = spawn
        self._owner: SupervisorOwner | None = None
        self._workers: dict[int, Worker] = {}
        self._next_id = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_empty = asyncio.Event()
        self._is_replacing = False
        self._must_replace = False

    def fork_first(self, run_worker: RunWorker, not_for_child: Sequence[socket.socket]) -> None:
        for index, own in enumerate(self._listening):
            others = [sock for other in self._listening if other is not own for sock in other]
            pipes = [worker.pipe for worker in self._workers.values()]
            self._admit(index, fork(run_worker, own, self._config, [*others, *pipes, *not_for_child]), 0)

    async def start(self, owner: SupervisorOwner) -> None:
        self._owner = owner
        if not self._workers:
            for index, own in enumerate(self._listening):
                self._admit(index, self._spawn(own, self._config), 0)
        for worker in list(self._workers.values()):
            await self._attach(worker)

    @property
    def live_ids(self) -> list[int]:
        return list(self._workers)

    @property
    def pids(self) -> list[int]:
        return [worker.child.pid for worker in self._workers.values()]

    @property
    def are_all_ready(self) -> bool:
        ready = {worker.index for worker in self._workers.values() if worker.is_ready and not worker.is_retiring}
        return len(ready) == len(self._listening)

    def broadcast(self, slot: str, message: Down) -> None:
        frame = encode(message)
        for worker in self._workers.values():
            if worker.link is not None:
                worker.link.send_frame(slot, frame)

    def send(self, worker_id: int, slot: str, message: Down) -> None:
        worker = self._workers.get(worker_id)
        if worker is not None and worker.link is not None:
            worker.link.send(slot, message)

    def on_up(self, worker_id: int, message: Up) -> None:
        if isinstance(message, Ready):
            worker = self._workers[worker_id]
            worker.is_ready = True
            worker.settled.set()
        assert self._owner is not None
        self._owner.on_up(worker_id, message)

    def on_hangup(self, worker_id: int) -> None:
        worker = self._workers.pop(worker_id)
        worker.settled.set()
        worker.gone.set()
        assert self._owner is not None
        self._owner.on_gone(worker_id)
        self._start_task(self._bury(worker))

    def drain(self) -> None:
        """Workers accept what waits, finish what runs and exit; wait() says when. Nothing is restarted any more."""
        if self.is_draining:
            return
        self.is_draining = True
        self.broadcast("drain", Drain(self._config.grace_s))
        # Only the workers hold the listeners now: what they close is closed, and new connections are refused.
        for group in self._listening:
            for sock in group:
                sock.close()
        self._note_if_empty()

    def replace_all(self) -> None:
        """One by one, each by a new process on the same sockets. Asked again meanwhile: once more, after that."""
        self._must_replace = True
        if not (self._is_replacing or self.is_draining):
            self._is_replacing = True
            self._start_task(self._replace_all())

    async def _replace_all(self) -> None:
        try:
            while self._must_replace:
                self._must_replace = False
                olds = [worker for worker in self._workers.values() if not worker.is_retiring]
                for old in olds:
                    if self.is_draining or not await self._replace(old):
                        return
                log.info("replaced %d workers", len(olds))
        finally:
            self._is_replacing = False

    async def _replace(self, old: Worker) -> bool:
        """Both listen for a while, so nothing is refused; False: the old one stays."""
        try:
            made = self._spawn(self._listening[old.index], self._config)
        except OSError as error:
            log.error("cannot start a worker: %s; the old one stays", error)
            return False
        new = self._admit(old.index, made, 0)
        await self._attach(new)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUCCESSION_S):
                await new.settled.wait()
        if new.is_ready and new.worker_id in self._workers:
            self._retire(old)
            return True
        log.error("worker %d did not come up: worker %d stays", new.child.pid, old.child.pid)
        new.child.kill()
        return False

    def _retire(self, worker: Worker) -> None:
        worker.is_retiring = True
        if worker.link is not None:
            worker.link.send("drain", Drain(self._config.grace_s))
        self._start_task(self._outlast(worker))

    async def _outlast(self, worker: Worker) -> None:
        """Kills it when it overstays."""
        try:
            async with asyncio.timeout(self._config.grace_s + _DRAIN_SLACK_S):
                await worker.gone.wait()
        except TimeoutError:
            log.warning("worker %d did not end in time: killed", worker.child.pid)
            worker.child.kill()

    async def wait(self) -> None:
        """Until the last drained worker is gone; those that overstay are killed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.grace_s + _DRAIN_SLACK_S):
                await self._is_empty.wait()
                return
        log.warning("workers %s did not end in time: killed", self.pids)
        self.kill()
        await self._is_empty.wait()

    def kill(self) -> None:
        self.is_draining = True
        for worker in self._workers.values():
            worker.child.kill()

    def _admit(self, index: int, made: tuple[Child, socket.socket], early_deaths: int) -> Worker:
        child, pipe = made
        worker = Worker(self._next_id, index, child, pipe, early_deaths)
        self._workers[worker.worker_id] = worker
        self._next_id += 1
        return worker

    async def _attach(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        worker.started_s = loop.time()
        link = worker.link = WorkerLink(worker.worker_id, self)
        assert self._owner is not None
        for slot, message in self._owner.replay():
            link.send(slot, message)
        await loop.create_unix_connection(lambda: link, sock=worker.pipe)

    async def _bury(self, worker: Worker) -> None:
        """Reaps it and, unless all are to end, starts its successor."""
        code = await self._reap(worker.child)
        if self.is_draining:
            self._note_if_empty()
            return
        if self._is_served(worker.index):
            return  # its successor is there, or the one it was to replace
        lived_s = asyncio.get_running_loop().time() - worker.started_s
        early = worker.early_deaths + 1 if lived_s < WORKER_STABLE_S else 0
        log.warning("worker %d ended (%s): restarting", worker.child.pid, _describe(code))
        await self._restart(worker.index, early)

    async def _restart(self, index: int, early_deaths: int) -> None:
        while True:
            await asyncio.sleep(worker_delay_s(early_deaths))
            if self.is_draining or self._is_served(index):
                return
            try:
                made = self._spawn(self._listening[index], self._config)
                break
            except OSError as error:
                early_deaths += 1
                log.error("cannot start a worker: %s", error)
        self.restarts += 1
        await self._attach(self._admit(index, made, early_deaths))

    def _is_served(self, index: int) -> bool:
        return any(worker.index == index and not worker.is_retiring for worker in self._workers.values())

    async def _reap(self, child: Child) -> int:
        tries = 0
        while (code := child.exit_code()) is None:
            tries += 1
            if tries == _REAP_TRIES:
                child.kill()
            await asyncio.sleep(_REAP_POLL_S)
        return code

    def _note_if_empty(self) -> None:
        if not self._workers:
            self._is_empty.set()

    def _start_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_task)

    def _end_task(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("supervisor: %r", error, exc_info=error)


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
