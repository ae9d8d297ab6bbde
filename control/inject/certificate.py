"""The webhook's certificate: an SSL context per pair of files, the newest for each new connection.

The rule not to break: files that turn bad, or are half written, change nothing; what was in force stays.
"""

import logging
import os
import ssl

from milliroute.control import errors

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """`context` is for the listener; connections that are open keep what they began with."""

    def __init__(self, cert: str, key: str) -> None:
        """Raises ControlError for files that cannot be used."""
        self._cert = cert
        self._key = key
        self._seen = self._stamp()
        self._newest = self._loaded()
        self.context = self._newest
        # Called in every handshake; the only way to give a listener another certificate for all that follow.
        self.context.sni_callback = self._take_newest

    def refresh(self) -> bool:
        """Whether there is a newer one; to be called every now and then."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            self._newest, self._seen = self._loaded(), stamp
        except errors.ControlError as error:
            log.error("%s; the certificate before it stays in force", error)
            return False
        log.info("took the newer certificate of %s", self._cert)
        return True

    def _take_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _stamp(self) -> Stamp:
        try:
            stats = [os.stat(path) for path in (self._cert, self._key)]
        except OSError as error:
            raise errors.ControlError(f"cannot read {error.filename}: {(error.strerror or '').lower()}") from error
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Never asks for the password of an encrypted key: there is nobody to answer.
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise errors.ControlError(f"bad certificate {self._cert} with key {self._key}: {reason}") from error
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")
