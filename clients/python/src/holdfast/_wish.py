"""What `hold` and `acquire` are asked for, checked."""

from __future__ import annotations

import getpass
import math
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from holdfast.models import ReserveItem, TransactionMethod

Mode = Literal["all", "first", "any"]
METHODS: dict[str, TransactionMethod] = {"all": "ALL_OR_NONE", "first": "FIRST", "any": "AS_MANY_AS_POSSIBLE"}

# How long a ticket lives that nobody asks for, seconds: a client that was killed stands in others' way for so long. A held call keeps its
# ticket alive; longer than the pauses between calls that fail, and two of the replica's intervals.
KEEP_ALIVE = 15
# The longest default grace, seconds, and the share of the time to live that it is otherwise.
MOST_GRACE, GRACE_SHARE = 10.0, 6.0
# Loss is reported this share of the time to live before the deadline, for clocks do not run equally fast; and at least so long, seconds.
CLOCK_RATE_SHARE, LOSS_MARGIN = 100.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Where a wait stands."""

    resources: tuple[str, ...]
    """What is waited for."""
    explanation: str
    """The service's sentence."""
    place: int | None
    """1 is next."""
    holder: str | None
    """Who holds the first of it; None where nobody does, or for a group."""
    holder_expires_at: datetime | None
    expected_by: datetime | None
    """When it is served if every holder keeps it to the deadline."""


@dataclass(frozen=True, slots=True)
class Times:
    """The times of a lease, in seconds."""

    ttl: int
    grace: float

    @property
    def renewal_interval(self) -> float:
        """A third of the time to live."""
        return self.ttl / 3

    @property
    def renewal_timeout(self) -> float:
        """Of one attempt to renew: several fit between the first one and the loss."""
        return min(max(self.ttl / 10, 0.2), 3.0)

    @property
    def lost_after(self) -> float:
        """How long after a grant or renewal was sent the lease counts as lost where no other renewal succeeds."""
        return self.ttl - max(self.ttl / CLOCK_RATE_SHARE, LOSS_MARGIN) - self.grace


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted, checked."""

    items: tuple[ReserveItem, ...]
    method: TransactionMethod | None
    """None: the one item alone, without a transaction."""
    wait: float
    """Seconds; 0: not at all; infinite: until it is served."""
    priority: int | None
    keep_alive: int
    overtake: bool
    own_requester: bool
    """Whether the requester was made for this wish, so that whatever it holds is the wish's own."""
    times: Times
    on_waiting: Callable[[Waiting], Any] | None

    @property
    def resources(self) -> tuple[str, ...]:
        """The names that are wanted."""
        return tuple(item.resource for item in self.items)


def wish(
    resources: tuple[str, ...],
    *,
    ttl: int,
    wait: float | None,
    mode: Mode,
    requester: str | None,
    quantity: int | None,
    priority: int | None,
    note: str | None,
    resource_type: str | None,
    keep_alive: int,
    overtake: bool,
    grace: float | None,
    on_waiting: Callable[[Waiting], Any] | None,
) -> Wish:
    """Checks what a program asks for.

    Raises:
        ValueError: it cannot be meant; the message names the argument.
    """
    if not resources:
        raise ValueError("name at least one resource")
    if mode not in METHODS:
        raise ValueError(f"mode is {mode!r}; it is one of 'all', 'first' and 'any'")
    if ttl < 1 or ttl != int(ttl):
        raise ValueError(f"ttl is {ttl!r}; it is a whole number of seconds, 1 at least")
    if wait is not None and (wait < 0 or math.isnan(wait)):
        raise ValueError(f"wait is {wait!r}; it is a number of seconds, or math.inf")
    if quantity is not None and len(resources) > 1:
        raise ValueError("quantity goes with one resource, which is a pool")
    default_grace = min(MOST_GRACE, ttl / GRACE_SHARE)
    if grace is not None and not 0 <= grace <= ttl / 2:
        raise ValueError(
            f"grace is {grace!r}; it is a number of seconds, at most half of ttl, or no renewal could be tried twice"
        )
    holder = requester if requester is not None else unique_requester()
    return Wish(
        items=tuple(
            ReserveItem(
                resource=name,
                requester=holder,
                ttl=int(ttl),
                note=note,
                resource_type=resource_type,
                quantity=quantity,
            )
            for name in resources
        ),
        method=METHODS[mode] if len(resources) > 1 else None,
        wait=0.0 if wait is None else float(wait),
        priority=priority,
        keep_alive=keep_alive,
        overtake=overtake,
        own_requester=requester is None,
        times=Times(int(ttl), default_grace if grace is None else float(grace)),
        on_waiting=on_waiting,
    )


def unique_requester() -> str:
    """A requester that no other holder has: several threads may hold, and a container's process numbers come again."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}:{os.getpid()}-{secrets.token_hex(4)}"
