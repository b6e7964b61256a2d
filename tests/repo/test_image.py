"""The image that the test cluster runs is the one that deploy/Dockerfile describes."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.e2e import shipped
from tests.e2e.mkimage import write_image
from tests.e2e.places import CHECKOUT

LOCK = (CHECKOUT / "requirements.lock").read_text()
SITE = re.compile(r"opt/seimigrate/lib/python3\.\d+/site-packages/(?P<file>.+)")


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Give the image's configuration and its one layer, as an engine would read them."""
    if shutil.which("ldd") is None:
        pytest.skip("an image is made of this machine's libraries, which ldd names, and there is none")
    folder = tmp_path_factory.mktemp("image")
    write_image(folder / "image.tar", shipped.image(folder), ["example.test/seimigrate:1"])
    with tarfile.open(folder / "image.tar") as archive:

        def blob(digest: str) -> bytes:
            member = archive.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
            assert member is not None
            return member.read()

        index = archive.extractfile("index.json")
        assert index is not None
        manifest = json.loads(blob(json.load(index)["manifests"][0]["digest"]))
        return [blob(manifest["config"]["digest"]), *(blob(layer["digest"]) for layer in manifest["layers"])]


@pytest.fixture(scope="module")
def files(blobs: list[bytes]) -> dict[str, tarfile.TarInfo]:
    _, layer = blobs
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_it_runs_as_the_dockerfile_says(blobs: list[bytes]) -> None:
    said, settings = shipped.dockerfile(), json.loads(blobs[0])["config"]
    assert settings["User"] == said.user == "65532:65532"
    assert settings["Entrypoint"] == said.entrypoint == ["/opt/seimigrate/bin/seimigrate"]
    assert {f"{name}={value}" for name, value in said.env.items()} <= set(settings["Env"])


def test_nothing_else_is_said_in_the_dockerfile_that_it_would_have_to_do() -> None:
    build, last = shipped.dockerfile().stages
    assert [word for word, _ in last] == ["FROM", "COPY", "ENV", "USER", "ENTRYPOINT"]
    assert last[0][1].startswith("python:3.")
    assert last[1][1] == f"--from=build {shipped.HOME} {shipped.HOME}"
    commands = [part.split() for word, rest in build if word == "RUN" for part in rest.split("&&")]
    assert [words[:2] for words in commands] == [
        ["pip", "wheel"],
        ["pip", "install"],
        ["pip", "wheel"],
        ["python", "-m"],
        [f"{shipped.HOME}/bin/pip", "install"],
        [f"{shipped.HOME}/bin/pip", "uninstall"],
    ]
    assert "--require-hashes" in commands[0]
    assert all("--no-index" in words for words in commands[1:] if words[1] in ("install", "wheel"))


def test_it_has_the_locked_packages_that_the_program_needs_and_no_others(files: dict[str, tarfile.TarInfo]) -> None:
    inside = {found["file"] for name in files if (found := SITE.fullmatch(name))}
    about = {name.removesuffix(".dist-info/METADATA") for name in inside if name.endswith(".dist-info/METADATA")}
    versions = {
        re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (a.rpartition("-") for a in about)
    }
    assert versions.pop("seimigrate")
    assert {f"{name}=={version}" for name, version in versions.items()} <= set(re.findall(r"^[\w.-]+==\S+", LOCK, re.M))
    assert {"kubernetes", "typer", "websocket-client"} <= set(versions)
    assert not {"pip", "setuptools", "hatchling", "pytest"} & set(versions)


def test_it_has_the_wheel_whole(files: dict[str, tarfile.TarInfo], tmp_path: Path) -> None:
    wheel = shipped.wheel(tmp_path)
    inside = {found["file"] for name in files if (found := SITE.fullmatch(name))}
    wanted = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("RECORD")}
    assert {"seimigrate/plans/split-listeners.yaml", "seimigrate/cli/main.py"} <= wanted
    assert wanted <= inside


def test_its_user_may_read_everything_and_write_nothing_but_tmp(files: dict[str, tarfile.TarInfo]) -> None:
    real = {name: member for name, member in files.items() if not member.issym()}
    assert [name for name, member in real.items() if not member.mode & 0o004] == []
    assert [name for name, member in real.items() if member.mode & 0o002] == ["tmp"]
    assert [name for name, member in real.items() if member.isfile() and member.mode & 0o6000] == []
    assert {(member.uid, member.gid) for member in files.values()} == {(0, 0)}
    assert files["opt/seimigrate/bin/seimigrate"].mode & 0o001


def test_it_has_every_library_that_its_python_loads(files: dict[str, tarfile.TarInfo]) -> None:
    told = subprocess.run(["ldd", Path(sys.executable).resolve()], capture_output=True, text=True, check=True).stdout
    loaded = re.findall(r"(/\S+) \(0x", told)
    assert loaded
    assert {path.lstrip("/") for path in loaded} <= set(files)
