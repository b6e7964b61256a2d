"""What can go wrong between the engine and the cluster, told apart by what may be done about it.

::

    SeimigrateError             what happened, to which object, why, and the next command to type
    ├── UsageError              the words of the command are off: nothing was tried
    ├── LockedByAnother         somebody else's run holds the lock, or took ours over
    └── ApiError                the API server said no, or nothing at all
        ├── NotFound            the object, or its whole kind, is not there
        ├── Conflict            it is not what we thought: look again, decide again
        ├── Denied              an admission policy refused the write
        ├── Forbidden           RBAC refused it: the rule that is missing is named
        ├── Unauthorized        the credentials are not valid (any more)
        ├── Refused             an eviction that a disruption budget does not allow now
        ├── Invalid             the API server cannot make sense of the request
        └── Unreachable         no answer: it may or may not have happened
"""

from __future__ import annotations


class SeimigrateError(Exception):
    """Tell a person what happened; ``hint`` is the next command to type or thing to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SeimigrateError):
    """The words of the command are off."""


class LockHeld(SeimigrateError):
    """Somebody else's run holds the lock, or has taken ours over."""


class ApiError(SeimigrateError):
    """The API server refused a request, or did not answer."""


class NotFound(ApiError):
    """The object, or its whole kind, is not there."""


class Conflict(ApiError):
    """The object is not what we thought: a failed test or precondition, or another resourceVersion."""


class Denied(ApiError):
    """An admission policy refused the write; the message is the policy's."""


class Forbidden(ApiError):
    """RBAC refused the request; the hint names the missing rule."""


class Unauthorized(ApiError):
    """The API server does not accept our credentials."""


class EvictionBlocked(ApiError):
    """A disruption budget does not allow the eviction now."""


class Invalid(ApiError):
    """The API server cannot make sense of the request."""


class Unreachable(ApiError):
    """There was no answer: the request may or may not have been carried out."""
