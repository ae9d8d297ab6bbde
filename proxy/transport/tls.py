"""TLS contexts: for the listeners from a certificate and its key, for backends from a file of certificate authorities.

In: paths. Out: ssl contexts, and one line that says what is wrong with a file. Nothing here is on the way of a
connection without TLS. The rule not to break: a backend's certificate and name are always verified.
"""

import os
import ssl
import stat
from pathlib import Path

from milliroute.proxy.config import TlsFiles
from milliroute.proxy.errors import TlsFileError

H2, HTTP1 = "h2", "http/1.1"
# RFC 9113 section 9.2.2 forbids the other suites of TLS 1.2; those of TLS 1.3 are not concerned.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# Debian's bundle of all public authorities is 0.2 MB. What is much larger is no such file.
MAX_CA_BYTES = 4 * 1024 * 1024
# Kept for backends, some 100 KB each; paths that change with each new certificate must not add up.
MAX_CONTEXTS = 128


class ServerTls:
    """What the listeners show. `context` is read once per connection, so a newer one may take its place at any time."""

    __slots__ = ("_seen", "context", "files")

    def __init__(self, files: TlsFiles) -> None:
        """Raises TlsFileError."""
        self.files = files
        self._seen = self._marks()  # before they are read: what changes meanwhile is seen at the next look
        self.context = server_context(files)

    def refresh(self) -> bool:
        """Takes newer files, for the connections from here on; whether it did. Raises TlsFileError, once for each
        change, when they are no good; what was there stays."""
        marks = self._marks()
        if marks == self._seen:
            return False
        self._seen = marks
        self.context = server_context(self.files)
        return True

    def _marks(self) -> tuple[tuple[int, ...], ...]:
        marks = []
        for path in filter(None, (self.files.cert, self.files.key, self.files.client_ca)):
            try:
                marks.append(_mark(path))
            except OSError:
                marks.append(())
        return tuple(marks)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Raises TlsFileError."""
    _check_pem(files.cert, "--tls-cert", "-----BEGIN CERTIFICATE-----", "a certificate in PEM")
    _check_pem(files.key, "--tls-key", "PRIVATE KEY-----", "a private key in PEM")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.set_alpn_protocols([H2, HTTP1])
    try:
        # Without a password function OpenSSL asks at the terminal.
        context.load_cert_chain(files.cert, files.key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            wanted = f"the private key of the certificate in {files.cert!r}"
            raise TlsFileError(f"--tls-key: saw {files.key!r}, wanted {wanted}") from error
        wanted = "a whole certificate and its key, not encrypted"
        raise TlsFileError(
            f"--tls-cert and --tls-key: saw {files.cert!r} and {files.key!r} ({explain(error)}), wanted {wanted}"
        ) from error
    if files.client_ca:
        _ask_for_certificates(context, files)
    return context


def _ask_for_certificates(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Raises TlsFileError."""
    try:
        context.load_verify_locations(cadata=_authorities(files.client_ca))
    except (OSError, ValueError) as error:  # SSLError is an OSError
        wanted = "certificates of authorities in PEM"
        raise TlsFileError(f"--tls-client-ca: saw {files.client_ca!r} ({explain(error)}), wanted {wanted}") from error
    context.verify_mode = ssl.CERT_OPTIONAL if files.may_be_nobody else ssl.CERT_REQUIRED
    # A session that is resumed is not verified anew: a certificate would live on for hours after its end.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET


class ClientContexts:
    """Made at the first use and kept while their file is the same; the next connection finds a new file by itself."""

    __slots__ = ("_identity", "_known")

    def __init__(self, identity: TlsFiles | None = None) -> None:
        """identity: what is shown to backends that ask for a certificate."""
        self._identity = identity
        self._known: dict[tuple[str, bool], tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def get(self, ca_file: str, *, offers_h2: bool) -> ssl.SSLContext:
        """ca_file "": the system's authorities. Raises OSError, with a text for people, when it cannot be used."""
        mark = _mark(ca_file) if ca_file else ()
        if self._identity is not None:
            mark += _mark(self._identity.cert) + _mark(self._identity.key)
        known = self._known.get((ca_file, offers_h2))
        if known is not None and known[0] == mark:
            return known[1]
        if len(self._known) >= MAX_CONTEXTS:
            self._known.clear()
        context = client_context(_authorities(ca_file) if ca_file else "", offers_h2=offers_h2)
        if self._identity is not None:
            show(context, self._identity)
        self._known[ca_file, offers_h2] = mark, context
        return context


def client_context(authorities: str, *, offers_h2: bool) -> ssl.SSLContext:
    """authorities: certificates in PEM; "": the system's. Raises OSError when there is none among them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
    _restrict(context)
    context.set_alpn_protocols([H2, HTTP1] if offers_h2 else [HTTP1])
    if not authorities:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise OSError(0, f"no certificate that can be read ({explain(error)})") from error
    return context


def show(context: ssl.SSLContext, identity: TlsFiles) -> None:
    """To backends that ask for a certificate. Raises OSError."""
    try:
        context.load_cert_chain(identity.cert, identity.key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise OSError(0, f"client certificate {identity.cert}: {explain(error)}") from error


def explain(error: BaseException) -> str:
    """What went wrong in TLS, without OpenSSL's source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return "the connection was closed in the handshake"
    return getattr(error, "strerror", None) or str(error) or error.__class__.__name__


def _restrict(context: ssl.SSLContext) -> None:
    """What RFC 9113 section 9.2 asks of TLS 1.2, for HTTP/1.1 too."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _check_pem(path: str, flag: str, marker: str, wanted: str) -> None:
    try:
        text = Path(path).read_text("ascii", errors="replace")
    except (OSError, ValueError) as error:
        raise TlsFileError(f"{flag}: saw {path!r} ({explain(error)}), wanted {wanted}") from error
    if marker not in text:
        raise TlsFileError(f"{flag}: saw {path!r} without {marker!r}, wanted {wanted}")


def _mark(path: str) -> tuple[int, ...]:
    """What changes when the file does."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise OSError(0, f"CA file {path}: {explain(error)}") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _authorities(path: str) -> str:
    """Who may annotate a Service chooses the path: a pipe or an endless device must not stop a worker."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_CA_BYTES:
                raise OSError(0, f"no file of at most {MAX_CA_BYTES} bytes")
            # Bundles have comments in UTF-8, which the ssl module refuses.
            return file.read(MAX_CA_BYTES).decode("ascii", errors="ignore") or "empty"
    except (OSError, ValueError) as error:
        raise OSError(0, f"CA file {path}: {explain(error)}") from error
