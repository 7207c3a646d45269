"""What happens, as the event stream carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from holdfast._decode import as_object, decode

__all__ = ["Event", "EventChange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventChange:
    """One item of a transaction's event."""

    resource: str
    requester: str
    request_type: Literal["RESERVE", "UNRESERVE"]
    explanation: str
    fencing_token: int | None = None
    expires_at: datetime | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event: of a reservation, or published by the tenant's own platform.

    The fields are those of reservation events, None where they do not apply; `data` has everything as it came.
    """

    type: str
    """``RESERVED``, ``UNRESERVED``, ``RENEWED``, ``RESERVATION_EXPIRED``, ``TRANSACTION_APPLIED``, ``WAITING``, ``WAIT_ENDED``, ``RESET``;
    live only ``RESERVE_FAILED``, ``UNRESERVE_FAILED``, ``TRANSACTION_ROLLED_BACK``, ``TIER_LIMIT_REACHED``; ``RESET_CURSOR``; or a type
    of the tenant's own."""
    position: int | None = None
    """Where it stands in the tenant's order, and what another stream resumes from. None for what is live only."""
    data: Any = field(default=None, repr=False)
    """The data, as JSON."""
    resource: str | None = None
    """The physical name: of a pool, the slot's."""
    requester: str | None = None
    explanation: str | None = None
    """One word, such as ``EXPIRED``."""
    reason: str | None = None
    """A sentence, where the word is not enough; of ``RESET_CURSOR`` ``unknown``, ``too_old`` or ``lost``."""
    fencing_token: int | None = None
    expires_at: datetime | None = None
    timestamp: datetime | None = None
    pool: str | None = None
    slots: tuple[str, ...] | None = None
    note: str | None = None
    ticket: str | None = None
    waited_ms: int | None = None
    changes: tuple[EventChange, ...] | None = None
    """Of a transaction: an item each."""
    as_of: int | None = None
    """Of ``RESET_CURSOR``: the position from which the stream goes on."""

    @property
    def is_reset(self) -> bool:
        """Whether events were missed, because the position was too old or unknown: read state anew, then go on with the stream."""
        return self.type == "RESET_CURSOR"

    @staticmethod
    def parse(kind: str, position: str | None, data: Any) -> Event:
        """An event from its frame."""
        known = as_object(data) if kind.isupper() else {}
        fields: dict[str, Any] = {"type": kind, "data": data, "position": None if position is None else int(position)}
        return decode(Event, {**known, **fields})
