"""The project's own image, as deploy/Dockerfile says, without an engine and without an index.

What can be taken from the Dockerfile is taken from there: what the wheel is built of, and the image's user, entrypoint
and environment. Its base image is this machine's Python, at the same places, with the libraries that it needs; the
packages are those of this virtual environment, which come from the same lock.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import python
from tests.e2e.mkimage import Image
from tests.e2e.places import CHECKOUT
from tests.e2e.python import closure, interpreter, libraries

DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"
HOME = "/opt/seimigrate"
"""The virtual environment, here and there."""
PYTHON = "/usr/local"
"""Where the official Python images have Python."""


@dataclass(frozen=True)
class Dockerfile:
    """Its stages, each a list of instructions: the word, and the rest of the line."""

    stages: list[list[tuple[str, str]]]

    def last(self, word: str) -> list[str]:
        """Give what is said by one word in the last stage, in order."""
        return [rest for each, rest in self.stages[-1] if each == word]

    @property
    def user(self) -> str:
        return self.last("USER")[-1]

    @property
    def entrypoint(self) -> list[str]:
        return [str(word) for word in json.loads(self.last("ENTRYPOINT")[-1])]

    @property
    def env(self) -> dict[str, str]:
        words = [word for rest in self.last("ENV") for word in rest.split()]
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    @property
    def context(self) -> list[str]:
        """Give the files and folders of the checkout that the wheel is built of."""
        copied = [rest.split() for word, rest in self.stages[0] if word == "COPY"]
        return [source for sources in copied for source in sources[:-1] if source != "requirements.lock"]


def dockerfile() -> Dockerfile:
    """Read deploy/Dockerfile."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    stages: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        if word and not word.startswith("#"):
            stages[-1].append((word, rest.strip()))
    return Dockerfile(stages)


def sources() -> list[Path]:
    """Give everything that the image is made of and that may change, and those who make it."""
    makers = [Path(__file__), Path(python.__file__)]
    context = [CHECKOUT / each for each in dockerfile().context]
    return [*makers, DOCKERFILE, *context, *(path for _, path in packages())]


def image(folder: Path) -> Image:
    """Give the image, with its virtual environment furnished in a folder, which has to last until it is written."""
    said = dockerfile()
    environment = _environment(wheel(folder), folder / "environment")
    files = {HOME: environment} | interpreter(PYTHON)
    return Image(files | libraries(files.values()), said.entrypoint, said.user, said.env)


def wheel(folder: Path) -> Path:
    """Build the wheel of nothing but what the Dockerfile copies."""
    context = folder / "src"
    context.mkdir()
    for name in dockerfile().context:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=context)
    [built] = folder.glob("*.whl")
    return built


def _environment(built: Path, place: Path) -> Path:
    """Make the virtual environment with the wheel and what it needs, as if it had been made at its place in there."""
    _run(sys.executable, "-m", "venv", "--without-pip", str(place), cwd=place.parent)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python")]
    _run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(built), cwd=place.parent)
    site = place / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    for file, package in packages():
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package, target)
    for script in (place / "bin").iterdir():
        if script.name.lower().startswith("activate"):
            script.unlink()
        elif script.is_symlink():
            script.unlink()
            script.symlink_to(f"{PYTHON}/bin/python3")
        else:
            script.write_text(script.read_text().replace(str(place), HOME))
    about = f"home = {PYTHON}/bin\ninclude-system-site-packages = false\nversion = {sys.version.split()[0]}\n"
    (place / "pyvenv.cfg").write_text(about)
    return place


def packages() -> Iterator[tuple[str, Path]]:
    """Yield the files of all packages that the project needs when it runs: their names in site-packages, and here."""
    for name in sorted(closure(("seimigrate",)) - {"seimigrate"}):
        for file in importlib.metadata.distribution(name).files or ():
            if file.parts[0] != ".." and file.suffix != ".pyc":
                yield str(file), Path(str(file.locate()))


def _run(*command: str, cwd: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}
    subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, text=True)
