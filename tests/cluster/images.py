"""The images of the test cluster, made of what was built and of this machine's own bash and Python."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seimigrate.simulation.world import SEID_IMAGE
from tests.cluster.mkimage import Image, digest_of, write_image

CHECKOUT = Path(__file__).parents[2]
SIDECAR_REPOSITORY = "ghcr.io/sei-protocol/seictl"
PROXY_IMAGE = "quay.io/brancz/kube-rbac-proxy:v0.19.1"
# The controller pins it by a digest that is made up in tests: containerd finds an image by the name that it was given.
EXPORTER_IMAGE = "ghcr.io/sei-protocol/sei-cosmos-exporter@sha256:" + "0" * 64
PAUSE_IMAGE = "seimigrate.test/pause:1"
DNS_IMAGE = "seimigrate.test/coredns:1"
CONTROLLER_IMAGE = "seimigrate.test/controller:1"

_SHELL = (
    "bash",
    "sh",
    "cat",
    "chmod",
    "date",
    "grep",
    "head",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "sleep",
    "stat",
    "timeout",
    "touch",
)
_LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages")
_CONTROLLER = (
    *("tests/__init__.py", "tests/models/__init__.py", "tests/models/client.py"),
    *("tests/cluster/__init__.py", "tests/cluster/controller.py"),
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
            self._write("pause", Image(program("pause"), ["/usr/local/bin/pause"]), PAUSE_IMAGE),
            self._write("coredns", Image(program("coredns"), ["/usr/local/bin/coredns"], user="0:0"), DNS_IMAGE),
            self._write("proxy", Image(program("kube-rbac-proxy"), ["/usr/local/bin/kube-rbac-proxy"]), PROXY_IMAGE),
            self._sidecar("shared"),
            self._sidecar("split"),
            self._write("seid", Image(shell() | program("seid")), SEID_IMAGE),
            self._write("exporter", Image(shell() | program("sei-cosmos-exporter")), EXPORTER_IMAGE),
            self._write("controller", self._controller(), CONTROLLER_IMAGE),
        ]

    def _program(self, name: str, inside: str | None = None) -> dict[str, Path]:
        return {f"usr/local/bin/{inside or name}": self.built / "bin" / name}

    def _sidecar(self, generation: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        image = Image(self._program(f"seictl-{generation}", "seictl"), ["/usr/local/bin/seictl", "serve"])
        names = (f"{SIDECAR_REPOSITORY}:{generation}", f"{SIDECAR_REPOSITORY}@")
        return self._write(f"sidecar-{generation}", image, *names)

    def _controller(self) -> Image:
        files = python("kubernetes", "tenacity", "jsonpatch", "pydantic", "PyYAML", "rich", "structlog", "typer")
        for part in ("seimigrate", "plans", "runbooks", *_CONTROLLER):
            files[f"app/{part}"] = CHECKOUT / part
        env = {"PYTHONHOME": "/python", "PYTHONPATH": "/app:/packages", "PYTHONDONTWRITEBYTECODE": "1"}
        return Image(files, ["/python/bin/python3", "-m", "tests.cluster.controller"], env=env)

    def _write(self, name: str, image: Image, *names: str) -> Path:
        """Write an archive unless there is one of the same sources, as told by their sizes and times."""
        seen = hashlib.sha256(repr((image, names)).encode())
        for path in _sources(image.files.values()):
            about = path.stat()
            seen.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())
        archive = self.folder / f"{name}-{seen.hexdigest()[:16]}.tar"
        if not archive.exists():
            for old in self.folder.glob(f"{name}-{'?' * 16}.tar"):
                old.unlink()
            write_image(archive, image, names)
        return archive


def shell() -> dict[str, Path]:
    """Give bash and a few tools of this machine, with the libraries that they need."""
    found = {name: Path("/bin") / name for name in _SHELL}
    files = {f"bin/{name}": path for name, path in found.items()}
    return files | _libraries(found.values())


def python(*distributions: str) -> dict[str, Path]:
    """Give the Python that runs this, below ``/python``, and what the distributions need, below ``/packages``."""
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    files = {"python/bin/python3": interpreter}
    for entry in library.iterdir():
        if entry.name not in _LEFT_OUT and not entry.name.startswith(("config-", "__pycache__")):
            files[f"python/{sys.platlibdir}/{library.name}/{entry.name}"] = entry
    for name in _closure(distributions):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        files |= {f"packages/{top}": Path(str(distribution.locate_file(top))) for top in tops}
    objects = [path for path in _sources(files.values()) if path.name.endswith(".so") and "_tkinter" not in path.name]
    return files | _libraries([interpreter, *objects])


def _closure(distributions: Sequence[str]) -> set[str]:
    """Give the names of distributions and all that they need here; what is not installed is not needed."""
    found: set[str] = set()
    left = list(distributions)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            plain = [each for each in requires if "extra ==" not in each]
            left += [match.group() for each in plain if (match := re.match(r"[A-Za-z0-9._-]+", each))]
    return found


def _libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """Give the shared libraries of programs, each at the place where the loader looks for it."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    paths = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", told, re.MULTILINE)
    return {path.lstrip("/"): Path(path) for path in sorted(set(paths))}


def _sources(roots: Iterable[Path]) -> list[Path]:
    """Give all files that the roots are or hold, but not what Python compiled."""
    found: list[Path] = []
    for root in roots:
        inside = sorted(root.rglob("*")) if root.is_dir() else [root]
        found += [path for path in inside if path.is_file() and "__pycache__" not in path.parts]
    return found
