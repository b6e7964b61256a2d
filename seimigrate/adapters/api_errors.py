"""What the API server's refusals mean: HTTP answers become the errors of ``seimigrate.engine.errors``, here only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from seimigrate.engine.errors import (
    ApiError,
    Conflict,
    Denied,
    EvictionBlocked,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    Unreachable,
)

PATCH_TYPE = "application/json-patch+json"
MAX_TEXT_LENGTH = 1000

# apiserver pkg/endpoints/handlers/responsewriters: what every authorizer's no begins with; admission never says this.
_NOT_PERMITTED = re.compile(
    r'^(?:\S+ (?:"[^"]*" )?is )?forbidden: User "(?P<user>[^"]*)" cannot (?P<verb>\S+) '
    r'(?:resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]*)")?'
    r'|path "(?P<path>[^"]*)")'
)
_ADMISSION = re.compile(
    r"ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request"
    r"|admission webhook \"[^\"]*\" denied the request"
)
# apimachinery pkg/api/errors: the text for any JSON Patch that could not be applied; the operation is not named.
_PATCH_FAILED = "the server rejected our request due to an error in our request"


class Expired(Invalid):
    """The resourceVersion or continue token is too old: list again."""


class Throttled(Unreachable):
    """The API server is too busy for us; ``retry_after`` are the seconds it asks for."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


def error_for(
    method: str, path: str, content_type: str, status: int, headers: Mapping[str, str], data: bytes
) -> ApiError:
    """Give the error that an HTTP answer of 300 and more stands for.

    ``status`` alone does not tell: admission policies answer 401, 403, 413 or 422 as they like, and RBAC 403 too.
    """
    answer = _status_object(data)
    text = _short(str(answer.get("message") or "") or _plain(data) or f"HTTP {status}")
    where = f"{method} {path}"
    if status < 500 and _ADMISSION.search(text):
        return Denied(text, hint="see which policy said so: kubectl get validatingadmissionpolicies")
    if status == 401:
        return Unauthorized(
            f"the API server does not accept our credentials ({where})",
            hint="renew the credentials, then try: kubectl auth whoami",
        )
    if status == 403:
        return _forbidden(method, path, text)
    if status == 404:
        return _not_found(where, path, answer, text)
    if status == 409:
        return Conflict(text, hint="look again: the object has changed")
    if status == 410:
        return Expired(f"{where}: {text}")
    if status == 422 and content_type == PATCH_TYPE and text == _PATCH_FAILED:
        return Conflict(f"{where}: a test or a path of the patch does not match the object as it is now")
    if status == 429:
        return _too_many(where, answer, headers, text)
    if status >= 500 and "more than one PodDisruptionBudget" in text:
        # registry/core/pod/storage/eviction.go answers 500 here, though it will never do.
        return EvictionBlocked(text, hint="leave one PodDisruptionBudget that selects the pod")
    if status >= 500:
        return Unreachable(f"the API server could not answer {where}: {text}", hint="try again")
    if status < 400:
        return Unreachable(f"{where}: redirected ({status}); is this the API server's address?")
    return Invalid(f"{where}: {text}")


def is_object_not_found(error: NotFound) -> bool:
    """Tell whether one object is not there, rather than its whole kind."""
    return isinstance(error, _ObjectNotFound)


class _ObjectNotFound(NotFound):
    """The kind is served, the object is not there."""


def _status_object(data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _short(text: str) -> str:
    """Cut a message to what a person reads: for a value of the wrong type the API server quotes the whole object."""
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]} …"


def _plain(data: bytes) -> str:
    """Give the first line of an answer that is not a Status, short; a page of HTML helps nobody."""
    lines = data[:2000].decode(errors="replace").strip().splitlines()
    line = lines[0][:200] if lines else ""
    return "" if line.startswith("<") else line


def _forbidden(method: str, path: str, text: str) -> ApiError:
    missing = _NOT_PERMITTED.match(text)
    if missing is None:
        if method == "GET":
            return Forbidden(text, hint=f"the right to read {path} is missing")
        return Denied(text, hint="admission refused it: see the message")
    if missing["path"]:
        rule = f'verb "{missing["verb"]}" on nonResourceURL "{missing["path"]}"'
    else:
        plural, slash, subresource = missing["resource"].partition("/")
        group = f".{missing['group']}" if missing["group"] else ""
        namespace = missing["namespace"]
        where = f'in namespace "{namespace}"' if namespace else "in the whole cluster (ClusterRole)"
        rule = f'verb "{missing["verb"]}" on resource "{plural}{group}{slash}{subresource}" {where}'
    return Forbidden(text, hint=f"{missing['user']} needs a role with {rule}")


def _not_found(where: str, path: str, answer: Mapping[str, Any], text: str) -> NotFound:
    details = answer.get("details") or {}
    if answer.get("reason") == "NotFound" and details.get("name"):
        return _ObjectNotFound(text)
    parts = path.strip("/").split("/")
    if parts[0] != "apis" or len(parts) < 4:
        return NotFound(f"{where}: {text}")
    group, version = parts[1], parts[2]
    plural = parts[5] if parts[3] == "namespaces" and len(parts) > 5 else parts[3]
    return missing_kind(plural, group, version)


def missing_kind(plural: str, group: str, version: str) -> NotFound:
    """Give the error that says which kind the API server does not serve, and what to do about it."""
    builtin = "." not in group or group.endswith(".k8s.io")
    hint = "use a newer cluster, or another hold" if builtin else f"install it: kubectl get crd {plural}.{group}"
    return NotFound(f"the API server does not serve {plural} of {group}/{version}", hint=hint)


def _too_many(where: str, answer: Mapping[str, Any], headers: Mapping[str, str], text: str) -> ApiError:
    details = answer.get("details") or {}
    causes = [str(cause.get("reason")) for cause in details.get("causes") or []]
    if "DisruptionBudget" in causes:
        why = "; ".join(str(cause.get("message")) for cause in details["causes"] if cause.get("message"))
        return EvictionBlocked(f"{text} {why}".strip(), hint="see: kubectl get poddisruptionbudgets -A")
    asked = headers.get("Retry-After") or details.get("retryAfterSeconds") or 1
    try:
        seconds = float(asked)
    except ValueError:  # an HTTP date: not what an API server sends
        seconds = 1.0
    return Throttled(f"the API server is too busy for {where}", hint="try again later", retry_after=seconds)
