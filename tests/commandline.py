"""The command line as a user runs it: a process with a kubeconfig, and no rights but those of deploy/rbac.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from seimigrate.adapters.api import Connection, path_of
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import Conflict, NotFound
from seimigrate.resources import plans_dir
from tests.forking import FORKS, Command

ROOT = Path(__file__).resolve().parents[1]
OPERATOR = "operator"
"""The user who runs it."""
LEASE_SECONDS = "3"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Done:
    """How a command came out."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed; of a stream of events the last one."""
        return json.loads(self.out if self.out.startswith("{\n") else self.out.splitlines()[-1])


@dataclass
class CommandLine:
    """The commands, with a kubeconfig and a plan of their own; the lock lasts 3 s, since killed runs leave it."""

    kubeconfig: Path
    plan: Path
    folder: Path
    accept: bool = True
    """Whether to go on in spite of policy findings: most tests are about something else."""

    def arguments(self, command: str, *more: str) -> list[str]:
        """Give the words of a command; nodes are among ``more``."""
        given = ["--kubeconfig", str(self.kubeconfig)]
        if command in ("plan", "apply", "rollback", "hold", "verify", "policy render", "runbook show", "runbook run"):
            given += ["-f", str(self.plan)]
        if command in ("apply", "rollback", "hold", "runbook run"):
            given += ["--yes", "--lease-duration", LEASE_SECONDS]
        if self.accept and command in ("plan", "apply"):
            given += ["--accept-policy-violations"]
        if command == "apply":
            given += ["--no-guard"]
        return [*command.split(), *given, *more]

    def start(self, command: str, *more: str) -> Command:
        """Start a command as a process of its own; of an option that is given twice the last one counts."""
        return begin(self.arguments(command, *more), self.folder)


def begin(words: Sequence[str], folder: Path) -> Command:
    """Start ``seimigrate WORDS`` in a folder as a process of its own."""
    return FORKS.start(words, cwd=folder, env={"NO_COLOR": "1"})


def finish(process: Command, seconds: float = 180.0) -> Done:
    """Wait for a command's end, and kill it where it has none in time."""
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException:
        process.kill()
        out, err = process.communicate()
        print(out[-2000:], err[-6000:])
        raise
    assert "Traceback" not in out + err, err
    return Done(process.wait(), out, err)


def read_until(stream: IO[str], words: str) -> str:
    """Read what a command prints up to the line with these words; gives all of it."""
    text = ""
    while words not in text:
        line = stream.readline()
        assert line, f"it ended without {words!r}: {text}"
        text += line
    return text


def plan_text(image: str, **changes: Any) -> str:
    """Give the project's plan with a split image, and with other parts in place of its own."""
    plan = yaml.safe_load((plans_dir() / "split-listeners.yaml").read_text())
    plan["parameters"]["sidecars"] = {"supported": [{"digest": image.partition("@")[2]}], "image": image}
    plan |= changes
    return yaml.safe_dump(plan, sort_keys=False)


def shipped() -> list[Object]:
    """Give the objects of deploy/rbac.yaml."""
    return [body for body in yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text()) if body]


def furnish(admin: Connection) -> None:
    """Give the operator the rights of deploy/rbac.yaml, as an administrator would; what is there stays."""
    for body in shipped():
        _create(admin, body)
    _create(admin, _binding("seimigrate", OPERATOR))


@contextmanager
def bound_to(admin: Connection, role: str, user: str) -> Iterator[None]:
    """Give a user a ClusterRole for as long as the block lasts."""
    with created(admin, [_binding(role, user)]):
        yield


@contextmanager
def created(admin: Connection, objects: Iterable[Object]) -> Iterator[None]:
    """Let objects be there for as long as the block lasts; what is there already stays."""
    made: list[str] = []
    try:
        for body in objects:
            made += filter(None, [_create(admin, body)])
        yield
    finally:
        for path in reversed(made):
            admin.request("DELETE", path)


def _binding(role: str, user: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{role}-{user}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


def _create(admin: Connection, body: Object) -> str:
    """Create an object, and give its path, "" where it is there already."""
    version, plural = body["apiVersion"], f"{body['kind'].lower()}s"
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = body["metadata"].get("namespace")
    path = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
    try:
        admin.request("POST", path, body=body)
    except Conflict:
        return ""
    return f"{path}/{body['metadata']['name']}"


def forget_runs(admin: Connection) -> None:
    """Remove what runs leave in the cluster as a whole: the lock, the run's record and the hold's policies."""
    for kind, name in (
        (Kind.LEASE, "seimigrate"),
        (Kind.CONFIG_MAP, "seimigrate-run"),
        (Kind.ADMISSION_BINDING, "seimigrate-hold"),
        (Kind.ADMISSION_BINDING, "seimigrate-hold-service"),
        (Kind.ADMISSION_POLICY, "seimigrate-hold"),
        (Kind.ADMISSION_POLICY, "seimigrate-hold-service"),
    ):
        namespace = SYSTEM_NAMESPACE if kind.resource.namespaced else ""
        try:
            admin.request("DELETE", path_of(kind, namespace, name))
        except NotFound:
            continue


def free_lock(admin: Connection) -> None:
    """Do what ``seimigrate unlock`` does, so that the next process need not wait for the lease to run out."""
    path = path_of(Kind.LEASE, SYSTEM_NAMESPACE, "seimigrate")
    free = [{"op": "replace", "path": "/spec/holderIdentity", "value": ""}]
    admin.request("PATCH", path, body=free, content_type="application/json-patch+json")


def journal_of(admin: Connection, namespace: str, name: str) -> Any:
    """Read a node's record; raises ``NotFound``."""
    body = admin.request("GET", path_of(Kind.CONFIG_MAP, namespace, f"seimigrate-{name}"))
    return json.loads(body["data"]["record"])
