"""Write container images as OCI archives: no registry, no daemon, and the same bytes for the same contents."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is made of: ``files`` maps paths in the image to files or whole folders of this machine."""

    files: Mapping[str, Path]
    entrypoint: Sequence[str] = ()
    user: str = "65532:65532"
    env: Mapping[str, str] = field(default_factory=dict)
    folders: Sequence[str] = ("tmp",)


def write_image(path: Path, image: Image, names: Sequence[str]) -> str:
    """Write an archive that containerd imports under each of the names; give the image's digest.

    A name without tag and digest, like ``example.test/app@``, gets the image's own digest; any other is taken as it is.
    """
    layer = _layer(image)
    blobs: dict[str, bytes] = {}

    def put(kind: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    about = {"architecture": _ARCHITECTURES[platform.machine()], "os": "linux"}
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", **image.env}
    settings = {
        "Entrypoint": list(image.entrypoint),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": image.user,
    }
    config = put(_CONFIG, _json({**about, "config": settings, "rootfs": rootfs, "history": []}))
    parts = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [put(_LAYER, layer)]}
    manifest = put(_MANIFEST, _json(parts))
    entries = []
    for name in names:
        full = name + manifest["digest"] if name.endswith("@") else name
        entries.append(manifest | {"platform": about, "annotations": {"io.containerd.image.name": full}})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with tarfile.open(partial, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", _json(index))
        for digest, data in blobs.items():
            _add(archive, f"blobs/sha256/{digest}", data)
    partial.rename(path)
    return str(manifest["digest"])


def digest_of(path: Path) -> str:
    """Give the digest of the image in an archive."""
    with tarfile.open(path) as archive:
        member = archive.extractfile("index.json")
        assert member is not None
        return str(json.load(member)["manifests"][0]["digest"])


def _layer(image: Image) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in image.folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
        for inside, outside in sorted(image.files.items()):
            archive.add(outside.resolve(), arcname=inside.lstrip("/"), filter=_plain)
    return raw.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what differs from machine to machine: owners, times and compiled files."""
    if entry.name.endswith(("__pycache__", ".pyc")):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    # Whoever made a file here, any user of the container may read it.
    entry.mode |= 0o444 | (0o111 if entry.isdir() or entry.mode & 0o100 else 0)
    return entry


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))
