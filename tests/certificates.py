"""Certificates for tests, made by the openssl command: an authority, and servers that it vouches for."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from milliroute.proxy.config import TlsFiles

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Authority:
    """ca: its own certificate, for those who are to believe it."""

    folder: Path
    ca: Path

    def server(self, *names: str) -> TlsFiles:
        """A certificate for these names."""
        cert, key = self.folder / f"{'+'.join(names)}.pem", self.folder / f"{'+'.join(names)}.key"
        alternatives = ",".join(f"DNS:{name}" for name in names)
        _openssl(
            "req", "-x509", *_EC, "-CA", str(self.ca), "-CAkey", str(self.ca.with_suffix(".key")), "-keyout", str(key),
            "-out", str(cert), "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        return TlsFiles(str(cert), str(key))

    def client(
        self, name: str, *alternatives: str, extensions: tuple[str, ...] = ("basicConstraints=critical,CA:FALSE",),
        days: int = 2,
    ) -> TlsFiles:  # fmt: skip
        """A certificate for who is called so in its file only; alternatives: "URI:spiffe://...", "DNS:..."; days may be
        negative: it is no longer good."""
        cert, key, request = (self.folder / f"{name}.{end}" for end in ("client.pem", "client.key", "csr"))
        lines = [f"subjectAltName={','.join(alternatives)}"] if alternatives else []
        described = self.folder / f"{name}.ext"
        described.write_text("\n".join(["[e]", *lines, *extensions, ""]))
        _openssl("req", "-new", *_EC[:-2], "-keyout", str(key), "-out", str(request), "-subj", "/O=client")
        _openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self.ca.with_suffix(".key")),
            "-out", str(cert), "-days", str(days), "-extfile", str(described), "-extensions", "e",
        )  # fmt: skip
        return TlsFiles(str(cert), str(key))

    def client_context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def server_context(self, files: TlsFiles, *alpn: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def authority(folder: Path, name: str = "test-ca") -> Authority:
    ca = folder / f"{name}.pem"
    _openssl(
        "req", "-x509", *_EC, "-keyout", str(ca.with_suffix(".key")), "-out", str(ca), "-subj", f"/CN={name}",
        "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    return Authority(folder, ca)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
