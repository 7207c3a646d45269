"""The calls of the API, each as a `Call` or as a flow with its typed answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from holdfast._call import CALL_TIMEOUT, Call, Flow, Reply, send
from holdfast._decode import decode, encode
from holdfast.errors import NotFoundError
from holdfast.models import (
    ActiveReservation,
    CheckResult,
    Definition,
    FenceResult,
    Listing,
    Page,
    Plan,
    Releasable,
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

# Time beyond a held answer's own before the attempt is given up, seconds.
HOLD_SLACK = 10.0
# Rows of a page of a listing, and definitions of one call.
PAGE_ROWS = 1_000
# Pages of one listing: a bound on a server that never ends it. A billion rows.
MOST_PAGES = 1_000_000

RESERVATION = "/api/v1/Reservation"
T = TypeVar("T")


def reserve_call(items: Iterable[ReserveItem], hold: float) -> Call:
    return _held(f"{RESERVATION}/reserve", [encode(item) for item in items], hold)


def transactions_call(transactions: Iterable[Transaction], hold: float) -> Call:
    return _held(f"{RESERVATION}/transactions", [_transaction(one) for one in transactions], hold)


def release_call(items: Iterable[Releasable]) -> Call:
    return Call("POST", f"{RESERVATION}/unreserve", [proof(item) for item in items])


def renew_call(items: Iterable[Releasable], ttl: int) -> Call:
    return Call("POST", f"{RESERVATION}/renew", [{**proof(item), "ttlSeconds": ttl} for item in items])


def ticket_call(ticket: str, hold: float = 0) -> Call:
    return _held(f"{RESERVATION}/tickets/{quote(ticket, safe='')}", None, hold, "GET")


def cancel_call(ticket: str) -> Call:
    return Call("DELETE", f"{RESERVATION}/tickets/{quote(ticket, safe='')}")


def proof(item: Releasable) -> dict[str, Any]:
    """How a holder names and proves a reservation."""
    token = {} if item.release_token is None else {"releaseToken": item.release_token}
    return {"requester": item.requester, "resource": item.resource, **token}


def _held(path: str, body: Any, hold: float, method: str = "POST") -> Call:
    seconds = int(hold)
    if seconds <= 0:
        return Call(method, path, body)
    patience = seconds + HOLD_SLACK
    return Call(method, f"{path}?hold={seconds}", body, attempt_timeout=patience, timeout=max(CALL_TIMEOUT, patience))


def _transaction(transaction: Transaction) -> dict[str, Any]:
    if bool(transaction.reserve) == bool(transaction.release):
        raise ValueError("a transaction has items to reserve or items to release, one of the two")
    waits = {
        "waitSeconds": transaction.wait,
        "priority": transaction.priority,
        "keepAliveSeconds": transaction.keep_alive,
        "overtake": transaction.overtake,
    }
    requests = [encode(item) for item in transaction.reserve] or [proof(item) for item in transaction.release]
    return {
        "method": transaction.method,
        "requestType": "RESERVE" if transaction.reserve else "UNRESERVE",
        "requests": requests,
        **{name: value for name, value in waits.items() if value is not None},
    }


# --- flows


def reserve(items: Iterable[ReserveItem], hold: float) -> Flow[list[ReserveResult]]:
    return (yield from send(reserve_call(items, hold))).many(ReserveResult)


def release(items: Iterable[Releasable]) -> Flow[list[ReleaseResult]]:
    return (yield from send(release_call(items))).many(ReleaseResult)


def renew(items: Iterable[Releasable], ttl: int) -> Flow[list[RenewResult]]:
    return (yield from send(renew_call(items, ttl))).many(RenewResult)


def transact(transactions: Iterable[Transaction], hold: float) -> Flow[list[TransactionResult]]:
    return (yield from send(transactions_call(transactions, hold))).many(TransactionResult)


def check(resources: Sequence[str]) -> Flow[list[CheckResult]]:
    return (yield from send(Call("POST", f"{RESERVATION}/check", {"resources": list(resources)}))).many(CheckResult)


def ticket(name: str, hold: float) -> Flow[Ticket]:
    return (yield from send(ticket_call(name, hold))).one(Ticket)


def cancel(name: str) -> Flow[Ticket]:
    return (yield from send(cancel_call(name))).one(Ticket)


def force_release(resource: str, reason: str | None) -> Flow[tuple[str, ...]]:
    body = {"resource": resource} if reason is None else {"resource": resource, "reason": reason}
    # Not repeated where its outcome is unknown: by then somebody else may hold it.
    reply = yield from send(Call("POST", f"{RESERVATION}/forceRelease", body, safe=False))
    return reply.read(lambda body: tuple(str(name) for name in body["released"]))


def reset() -> Flow[int]:
    return (yield from send(Call("POST", f"{RESERVATION}/reset"))).read(lambda body: int(body["released"]))


def verify_fence(resource: str, fencing_token: int) -> Flow[FenceResult]:
    body = {"resource": resource, "fencingToken": fencing_token}
    return (yield from send(Call("POST", f"{RESERVATION}/verifyFence", body))).one(FenceResult)


def page(
    path: str, name: str, row: type[T], filters: Mapping[str, str | None], limit: int, cursor: str | None
) -> Flow[Page[T]]:
    """One page of a listing whose rows are the field `name`."""
    query = {"limit": limit, **{key: value for key, value in filters.items() if value is not None}}
    if cursor is not None:
        query["cursor"] = cursor
    reply = yield from send(Call("GET", f"{path}?{urlencode(query, quote_via=quote)}"))
    return reply.read(lambda body: _page(body, name, row))


def _page(body: Any, name: str, row: type[T]) -> Page[T]:
    rows = tuple(decode(row, each) for each in body[name])
    return Page(rows=rows, as_of=body.get("asOf"), next_cursor=body.get("nextCursor"))


def _listing(path: str, name: str, row: type[T], filters: Mapping[str, str | None]) -> Flow[Listing[T]]:
    rows: list[T] = []
    as_of: int | None = None
    cursor: str | None = None
    for number in range(MOST_PAGES):
        one = yield from page(path, name, row, filters, PAGE_ROWS, cursor)
        as_of = one.as_of if number == 0 else as_of
        rows += one.rows
        cursor = one.next_cursor
        if cursor is None:
            break
    return Listing(rows=tuple(rows), as_of=as_of)


def reservations_page(
    prefix: str | None, requester: str | None, limit: int, cursor: str | None
) -> Flow[Page[ActiveReservation]]:
    filters = {"prefix": prefix, "requester": requester}
    return page(f"{RESERVATION}/activeReservations", "reservations", ActiveReservation, filters, limit, cursor)


def list_reservations(prefix: str | None, requester: str | None) -> Flow[Listing[ActiveReservation]]:
    filters = {"prefix": prefix, "requester": requester}
    listing = yield from _listing(f"{RESERVATION}/activeReservations", "reservations", ActiveReservation, filters)
    newest: dict[str, ActiveReservation] = {}
    for row in listing.rows:
        # A name may recur on a later page; the greater fence is the later grant.
        known = newest.get(row.resource)
        if known is None or known.fencing_token < row.fencing_token:
            newest[row.resource] = row
    return Listing(rows=tuple(newest.values()), as_of=listing.as_of)


def list_waiting(resource: str | None, requester: str | None) -> Flow[Listing[WaitingTicket]]:
    filters = {"resource": resource, "requester": requester}
    listing = yield from _listing(f"{RESERVATION}/waiting", "waiting", WaitingTicket, filters)
    return Listing(rows=tuple({row.ticket: row for row in listing.rows}.values()), as_of=listing.as_of)


# --- resources


def register(definitions: Iterable[Definition]) -> Flow[list[Resource]]:
    body = [encode(definition) for definition in definitions]
    return (yield from send(Call("POST", "/api/v1/Resource/register", body))).many(Resource)


def list_resources() -> Flow[Listing[Resource]]:
    return _listing("/api/v1/Resource", "resources", Resource, {})


def resource(name: str) -> Flow[Resource]:
    return (yield from send(Call("GET", f"/api/v1/Resource/{quote(name, safe='')}"))).one(Resource)


def delete_resource(name: str) -> Flow[bool]:
    try:
        yield from send(Call("DELETE", f"/api/v1/Resource/{quote(name, safe='')}"))
    except NotFoundError:
        return False
    return True


def plan(definitions: Sequence[Definition], prune: bool) -> Flow[Plan]:
    return difference(definitions, (yield from list_resources()).rows, prune)


def apply(wanted: Plan) -> Flow[None]:
    definitions = [*wanted.created, *(definition for _, definition in wanted.changed)]
    for begin in range(0, len(definitions), PAGE_ROWS):
        yield from register(definitions[begin : begin + PAGE_ROWS])
    for name in wanted.deleted:
        yield from delete_resource(name)


def difference(definitions: Sequence[Definition], registered: Sequence[Resource], prune: bool) -> Plan:
    """What is to be created, changed and, with `prune`, deleted. Ancestors of what is wanted are kept."""
    names = [definition.name for definition in definitions]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"defined more than once: {', '.join(twice)}")
    present = {one.name: one for one in registered}
    created: list[Definition] = []
    changed: list[tuple[Definition, Definition]] = []
    kept = set(names)
    for definition in definitions:
        kept.update((definition.tree_path or "").split(">"))
        known = present.get(definition.name)
        if known is None:
            created.append(definition)
        elif _meaning(known) != _meaning(definition):
            was = Definition(name=known.name, capacity=known.capacity, blocks=known.blocks, tree_path=known.tree_path)
            changed.append((was, definition))
    gone = [one for one in registered if prune and one.name not in kept]
    gone.sort(key=lambda one: (-len(one.ancestors), one.name))
    return Plan(
        created=tuple(created),
        changed=tuple(changed),
        deleted=tuple(one.name for one in gone),
        unchanged=len(definitions) - len(created) - len(changed),
    )


def _meaning(one: Resource | Definition) -> tuple[int, frozenset[str], str]:
    # The order of blockers says nothing.
    return one.capacity, frozenset(one.blocks), one.tree_path or ""


# --- platform events


def publish(
    kind: str,
    data: Any,
    company_id: str | None,
    company: str | None,
    timestamp: datetime | None,
    dedupe_id: str | None,
) -> Flow[str]:
    event: dict[str, Any] = {"type": kind, "data": data}
    if company_id is not None:
        event["companyId"] = company_id
    if company is not None:
        event["company"] = company
    if timestamp is not None:
        if timestamp.tzinfo is None:
            raise ValueError("the timestamp has no time zone")
        event["timestamp"] = (
            timestamp.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
    # With an id of its own it is published once, however often it is sent.
    event["dedupeId"] = dedupe_id if dedupe_id is not None else str(uuid.uuid4())
    reply: Reply = yield from send(Call("POST", "/api/v1/events", event))
    return reply.read(lambda body: str(body["ids"][0]))
