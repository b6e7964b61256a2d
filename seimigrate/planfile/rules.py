"""What a plan must fulfil beyond its schema: an order that makes sense, and parameters that agree with each other.

Each rule looks at the file's own data, and only at values with which the schema found nothing wrong: so a plan with
errors of both sorts shows them all at once. A value that is off never makes a rule speak of its default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from seimigrate.domain.plan.base import Model
from seimigrate.domain.plan.gates import GateTarget
from seimigrate.domain.plan.images import accepted, parse_image
from seimigrate.domain.plan.plan import Containers, LabelSelector, Peer, Ports, Sidecars, StageName
from seimigrate.domain.verify.network.ip_ranges import range_of
from seimigrate.planfile.problems import Path, Places, Problem

M = TypeVar("M", bound=Model)
Violation = tuple[Path, str]
IsValid = Callable[[Path], bool]
"""Tells whether the schema found nothing wrong at a path or below it."""

_CHANGING = (StageName.EXPOSE, StageName.PROBES, StageName.ENFORCE)
"""The stages whose gates look at what their transforms did."""

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


def check_rules(data: Any, places: Places, sound: IsValid) -> list[Problem]:
    """Give what the rules find in the data of a plan file."""
    return [Problem(places.of(path), path, message) for path, message in _violations(data, sound)]


def _violations(data: Any, sound: IsValid) -> Iterator[Violation]:
    if not isinstance(data, dict):
        return
    if data.get("version") is True:
        # Python's true equals 1, so the models take it for the version.
        yield ("version",), "must be 1, not the boolean true"
    yield from _parameters(data.get("parameters"), sound)
    yield from _fleet(data.get("fleet"), sound)
    yield from _gates(data.get("gates"), sound)
    stages = data.get("stages")
    if isinstance(stages, list):
        names = [_stage_name(stage) for stage in stages]
        yield from _order(names)
        for index, (name, stage) in enumerate(zip(names, stages, strict=True)):
            transforms = stage.get("transforms") if isinstance(stage, dict) else None
            if name is not None and name not in _CHANGING and transforms and isinstance(transforms, list):
                changing = ", ".join(_CHANGING)
                told = f'stage "{name}" changes nothing: transforms belong to {changing}'
                yield ("stages", index, "transforms"), told


def _read(model: type[M], data: Any, path: Path, sound: IsValid) -> M | None:
    """Read a mapping, keys that nobody knows left out; ``None`` where anything that counts is off."""
    if not isinstance(data, dict) or not _container_valid(path, sound):
        return None
    known = {field.alias or name for name, field in model.model_fields.items()}
    if not all(sound((*path, key)) for key in data if key in known):
        return None
    try:
        return model.model_validate({k: v for k, v in data.items() if k in known}, by_alias=True, by_name=False)
    except ValidationError:  # a key is missing, and the schema says so
        return None


def _container_valid(path: Path, sound: IsValid) -> bool:
    """Tell whether nothing is wrong with a value itself or around it, whatever is wrong inside."""
    return sound((*path, "?"))


def _elements(data: Any, key: str, path: Path, sound: IsValid) -> Iterator[tuple[Path, Any]]:
    """Give the elements of a list with which nothing is wrong, each with its path."""
    found = data.get(key) if isinstance(data, dict) else None
    for index, element in enumerate(found if isinstance(found, list) else []):
        place = (*path, key, index)
        if sound(place):
            yield place, element


def _stage_name(stage: Any) -> StageName | None:
    name = stage.get("stage") if isinstance(stage, dict) else None
    return StageName(name) if isinstance(name, str) and name in set(StageName) else None


# -------------------------------------------------- stages


def _order(names: Sequence[StageName | None]) -> Iterator[Violation]:
    """Every stage once, in the one order that there is. ``None`` is a stage whose name is off."""
    first: dict[StageName, int] = {}
    for index, name in enumerate(names):
        if name in first:
            yield ("stages", index, "stage"), f'stage "{name}" is there already, as stages[{first[name]}]'
        elif name is not None:
            first[name] = index
    yield from _misplaced(first)
    if None not in names:
        for name in StageName:
            if name not in first:
                yield ("stages",), f'stage "{name}" is missing: it belongs {_expected_position(name)}'


def _misplaced(first: dict[StageName, int]) -> Iterator[Violation]:
    there = list(first)
    kept = _longest_increasing_subsequence([name.position for name in there])
    for name in there:
        if name.position not in kept:
            yield (
                ("stages", first[name], "stage"),
                f'stage "{name}" is misplaced: it belongs {_expected_position(name)}',
            )


def _longest_increasing_subsequence(positions: Sequence[int]) -> list[int]:
    """Give a longest rising subsequence: the fewest stages are called misplaced."""
    best: list[list[int]] = []
    for position in positions:
        before = max((rise for rise in best if rise[-1] < position), key=len, default=[])
        best.append([*before, position])
    return max(best, key=len, default=[])


def _expected_position(name: StageName) -> str:
    order = list(StageName)
    if name.position == 0:
        return f'before "{order[1]}"'
    if name.position == len(order) - 1:
        return f'after "{order[-2]}"'
    return f'between "{order[name.position - 1]}" and "{order[name.position + 1]}"'


# -------------------------------------------------- parameters


def _parameters(data: Any, sound: IsValid) -> Iterator[Violation]:
    """Check each part of the parameters that is there; what is left out has a default that is sound."""
    if not isinstance(data, dict):
        return
    path: Path = ("parameters",)
    ports = _read(Ports, data.get("ports"), (*path, "ports"), sound)
    if ports is not None and ports.public == ports.proxy:
        yield (*path, "ports", "proxy"), f"is the public port too ({ports.public}): the two must differ"
    yield from _containers((*path, "containers"), data.get("containers"), sound)
    yield from _health_paths((*path, "healthPaths"), data, sound)
    yield from _sidecars((*path, "sidecars"), data.get("sidecars"), sound)
    yield from _access((*path, "access"), data.get("access"), sound)


def _containers(path: Path, data: Any, sound: IsValid) -> Iterator[Violation]:
    given = data if isinstance(data, dict) else {}
    names = {**Containers().model_dump(by_alias=True), **given}
    seen: dict[str, str] = {}
    for key in Containers.model_fields:
        name = names[key]
        if not sound((*path, key)):
            continue
        if not _LABEL.fullmatch(name):
            wanted = "lower-case letters, digits and dashes, at most 63, with no dash at either end"
            yield (*path, key), f"is not a container's name: {wanted}"
        elif name in seen:
            yield (*path, key), f'is the name of {seen[name]} too: "{name}"; the containers must differ'
        seen.setdefault(name, key)


def _health_paths(path: Path, data: Any, sound: IsValid) -> Iterator[Violation]:
    if data.get("healthPaths") == []:
        yield path, "must name at least one path"
    seen: set[str] = set()
    for place, health_path in _elements(data, "healthPaths", path[:-1], sound):
        if not re.fullmatch(r"/[!-~]*", health_path):
            yield place, "must begin with / and have neither spaces nor letters beyond ASCII"
        elif health_path in seen:
            yield place, "is there already"
        seen.add(health_path)


def _sidecars(path: Path, data: Any, sound: IsValid) -> Iterator[Violation]:
    if not isinstance(data, dict):
        return
    listed = data.get("supported")
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        place = (*path, "supported", index)
        if not isinstance(entry, dict) or not _container_valid(place, sound):
            continue
        given = [key for key in ("digest", "tag", "minimumVersion") if entry.get(key) is not None]
        if len(given) != 1:
            has = " and ".join(given) or "none"
            yield place, f"must have exactly one of digest, tag, minimumVersion; it has {has}"
    image = data.get("image")
    if not isinstance(image, str) or not sound((*path, "image")):
        return
    try:
        parse_image(image)
    except ValueError:
        yield (*path, "image"), "is not an image reference: repository, then :tag, @sha256:... or both"
        return
    sidecars = _read(Sidecars, data, path, sound)
    if sidecars is not None and not accepted(image, sidecars.supported):
        why = "no entry of sidecars.supported matches it" if sidecars.supported else "sidecars.supported is empty"
        yield (*path, "image"), f"is not known to split its listeners: {why}"


def _access(path: Path, data: Any, sound: IsValid) -> Iterator[Violation]:
    for key in ("clients", "monitoring"):
        listed = data.get(key) if isinstance(data, dict) else None
        for index, entry in enumerate(listed if isinstance(listed, list) else []):
            peer = _read(Peer, entry, (*path, key, index), sound)
            if peer is not None:
                yield from _peer((*path, key, index), peer)
    for place, account in _elements(data, "accounts", path, sound):
        if not re.fullmatch(r"system:serviceaccount:[^:]+:[^:]+|(user|group):.+", account):
            yield place, "is none of system:serviceaccount:NAMESPACE:NAME, user:NAME, group:NAME"


def _peer(path: Path, peer: Peer) -> Iterator[Violation]:
    chosen = peer.namespace_selector or peer.pod_selector
    if chosen is None and peer.ip_block is None:
        yield path, "means nobody: it needs a namespaceSelector, a podSelector or an ipBlock"
    if chosen is not None and peer.ip_block is not None:
        yield path, "has an ipBlock beside a selector: make two entries of it"
    for key, selector in (("namespaceSelector", peer.namespace_selector), ("podSelector", peer.pod_selector)):
        yield from _selector((*path, key), selector)
    if peer.ip_block is not None:
        excepted = enumerate(peer.ip_block.except_)
        for place, cidr in (("cidr",), peer.ip_block.cidr), *((("except", i), each) for i, each in excepted):
            try:
                range_of(cidr)
            except ValueError:
                yield (*path, "ipBlock", *place), "is no block of addresses like 10.0.0.0/8"


def _selector(path: Path, selector: LabelSelector | None) -> Iterator[Violation]:
    for index, expression in enumerate(selector.match_expressions if selector else ()):
        place = (*path, "matchExpressions", index, "values")
        if expression.operator in ("In", "NotIn") and not expression.values:
            yield place, f"must name at least one value for {expression.operator}"
        elif expression.operator in ("Exists", "DoesNotExist") and expression.values:
            yield place, f"must be empty for {expression.operator}"


# -------------------------------------------------- fleet


def _fleet(data: Any, sound: IsValid) -> Iterator[Violation]:
    """Waves grow: numbers among themselves, and percentages among themselves."""
    if isinstance(data, dict) and data.get("waves") == []:
        yield ("fleet", "waves"), "must have at least one size"
    last: dict[bool, int] = {}
    for place, size in _elements(data, "waves", ("fleet",), sound):
        percent = str(size).endswith("%")
        number = int(str(size).removesuffix("%"))
        if number < last.get(percent, 0):
            yield place, "must have no smaller size than the wave before it: waves grow"
        last[percent] = number


# -------------------------------------------------- gates


def _gates(data: Any, sound: IsValid) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for index, gate in enumerate(data if isinstance(data, list) else []):
        path: Path = ("gates", index)
        if not isinstance(gate, dict):
            continue
        name = gate.get("name")
        if isinstance(name, str) and sound((*path, "name")):
            if name in first:
                yield (*path, "name"), f"is the name of gates[{first[name]}] too: each gate needs its own"
            first.setdefault(name, index)
        if gate.get("after") == []:
            yield (*path, "after"), "must have canary, wave or both"
        at = _read(GateTarget, gate.get("target"), (*path, "target"), sound)
        if at is not None:
            yield from _gate_target((*path, "target"), at)


def _gate_target(path: Path, at: GateTarget) -> Iterator[Violation]:
    given = at.model_dump(exclude_none=True, include={"url", "service", "pod"})
    if len(given) != 1:
        yield path, f"must have exactly one of url, service, pod; it has {' and '.join(given) or 'none'}"
    elif at.url is not None:
        yield from _url((*path, "url"), at.url, with_token=at.token is not None)
        if at.port is not None:
            yield (*path, "port"), "must have no place beside url: write it into the url"
    elif at.port is None:
        yield path, "must have a port, to which it is forwarded"
    if at.token is not None:
        where = at.token.model_dump(exclude_none=True)
        if len(where) != 1:
            yield (*path, "token"), f"must have exactly one of file, env; it has {' and '.join(where) or 'none'}"


def _url(path: Path, text: str, *, with_token: bool) -> Iterator[Violation]:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if host is None or not re.fullmatch(r"https?://[!-~]+", text):
        yield path, "is not a url: http:// or https://, a host, and maybe a port"
    elif url.username is not None or url.password is not None or url.query or url.fragment:
        yield path, "must have neither a user, nor ?, nor #: a password does not belong into a plan"
    elif with_token and url.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        yield path, "must be https, since a token goes with it"
