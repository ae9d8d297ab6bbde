"""`python pack.py ROOT ARCHIVE VERSION`: a folder becomes an OCI image of one layer, in an archive that engines load.

OCI image format 1.1: a layout of blobs named by their SHA-256 (index.json -> manifest -> config, layer). Times and
the order of entries are fixed, so that one folder always gives one image.
"""

import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

# What `milliroute install` asks for; containerd knows images by their full names only.
_NAME = "milliroute"
_FULL_NAME = f"docker.io/library/{_NAME}"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# Numbers and not names, so that Kubernetes can see that it is not root (runAsNonRoot).
_CONFIG = {
    "User": "2102:2102",
    "Entrypoint": ["milliroute"],
    "Cmd": ["--help"],
    "WorkingDir": "/",
    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"],
}


def main(root: Path, archive: Path, version: str) -> None:
    with tempfile.TemporaryFile(dir=archive.parent) as layer:
        diff_id = _layer(root, layer)
        blobs: dict[str, bytes] = {}
        config = {
            "architecture": _MACHINES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": _CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        size = layer.tell()
        layer.seek(0)
        digest = "sha256:" + hashlib.file_digest(layer, "sha256").hexdigest()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", config),
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size},
            ],
        }
        described = _blob(blobs, manifest["mediaType"], manifest)
        described["annotations"] = {
            "org.opencontainers.image.ref.name": f"{_NAME}:{version}",
            "io.containerd.image.name": f"{_FULL_NAME}:{version}",
        }
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [described]}
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as made:
            _add(made, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
            _add(made, "index.json", json.dumps(index).encode())
            for name, content in blobs.items():
                _add(made, name, content)
            entry = tarfile.TarInfo(_path(digest))
            entry.size = size
            layer.seek(0)
            made.addfile(entry, layer)


def _layer(root: Path, to: IO[bytes]) -> str:
    """Writes the gzipped tar of a folder; the digest of the tar before it was gzipped."""
    counted = _Digested(gzip.GzipFile(fileobj=to, mode="wb", compresslevel=6, mtime=0))
    with tarfile.open(fileobj=counted, mode="w|", format=tarfile.PAX_FORMAT) as made:
        for path in sorted(root.rglob("*")):
            made.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=_timeless)
    counted.close()
    return "sha256:" + counted.digest.hexdigest()


class _Digested(io.RawIOBase):
    """Passes on what is written, and digests it."""

    def __init__(self, to: gzip.GzipFile) -> None:
        self._to = to
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._to.write(data)

    def close(self) -> None:
        self._to.close()
        super().close()


def _timeless(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.mtime = 0
    # Sockets and devices are the engine's.
    return entry if entry.isfile() or entry.isdir() or entry.issym() or entry.islnk() else None


def _blob(blobs: dict[str, bytes], media_type: str, value: object) -> dict[str, Any]:
    content = json.dumps(value, sort_keys=True).encode()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    blobs[_path(digest)] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
