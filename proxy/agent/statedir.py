"""The last state of each key on disk (--state-dir): a proxy restarted while the control service is down still serves.

One file per key, replaced atomically, named by a hash of the key, because a key is made of a client's words. Contents:
msgpack of Kept. A file that cannot be read is reported and skipped: it only costs a table that would have been nice to
have. Blocking: the agent calls write and remove from a thread.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from milliroute.proxy.errors import ListenError

_SUFFIX = ".state"
_FORMAT = 1


class Kept(msgspec.Struct, frozen=True):
    """authorities: as clients wrote them, all of one key. state: a serialised State of destination.proto."""

    key: str
    authorities: list[str]
    state: bytes
    format: int = _FORMAT


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Kept)


class StateDir:
    """path is made if need be; raises ListenError (exit code 1) when it cannot be written to."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ListenError(f"cannot use state directory {path}: {error.strerror}") from error
        if not os.access(self._path, os.W_OK | os.X_OK):
            raise ListenError(f"cannot use state directory {path}: not writable")

    def load(self) -> tuple[list[Kept], list[str]]:
        """What is there, by key, and one line for each file that is no good."""
        kept: list[Kept] = []
        problems: list[str] = []
        for file in sorted(self._path.glob(f"*{_SUFFIX}")):
            try:
                item = _decoder.decode(file.read_bytes())
            except (OSError, msgspec.DecodeError) as error:
                problems.append(f"{file}: {error}")
                continue
            if item.format == _FORMAT:
                kept.append(item)
        return sorted(kept, key=lambda item: item.key), problems

    def write(self, kept: Kept) -> None:
        """Raises OSError; then the old file is still whole."""
        target = self._file(kept.key)
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        with open(temporary, "wb") as file:
            file.write(_encoder.encode(kept))
            file.flush()
            # Without it a power cut may leave an empty file under the final name (ext4, XFS).
            os.fsync(file.fileno())
        os.replace(temporary, target)

    def remove(self, key: str) -> None:
        self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._path / (hashlib.sha256(key.encode()).hexdigest()[:32] + _SUFFIX)
