"""A second machine for one story: a node that only what tolerates its taint comes to, and whose power can be lost."""

from __future__ import annotations

import os
import signal

from seimigrate.domain.kube.kinds import Kind
from seimigrate.engine.errors import NotFound
from seimigrate.simulation.objects import condition
from tests.e2e import configuration, keeper, places
from tests.e2e.cluster import TestCluster
from tests.e2e.configuration import SECOND
from tests.e2e.images import PAUSE_IMAGE
from tests.e2e.kept import KeptMachine


class SecondMachine(KeptMachine):
    """The second machine of a cluster as a context manager; it has the project's own image and no other one."""

    def __init__(self, cluster: TestCluster) -> None:
        super().__init__(places.states() / f"{cluster.folder.name}-second", cluster.built, cluster.controlplane)
        self.cluster = cluster

    def __enter__(self) -> SecondMachine:
        try:
            self._up()
        except BaseException:
            self.let_go()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self.cluster.kubectl("delete", "node", SECOND.name, "--ignore-not-found")

    def _up(self) -> None:
        cluster = self.cluster
        with keeper.alone(places.states()):
            self.make_folder()
            configuration.write_second(cluster.folder, self.folder, cluster.tokens, PAUSE_IMAGE)
            self.keep("second", self.built, cluster.init)
        cluster.wait_for(self._started, "the second machine's programs")
        for archive in (cluster.images.pause(), cluster.images.own()):
            self.load_image(archive)
        cluster.wait_for(lambda: self.condition("Ready") == "True", "the second machine")
        subnet = cluster.get(Kind.NODE, "", SECOND.name)["spec"]["podCIDR"]
        assert subnet == SECOND.pods, f"the pods of {SECOND.name} are expected elsewhere: {subnet}"

    def _started(self) -> bool:
        if not self.runs:
            raise RuntimeError(f"the second machine ended\n{self.logs()}")
        return (self.folder / "started").exists()

    def condition(self, name: str) -> str:
        """Give what Kubernetes says of the node: "True", "False", "Unknown", or "" where it says nothing."""
        try:
            return condition(self.cluster.get(Kind.NODE, "", SECOND.name), name) or ""
        except NotFound:
            return ""

    def lose_power(self) -> None:
        """Take the network and then all programs away at once, so that none of them says goodbye."""
        self.cluster.enter("ip", "link", "delete", SECOND.name, check=True)
        os.kill(self.init, signal.SIGKILL)
        self.cluster.wait_for(lambda: not self.runs, "the second machine to be gone")
