"""Why a call gave no answer, why something was not acquired, and that a lease was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast._decode import as_list, as_object

if TYPE_CHECKING:
    from holdfast.models import ReserveResult

__all__ = [
    "ApiError",
    "ConflictError",
    "DeadlockError",
    "ErrorDetail",
    "ForbiddenError",
    "HoldfastError",
    "InvalidReleaseTokenError",
    "InvalidRequestError",
    "LeaseLostError",
    "NotAcquiredError",
    "NotFoundError",
    "OutcomeUnknownError",
    "RateLimitedError",
    "TooMuchWorkError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "WaitTimeoutError",
]


class HoldfastError(Exception):
    """The base of every exception of this package."""


class UnreachableError(HoldfastError, ConnectionError):
    """The service was not reached: nothing changed."""


class OutcomeUnknownError(HoldfastError):
    """Sent, and no answer in time, also when asked again: whether the call was carried out is unknown.

    `__cause__` is the service's own word (`ApiError` with status 504) where it gave one.
    """


class UnexpectedAnswerError(HoldfastError):
    """The answer is not what the contract promises: another service answers there, or there is a bug."""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One fault of a request."""

    path: str
    """Where, such as ``[3].ttlSeconds``."""
    message: str


class ApiError(HoldfastError):
    """The service refused the call: nothing changed. Subclasses stand for the codes that programs tell apart."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[ErrorDetail] = (),
        limit_type: str | None = None,
        limit: int | None = None,
        tier: str | None = None,
        upgrade_required: bool = False,
        retry_after: float | None = None,
    ) -> None:
        faults = "".join(f"\n  {detail.path} {detail.message}" for detail in details)
        super().__init__(f"{message.rstrip('.')} ({code}){faults}")
        self.status = status
        """The HTTP status, 400 or greater."""
        self.code = code
        """The error's code, such as ``RATE_LIMITED``; the status as text where the body is not Holdfast's."""
        self.message = message
        """What a person reads."""
        self.details = tuple(details)
        """Each fault of the request."""
        self.limit_type = limit_type
        """Of `RateLimitedError`: which limit, such as ``RequestRate``."""
        self.limit = limit
        self.tier = tier
        self.upgrade_required = upgrade_required
        """Whether a higher tier allows more."""
        self.retry_after = retry_after
        """How long the service asks to wait, in seconds."""

    @property
    def is_temporary(self) -> bool:
        """Whether the same call may succeed later without a change on this side."""
        if self.status == 429:
            return self.limit_type == "RequestRate"
        return self.status >= 500


class InvalidRequestError(ApiError, ValueError):
    """The request has faults (``VALIDATION_ERROR``); `details` names each."""


class UnauthorizedError(ApiError):
    """No credential, or an unknown, revoked or expired one."""


class ForbiddenError(ApiError):
    """A credential that may not do this: scope, tier, another site."""


class InvalidReleaseTokenError(ApiError):
    """A wrong or missing release token for something that this requester holds."""


class NotFoundError(ApiError):
    """There is no such thing in this tenant."""


class ConflictError(ApiError):
    """The state forbids it, such as deleting a resource that is held."""


class TooMuchWorkError(ApiError):
    """The call would take more steps than one call may: ask for less at once."""


class RateLimitedError(ApiError):
    """A limit of the tenant's tier is reached; `limit_type` names it."""


class UnavailableError(ApiError):
    """The service is away for now (503): nothing changed."""


class NotAcquiredError(HoldfastError):
    """What was wanted is held by others, cannot be had at all, or is held by the same requester already."""

    def __init__(self, message: str, results: Sequence[ReserveResult]) -> None:
        super().__init__(message)
        self.results = tuple(results)
        """The last answer, an item per wanted resource; of a transaction that waited it may be empty."""


class WaitTimeoutError(NotAcquiredError, TimeoutError):
    """It was waited for in vain."""


class DeadlockError(NotAcquiredError):
    """Waiting would close a circle of requesters who wait for each other; nothing is queued."""


class LeaseLostError(HoldfastError):
    """The lease was lost while it was needed: from here on somebody else may have it. `reason` says how."""

    def __init__(self, resources: Sequence[str], reason: str) -> None:
        super().__init__(f"the lease on {', '.join(resources)} is lost: {reason}")
        self.resources = tuple(resources)
        self.reason = reason


_BY_CODE: Mapping[str, type[ApiError]] = {
    "VALIDATION_ERROR": InvalidRequestError,
    "UNAUTHORIZED": UnauthorizedError,
    "FORBIDDEN": ForbiddenError,
    "INVALID_RELEASE_TOKEN": InvalidReleaseTokenError,
    "NOT_FOUND": NotFoundError,
    "CONFLICT": ConflictError,
    "TOO_MUCH_WORK": TooMuchWorkError,
    "RATE_LIMITED": RateLimitedError,
    "UNAVAILABLE": UnavailableError,
}


def api_error(status: int, body: Any, retry_after: float | None) -> ApiError:
    """Reads an error body; of what is none the status alone is known."""
    whole = as_object(body)
    error = as_object(whole.get("error"))
    details = [as_object(detail) for detail in as_list(error.get("details"))]
    # 502 is a proxy's word for a service that is away.
    kind = _BY_CODE.get(str(error.get("code")), UnavailableError if status in (502, 503) else ApiError)
    return kind(
        status,
        str(error.get("code", status)),
        str(error.get("message", f"the service answered {status}")),
        details=[ErrorDetail(str(one.get("path", "")), str(one.get("message", ""))) for one in details],
        limit_type=whole.get("limitType"),
        limit=whole.get("limit"),
        tier=whole.get("tier"),
        upgrade_required=bool(whole.get("upgradeRequired", False)),
        retry_after=retry_after,
    )
