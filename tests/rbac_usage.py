"""Which rules of an account's roles it has used, what it was denied, and what an error says that it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from seimigrate.domain.kube.kinds import Object

ALSO = {("get", "pods/portforward"): "create"}
"""A websocket is opened with GET: the API server (since 1.35) asks for create as well, and logs nothing of that."""


@dataclass(frozen=True)
class Grant:
    """One verb on one resource, perhaps of one name only, as a rule of a role has it."""

    role: str
    verb: str
    group: str
    resource: str
    name: str = ""

    @property
    def full(self) -> str:
        """The resource with its group."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def __str__(self) -> str:
        return f"{self.role}: {self.verb} {self.full}" + (f" {self.name}" if self.name else "")


@dataclass(frozen=True)
class Use:
    """What was done, in the words of a rule."""

    verb: str
    group: str
    resource: str
    name: str

    def of(self, grant: Grant) -> bool:
        same = (self.verb, self.group, self.resource) == (grant.verb, grant.group, grant.resource)
        return same and grant.name in ("", self.name)


def bound(objects: Iterable[Object], account: tuple[str, str]) -> list[Object]:
    """Give the roles among some objects that others among them bind to a ServiceAccount."""
    listed = list(objects)
    refs = [
        (each["roleRef"]["kind"], each["roleRef"]["name"])
        for each in listed
        if each["kind"].endswith("RoleBinding")
        and any((s.get("namespace"), s["name"]) == account for s in each["subjects"])
    ]
    return [each for each in listed if (each["kind"], each["metadata"]["name"]) in refs]


def grants(roles: Iterable[Object]) -> list[Grant]:
    """Give all that roles grant, verb by verb."""
    return [
        Grant(f"{role['kind']} {role['metadata']['name']}", verb, group, resource, name)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    ]


def unused(roles: Iterable[Object], events: Iterable[Object], user: str) -> list[str]:
    """Name what roles grant and a user never did; of a kind's group that is not served, to ask for it is to use it."""
    listed = list(events)
    used, absent = set(uses(listed, user)), set(_absent(listed, user))
    return [
        str(grant) for grant in grants(roles) if grant.group not in absent and not any(use.of(grant) for use in used)
    ]


def _absent(events: Iterable[Object], user: str) -> Iterator[str]:
    for event in events:
        group = event["requestURI"].removeprefix("/apis/")
        if event["user"]["username"] == user and event["responseStatus"]["code"] == 404 and "/" not in group:
            yield group


def uses(events: Iterable[Object], user: str) -> Iterator[Use]:
    """Yield what a user did, and what others asked whether it may: the sidecars' proxies do so."""
    for event in events:
        target = event.get("objectRef") or {}
        resource = target.get("resource", "")
        if event["user"]["username"] == user:
            full = f"{resource}/{target['subresource']}" if target.get("subresource") else resource
            yield Use(event["verb"], target.get("apiGroup", ""), full, _name(event, target))
            if also := ALSO.get((event["verb"], full)):
                yield Use(also, target.get("apiGroup", ""), full, _name(event, target))
        elif resource == "subjectaccessreviews":
            spec = (event.get("requestObject") or {}).get("spec") or {}
            asked = spec.get("resourceAttributes") or {}
            if spec.get("user") == user:
                yield Use(asked["verb"], asked.get("group", ""), asked["resource"], asked.get("name", ""))


def _name(event: Object, target: Object) -> str:
    body = event.get("requestObject") or {}
    return str(target.get("name") or (body.get("metadata") or {}).get("name") or "")


def denied(events: Iterable[Object], user: str) -> list[str]:
    """Give every request of a user that the API server refused for want of a right or of credentials.

    An admission policy may answer 403, too: then the authorizer had allowed it.
    """
    return [
        f"{event['responseStatus']['code']} {event['verb']} {event['requestURI']}"
        for event in events
        if event["user"]["username"] == user
        and event["responseStatus"]["code"] in (401, 403)
        and (event.get("annotations") or {}).get("authorization.k8s.io/decision") != "allow"
    ]


MISSING = re.compile(
    r"^  (?P<verbs>[a-z]+(?:, [a-z]+)*) +(?P<resource>[\w./-]+) +in (?P<where>[^,\n]+)"
    r"(?:, resourceNames: (?P<name>\S+))?$",
    re.MULTILINE,
)


def named(message: str) -> dict[tuple[str, str, str], str]:
    """Read from an error what is missing: verb, resource with its group and name if it is for one; and where."""
    return {
        (verb, found["resource"], found["name"] or ""): found["where"]
        for found in MISSING.finditer(message)
        for verb in found["verbs"].split(", ")
    }


def without_each(roles: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Yield each role without one of its rules, and with that rule alone."""
    for role in roles:
        for rule in role["rules"]:
            yield role | {"rules": [each for each in role["rules"] if each is not rule]}, role | {"rules": [rule]}


def assert_named(message: str, lost: Object, namespace: str) -> None:
    """See that an error names a rule that was lost, wholly and nothing else, and where it is missing.

    ``namespace`` is the one where the nodes are.
    """
    told, wide = named(message), {"all namespaces", "the whole cluster"}
    assert set(told) == {(grant.verb, grant.full, grant.name) for grant in grants([lost])}, message
    near = {f"namespace {lost['metadata'].get('namespace', namespace)}"}
    assert set(told.values()) <= (wide if lost["metadata"]["name"].endswith("-cluster") else near), message


def asked_only_what_it_may(events: Iterable[Object], user: str) -> bool:
    """Tell whether a user has asked the API server who it is and what it may do, and has done and read nothing."""
    asked = {(event.get("objectRef") or {}).get("resource") for event in events if event["user"]["username"] == user}
    return asked == {"selfsubjectaccessreviews", "selfsubjectreviews"}
