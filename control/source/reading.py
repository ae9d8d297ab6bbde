"""One file from disk: its content, what it says, and whether it looks as if its writer were still at work.

In: a path and what was read of it before. Out: a Reading. Nothing raises for what a file system or a file may hold.
"""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass

from milliroute.control.manifest import objects as parse
from milliroute.control.manifest.fields import Report
from milliroute.control.model import KubeObject
from milliroute.control.source import yaml

# Of the files in a folder; one that is named itself counts whatever it is called.
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Reading:
    """A file at one moment. `digest` is None when it could not be read; `errors` then say why."""

    path: str
    digest: bytes | None
    inode: int = 0
    size: int = 0
    ends_cleanly: bool = True
    objects: tuple[KubeObject, ...] = ()
    errors: tuple[str, ...] = ()


def read(path: str, before: Reading | None) -> Reading:
    """The file now; what `before` holds is taken over when the content is the same."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            inode = os.fstat(file.fileno()).st_ino
            content = file.read(yaml.MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return Reading(path, None, errors=(f"{path}: the file is gone",))
    except OSError as error:
        return Reading(path, None, errors=(f"{path}: cannot be read: {error.strerror or error}",))
    digest = hashlib.blake2b(content, digest_size=16).digest()
    if before is not None and before.digest == digest:
        return before
    objects, errors = parsed(content, path)
    return Reading(path, digest, inode, len(content), content.rstrip(b" \r")[-1:] in b"\n}]", objects, errors)


def parsed(content: bytes, path: str) -> tuple[tuple[KubeObject, ...], tuple[str, ...]]:
    """The objects and the errors in a content; errors count from 1 and name `path`."""
    tree = yaml.parse(content, path)
    report = Report(path)
    found = tuple(parse.objects(tree.documents, report))
    return found, (tree.errors + tuple(report.errors))[: yaml.MAX_ERRORS]


def may_be_unfinished(now: Reading, before: Reading | None) -> bool:
    """Whether the content may be half of what is being written: to be read again a moment later.

    A file that was replaced as a whole (a new inode) and ends in a line end is complete, so an atomic save never waits.
    """
    if now is before or (before is not None and now.digest == before.digest):
        return False
    if now.digest is None or now.errors or not now.size or not now.ends_cleanly:
        return True
    return before is not None and before.inode == now.inode and now.size < before.size


def listed(folder: str) -> list[str]:
    """The files of a folder that count: *.yaml, *.yml and *.json, not hidden, sorted; not those of folders in it."""
    found = [name for name in os.listdir(folder) if name.endswith(SUFFIXES) and not name.startswith(".")]
    return [path for path in (os.path.join(folder, name) for name in sorted(found)) if not os.path.isdir(path)]


def open_regular(path: str, flags: int) -> int:
    """An opener for open(). Raises OSError for what is no file: folders, devices, pipes."""
    # Not blocking: opening a FIFO would wait for its writer for ever.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor
