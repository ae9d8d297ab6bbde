"""What an engine does for a container, by util-linux: namespaces of its own, a read-only root, one uid."""

import contextlib
import os
import signal
from pathlib import Path

UID = 2102
# --bind first, then remount: a bind mount takes no flags. setpriv is the image's own: chroot needs what it takes away.
_ENTER = f"""\
set -e
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
mount -t proc proc "$0/proc"
mount --bind /dev "$0/dev"
exec chroot "$0" /usr/bin/setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs --bounding-set=-all \\
    --inh-caps=-all -- "$@"
"""


def command(root: Path, *words: str) -> list[str]:
    """Runs these words as PID 1 in that root, as UID, without any capability; the network is the machine's."""
    return ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _ENTER, str(root), *words]


def first_process(unshare_pid: int) -> int:
    """The machine's number of what is PID 1 inside."""
    (child,) = Path(f"/proc/{unshare_pid}/task/{unshare_pid}/children").read_text().split()
    return int(child)


def kill(unshare_pid: int) -> None:
    """What is PID 1 inside, and so all of it; nothing where it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(first_process(unshare_pid), signal.SIGKILL)
