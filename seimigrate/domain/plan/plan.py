"""The plan of a migration: the stages of a node's cutover, its parameters, deadlines and rollout strategy.

These models are the plan file's format (``seimigrate schema`` prints their JSON Schema) and the input of the
reconcilers. They are frozen: a plan does not change during a run.
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
"""At least the kubelet's default: a seid that is killed during a commit may fail to start again."""
S = TypeVar("S", bound=float)


class Mode(StrEnum):
    """The mode of a SeiNode: the name of the mode block in its spec (upstream CRD)."""

    FULL_NODE = "fullNode"
    ARCHIVE = "archive"
    REPLAYER = "replayer"
    VALIDATOR = "validator"
    SEED = "seed"


class PortName(StrEnum):
    """The ports that a transform can name: two of the plan's parameters, and the sidecar's own port per node."""

    PUBLIC = "public"
    PROXY = "proxy"
    SIDECAR = "sidecar"


class ContainerName(StrEnum):
    """The containers that a transform can name; ``parameters.containers`` has their names in the pods."""

    SIDECAR = "sidecar"
    PROXY = "proxy"
    SEID = "seid"


class Ports(Model):
    """The ports that are equal on all nodes."""

    public: Port = Field(9100, description="port on which a split sidecar serves health and metrics to the pod network")
    proxy: Port = Field(8443, description="port of kube-rbac-proxy")


class Containers(Model):
    """The names of the containers in the pods."""

    sidecar: str = "sei-sidecar"
    proxy: str = "kube-rbac-proxy"
    seid: str = "seid"


class SupportedImage(Model):
    """One entry of the list of split sidecar images: exactly one of digest, tag, minimumVersion."""

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    tag: str | None = None
    minimum_version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+$")] | None = None


class Sidecars(Model):
    """The sidecar images that split their listeners, and the image to run."""

    supported: tuple[SupportedImage, ...] = Field(
        (), description="images that split their listeners; every other image shares its port"
    )
    image: str | None = Field(None, description="image to run if a SeiNode's spec names no supported image")


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
    """An address block with exceptions, as in a NetworkPolicy."""

    cidr: str
    except_: tuple[str, ...] = ()


class Peer(Model):
    """Pods or addresses, as in a NetworkPolicy's ``from``; without namespaceSelector in the nodes' namespace."""

    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


_MONITORING = Peer(namespace_selector=LabelSelector(match_labels={"kubernetes.io/metadata.name": "monitoring"}))


class Access(Model):
    """Permitted access besides the controller's; used by verify and by the stages check and policy."""

    clients: tuple[Peer, ...] = Field((), description="other peers that may reach the proxy's port")
    monitoring: tuple[Peer, ...] = Field((_MONITORING,), description="peers that may reach the public port")
    reachable_ports: tuple[str, ...] = Field(("p2p", "rpc"), description="names of ports that policies must not block")
    accounts: tuple[str, ...] = Field(
        (),
        description="subjects that may create seinodetasks: system:serviceaccount:NS:NAME, user:NAME or group:NAME",
    )


class Parameters(Model):
    """The parameters that ``--set`` can override."""

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
    """Set the supported sidecar image."""

    do: Literal["set-image"]
    container: ContainerName


class MoveProbe(Model):
    """Move a probe of a health path to another port."""

    do: Literal["move-probe"]
    container: ContainerName
    probe: Literal["livenessProbe", "readinessProbe", "startupProbe"]
    to: PortName


class ReplaceInArgument(Model):
    """Replace the port that follows a text in one of a container's arguments."""

    do: Literal["replace-in-argument"]
    container: ContainerName
    after: str = Field(description="text immediately before the port, such as /dev/tcp/localhost/")
    to: PortName


class RemoveArgument(Model):
    """Remove the argument that starts with a text."""

    do: Literal["remove-argument"]
    container: ContainerName
    prefix: str


Transform = Annotated[
    AddServicePort | AddPort | SetEnv | SetImage | MoveProbe | ReplaceInArgument | RemoveArgument,
    Field(discriminator="do"),
]


class StageName(StrEnum):
    """The stages of a node's cutover, in order."""

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
        """Return the stage's index in the order, from 0."""
        return list(StageName).index(self)


class Stage(Model):
    """One stage and its transforms; a runbook defines its rollback."""

    stage: StageName
    transforms: tuple[Transform, ...] = ()


class Strategy(StrEnum):
    """The strategy of a cutover: two restarts with a check in between, one restart, or a mix in a fleet."""

    STAGED = "staged"
    MERGED = "merged"
    MIXED = "mixed"
    """Staged for canaries, merged for other nodes."""


class PerMode(Model, Generic[S]):
    """Seconds per mode, with a default."""

    default: S
    full_node: S | None = None
    archive: S | None = None
    replayer: S | None = None
    validator: S | None = None
    seed: S | None = None

    def for_mode(self, mode: Mode) -> float:
        """Return the seconds for a mode."""
        own: float | None = {
            Mode.FULL_NODE: self.full_node,
            Mode.ARCHIVE: self.archive,
            Mode.REPLAYER: self.replayer,
            Mode.VALIDATOR: self.validator,
            Mode.SEED: self.seed,
        }[mode]
        return self.default if own is None else own


class Deadlines(Model):
    """Deadlines in seconds, counted from the last progress, not from the start."""

    response: Seconds = Field(120, description="seconds for a response of the control plane or of a running pod")
    ready: PerMode[Seconds] = Field(
        PerMode(default=900), description="seconds until a new pod is Ready, from its last progress"
    )
    stuck: Seconds = Field(180, description="seconds for a pod in a crash loop, without its image, or unschedulable")
    eviction: Seconds = Field(600, description="seconds until a disruption budget allows an eviction")


class Release(Model):
    """When a node is released to the controller."""

    agreement_timeout: Seconds = Field(
        75, description="seconds until the controller must confirm the template; 0: no release, the node stays held"
    )
    stabilization: Seconds = Field(
        65, description="seconds to wait after the confirmation; two polls of the controller"
    )


class RollbackScope(StrEnum):
    """The nodes that are rolled back when a run stops, besides the failed one."""

    NONE = "none"
    WAVE = "wave"
    ALL = "all"


class Failure(Model):
    """The reaction to a failed node."""

    on_node_failure: Literal["rollback", "pause"] = Field("rollback", description="reaction for the failed node")
    max_failed_nodes: Annotated[int, Field(ge=0)] = Field(
        0, description="failed nodes that the run tolerates, over all waves"
    )
    on_exceeded: Literal["stop", "pause"] = Field("stop", description="reaction of the run if more nodes fail")
    rollback_scope: RollbackScope = Field(
        RollbackScope.NONE, description="nodes cut over in this run that are rolled back when it stops"
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
        PerMode(default=300), description="seconds that a pod has to stop"
    )
    release: Release = Release()
    failure: Failure = Failure()
    fleet: Fleet = Fleet()
    gates: tuple[Gate, ...] = Field((), description="gates after the canary and after each wave, in this order")

    def stage(self, name: StageName) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.stage == name)

    @property
    def digest(self) -> str:
        """Return a short digest of a node's cutover; fleet settings and gates may change during a run."""
        content_of_node = self.model_dump(mode="json", exclude={"fleet", "gates", "failure"})
        content = json.dumps([content_of_node, self.failure.on_node_failure], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]
