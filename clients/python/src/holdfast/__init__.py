"""Client of Holdfast: named things reserved over HTTP, waited for in a fair queue, held with a fencing token, seen as events.

    import holdfast

    client = holdfast.Client("http://127.0.0.1:8080", "hf_live_...")
    with client.hold("db-migration", ttl=30, wait=300) as lease:
        migrate(fence=lease.fence)

`Client` is for threads, `AsyncClient` for asyncio; both have the same calls.
"""

from holdfast._stream import AsyncEventStream, EventStream
from holdfast._version import VERSION as __version__
from holdfast._wish import Waiting
from holdfast.aio_client import AsyncClient
from holdfast.aio_lease import AsyncHold, AsyncLease
from holdfast.client import Client
from holdfast.errors import (
    ApiError,
    ConflictError,
    DeadlockError,
    ErrorDetail,
    ForbiddenError,
    HoldfastError,
    InvalidReleaseTokenError,
    InvalidRequestError,
    LeaseLostError,
    NotAcquiredError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    TooMuchWorkError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    WaitTimeoutError,
)
from holdfast.events import Event, EventChange
from holdfast.lease import Hold, Lease
from holdfast.models import (
    ActiveReservation,
    CheckResult,
    Definition,
    FenceResult,
    Listing,
    Page,
    Plan,
    Releasable,
    ReleaseItem,
    ReleaseResult,
    RenewResult,
    ReserveItem,
    ReserveResult,
    Resource,
    Ticket,
    Transaction,
    TransactionResult,
    WaitingTicket,
)

__all__ = [
    "ActiveReservation",
    "ApiError",
    "AsyncClient",
    "AsyncEventStream",
    "AsyncHold",
    "AsyncLease",
    "CheckResult",
    "Client",
    "ConflictError",
    "DeadlockError",
    "Definition",
    "ErrorDetail",
    "Event",
    "EventChange",
    "EventStream",
    "FenceResult",
    "ForbiddenError",
    "Hold",
    "HoldfastError",
    "InvalidReleaseTokenError",
    "InvalidRequestError",
    "Lease",
    "LeaseLostError",
    "Listing",
    "NotAcquiredError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Page",
    "Plan",
    "RateLimitedError",
    "Releasable",
    "ReleaseItem",
    "ReleaseResult",
    "RenewResult",
    "ReserveItem",
    "ReserveResult",
    "Resource",
    "Ticket",
    "TooMuchWorkError",
    "Transaction",
    "TransactionResult",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "WaitTimeoutError",
    "Waiting",
    "WaitingTicket",
    "__version__",
]
