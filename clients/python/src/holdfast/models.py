"""What the calls take and what they answer. Written by hand, so that names and types are Python's; fields that a later version of
the service adds are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

__all__ = [
    "ActiveReservation",
    "CheckResult",
    "Definition",
    "FenceResult",
    "Listing",
    "Page",
    "Plan",
    "ReleaseItem",
    "ReleaseResult",
    "Releasable",
    "RenewResult",
    "ReserveItem",
    "ReserveResult",
    "Resource",
    "Ticket",
    "Transaction",
    "TransactionResult",
    "WaitingTicket",
]

ReserveStatus = Literal[
    "ACQUIRED",
    "ALREADY_HAD",
    "ALREADY_HELD",
    "NOT_AVAILABLE",
    "NOT_VALID",
    "WAITING",
    "WOULD_DEADLOCK",
    "SKIPPED",
    "ROLLED_BACK",
]
ReleaseStatus = Literal["RELINQUISHED", "NOT_RESERVED", "DOESNT_OWN_RESERVATION", "SKIPPED", "ROLLED_BACK"]
RenewStatus = Literal["RENEWED", "NOT_RESERVED", "DOESNT_OWN_RESERVATION"]
TransactionMethod = Literal["ALL_OR_NONE", "AS_MANY_AS_POSSIBLE", "FIRST"]
TransactionStatus = Literal["APPLIED", "ROLLED_BACK", "WAITING", "WOULD_DEADLOCK"]
TicketStatus = Literal["WAITING", "ACQUIRED", "TIMED_OUT", "CANCELLED", "LAPSED"]

Row = TypeVar("Row")


# --- what is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveItem:
    """One resource that one requester wants."""

    resource: str
    """1 to 1,024 bytes; it need not be registered."""
    requester: str
    """Who wants it, unique per holder: 1 to 1,024 bytes."""
    ttl: int | None = field(default=None, metadata={"wire": "ttlSeconds"})
    """Time to live in seconds; without it, it is held until it is released, or for the tenant's default."""
    resource_type: str | None = None
    note: str | None = None
    """Shown wherever the holder is shown; at most 1,024 bytes."""
    quantity: int | None = None
    """Slots of a pool, all or none, under one token and fence."""
    wait: int | None = field(default=None, metadata={"wire": "waitSeconds"})
    """Seconds to wait, 1 to 86,400, where it cannot be had now: then it is ``WAITING``, with a ticket."""
    priority: int | None = None
    """Of a wait: -1,000 to 1,000, greater is served first."""
    keep_alive: int | None = field(default=None, metadata={"wire": "keepAliveSeconds"})
    """Of a wait: seconds for which the ticket lives while nobody asks for it, 5 to 3,600; 30 without it."""


class Releasable(Protocol):
    """What can be released and renewed: a `ReserveResult` that was acquired, or a `ReleaseItem`."""

    @property
    def resource(self) -> str: ...
    @property
    def requester(self) -> str: ...
    @property
    def release_token(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseItem:
    """A reservation, as its holder proves it."""

    resource: str
    requester: str
    release_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Several resources in one atomic step: `reserve` or `release`, one of the two."""

    method: TransactionMethod = "ALL_OR_NONE"
    reserve: Sequence[ReserveItem] = ()
    """Without waiting of their own."""
    release: Sequence[Releasable] = ()
    wait: int | None = None
    """Seconds to wait, 1 to 86,400, where it would be rolled back."""
    priority: int | None = None
    keep_alive: int | None = None
    overtake: bool | None = None
    """While it waits, keep nothing of it for itself: others may pass until all of it is free at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A resource as it is registered."""

    name: str
    capacity: int = 1
    """More than 1: a pool of so many slots."""
    blocks: tuple[str, ...] = ()
    """What is taken along with it."""
    tree_path: str | None = None
    """What stands above it, from the root on, with ``>`` between."""


# --- what is answered


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveResult:
    """What became of one wanted resource."""

    resource: str
    requester: str
    status: ReserveStatus
    explanation: str
    """The status word, or a sentence that a person can act on."""
    release_token: str | None = None
    """Proves the holder at release and renewal."""
    expires_at: datetime | None = None
    acquired_slots: Mapping[str, str] | None = None
    """Of a pool: its name and the slot that was taken; of several, the first."""
    slots: tuple[str, ...] | None = None
    """Of a pool: every slot that was taken."""
    acquired_blockers: tuple[str, ...] | None = None
    reserved_at_path: str | None = None
    fencing_token: int | None = None
    """Grows with every grant of the tenant: let what you protect refuse a lower one than it has seen."""
    holder: str | None = None
    holder_expires_at: datetime | None = None
    ticket: str | None = None
    """Of ``WAITING``."""
    place: int | None = None
    """Of ``WAITING``: 1 is next."""
    wait_expires_at: datetime | None = None
    expected_by: datetime | None = None
    """Of ``WAITING``: when it is served if every holder keeps it to the deadline; None where one has none."""

    @property
    def is_held(self) -> bool:
        """Whether the requester holds it now."""
        return self.status in ("ACQUIRED", "ALREADY_HAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """What became of one release."""

    resource: str
    requester: str
    status: ReleaseStatus
    explanation: str
    released: tuple[str, ...] = ()
    """Every physical resource that was freed: slots, and blockers taken along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewResult:
    """What became of one renewal."""

    resource: str
    requester: str
    status: RenewStatus
    explanation: str
    expires_at: datetime | None = None
    fencing_token: int | None = None
    waiting: int | None = None
    """How many tickets want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionResult:
    """What became of one transaction."""

    method: TransactionMethod
    request_type: Literal["RESERVE", "UNRESERVE"]
    status: TransactionStatus
    explanation: str
    reserved: tuple[ReserveResult, ...] = ()
    """Of a transaction that reserves: an item each; none while it waits."""
    released: tuple[ReleaseResult, ...] = ()
    """Of a transaction that releases: an item each."""
    ticket: str | None = None
    place: int | None = None
    wait_expires_at: datetime | None = None
    expected_by: datetime | None = None

    @staticmethod
    def prepare_wire(body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The wire has one field for both kinds of results."""
        field_name = "reserved" if body.get("requestType") == "RESERVE" else "released"
        return {**body, field_name: body.get("results")}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Who holds a resource."""

    resource: str
    is_reserved: bool
    """Held; of a pool: every slot is."""
    is_available: bool
    """Whether a stranger could take it now."""
    capacity: int
    available: int
    """Slots that are free."""
    holder: str | None = None
    expires_at: datetime | None = None
    note: str | None = None
    waiting: int | None = None
    """How many tickets want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveReservation:
    """A reservation, as the listing shows it: never with its release token."""

    resource: str
    requester: str
    reserved_at: datetime
    resource_type: str
    fencing_token: int
    expires_at: datetime | None = None
    api_key_label: str | None = None
    note: str | None = None
    pool: str | None = None
    reserved_at_path: str | None = None
    blockers: tuple[str, ...] | None = None
    blocker_of: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingTicket:
    """A ticket in line, as the listing shows it."""

    ticket: str
    requester: str
    resources: tuple[str, ...]
    priority: int
    place: int
    since: datetime
    wait_expires_at: datetime
    method: TransactionMethod | None = None
    expected_by: datetime | None = None
    note: str | None = None
    api_key_label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A ticket and what became of it."""

    ticket: str
    status: TicketStatus
    since: datetime
    waited_ms: int
    priority: int
    resources: tuple[str, ...]
    requester: str | None = None
    place: int | None = None
    expected_by: datetime | None = None
    wait_expires_at: datetime | None = None
    reservation: ReserveResult | None = None
    """What an item of reserve was served with, token included."""
    transaction: TransactionResult | None = None
    """What a transaction was served with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A registered resource."""

    name: str
    capacity: int
    blocks: tuple[str, ...] = ()
    tree_path: str | None = None
    slots: tuple[str, ...] | None = None
    """Of a pool of up to 1,000."""
    ancestors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceResult:
    """Whether a fencing token is the current grant's."""

    valid: bool
    current_fencing_token: int | None = None
    """None where it is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """One page of a listing."""

    rows: tuple[Row, ...]
    as_of: int | None
    """The tenant's position: an event stream from here on continues what the first page shows."""
    next_cursor: str | None
    """None at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Sequence[Row]):
    """A whole listing: a sequence of its rows."""

    rows: tuple[Row, ...]
    as_of: int | None
    """The tenant's position of the first page: an event stream from here on continues what the listing shows."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The difference between definitions and what is registered."""

    created: tuple[Definition, ...]
    changed: tuple[tuple[Definition, Definition], ...]
    """What is registered, and what is wanted."""
    deleted: tuple[str, ...]
    """Children before their parents, as deleting needs it."""
    unchanged: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return not (self.created or self.changed or self.deleted)
