"""Writes states to the state directory behind the agent's back: a thread does the disk, the newest of a key wins.

The agent's loop must not wait for fsync, and a burst of versions needs only its last one on disk.
"""

import asyncio
import logging

from milliroute.proxy.agent.statedir import Kept, StateDir

log = logging.getLogger(__name__)


class Keeper:
    """run() is one task; keep and drop only note what is to be done."""

    def __init__(self, state_dir: StateDir) -> None:
        self._dir = state_dir
        self._due: dict[str, Kept | None] = {}
        self._has_work = asyncio.Event()
        self._is_failing = False

    def keep(self, key: str, authorities: list[str], state: bytes) -> None:
        self._due[key] = Kept(key, authorities, state)
        self._has_work.set()

    def drop(self, key: str) -> None:
        self._due[key] = None
        self._has_work.set()

    async def run(self) -> None:
        while True:
            await self._has_work.wait()
            await self.flush()

    async def flush(self) -> None:
        """Everything noted so far is on disk afterwards, or logged."""
        self._has_work.clear()
        due, self._due = self._due, {}
        if due:
            await asyncio.to_thread(self._write_all, due)

    def _write_all(self, due: dict[str, Kept | None]) -> None:
        try:
            for key, kept in due.items():
                if kept is None:
                    self._dir.remove(key)
                else:
                    self._dir.write(kept)
        except OSError as error:
            # Once per outage of the disk: serving goes on without it.
            if not self._is_failing:
                log.warning("state directory: %s; tables are not kept", error)
            self._is_failing = True
        else:
            self._is_failing = False
