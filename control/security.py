"""Who may open a control stream: TLS credentials of the listener from PEM files, and the bearer token.

In: a StreamSecurity. Out: credentials for grpc, and a judgement of a call's metadata. Files that change hold for the
next connection; streams that are open go on. The rule not to break: a file that turns bad never opens the door: what
was in force stays.
"""

import hmac
import logging
from collections.abc import Sequence
from pathlib import Path

import grpc

from milliroute.control import errors
from milliroute.control.config import StreamSecurity

log = logging.getLogger(__name__)

# Of a token; what is longer was not meant to be one.
MAX_TOKEN_CHARS = 4096
_SCHEME = "bearer "
Metadata = Sequence[tuple[str, str | bytes]]


class Credentials:
    """grpc asks for newer ones at each handshake, in a thread of its own."""

    def __init__(self, security: StreamSecurity) -> None:
        """Raises ControlError for files that cannot be used."""
        self._security = security
        self._seen = self._read()
        self._configuration()

    def server(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            self._newer,  # type: ignore[arg-type]  # None goes on with what is in force; the stubs do not know it
            require_client_authentication=bool(self._security.client_ca),
        )

    def _newer(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            found = self._read()
        except errors.ControlError as error:
            log.error("%s; what was read before stays in force", error)
            return None
        if found == self._seen:
            return None
        self._seen = found
        return self._configuration()

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        key = _pem(self._security.key, "--tls-key", b"PRIVATE KEY-----")
        cert = _pem(self._security.cert, "--tls-cert", b"-----BEGIN CERTIFICATE-----")
        path = self._security.client_ca
        return key, cert, _pem(path, "--tls-client-ca", b"-----BEGIN CERTIFICATE-----") if path else None

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key, cert, client_ca = self._seen
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=client_ca)


class TokenGate:
    """Whether a call knows the token; always, where there is none."""

    def __init__(self, path: str) -> None:
        """Raises ControlError."""
        self._path = path
        self._token = _token(path) if path else ""

    def opens(self, metadata: Metadata) -> bool:
        if not self._path:
            return True
        try:
            self._token = _token(self._path)
        except errors.ControlError as error:
            log.error("%s; the token before it stays in force", error)
        given = [value for name, value in metadata if name == "authorization" and isinstance(value, str)]
        if len(given) != 1 or given[0][: len(_SCHEME)].lower() != _SCHEME:
            return False
        # In constant time: how much of a guess is right must not be told by when it is refused.
        return hmac.compare_digest(given[0][len(_SCHEME) :].encode(), self._token.encode())


def _pem(path: str, flag: str, marker: bytes) -> bytes:
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise errors.ControlError(f"{flag}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if marker not in content:
        raise errors.ControlError(f"{flag}: saw {path} without {marker.decode()!r}, want a file in PEM")
    return content


def _token(path: str) -> str:
    try:
        text = Path(path).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise errors.ControlError(
            f"--token-file: cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not text or len(text) > MAX_TOKEN_CHARS or not text.isprintable() or " " in text:
        raise errors.ControlError(f"--token-file: saw no token in {path}, want one line of printable ASCII")
    return text
