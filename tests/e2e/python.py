"""This machine's Python, bash and their libraries, to be taken along into images."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

_SHELL = (
    *("bash", "sh", "cat", "chmod", "date", "grep", "head", "ls", "mkdir", "mv", "rm", "sleep", "stat", "timeout"),
    "touch",
)
_LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages")


def shell() -> dict[str, Path]:
    """Give bash and a few tools of this machine, with the libraries that they need."""
    files = {f"bin/{name}": Path("/bin") / name for name in _SHELL}
    return files | libraries(files.values())


def interpreter(place: str) -> dict[str, Path]:
    """Give the Python that runs this, with its standard library and without any package, below a place."""
    program, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    files = {f"{place}/bin/python3": program}
    for entry in library.iterdir():
        if entry.name not in _LEFT_OUT and not entry.name.startswith(("config-", "__pycache__")):
            files[f"{place}/{sys.platlibdir}/{library.name}/{entry.name}"] = entry
    return files


def packages(place: str, *distributions: str) -> dict[str, Path]:
    """Give what distributions and all that they need have in site-packages, below a place."""
    files: dict[str, Path] = {}
    for name in closure(distributions):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        files |= {f"{place}/{top}": Path(str(distribution.locate_file(top))) for top in tops}
    return files


def closure(distributions: Sequence[str]) -> set[str]:
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


def libraries(roots: Iterable[Path]) -> dict[str, Path]:
    """Give the shared libraries of the programs that the roots are or hold, each where the loader looks for it."""
    programs = [path for path in files_of(roots) if _is_program(path)]
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    paths = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", told, re.MULTILINE)
    return {path.lstrip("/"): Path(path) for path in sorted(set(paths))}


def _is_program(path: Path) -> bool:
    if "_tkinter" in path.name or not (path.name.endswith(".so") or os.access(path, os.X_OK)):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def files_of(roots: Iterable[Path]) -> list[Path]:
    """Give all files that the roots are or hold, but not what Python compiled."""
    found: list[Path] = []
    for root in roots:
        inside = sorted(root.rglob("*")) if root.is_dir() else [root]
        found += [path for path in inside if path.is_file() and "__pycache__" not in path.parts]
    return found
