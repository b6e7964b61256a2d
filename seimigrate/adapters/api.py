"""The Kubernetes API behind the engine's ``Cluster`` port, on raw JSON."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seimigrate.adapters.api_errors import PATCH_TYPE, Expired, is_object_not_found, missing_kind
from seimigrate.adapters.connection import Connection, connect
from seimigrate.domain.kube.kinds import MANAGER, SERVED, Kind, Object, Resource
from seimigrate.engine.errors import ApiError, NotFound, SeimigrateError
from seimigrate.engine.ports import JsonPatch

__all__ = ["ApiCluster", "Connection", "connect", "list_with_version", "path_of"]

PAGE = 500
MAX_RELISTS = 3


class ApiCluster:
    """The engine's port to the API server; ``timeout`` is the seconds that each request may wait for data."""

    def __init__(self, connection: Connection, timeout: float = 30.0) -> None:
        self.connection = connection
        self.timeout = timeout
        self._found: dict[Resource, Resource | None] = {}
        """In which version resources are served, of those that were looked for; ``None``: in none."""

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read one object; ``None`` if it is not there, ``NotFound`` if the whole kind is not."""
        try:
            return self._object("GET", path_of(kind, namespace, name))
        except NotFound as error:
            if is_object_not_found(error):
                return None
            raise

    def list(self, kind: Kind, namespace: str = "", labels: str = "") -> list[Object]:
        """Read all objects of a kind, 500 at a time; raises ``NotFound`` if the kind is not served."""
        return list_with_version(self.connection, self._as_served(kind.resource), namespace, labels, self.timeout)[0]

    def create(self, kind: Kind, body: Object) -> Object:
        """Create an object; raises ``Conflict`` if it is there already."""
        namespace = body["metadata"].get("namespace", "")
        return self._object("POST", path_of(kind, namespace), query=_writing(), body=body)

    def replace(self, kind: Kind, body: Object) -> Object:
        """Replace an object; raises ``Conflict`` unless its resourceVersion is still the one in ``body``."""
        metadata = body["metadata"]
        path = path_of(kind, metadata.get("namespace", ""), metadata["name"])
        return self._object("PUT", path, query=_writing(), body=body)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        operations: JsonPatch,
        *,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Object:
        """Apply a JSON Patch; raises ``Conflict`` if a test fails or a path is not there, ``Denied`` by a policy.

        A dry run gets a connection of its own: it asks what is in force, and each API server has its own view of that.
        """
        query = _writing(manager) | ({"dryRun": "All"} if dry_run else {})
        path = path_of(kind, namespace, name)
        cluster = ApiCluster(self.connection.with_own_pool(1), self.timeout) if dry_run else self
        return cluster._object("PATCH", path, query=query, body=[*operations], content_type=PATCH_TYPE)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object if it still has this uid (and resourceVersion, if given); raises ``Conflict`` if not."""
        options = _delete_options(uid, resource_version, grace_seconds)
        self._send("DELETE", path_of(kind, namespace, name), body=options)

    def evict(self, namespace: str, name: str, *, uid: str, resource_version: str, grace_seconds: int) -> None:
        """Evict a pod; raises ``Refused`` if a budget says not now, ``Conflict`` on another uid or version."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
            "deleteOptions": _delete_options(uid, resource_version, grace_seconds),
        }
        self._send("POST", f"{path_of(Kind.POD, namespace, name)}/eviction", query=_writing(), body=eviction)

    def cluster_id(self) -> str:
        """Give what tells this cluster from every other: the uid of namespace kube-system, which nobody can delete."""
        namespace = self.get(Kind.NAMESPACE, "", "kube-system")
        if namespace is None:
            raise NotFound("namespace kube-system is not there: is this a Kubernetes cluster?")
        return str(namespace["metadata"]["uid"])

    def create_token(self, namespace: str, service_account: str, seconds: int = 600) -> str:
        """Ask for a token of a ServiceAccount; the API server gives none for less than 600 seconds."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        path = f"{path_of(Kind.SERVICE_ACCOUNT, namespace, service_account)}/token"
        answer = self._object("POST", path, query=_writing(), body=request)
        return str(answer["status"]["token"])

    def can(self, verb: str, kind: Kind, namespace: str, subresource: str = "", name: str = "") -> bool:
        """Tell whether the API server would let us (SelfSubjectAccessReview).

        Namespace ``""`` means all of them, name ``""`` all objects.
        """
        resource = kind.resource
        asked = {"verb": verb, "group": resource.group, "resource": resource.plural, "namespace": namespace}
        asked |= {"subresource": subresource, "name": name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._object("POST", path, body=body)["status"].get("allowed"))

    def user(self) -> str:
        """Give the name by which the API server knows us (SelfSubjectReview, in Kubernetes since 1.28)."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._object("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
        return str(answer["status"]["userInfo"]["username"])

    def missing_kinds(self, kinds: Iterable[Kind]) -> builtins.list[Kind]:
        """Give those of the kinds that the API server does not serve, as for an absent CRD."""
        served: dict[str, set[str]] = {}
        missing = []
        for kind in kinds:
            resource = kind.resource
            if resource.api_version not in served:
                served[resource.api_version] = self._served(_group_path(resource))
            if resource.plural not in served[resource.api_version]:
                missing.append(kind)
        return missing

    def require_kinds(self, kinds: Iterable[Kind]) -> None:
        """Raise ``NotFound`` naming every kind that the API server does not serve."""
        missing = [kind.resource for kind in self.missing_kinds(kinds)]
        if not missing:
            return
        first = missing_kind(missing[0].plural, missing[0].group, missing[0].version)
        names = ", ".join(f"{each.qualified} ({each.version})" for each in missing)
        raise NotFound(f"the API server does not serve {names}", hint=first.hint)

    def _as_served(self, resource: Resource) -> Resource:
        """Give a resource in the version that the API server prefers of those that have it; looks for it once."""
        if resource.version != SERVED:
            return resource
        if resource not in self._found:
            self._found[resource] = self._discover(resource)
        if (found := self._found[resource]) is None:
            raise missing_kind(resource.plural, resource.group, resource.version)
        return found

    def _discover(self, resource: Resource) -> Resource | None:
        candidates = (resource._replace(version=version) for version in self._versions(resource.group))
        return next((each for each in candidates if resource.plural in self._served(_group_path(each))), None)

    def _versions(self, group: str) -> builtins.list[str]:
        try:
            answer = self._object("GET", f"/apis/{group}")
        except NotFound:
            return []
        served = [each["version"] for each in answer["versions"]]
        return sorted(served, key=lambda version: bool(version != answer["preferredVersion"]["version"]))

    def _served(self, path: str) -> set[str]:
        try:
            answer = self._object("GET", path)
        except NotFound:
            return set()
        return {each["name"] for each in answer["resources"]}

    def _object(self, method: str, path: str, **arguments: Any) -> Object:
        answer = self._send(method, path, **arguments)
        if not isinstance(answer, dict):
            raise ApiError(f"the answer to {method} {path} is no object", hint="is this the API server's address?")
        return answer

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        return self.connection.request(method, path, timeout=self.timeout, **arguments)


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """Give the path of an object, or of all objects of a kind in a namespace (``""``: in all)."""
    return _path(kind.resource, namespace) + (f"/{_segment(name)}" if name else "")


def list_with_version(
    connection: Connection, resource: Resource, namespace: str = "", labels: str = "", timeout: float = 30.0
) -> tuple[list[Object], str]:
    """Read all objects and the resourceVersion to watch from; lists again if its pages expire meanwhile."""
    for attempt in range(MAX_RELISTS):
        try:
            items: list[Object] = []
            version = ""
            for page in _pages(connection, _path(resource, namespace), labels, timeout):
                version = page["metadata"]["resourceVersion"]
                # Items of a list come without these two.
                typed = {"apiVersion": resource.api_version, "kind": resource.kind}
                items += [typed | item for item in page["items"]]
            return items, version
        except Expired:
            if attempt == MAX_RELISTS - 1:
                raise
    raise AssertionError("unreachable")


def _pages(connection: Connection, path: str, labels: str, timeout: float) -> Iterator[Mapping[str, Any]]:
    query = {"limit": str(PAGE)} | ({"labelSelector": labels} if labels else {})
    while True:
        page = connection.request("GET", path, query=query, timeout=timeout)
        yield page
        if not (token := page["metadata"].get("continue")):
            return
        query["continue"] = token


def _path(resource: Resource, namespace: str) -> str:
    scope = f"/namespaces/{_segment(namespace)}" if namespace and resource.namespaced else ""
    return f"{_group_path(resource)}{scope}/{resource.plural}"


def _group_path(resource: Resource) -> str:
    return f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"


def _segment(name: str) -> str:
    """Give a name as one segment of a path; no name of an object has a slash, and one must not reach another path."""
    if "/" in name or "?" in name or "#" in name or "%" in name or name in (".", ".."):
        raise SeimigrateError(f"{name!r} is not a name of an object")
    return name


def _writing(manager: str = MANAGER) -> dict[str, str]:
    return {"fieldManager": manager, "fieldValidation": "Strict"}


def _delete_options(uid: str, resource_version: str, grace_seconds: int | None) -> Object:
    preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    return options
