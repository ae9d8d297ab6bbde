"""Objects from files and folders of Kubernetes YAML, watched: saving a file is applying it.

In: paths and the texts of --backend. Out: Objects, at once and after every settled change. A file whose newest
content is broken keeps its last good objects in force and is reported in `sources`. A change is seen some 10 to 25
ms after the save; content that looks unfinished is read again SETTLE_S later before it counts.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from milliroute.control.errors import SourceError
from milliroute.control.model import KubeObject, Objects
from milliroute.control.source import reading
from milliroute.control.source.backends import backend_objects
from milliroute.control.source.merge import FileState, merge
from milliroute.control.source.reading import Reading

if TYPE_CHECKING:
    from watchfiles import Change

__all__ = ["FileSource", "backend_objects"]

# Changes this close together are one; also the poll interval of watchfiles' thread, so less costs idle CPU.
STEP_MS = 10

# A stream of changes that never pauses is looked at this often.
DEBOUNCE_MS = 100

# How long a writer may pause within one save before its half counts as the whole.
SETTLE_S = 0.03
SETTLE_ROUNDS = 20

# Everything is read again this often, for what nobody tells us of: NFS, a folder that was made anew.
RESCAN_MS = 2000


@dataclass(slots=True)
class _Root:
    """A path as given: a file, or a folder with the files that it held when last listed."""

    path: str
    is_folder: bool = False
    is_known: bool = False
    was_listed: bool = False
    error: str = ""
    files: list[str] = field(default_factory=list)


class FileSource:
    """Files and folders as one source; read() and watch() share what they know, so they must not run at once."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        backends: Sequence[str] = (),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Touches no file; raises ConfigError for a bad `backends`. `sleep` lets time pass while a file settles."""
        self._sleep = sleep
        self._roots = [_Root(str(path)) for path in paths]
        self._backends = [backend_objects(spec) for spec in backends]
        self._current: dict[str, Reading] = {}
        # None: every version of it so far was broken.
        self._good: dict[str, tuple[KubeObject, ...] | None] = {}

    def read(self) -> Objects:
        """Everything as it stands. Raises SourceError for a path that was never there."""
        return self._committed(self._load(self._current))

    async def watch(self) -> AsyncIterator[Objects]:
        """The first read at once, then Objects after each settled change, also when only `sources` changed.

        Raises what read() raises, and OSError when the system can watch no more.
        """
        last: Objects | None = None
        async with contextlib.aclosing(self._ticks()) as ticks:
            async for _ in ticks:
                objects = await self._settled()
                if objects != last:
                    last = objects
                    yield objects

    async def _settled(self) -> Objects:
        """Read until nothing looks unfinished any more or nothing moves any more."""
        found = await asyncio.to_thread(self._load, self._current)
        for _ in range(SETTLE_ROUNDS if self._current else 0):
            unfinished = [path for path, now in found.items() if self._may_be_unfinished(path, now)]
            gone = [path for path in self._current if path not in found]
            if not unfinished and not gone:
                break
            await self._sleep(SETTLE_S)
            before, found = found, await asyncio.to_thread(self._load, found)
            if _digests(before) == _digests(found):
                break
        return self._committed(found)

    def _may_be_unfinished(self, path: str, now: Reading) -> bool:
        return reading.may_be_unfinished(now, self._current.get(path))

    def _load(self, before: dict[str, Reading]) -> dict[str, Reading]:
        """Read every file; in a thread or not, it changes nothing but the lists of the roots."""
        for root in self._roots:
            _look(root)
        paths = dict.fromkeys(path for root in self._roots for path in root.files)
        found = {path: reading.read(path, before.get(path) or self._current.get(path)) for path in paths}
        # A file that left its folder between listing and reading is the folder's no more.
        kept = {path for root in self._roots if root.error or not root.is_folder for path in root.files}
        return {path: now for path, now in found.items() if now.digest or path in kept or os.path.lexists(path)}

    def _committed(self, found: dict[str, Reading]) -> Objects:
        self._current = found
        self._good = {path: self._good.get(path) if now.errors else now.objects for path, now in found.items()}
        return merge(self._states(), self._backends)

    def _states(self) -> Iterator[FileState]:
        for path, now in self._current.items():
            yield FileState(path, self._good[path], now.errors)
        for root in self._roots:
            if root.error:
                yield FileState(root.path, () if root.was_listed else None, (root.error,))

    async def _ticks(self) -> AsyncGenerator[None, None]:
        """One at once, when watching has begun, and one after every change that may be ours."""
        if not self._roots:
            yield
            await asyncio.Event().wait()
        while True:
            async with contextlib.aclosing(self._watched(_folders(self._roots))) as ticks:
                async for _ in ticks:
                    yield

    async def _watched(self, folders: dict[str, int]) -> AsyncGenerator[None, None]:
        """Ticks for as long as the folders are the same ones."""
        from watchfiles import awatch  # 30 ms of import that `milliroute version` need not pay

        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every change at INFO
        if not folders:
            yield
            await asyncio.sleep(RESCAN_MS / 1000)
            return
        changes = awatch(
            *folders,
            watch_filter=self._is_ours,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=RESCAN_MS,
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        )
        coming = asyncio.ensure_future(anext(changes))
        try:
            await asyncio.sleep(0)  # the watch is set up now, so that what changes after the first read is told
            while True:
                yield
                if _folders(self._roots) != folders:
                    return
                # By our own clock: changes that are not ours begin watchfiles' wait anew, and tell us nothing.
                await asyncio.wait((coming,), timeout=RESCAN_MS / 1000)
                if coming.done():
                    await coming
                    coming = asyncio.ensure_future(anext(changes))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await changes.aclose()

    def _is_ours(self, _: "Change", path: str) -> bool:
        """A file of ours, a folder of ours, or the `..data` link that Kubernetes swaps in a mounted ConfigMap."""
        folder, name = os.path.split(path)
        if name.startswith("..") or path in _folders(self._roots):
            return True
        for root in self._roots:
            if root.is_folder and folder == os.path.abspath(root.path) and name.endswith(reading.SUFFIXES):
                return True
            if path in (os.path.abspath(root.path), os.path.realpath(root.path)):
                return True
        return False


def _look(root: _Root) -> None:
    """List what a root holds now. Raises SourceError for one that was never there."""
    if not root.is_known:
        if not os.path.exists(root.path):
            raise SourceError(f"{root.path}: no such file or folder (want a YAML file or a folder of such)")
        root.is_known, root.is_folder = True, os.path.isdir(root.path)
    if not root.is_folder:
        root.files = [root.path]
        return
    try:
        root.files, root.error, root.was_listed = reading.listed(root.path), "", True
    except OSError as error:
        root.error = f"{root.path}: the folder cannot be listed: {error.strerror or error}"


def _folders(roots: Sequence[_Root]) -> dict[str, int]:
    """The folders to watch and their inodes: a folder itself, and for a file the folders of its name and of its target,
    because a save that replaces the file changes the folder."""
    found: dict[str, int] = {}
    for root in roots:
        path = os.path.abspath(root.path)
        target = os.path.realpath(path)
        is_folder = root.is_folder or (not root.is_known and os.path.isdir(path))
        for folder in (path, target) if is_folder else (os.path.dirname(path), os.path.dirname(target)):
            with contextlib.suppress(OSError):
                found[folder] = os.stat(folder).st_ino
    return found


def _digests(found: dict[str, Reading]) -> dict[str, bytes | None]:
    return {path: now.digest for path, now in found.items()}
