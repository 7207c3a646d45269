"""One call and its rules of retrying, without IO.

Whatever takes several steps is a generator that yields what is to be done (`Send`, `Pause`) and is sent what came of it. The two
clients drive the same generators, one with threads, one with asyncio (`_drive`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from holdfast._backoff import Backoff
from holdfast._clock import now
from holdfast._decode import decode
from holdfast.errors import (
    ApiError,
    HoldfastError,
    OutcomeUnknownError,
    UnexpectedAnswerError,
    UnreachableError,
    api_error,
)

# Timeout of one attempt, connection included, unless the call says otherwise, seconds.
ATTEMPT_TIMEOUT = 5.0
# Time for all attempts of a call together: a rolling restart of the service passes unseen, seconds.
CALL_TIMEOUT = 15.0
# Attempts while nothing accepts a connection: a service that is not there at all is reported within a second or two.
CONNECT_ATTEMPTS = 4
# A timeout of zero would be none, seconds.
SHORTEST_ATTEMPT = 0.001
# Of a call that ends by its timeout: a bound that its pauses never let it reach.
MOST_ATTEMPTS = 1_000_000
# Bounds of the pause between attempts, seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """What to send, and how patiently."""

    method: str
    path: str
    """Begins with ``/`` and is percent-encoded."""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    safe: bool = True
    """Whether carrying it out twice is the same as once. Where it is not, it is repeated only if nothing was carried out."""
    attempt_timeout: float = ATTEMPT_TIMEOUT
    timeout: float = CALL_TIMEOUT
    """Seconds for all attempts together."""
    connect_attempts: int = CONNECT_ATTEMPTS
    grace: float = 0.0
    """Seconds that an attempt under way goes on for once its task is cancelled: of a call that takes something, which what gives that back
    must not overtake."""

    def within(self, seconds: float) -> Call:
        """This call, with all its attempts within so many seconds; a service that is not there is asked until then."""
        return replace(self, timeout=seconds, connect_attempts=MOST_ATTEMPTS)

    def content(self) -> bytes | None:
        """The body as it is sent."""
        return None if self.body is None else json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()


# --- steps, and what comes of them


@dataclass(frozen=True, slots=True)
class Send:
    """Make one attempt."""

    call: Call
    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The whole answer came."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer, or not a whole one."""

    url: str
    reason: str
    sent: bool
    """Whether something may have been sent, so that the call may have been carried out."""
    cause: BaseException | None = None


Step = Send | Pause
Attempt = Answered | Unanswered
T = TypeVar("T")
Flow = Generator[Step, Attempt | None, T]


def pause(seconds: float) -> Flow[None]:
    """Does nothing for a while."""
    yield Pause(seconds)


# --- the answer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer below 400."""

    sent: float
    """When the answered attempt was sent, on our clock: what it granted began then or later."""
    repeated: bool
    """Whether an earlier attempt may have been carried out, so that this answer may show its effect."""
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body; None where it is empty.

        Raises:
            UnexpectedAnswerError: it is no JSON.
        """
        return self.read(lambda body: body)

    def one(self, kind: type[T]) -> T:
        """The body as one object."""
        return self.read(lambda body: decode(kind, body))

    def many(self, kind: type[T]) -> list[T]:
        """The body as a list of objects."""
        return self.read(lambda body: [decode(kind, item) for item in body])

    def read(self, convert: Callable[[Any], T]) -> T:
        """The body, converted.

        Raises:
            UnexpectedAnswerError: it is no JSON, or not of that shape.
        """
        try:
            return convert(json.loads(self.body) if self.body else None)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnexpectedAnswerError(f"{self.url} gave an answer that is none of Holdfast's: {error!r}") from error


def send(call: Call) -> Flow[Reply]:
    """Makes a call, again where that is safe and useful: no connection, no answer, 502, 503, 504, or the rate's 429.

    Pauses grow with jitter, and are never shorter than the service's ``Retry-After``.

    Raises:
        HoldfastError: of several attempts, what the last one ran into; `OutcomeUnknownError` if any may have been carried out.
    """
    end = now() + call.timeout
    backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    unsent, uncertain = 0, False
    while True:
        sent, asked_pause = now(), 0.0
        attempt = yield Send(call, max(min(call.attempt_timeout, end - sent), SHORTEST_ATTEMPT))
        failure: HoldfastError
        if isinstance(attempt, Answered):
            if 200 <= attempt.status < 300:
                return Reply(sent, uncertain, attempt.url, attempt.headers, attempt.body)
            failure = refusal(attempt)
            if not isinstance(failure, ApiError):
                raise failure
            nothing_changed = attempt.status < 500 or attempt.status == 503
            uncertain = uncertain or not nothing_changed
            again = failure.is_temporary and attempt.status != 500 and (call.safe or nothing_changed)
            asked_pause = failure.retry_after or 0.0
            if attempt.status >= 500 and attempt.status != 500 and uncertain:
                failure = _chained(
                    OutcomeUnknownError(f"{attempt.url}: {failure}; whether it was carried out is unknown"), failure
                )
        else:
            assert attempt is not None, "an attempt has an outcome"
            uncertain = uncertain or attempt.sent
            unsent += not attempt.sent
            again = call.safe if attempt.sent else unsent < call.connect_attempts
            failure = _unanswered(attempt, uncertain)
        seconds = max(backoff.pause(), asked_pause)
        if not again or seconds >= end - now():
            raise failure
        yield Pause(seconds)


def refusal(answer: Answered) -> HoldfastError:
    """The exception for an answer that is no success."""
    if answer.status < 400:
        reason = (
            f"a redirection to {answer.headers.get('location')}" if answer.status >= 300 else f"status {answer.status}"
        )
        return UnexpectedAnswerError(f"{answer.url} gave an answer that is none of Holdfast's: {reason}")
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    return api_error(answer.status, body, _seconds(answer.headers.get("retry-after")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None


def _unanswered(attempt: Unanswered, uncertain: bool) -> HoldfastError:
    if uncertain:
        error: HoldfastError = OutcomeUnknownError(
            f"{attempt.url} gave no answer: {attempt.reason}; whether the call was carried out is unknown"
        )
    else:
        error = UnreachableError(f"{attempt.url} is not reached: {attempt.reason}")
    return _chained(error, attempt.cause)


def _chained(error: HoldfastError, cause: BaseException | None) -> HoldfastError:
    error.__cause__ = cause
    return error
