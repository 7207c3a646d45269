"""Reserving with patience, in the service's queue, without IO: the flows behind `hold` and `acquire`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast import _api
from holdfast._backoff import Backoff
from holdfast._call import Call, Flow, Pause, Reply, send
from holdfast._clock import now
from holdfast._renew import Lost, Renewed, renewal
from holdfast._wish import Waiting, Wish
from holdfast.errors import (
    ApiError,
    ConflictError,
    DeadlockError,
    HoldfastError,
    NotAcquiredError,
    NotFoundError,
    OutcomeUnknownError,
    UnexpectedAnswerError,
    UnreachableError,
    WaitTimeoutError,
)
from holdfast.models import Releasable, ReserveResult, Ticket, Transaction, TransactionResult

# How long the service is asked to hold an answer back, seconds: long enough to cost little, short enough that the place that is reported
# is of now.
HOLD = 20.0
# The longest wait that one call may ask for, seconds; who waits longer asks again and keeps the place.
MOST_WAIT = 86_400
# Bounds of the pause between calls that fail, seconds. What its ticket gets meanwhile stands idle until it asks again.
FIRST_RETRY, LONGEST_RETRY = 0.1, 1.0
# Time for the renewal that makes the deadline known, seconds: there is none yet to keep.
FIRST_RENEWAL_TIMEOUT = 5.0
# Time for each step of giving up, seconds: whoever waits is about to leave, and tickets lapse by themselves.
ABANDON_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Granted:
    """What is held, and since when at the earliest its time to live counts."""

    results: tuple[ReserveResult, ...]
    sent: float


@dataclass(slots=True)
class _Answer:
    """One answer, in one form for single items and transactions."""

    results: tuple[ReserveResult, ...]
    complete: bool
    """Whether all that was wanted is held: the item, or the transaction as it is applied."""
    sent: float
    fresh: bool = False
    """Whether what is held was taken by this very call, so that its time to live began after `sent`."""
    had_before: bool = False
    """Whether something was held by the same requester before the first call."""
    tickets: tuple[str, ...] = ()
    place: int | None = None
    explanation: str = ""
    deadlock: bool = False
    waiting: Waiting | None = None

    @property
    def held(self) -> tuple[ReserveResult, ...]:
        return tuple(result for result in self.results if result.is_held)


def granted(wish: Wish) -> Flow[Granted]:
    """Waits and reserves. Where the time to live did not begin with the last call it is renewed, so that the deadline is known.

    Raises:
        NotAcquiredError: it is held by others; `WaitTimeoutError`, `DeadlockError`: and was waited for.
        HoldfastError: the first call failed, or one that asking again cannot mend.
    """
    until = now() + wish.wait
    while True:
        answer = yield from _acquired(wish, until)
        if answer.had_before or not answer.complete:
            raise _not_acquired(wish, answer)
        if answer.fresh:
            return Granted(answer.held, answer.sent)
        try:
            outcome = yield from renewal(answer.held, wish.times, FIRST_RENEWAL_TIMEOUT)
        except BaseException as error:
            if not isinstance(error, GeneratorExit):
                yield from _ignoring_failures(_release(answer.held))
            raise
        if isinstance(outcome, Renewed):
            ends = {result.resource: result.expires_at for result in outcome.results}
            renewed = (dataclasses.replace(result, expires_at=ends.get(result.resource)) for result in answer.held)
            return Granted(tuple(renewed), outcome.sent)
        if not isinstance(outcome, Lost):
            yield from _ignoring_failures(_release(answer.held))
            raise outcome.error
        # It lapsed on the way here: it is wanted as before.


def _not_acquired(wish: Wish, answer: _Answer) -> NotAcquiredError:
    if answer.had_before:
        name = next(result.resource for result in answer.held if result.status == "ALREADY_HAD")
        return NotAcquiredError(
            f"{name} is held by {wish.items[0].requester} already: a holder with the same requester is at work, or ended without "
            "giving back; leave requester out, or wait until it expires",
            answer.results,
        )
    refused = [result for result in answer.results if not result.is_held]
    sentences = dict.fromkeys(f"{result.resource}: {result.explanation}" for result in refused)
    text = "; ".join(sentences) or answer.explanation or "not acquired"
    if answer.deadlock:
        return DeadlockError(text, answer.results)
    return (WaitTimeoutError if wish.wait > 0 else NotAcquiredError)(text, answer.results)


def _acquired(wish: Wish, until: float) -> Flow[_Answer]:
    attempt = _Attempt(wish)
    try:
        return (yield from (attempt.queue(until) if wish.wait > 0 else attempt.once()))
    except HoldfastError:
        raise
    except BaseException as error:
        # Interrupted or cancelled, or a callback of the program failed: what a call under way got is given back.
        if not isinstance(error, GeneratorExit):
            yield from attempt.give_up()
        raise


class _Attempt:
    """What is known while acquiring."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.uncertain = False
        """Whether an earlier call may have taken something, so that ``ALREADY_HAD`` may be its work."""
        self.asking = False
        """Whether a call is under way that may take something."""
        self.tickets: tuple[str, ...] = ()
        """What waits in the service."""
        self.taken: tuple[ReserveResult, ...] = ()

    def once(self) -> Flow[_Answer]:
        """Asks once, without waiting."""
        return (yield from self.ask(0, 0.0))

    def queue(self, until: float) -> Flow[_Answer]:
        """Waits in the service's queue."""
        backoff = Backoff(FIRST_RETRY, LONGEST_RETRY)
        hold, asked = 0.0, False
        while True:
            left = max(until - now(), 0.0)
            try:
                answer = yield from self.ask(max(math.ceil(min(left, MOST_WAIT)), 1), min(hold, left))
            except HoldfastError as error:
                if not (asked and is_temporary(error) and left > 0):
                    raise
                yield Pause(min(backoff.pause(), left))
                continue
            asked = True
            backoff.reset()
            if not answer.tickets:
                return answer
            self.uncertain = True
            self.report(answer)
            left = until - now()
            if left <= 0:
                # Given up, so that it does not stand in others' way until it lapses.
                yield from self.abandon_tickets()
                return (yield from self.once())
            if left < 1:
                # Answers are held back for whole seconds.
                yield Pause(left)
                hold = 0.0
                continue
            hold = HOLD
            if self.wish.method is not None:
                try:
                    shown = yield from self.ask_ticket(answer.tickets[0], min(hold, left))
                except HoldfastError as error:
                    if not is_temporary(error):
                        raise
                    yield Pause(min(backoff.pause(), left))
                    continue
                if shown is ENDED:
                    return (yield from self.once())
                if shown is not None:
                    return shown
                hold = 0.0

    def ask(self, wait: int, hold: float) -> Flow[_Answer]:
        """Asks once; `wait` 0 does not wait."""
        self.asking = True
        try:
            # An answer that is held back is not waited for: its ticket is cancelled.
            grace = ABANDON_TIMEOUT if hold == 0 else 0.0
            reply = yield from send(dataclasses.replace(self.call(wait, hold), grace=grace))
        except OutcomeUnknownError:
            self.uncertain = True
            raise
        answer = self.read(reply)
        self.asking, self.tickets = False, answer.tickets
        self.taken = () if answer.had_before else answer.held
        return answer

    def call(self, wait: int, hold: float) -> Call:
        wish, waits = self.wish, wait > 0
        limit, priority = (wait, wish.priority) if waits else (None, None)
        keep_alive = wish.keep_alive if waits else None
        if wish.method is None:
            waiting = [
                dataclasses.replace(item, wait=limit, priority=priority, keep_alive=keep_alive) for item in wish.items
            ]
            return _api.reserve_call(waiting, hold)
        transaction = Transaction(
            method=wish.method,
            reserve=wish.items,
            wait=limit,
            priority=priority,
            keep_alive=keep_alive,
            overtake=True if waits and wish.overtake else None,
        )
        return _api.transactions_call([transaction], hold)

    def read(self, reply: Reply) -> _Answer:
        """An answer in one form for single items and transactions."""
        if self.wish.method is None:
            results = tuple(reply.many(ReserveResult))
            if len(results) != len(self.wish.items):
                raise UnexpectedAnswerError(f"{reply.url} gave {len(results)} results of {len(self.wish.items)} items")
            first = next((result for result in results if result.status == "WAITING"), None)
            answer = _Answer(results, all(result.is_held for result in results), reply.sent)
            answer.deadlock = any(result.status == "WOULD_DEADLOCK" for result in results)
            place, expected_by = (first.place, first.expected_by) if first else (None, None)
            answer.tickets = tuple(result.ticket for result in results if result.status == "WAITING" and result.ticket)
        else:
            transactions = reply.many(TransactionResult)
            if len(transactions) != 1:
                raise UnexpectedAnswerError(f"{reply.url} gave {len(transactions)} results of one transaction")
            one = transactions[0]
            results = one.reserved
            answer = _Answer(results, one.status == "APPLIED", reply.sent, explanation=one.explanation)
            answer.deadlock = one.status == "WOULD_DEADLOCK"
            place, expected_by = one.place, one.expected_by
            answer.tickets = (one.ticket,) if one.status == "WAITING" and one.ticket else ()
        had = any(result.status == "ALREADY_HAD" for result in results)
        answer.fresh = not had and not self.uncertain
        answer.had_before = had and not self.uncertain and not reply.repeated
        if answer.tickets:
            refused = [result for result in results if not result.is_held]
            answer.waiting = Waiting(
                resources=tuple(result.resource for result in refused) or self.wish.resources,
                explanation=refused[0].explanation if refused else answer.explanation,
                place=place,
                holder=refused[0].holder if refused else None,
                holder_expires_at=refused[0].holder_expires_at if refused else None,
                expected_by=expected_by,
            )
        return answer

    def ask_ticket(self, name: str, hold: float) -> Flow[_Answer | None]:
        """Asks for the ticket of a transaction, which shows its result exactly. None where it waits, or is no more: asking anew keeps the
        place of a ticket that lives, and makes one where none does."""
        try:
            reply = yield from send(_api.ticket_call(name, hold))
        except NotFoundError:
            return None
        shown = reply.one(Ticket)
        if shown.status == "ACQUIRED" and shown.transaction is not None:
            one = shown.transaction
            return _Answer(one.reserved, one.status == "APPLIED", reply.sent, explanation=one.explanation)
        return ENDED if shown.status in ("TIMED_OUT", "CANCELLED") else None

    def report(self, answer: _Answer) -> None:
        if self.wish.on_waiting is not None and answer.waiting is not None:
            self.wish.on_waiting(answer.waiting)

    # --- giving up

    def give_up(self) -> Flow[None]:
        """Gives back what was got, and the tickets. What cannot be given back now ends by itself."""
        yield from _ignoring_failures(_release(self.taken))
        if self.asking and not self.tickets and self.wish.own_requester:
            # The call that was cut off may have been carried out: asking again shows its token or its ticket.
            yield from _ignoring_failures(self._ask_to_give_back())
        yield from self.abandon_tickets()

    def _ask_to_give_back(self) -> Flow[None]:
        wait = 1 if self.wish.wait > 0 else 0
        answer = self.read((yield from send(self.call(wait, 0.0).within(ABANDON_TIMEOUT))))
        self.tickets = answer.tickets
        yield from _release(answer.held)

    def abandon_tickets(self) -> Flow[None]:
        tickets, self.tickets = self.tickets, ()
        for name in tickets:
            yield from _ignoring_failures(_abandon(name))


ENDED = _Answer((), False, 0.0)
"""The wait is over, by its end or because somebody cancelled it."""


def is_temporary(error: HoldfastError) -> bool:
    """Whether the same call may succeed later: the service is away, or asks for patience."""
    return isinstance(error, (UnreachableError, OutcomeUnknownError)) or (
        isinstance(error, ApiError) and error.is_temporary
    )


def _abandon(name: str) -> Flow[None]:
    """Gives up a ticket whatever became of it: cancels it, or releases what it was served with."""
    try:
        yield from send(_api.cancel_call(name).within(ABANDON_TIMEOUT))
    except NotFoundError:
        return
    except ConflictError:
        shown = (yield from send(_api.ticket_call(name).within(ABANDON_TIMEOUT))).one(Ticket)
        results = shown.transaction.reserved if shown.transaction else ()
        held = [*results, *([shown.reservation] if shown.reservation else [])]
        yield from _release([result for result in held if result.is_held])


def _release(held: Sequence[Releasable]) -> Flow[None]:
    if held:
        yield from send(_api.release_call(held).within(ABANDON_TIMEOUT))


def _ignoring_failures(flow: Flow[None]) -> Flow[None]:
    try:
        yield from flow
    except HoldfastError:
        pass
