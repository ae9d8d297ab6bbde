"""A file replaced by new content, atomically: a reader sees the old one or the new one, whole.

The mode and, where allowed, the owner stay; a symbolic link stays and the file behind it is replaced. OSErrors come
out as ControlErrors that name the path.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from milliroute.control import errors
from milliroute.control.source import reading


@dataclass(frozen=True, slots=True)
class Opened:
    """A file's content and the state it was read in."""

    path: str
    content: bytes
    stat: os.stat_result


def read(path: str) -> Opened:
    """Read the file, through links. Raises ControlError."""
    with _named(path), open(path, "rb", opener=reading.open_regular) as file:
        return Opened(os.path.realpath(path), file.read(), os.fstat(file.fileno()))


def replace(opened: Opened, content: bytes) -> None:
    """Put `content` in the place of what was read. Raises ControlError, also when the file changed since."""
    directory, name = os.path.split(opened.path)
    with _named(opened.path):
        # Hidden and not *.yaml, so that who watches the folder does not take it for a manifest.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=directory)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                _keep_owner_and_mode(file.fileno(), opened.stat)
                os.fsync(file.fileno())
            _refuse_changed(opened)
            os.replace(temporary, opened.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)


def _refuse_changed(opened: Opened) -> None:
    now = os.stat(opened.path)
    if _identity(now) != _identity(opened.stat):
        raise errors.ControlError(f"{opened.path}: changed by somebody else meanwhile, nothing written")


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _keep_owner_and_mode(descriptor: int, stat: os.stat_result) -> None:
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (stat.st_uid, stat.st_gid):
        # Only root may give a file away; an editor that replaces files does the same.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, stat.st_uid, stat.st_gid)
    os.fchmod(descriptor, stat.st_mode & 0o7777)


def _sync_directory(directory: str) -> None:
    """So that the rename outlives a power cut. Not every file system can; the content is safe then all the same."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.ControlError(f"{path}: {(error.strerror or str(error)).lower()}") from error
