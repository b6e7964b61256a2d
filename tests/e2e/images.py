"""The images of the test cluster, made of what was built and of this machine's own bash and Python."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seimigrate.simulation.world import SEID_IMAGE
from tests.e2e import shipped
from tests.e2e.mkimage import Image, digest_of, write_image
from tests.e2e.places import CHECKOUT
from tests.e2e.python import files_of, interpreter, libraries, packages, shell

SIDECAR_REPOSITORY = "ghcr.io/sei-protocol/seictl"
PROXY_IMAGE = "quay.io/brancz/kube-rbac-proxy:v0.19.1"
# The controller pins it by a digest that is made up in tests: containerd finds an image by the name that it was given.
EXPORTER_IMAGE = "ghcr.io/sei-protocol/sei-cosmos-exporter@sha256:" + "0" * 64
PAUSE_IMAGE = "seimigrate.test/pause:1"
DNS_IMAGE = "seimigrate.test/coredns:1"
CONTROLLER_IMAGE = "seimigrate.test/controller:1"
PROMETHEUS_IMAGE = "seimigrate.test/prometheus:1"
OWN_IMAGE = "seimigrate.test/seimigrate:1"
"""The project's own image."""
FORGOTTEN = 24 * 3600.0
"""Seconds after which an archive that nobody used is removed: other checkouts may have theirs in the same folder."""


_CONTROLLER = (
    *("tests/__init__.py", "tests/apiserver/models/__init__.py", "tests/apiserver/models/client.py"),
    *("tests/e2e/__init__.py", "tests/e2e/controller.py"),
)


@dataclass(frozen=True)
class Images:
    """All images as archives in one folder; what has not changed is not written again."""

    built: Path
    folder: Path

    @cached_property
    def sidecar_shared(self) -> str:
        """Give the reference, by digest, of the sidecar that shares one listener."""
        return f"{SIDECAR_REPOSITORY}@{digest_of(self._sidecar('shared'))}"

    @cached_property
    def sidecar_split(self) -> str:
        """Give the reference, by digest, of the sidecar that splits its listeners."""
        return f"{SIDECAR_REPOSITORY}@{digest_of(self._sidecar('split'))}"

    def write(self) -> list[Path]:
        """Write what is not there yet; give all archives, those that the node itself needs first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = self._program
        return [
            self.pause(),
            self._write("coredns", Image(program("coredns"), ["/usr/local/bin/coredns"], user="0:0"), DNS_IMAGE),
            self._write("proxy", Image(program("kube-rbac-proxy"), ["/usr/local/bin/kube-rbac-proxy"]), PROXY_IMAGE),
            self._sidecar("shared"),
            self._sidecar("split"),
            self._write("seid", Image(shell() | program("seid")), SEID_IMAGE),
            self._write("exporter", Image(shell() | program("sei-cosmos-exporter")), EXPORTER_IMAGE),
            self._write("controller", self._controller(), CONTROLLER_IMAGE),
            self.own(),
        ]

    def prometheus(self, program: Path) -> Path:
        """Give the archive of an image of a Prometheus of this machine."""
        files = {"usr/local/bin/prometheus": program} | libraries([program])
        return self._write("prometheus", Image(files, ["/usr/local/bin/prometheus"]), PROMETHEUS_IMAGE)

    def _program(self, name: str, inside: str | None = None) -> dict[str, Path]:
        return {f"usr/local/bin/{inside or name}": self.built / "bin" / name}

    def _sidecar(self, generation: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        image = Image(self._program(f"seictl-{generation}", "seictl"), ["/usr/local/bin/seictl", "serve"])
        names = (f"{SIDECAR_REPOSITORY}:{generation}", f"{SIDECAR_REPOSITORY}@")
        return self._write(f"sidecar-{generation}", image, *names)

    def _controller(self) -> Image:
        files = interpreter("python")
        files |= packages(
            "packages", *("kubernetes", "tenacity", "jsonpatch", "pydantic", "PyYAML", "rich", "structlog", "typer")
        )
        for part in ("seimigrate", "plans", "runbooks", *_CONTROLLER):
            files[f"app/{part}"] = CHECKOUT / part
        env = {"PYTHONHOME": "/python", "PYTHONPATH": "/app:/packages", "PYTHONDONTWRITEBYTECODE": "1"}
        return Image(files | libraries(files.values()), ["/python/bin/python3", "-m", "tests.e2e.controller"], env=env)

    def pause(self) -> Path:
        """Give the archive of the image that holds a pod's namespaces."""
        return self._write("pause", Image(self._program("pause"), ["/usr/local/bin/pause"]), PAUSE_IMAGE)

    def own(self) -> Path:
        """Give the archive of the project's own image."""

        def write(archive: Path) -> None:
            with tempfile.TemporaryDirectory() as folder:
                write_image(archive, shipped.image(Path(folder)), [OWN_IMAGE])

        return self._archive("seimigrate", "", shipped.sources(), write)

    def _write(self, name: str, image: Image, *names: str) -> Path:
        about = repr((image, names))
        return self._archive(name, about, image.files.values(), lambda archive: write_image(archive, image, names))

    def _archive(self, name: str, about: str, sources: Iterable[Path], write: Callable[[Path], object]) -> Path:
        """Write an archive unless there is one of the same sources, as told by their sizes and times.

        Others may do the same at the same time: each writes beside the place, then moves it there.
        """
        seen = hashlib.sha256(about.encode())
        for path in files_of(sources):
            stat = path.stat()
            seen.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        archive = self.folder / f"{name}-{seen.hexdigest()[:16]}.tar"
        if not archive.exists():
            write(archive)
        archive.touch()
        for old in self.folder.glob(f"{name}-{'?' * 16}.tar"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - old.stat().st_mtime > FORGOTTEN:
                    old.unlink()
        return archive
