"""What is known of a lease, for threads and for asyncio."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import datetime

from holdfast import _api
from holdfast._acquire import Granted
from holdfast._call import Flow, send
from holdfast._clock import now
from holdfast._renew import Lost, Renewal, Renewed
from holdfast._wish import Times
from holdfast.errors import HoldfastError, InvalidReleaseTokenError, LeaseLostError
from holdfast.models import ReleaseResult, ReserveResult

# Time for giving back, seconds; where it does not suffice the reservation ends by itself. Less where it counts as lost already: then it is
# the service that is away, and the program waits to hear of the loss.
RELEASE_TIMEOUT, LOST_RELEASE_TIMEOUT = 5.0, 1.0
LOST_AT_RELEASE = "it was lost before it was given back: somebody else may have held it meanwhile"


class LeaseState:
    """When a lease counts as lost. Once lost it stays so, whatever answers still come."""

    def __init__(self, granted: Granted, times: Times) -> None:
        self.times = times
        self.results = granted.results
        self.owner = os.getpid()
        """The process that renews it: a fork has no such thread, and must not give it back either."""
        # Reentrant: the garbage collector may end a lease while this thread looks at it.
        self._lock = threading.RLock()
        self._sent = granted.sent
        self._expires_at: dict[str, datetime | None] = {
            result.resource: result.expires_at for result in granted.results
        }
        self._waiting: int | None = None
        self._reason: str | None = None
        self._released = False

    @property
    def loss_at(self) -> float:
        """When it counts as lost unless it is renewed, on our clock: counted from before the last renewal was sent."""
        return self._sent + self.times.lost_after

    @property
    def renewal_at(self) -> float:
        """When the next renewal is due, on our clock."""
        return self._sent + self.times.renewal_interval

    @property
    def expires_at(self) -> datetime | None:
        ends = [end for end in self._expires_at.values() if end is not None]
        return min(ends, default=None)

    @property
    def waiting(self) -> int | None:
        return self._waiting

    @property
    def released(self) -> bool:
        return self._released

    def loss(self) -> str | None:
        """Why it is lost; None while it is held. Exact at any instant: it looks at the clock."""
        with self._lock:
            if self._reason is None and not self._released and now() >= self.loss_at:
                self._reason = "it could not be renewed in time"
            return self._reason

    def take(self, renewal: Renewal) -> None:
        """Notes the outcome of a renewal."""
        with self._lock:
            if self._reason is not None or self._released:
                return
            if isinstance(renewal, Lost):
                self._reason = renewal.reason
            elif isinstance(renewal, Renewed) and now() < self.loss_at:
                self._sent = max(self._sent, renewal.sent)
                self._expires_at = {result.resource: result.expires_at for result in renewal.results}
                counts = [result.waiting for result in renewal.results if result.waiting is not None]
                self._waiting = sum(counts) if counts else None

    def release(self) -> bool:
        """Ends it on this side; whether it was not ended before."""
        with self._lock:
            was, self._released = self._released, True
            return not was

    def lose(self, reason: str) -> None:
        """Notes at the end that it had been lost before."""
        with self._lock:
            self._reason = self._reason or reason


def giving_back(state: LeaseState, was_lost: str | None) -> Flow[list[ReleaseResult]]:
    """Gives back on the service.

    Raises:
        LeaseLostError: it was not held any more, or counted as lost.
        HoldfastError: the service did not answer in time: it ends by itself.
    """
    names = [result.resource for result in state.results]
    timeout = RELEASE_TIMEOUT if was_lost is None else LOST_RELEASE_TIMEOUT
    try:
        reply = yield from send(_api.release_call(state.results).within(timeout))
        results = reply.many(ReleaseResult)
        # A repeated call may find what an earlier attempt has released.
        lost = not reply.repeated and any(result.status != "RELINQUISHED" for result in results)
    except InvalidReleaseTokenError:
        results, lost = [], True
    except HoldfastError as error:
        if was_lost is None:
            raise
        raise LeaseLostError(names, was_lost) from error
    if lost:
        state.lose(LOST_AT_RELEASE)
    reason = was_lost or (LOST_AT_RELEASE if lost else None)
    if reason is not None:
        raise LeaseLostError(names, reason)
    return results


class LeaseView:
    """What a holder sees of its lease."""

    _state: LeaseState

    @property
    def reservations(self) -> tuple[ReserveResult, ...]:
        """What is held, as it was granted: an item per resource."""
        return self._state.results

    @property
    def resource(self) -> str:
        """The name that is held, the first of several."""
        return self._state.results[0].resource

    @property
    def resources(self) -> tuple[str, ...]:
        """The names that are held; of ``mode="first"`` and ``"any"`` those that were free."""
        return tuple(result.resource for result in self._state.results)

    @property
    def requester(self) -> str:
        """Who holds it, as others see it."""
        return self._state.results[0].requester

    @property
    def fence(self) -> int:
        """The fencing token of the grant, the greatest of several: let what you protect refuse a lower one than it has seen."""
        return max(result.fencing_token or 0 for result in self._state.results)

    @property
    def fences(self) -> Mapping[str, int]:
        """The fencing token of each name."""
        return {result.resource: result.fencing_token or 0 for result in self._state.results}

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that are held of pools."""
        return tuple(slot for result in self._state.results for slot in result.slots or ())

    @property
    def slot(self) -> str | None:
        """The first of `slots`."""
        return next(iter(self.slots), None)

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself unless it is renewed again, on the service's clock; of several names the earliest."""
        return self._state.expires_at

    @property
    def waiting(self) -> int | None:
        """How many others waited for it at the last renewal; None before the first."""
        return self._state.waiting

    @property
    def remaining(self) -> float:
        """Seconds until it counts as lost unless it is renewed again; 0 once it is lost."""
        return 0.0 if self.lost else max(self._state.loss_at - now(), 0.0)

    @property
    def lost(self) -> bool:
        """Whether it is lost. It says so the grace before anybody else can have it, and it is exact whenever it is asked: also right
        after the process or the machine was paused, before any callback could run."""
        return self._state.loss() is not None

    @property
    def lost_reason(self) -> str | None:
        """Why it is lost; None while it is held."""
        return self._state.loss()

    def raise_if_lost(self) -> None:
        """To be called before each step that must not be done twice.

        Raises:
            LeaseLostError: it is lost.
        """
        reason = self._state.loss()
        if reason is not None:
            raise LeaseLostError(self.resources, reason)

    def __repr__(self) -> str:
        state = "lost" if self.lost else "released" if self._state.released else "held"
        return f"<{type(self).__name__} of {', '.join(self.resources)}, fence {self.fence}, {state}>"
