"""The agent, the proxy's parent process: tells the workers what the control service says, and it what they answer.

Flow of a table: discovery -> catalog (is it news?) -> all workers -> their Applied -> catalog (is it in force?) ->
ledger (counts begin anew), state directory, Ack. Whatever needs grpc, protobuf or prometheus_client is imported inside
functions, because this module is there before the workers are forked (launch).
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from milliroute.proxy.agent.admin import AdminServer
from milliroute.proxy.agent.catalog import Accepted, Catalog, Novelty, Offer, Refused, Verdict, entry_update
from milliroute.proxy.agent.ledger import Ledger
from milliroute.proxy.agent.splitsview import ControlView, SplitsView, authorities_view
from milliroute.proxy.agent.supervisor import Supervisor
from milliroute.proxy.agent.surface import routes
from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.errors import TlsFileError
from milliroute.proxy.ipc import MAX_FRAME_BYTES, Alias, Applied, Down, Forget, Stats, Up, Update, Watch, encode

if TYPE_CHECKING:
    from milliroute.proxy.agent.collector import Sources, Vitals
    from milliroute.proxy.agent.destination import Resolved
    from milliroute.proxy.agent.discovery import Discovery
    from milliroute.proxy.agent.keeper import Keeper
    from milliroute.proxy.agent.statedir import Kept

log = logging.getLogger(__name__)

# How often unknown authorities are looked through.
_TICK_S = 1.0
# A sidecar that has not reached its control service so long after its start is ready all the same.
SIDECAR_READY_S = 5.0
# Signals closer than this are one: the kernel tells a child of its parent's death once per thread of the parent, and
# Ctrl-C can reach a process both from the terminal and from whoever forwards it. No hand presses twice as fast.
_SAME_SIGNAL_S = 0.1


class Agent:
    """Everything the parent process knows. Owner of the supervisor, sink of discovery, facade of admin."""

    def __init__(self, config: ProxyConfig, supervisor: Supervisor, keeper: "Keeper | None") -> None:
        self.config = config
        self.catalog = Catalog()
        self.ledger = Ledger()
        self._supervisor = supervisor
        self._keeper = keeper
        self._discovery: Discovery | None = None
        self._apexes = list(dict.fromkeys(listener.apex for listener in config.listeners if listener.apex))
        # Of keys in the catalog, and only with a state directory.
        self._state_bytes: dict[str, bytes] = {}
        self._is_full = False
        self._started_s = time.monotonic()
        self._signals = 0
        self._signal_s = -_SAME_SIGNAL_S
        self._must_end = asyncio.Event()
        for apex in self._apexes:
            self.catalog.watch(apex, time.monotonic(), is_pinned=True)

    # Life

    async def run(self, discovery: "Discovery", admin: socket.socket | None) -> int:
        """Until told to end; the exit code."""
        self._discovery = discovery
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        if self.config.lifeline_fd >= 0:
            loop.add_reader(self.config.lifeline_fd, self._on_lifeline_end)
        await self._supervisor.start(self)
        server = AdminServer(admin, routes(self)) if admin is not None else None
        if server is not None:
            await server.start()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(discovery.run()), tasks.create_task(self._tick())]
            if self._keeper is not None:
                running.append(tasks.create_task(self._keeper.run()))
            await self._must_end.wait()
            code = await self._end()
            for task in running:
                task.cancel()
        if server is not None:
            server.close()
        if self._keeper is not None:
            await self._keeper.flush()
        return code

    def request_drain(self) -> None:
        if not self._supervisor.is_draining:
            log.info("draining, for at most %g s", self.config.grace_s)
        self._supervisor.drain()

    def request_shutdown(self) -> None:
        self.request_drain()
        self._must_end.set()

    def reload(self) -> None:
        """Replaces the workers by new ones, which read their files anew. With a file that is not good: nothing."""
        if self._supervisor.is_draining:
            return
        if self.config.tls is not None:
            # Here, because an agent without TLS need not carry it.
            from milliroute.proxy.transport import tls

            try:
                tls.server_context(self.config.tls)
            except TlsFileError as error:
                log.error("SIGHUP: %s; nothing is replaced", error)
                return
        log.info("SIGHUP: replacing the workers")
        self._supervisor.replace_all()

    def on_signal(self) -> None:
        """The first one drains, the second one kills."""
        self._signals += 1
        if self._signals > 1:
            log.warning("second signal: ending at once")
            self._supervisor.kill()
        self.request_shutdown()

    def _on_lifeline_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self.config.lifeline_fd)
        log.warning("whoever started this proxy is gone")
        self.request_shutdown()

    async def _end(self) -> int:
        await self._supervisor.wait()
        return 0 if self._signals < 2 else 1

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.expire(time.monotonic())

    def expire(self, now_s: float) -> None:
        for authority in self.catalog.expire(now_s):
            self._drop(authority)
        # Not while nobody would answer for it anew: an idle table is better than none, above all for access.
        is_connected = self._discovery is not None and self._discovery.state == "connected"
        if self.config.sidecar is not None and is_connected:
            for authority in self.catalog.expire_idle(now_s):
                self._drop(authority)

    # What the supervisor tells

    def on_up(self, worker_id: int, message: Up) -> None:
        if isinstance(message, Stats):
            self.ledger.add(worker_id, message)
            if self.config.sidecar is not None:
                for leaf in message.leaves:
                    self.catalog.touch(leaf.authority, time.monotonic())
        elif isinstance(message, Applied):
            self._on_applied(worker_id, message)
        elif isinstance(message, Watch):
            self._on_watch(worker_id, message.authority)

    def on_gone(self, worker_id: int) -> None:
        self.ledger.worker_gone(worker_id)
        for verdict in self.catalog.worker_gone(self._supervisor.live_ids):
            self._settle(verdict)

    def replay(self) -> Iterator[tuple[str, Down]]:
        return ((_slot(message), message) for message in self.catalog.replay())

    def _on_watch(self, worker_id: int, authority: str) -> None:
        outcome = self.catalog.watch(authority, time.monotonic())
        for name in outcome.evicted:
            self._drop(name)
        if outcome.is_refused:
            self._warn_full(authority)
        elif outcome.is_new:
            self._is_full = False
            if self._discovery is not None:
                self._discovery.subscribe(authority)
        for message in self.catalog.replay_one(authority):
            self._supervisor.send(worker_id, _slot(message), message)

    def _warn_full(self, authority: str) -> None:
        if not self._is_full:
            log.warning("%d authorities are watched, no room for %.80r", len(self.catalog.wanted), authority)
        self._is_full = True

    def _drop(self, authority: str) -> None:
        """The catalog has forgotten it already."""
        self._supervisor.broadcast(f"alias {authority}", Forget(authority))
        if self._discovery is not None:
            self._discovery.unsubscribe(authority)
        for key in [key for key in self._state_bytes if key not in self.catalog.entries]:
            del self._state_bytes[key]

    def _on_applied(self, worker_id: int, message: Applied) -> None:
        verdict = self.catalog.applied(worker_id, message, self._supervisor.live_ids)
        if verdict is not None:
            self._settle(verdict)
        entry = self.catalog.entries.get(message.key)
        if message.error and entry is not None and (update := entry_update(entry)) is not None:
            # A new worker that was fed a bad version first has no older table of its own.
            self._supervisor.send(worker_id, _slot(update), update)

    def _settle(self, verdict: Verdict) -> None:
        if isinstance(verdict, Accepted):
            entry = self.catalog.entries[verdict.key]
            self.ledger.take_effect(verdict.key, entry.newest.update.state)
            self._keep(verdict.key)
        else:
            log.warning("refused %s version %d: %s", verdict.key, verdict.version, verdict.reason)
        if self._discovery is not None:
            self._discovery.report(verdict)

    # What discovery tells

    def wanted(self) -> Iterable[str]:
        return list(self.catalog.wanted)

    def on_resolved(self, resolved: "Resolved") -> None:
        if self.catalog.resolve(resolved.authority, resolved.key, is_partial=resolved.is_partial):
            self._tell_all(Alias(resolved.authority, resolved.key))
            self._keep(resolved.key)

    def on_offer(self, offer: Offer, state_bytes: bytes) -> None:
        key = offer.update.key
        novelty = self.catalog.offer(offer)
        if novelty is Novelty.KEPT:
            log.warning("%s: kept its table: the control service has not read all of its sources yet", key)
            return
        if novelty is Novelty.STALE:
            log.debug("ignored %s version %d: stale", key, offer.update.version)
            return
        if self._keeper is not None:
            self._state_bytes[key] = state_bytes
        verdict = self.catalog.entries[key].verdict
        if novelty is Novelty.NEW:
            self._offer_to_workers(offer.update)
        elif verdict is not None and self._discovery is not None:
            self._discovery.report(verdict)

    def _offer_to_workers(self, update: Update) -> None:
        size = len(encode(update)) - 4
        if size > MAX_FRAME_BYTES:
            reason = f"saw a table of {size} bytes, wanted at most {MAX_FRAME_BYTES}"
            verdict = Refused(update.key, update.epoch, update.version, reason)
            self.catalog.entries[update.key].verdict = verdict
            self._settle(verdict)
            return
        self._tell_all(update)

    def _tell_all(self, message: Alias | Update) -> None:
        self._supervisor.broadcast(_slot(message), message)

    # The state directory

    def load(self, kept: "Sequence[Kept]", now_unix_ns: int) -> None:
        """Tables of an earlier life of this proxy; those of the control service replace them."""
        from milliroute.proxy.agent.destination import GarbledError, StateError, decode_kept

        for item in kept:
            try:
                offer = decode_kept(item.state, now_unix_ns)
            except (GarbledError, StateError) as error:
                log.warning("state directory: %s", error)
                continue
            for authority in item.authorities:
                self.catalog.watch(authority, time.monotonic())
                self.catalog.resolve(authority, item.key)
                self._tell_all(Alias(authority, item.key))
            if self.catalog.offer(offer) is Novelty.NEW:
                self._state_bytes[item.key] = item.state
                self._offer_to_workers(offer.update)
                log.info("%s version %d is from disk", item.key, offer.update.version)

    def _keep(self, key: str) -> None:
        entry = self.catalog.entries.get(key)
        if self._keeper is None or entry is None or entry.in_force is not entry.newest:
            return
        if entry.is_known:
            self._keeper.keep(key, self.catalog.authorities_of(key), self._state_bytes[key])
        else:
            self._keeper.drop(key)

    # What admin asks

    def is_ready(self) -> bool:
        if self._supervisor.is_draining or not self._supervisor.are_all_ready:
            return False
        if self._apexes:
            return all(self.catalog.is_answered(apex) for apex in self._apexes)
        if self.config.sidecar is not None and time.monotonic() - self._started_s > SIDECAR_READY_S:
            return True  # a pod must be able to start without a control service: what is not known passes untouched
        return self._has_been_connected() or any(entry.is_known for entry in self.catalog.entries.values())

    def splits(self) -> SplitsView:
        discovery = self._discovery
        state = discovery.state if discovery else "connecting"
        since_s = discovery.since_unix_ns / 1e9 if discovery else 0.0
        control = ControlView(self.config.destination, state, since_s)
        return SplitsView(self.config.proxy_id, control, authorities_view(self.catalog, self.ledger))

    def sources(self) -> "Sources":
        from milliroute.proxy.agent.collector import Sources

        config, labels = self.config, dict[str, str]()
        if config.sidecar is not None:
            labels = {"namespace": config.namespace, "pod": config.sidecar.pod, "workload": config.sidecar.workload}
        return Sources(self.catalog, self.ledger, self._vitals, labels)

    def _vitals(self) -> "Vitals":
        from milliroute.proxy.agent.collector import Vitals

        discovery, supervisor = self._discovery, self._supervisor
        return Vitals(
            is_connected=discovery is not None and discovery.state == "connected",
            disconnected_s=discovery.down_s() if discovery else 0.0,
            worker_restarts=supervisor.restarts,
            workers=len(supervisor.live_ids),
            unix_ns=time.time_ns(),
        )

    def _has_been_connected(self) -> bool:
        return self._discovery is not None and self._discovery.was_connected


def _slot(message: Alias | Update) -> str:
    return f"update {message.key}" if isinstance(message, Update) else f"alias {message.authority}"
