"""Puts the hold's admission policies in place, and watches for the whole run that they stay as they must be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, Kind, Object
from seimigrate.domain.node import hold_policies
from seimigrate.engine.errors import Conflict, Denied, SeimigrateError
from seimigrate.engine.ports import Cluster, ObjectCache

WATCHED = (Kind.ADMISSION_POLICY, Kind.ADMISSION_BINDING, Kind.DEPLOYMENT)


def find_accounts(deployments: Sequence[Object], given: str | None) -> list[str]:
    """Find under which accounts the controller writes: as given (``NAMESPACE/NAME``), and of its Deployments.

    Raises ``SeimigrateError`` when nothing is given and no Deployment is found.
    """
    accounts = accounts_of(deployments, given)
    if not accounts:
        raise SeimigrateError(
            "sei-k8s-controller was not found: no Deployment has its labels "
            "(app.kubernetes.io/name=sei-k8s-controller, control-plane=controller-manager)",
            hint="name its ServiceAccount: --controller-account NAMESPACE/NAME",
        )
    return accounts


def accounts_of(deployments: Iterable[Object], given: str | None) -> list[str]:
    """Give the user names of the controllers: of their Deployments, and the one given as ``NAMESPACE/NAME``."""
    found = {
        hold_policies.account_of(deployment) for deployment in deployments if hold_policies.is_controller(deployment)
    }
    return sorted(found.union(named_account(given)))


def named_account(given: str | None) -> list[str]:
    """Give the user name of a ServiceAccount that is given as ``NAMESPACE/NAME``, none if none is given."""
    return [hold_policies.user_name(*given.split("/"))] if given is not None else []


class HoldManager:
    """Keeps the policies for a set of controller accounts."""

    def __init__(self, cluster: Cluster, cache: ObjectCache, accounts: list[str]) -> None:
        self._cluster = cluster
        self._view = cache
        self._accounts = accounts
        self._wanted = hold_policies.policies(accounts)

    @property
    def accounts(self) -> Sequence[str]:
        """Give the user names of the controllers."""
        return self._accounts

    def install(self) -> None:
        """Create the policies and bindings, or put those right that are there; they become active in about 1 s."""
        for kind, wanted in self._wanted:
            name = wanted["metadata"]["name"]
            for _ in range(5):
                found = self._cluster.get(kind, "", name)
                if found is not None and found["spec"] == wanted["spec"]:
                    self._view.observe(kind, found)
                    break
                try:
                    self._view.observe(kind, self._ensure(kind, found, wanted))
                except Conflict:
                    continue

    def _ensure(self, kind: Kind, found: Object | None, wanted: Object) -> Object:
        if found is None:
            return self._cluster.create(kind, wanted)
        return self._cluster.replace(kind, {**wanted, "metadata": found["metadata"]})

    def error(self) -> str:
        """Say what of the hold is not as it must be, empty if all is."""
        for kind, wanted in self._wanted:
            name = wanted["metadata"]["name"]
            found = self._view.get(kind, "", name)
            if found is None or "deletionTimestamp" in found["metadata"]:
                return f"{kind.resource.kind} {name} is gone"
            if found.get("spec") != wanted["spec"]:
                return f"{kind.resource.kind} {name} was changed"
        for deployment in self._view.list(Kind.DEPLOYMENT):
            if hold_policies.is_controller(deployment) and hold_policies.account_of(deployment) not in self._accounts:
                return f"the controller writes as {hold_policies.account_of(deployment)} now"
        return ""

    def verify(self, statefulset: Object, service: Object | None) -> bool:
        """See whether changes of a node's objects under the controller's field manager are denied.

        They are dry runs: nothing changes if they are not. Two are sent of each, since each API server has its own
        view of the policies, and each dry run goes by a connection of its own. Raises ``Denied`` where somebody else's
        policy was faster than ours to refuse one: then there is no telling.
        """
        tried = [(Kind.STATEFUL_SET, statefulset, _denied_change(statefulset))]
        if service is not None:
            unready = not service["spec"].get("publishNotReadyAddresses", False)
            change = [{"op": "add", "path": "/spec/publishNotReadyAddresses", "value": unready}]
            tried.append((Kind.SERVICE, service, change))
        return all(self._denied(kind, obj["metadata"], change) for kind, obj, change in tried for _ in range(2))

    def _denied(self, kind: Kind, meta: Object, change: list[Object]) -> bool:
        try:
            self._cluster.patch(
                kind,
                meta["namespace"],
                meta["name"],
                change,
                manager=CONTROLLER_MANAGER,
                dry_run=True,
            )
        except Denied as denied:
            if hold_policies.DENIAL not in denied.message:
                raise
            return True
        return False


def _denied_change(statefulset: Object) -> list[Object]:
    """Give a change of a template that the policy has to deny."""
    grace = statefulset["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
    where = "/spec/template/spec/terminationGracePeriodSeconds"
    change = [{"op": "add", "path": where, "value": grace + 1}]
    if statefulset["spec"].get("replicas") == 0:
        # The policy lets everything pass that leaves a set scaled to zero.
        change.append({"op": "replace", "path": "/spec/replicas", "value": 1})
    return change


class NoHold:
    """Stands where a run was told to hold nothing."""

    accounts: Sequence[str] = ()

    def install(self) -> None:
        """Do nothing."""

    def error(self) -> str:
        """Find nothing."""
        return ""

    def verify(self, statefulset: Object, service: Object | None) -> bool:
        """Prove nothing: the machine does not ask."""
        return True
