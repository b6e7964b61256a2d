"""The plan of a migration: what a node must become, through which stages, and how fast.

These models are the plan file's format (``seimigrate schema`` prints their JSON Schema) and the values that the
machine decides with. They are frozen: a plan does not change while it runs.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field

from seimigrate.domain.plan.base import Model, Port, Seconds
from seimigrate.domain.plan.fleet import Fleet
from seimigrate.domain.plan.gates import Gate

GraceSeconds = Annotated[float, Field(ge=30)]
"""Never less than what the kubelet gives by default: a seid that is killed in mid-commit may not start again."""
S = TypeVar("S", bound=float)


class Mode(StrEnum):
    """What a SeiNode is for: the name of the block that its spec carries (upstream CRD)."""

    FULL_NODE = "fullNode"
    ARCHIVE = "archive"
    REPLAYER = "replayer"
    VALIDATOR = "validator"
    SEED = "seed"


class PortName(StrEnum):
    """The ports that a transform may name: two of the plan's parameters, and the sidecar's own of each node."""

    PUBLIC = "public"
    PROXY = "proxy"
    SIDECAR = "sidecar"


class ContainerName(StrEnum):
    """The containers that a transform may name; the parameters say what they are called in the pods."""

    SIDECAR = "sidecar"
    PROXY = "proxy"
    SEID = "seid"


class Ports(Model):
    """The ports that are the same on every node."""

    public: Port = Field(9100, description="where the split sidecar serves health and metrics to the pod network")
    proxy: Port = Field(8443, description="where kube-rbac-proxy listens")


class Containers(Model):
    """What the containers are called in the pods."""

    sidecar: str = "sei-sidecar"
    proxy: str = "kube-rbac-proxy"
    seid: str = "seid"


class SupportedImage(Model):
    """One entry of the list of split sidecars: exactly one of digest, tag, minimumVersion."""

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    tag: str | None = None
    minimum_version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+$")] | None = None


class Sidecars(Model):
    """Which sidecars split their listeners, and which one to run."""

    supported: tuple[SupportedImage, ...] = Field(
        (), description="images that split; every other image shares its port"
    )
    image: str | None = Field(None, description="the image to run where a SeiNode's own spec names no accepted one")


class LabelExpression(Model):
    """One expression of a label selector, as in Kubernetes."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(Model):
    """A label selector, as in Kubernetes; an empty one selects everything."""

    match_labels: dict[str, str] = Field({})
    match_expressions: tuple[LabelExpression, ...] = ()


class IpBlock(Model):
    """A block of addresses without some in it, as in a NetworkPolicy."""

    cidr: str
    except_: tuple[str, ...] = ()


class Peer(Model):
    """Some pods or addresses, as in a NetworkPolicy's ``from``; without namespaceSelector the nodes' namespace."""

    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


_MONITORING = Peer(namespace_selector=LabelSelector(match_labels={"kubernetes.io/metadata.name": "monitoring"}))


class Access(Model):
    """Who may reach what, besides the controller; verify, the check and the policy stage judge by it."""

    clients: tuple[Peer, ...] = Field((), description="who else may reach the proxy's port")
    monitoring: tuple[Peer, ...] = Field((_MONITORING,), description="who may reach the public port")
    reachable_ports: tuple[str, ...] = Field(("p2p", "rpc"), description="names of ports that must not be cut off")
    accounts: tuple[str, ...] = Field(
        (), description="who else may create seinodetasks: system:serviceaccount:NS:NAME, user:NAME or group:NAME"
    )


class Parameters(Model):
    """What ``--set`` may change."""

    ports: Ports = Ports()
    containers: Containers = Containers()
    health_paths: tuple[str, ...] = ("/v0/healthz", "/v0/livez", "/v0/startupz", "/v0/metrics")
    sidecars: Sidecars = Sidecars()
    access: Access = Access()


class AddServicePort(Model):
    """Add a port to the node's Service."""

    do: Literal["add-service-port"]
    name: str
    port: PortName


class AddPort(Model):
    """Add a container port."""

    do: Literal["add-port"]
    container: ContainerName
    name: str
    port: PortName


class SetEnv(Model):
    """Set an environment variable to a port's number."""

    do: Literal["set-env"]
    container: ContainerName
    name: str
    port: PortName


class SetImage(Model):
    """Run the accepted sidecar image."""

    do: Literal["set-image"]
    container: ContainerName


class MoveProbe(Model):
    """Let a probe of a health path ask another port."""

    do: Literal["move-probe"]
    container: ContainerName
    probe: Literal["livenessProbe", "readinessProbe", "startupProbe"]
    to: PortName


class ReplaceInArgument(Model):
    """Replace the port that follows a text in one of a container's arguments."""

    do: Literal["replace-in-argument"]
    container: ContainerName
    after: str = Field(description="the text that stands right before the port, like /dev/tcp/localhost/")
    to: PortName


class RemoveArgument(Model):
    """Remove the argument that begins with a text."""

    do: Literal["remove-argument"]
    container: ContainerName
    prefix: str


Transform = Annotated[
    AddServicePort | AddPort | SetEnv | SetImage | MoveProbe | ReplaceInArgument | RemoveArgument,
    Field(discriminator="do"),
]


class StageName(StrEnum):
    """The stages of a node's cutover, in the only order that they have."""

    HOLD = "hold"
    CHECK = "check"
    EXPOSE = "expose"
    PROBES = "probes"
    READY = "ready"
    ENFORCE = "enforce"
    POLICY = "policy"
    RELEASE = "release"

    @property
    def position(self) -> int:
        """Give the stage's place in the order, from 0."""
        return list(StageName).index(self)


class Stage(Model):
    """One stage and what it changes; its way back is bound by a page of the runbooks."""

    stage: StageName
    transforms: tuple[Transform, ...] = ()


class Strategy(StrEnum):
    """How a node moves: in two restarts with a look in between, or in one; mixed is for a fleet."""

    STAGED = "staged"
    MERGED = "merged"
    MIXED = "mixed"
    """The canaries staged, the rest merged."""


class PerMode(Model, Generic[S]):
    """A number of seconds for each mode, with a default."""

    default: S
    full_node: S | None = None
    archive: S | None = None
    replayer: S | None = None
    validator: S | None = None
    seed: S | None = None

    def for_mode(self, mode: Mode) -> float:
        """Give the seconds for a mode."""
        own: float | None = {
            Mode.FULL_NODE: self.full_node,
            Mode.ARCHIVE: self.archive,
            Mode.REPLAYER: self.replayer,
            Mode.VALIDATOR: self.validator,
            Mode.SEED: self.seed,
        }[mode]
        return self.default if own is None else own


class Deadlines(Model):
    """How long things may take, in seconds; a deadline counts from the last progress, not from the start."""

    response: Seconds = Field(120, description="for an answer from the API server or a pod that is up")
    ready: PerMode[Seconds] = Field(
        PerMode(default=900), description="for a new pod to get ready, from its last progress"
    )
    stuck: Seconds = Field(180, description="for a pod in a crash loop, without its image, or that fits nowhere")
    eviction: Seconds = Field(600, description="for a disruption budget to allow an eviction")


class Release(Model):
    """When a node is handed back to the controller."""

    agreement_timeout: Seconds = Field(
        75, description="how long to wait for a sign that the controller agrees; 0: stay held"
    )
    stabilization: Seconds = Field(
        65, description="for how long SidecarReady must stay true, two of the controller's polls"
    )


class RollbackScope(StrEnum):
    """Which nodes that had moved go back as well when a run stops."""

    NONE = "none"
    WAVE = "wave"
    ALL = "all"


class Failure(Model):
    """What happens when a node fails."""

    on_node_failure: Literal["rollback", "pause"] = Field(
        "rollback", description="what becomes of the node that failed"
    )
    max_failed_nodes: Annotated[int, Field(ge=0)] = Field(
        0, description="failed nodes that the run may go on after, in all its waves together"
    )
    on_exceeded: Literal["stop", "pause"] = Field("stop", description="what the run does after more than that")
    rollback_scope: RollbackScope = Field(
        RollbackScope.NONE, description="which nodes that moved in this run go back when it stops"
    )


class Plan(Model):
    """A whole plan file."""

    version: Literal[1]
    migration: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    parameters: Parameters = Parameters()
    strategy: Strategy = Strategy.MIXED
    stages: tuple[Stage, ...]
    deadlines: Deadlines = Deadlines()
    termination_grace_period: PerMode[GraceSeconds] = Field(
        PerMode(default=300), description="seconds that a pod is given to stop"
    )
    release: Release = Release()
    failure: Failure = Failure()
    fleet: Fleet = Fleet()
    gates: tuple[Gate, ...] = Field(
        (), description="what must hold after the canary and after each wave, in this order"
    )

    def stage(self, name: StageName) -> Stage:
        """Give the stage of that name."""
        return next(stage for stage in self.stages if stage.stage == name)

    @property
    def digest(self) -> str:
        """Give a short digest of what becomes of a node by this plan; the fleet's pace may change on the way."""
        what = self.model_dump(mode="json", exclude={"fleet", "gates", "failure"})
        content = json.dumps([what, self.failure.on_node_failure], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]
