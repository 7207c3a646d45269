"""Renewing what is held, without IO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast import _api
from holdfast._call import Flow, send
from holdfast._wish import Times
from holdfast.errors import HoldfastError, InvalidReleaseTokenError, UnexpectedAnswerError
from holdfast.models import Releasable, RenewResult

# Bounds of the pause between attempts to renew that failed, seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Renewed:
    """Everything is held for the whole time to live from `sent` on."""

    sent: float
    results: tuple[RenewResult, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """Something is not held any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The service did not answer, or refused for a reason that is no loss: the lease goes on until its deadline."""

    error: HoldfastError


Renewal = Renewed | Lost | Failed


def renewal(held: Sequence[Releasable], times: Times, timeout: float | None = None) -> Flow[Renewal]:
    """Renews once; all attempts end within `timeout` seconds, that of the times without it."""
    timeout = times.renewal_timeout if timeout is None else timeout
    try:
        reply = yield from send(_api.renew_call(held, times.ttl).within(timeout))
        results = tuple(reply.many(RenewResult))
    except InvalidReleaseTokenError:
        return Lost("it was reserved anew under the same requester")
    except HoldfastError as error:
        return Failed(error)
    for result in results:
        if result.status == "NOT_RESERVED":
            return Lost(f"{result.resource} was ended by somebody else, or has expired")
        if result.status != "RENEWED":
            return Lost(f"{result.resource}: {result.explanation}")
    if len(results) != len(held):
        return Failed(UnexpectedAnswerError(f"{reply.url} gave {len(results)} results of {len(held)} renewals"))
    return Renewed(reply.sent, results)
