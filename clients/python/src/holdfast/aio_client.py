"""The client for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from holdfast import _api
from holdfast._drive import Addresses, AsyncDriver
from holdfast._sse import Cursor
from holdfast._stream import AsyncEventStream
from holdfast._wish import KEEP_ALIVE, Mode, Waiting, wish
from holdfast.aio_lease import AsyncHold, AsyncLease, acquire
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

__all__ = ["AsyncClient"]


class AsyncClient:
    """Holdfast's client for asyncio. Tasks of one loop may share it.

    Calls are repeated where that is safe: while nothing accepts a connection, after 502, 503, 504 and a lost answer, and after the rate's
    429, with pauses that grow, with jitter, and are never shorter than the service's ``Retry-After``.

    Args:
        url: Where the service is; of several addresses, one per replica, the next is asked where one does not answer. Without it
            ``HOLDFAST_URL``, else ``http://127.0.0.1:8080``.
        key: An API key or an exchanged token. Without it ``HOLDFAST_KEY``, else none, which a service with ``HOLDFAST_AUTH=open`` allows.
        http: An `httpx.AsyncClient` with settings of its own (TLS, proxies); it stays open when this client is closed. Give it no bound on
            connections: calls that wait would keep renewals from theirs.

    Every call raises a `HoldfastError`: `ApiError` and its subclasses where the service refuses, `UnreachableError` where nothing was sent,
    `OutcomeUnknownError` where nobody knows.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        key: str | None = None,
        *,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._driver = AsyncDriver(Addresses(url, key), http)

    async def aclose(self) -> None:
        """Closes the connections. Leases are not given back by it: end their blocks first."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- holding

    def hold(
        self,
        *resources: str,
        ttl: int = 30,
        wait: float | None = None,
        mode: Mode = "all",
        requester: str | None = None,
        quantity: int | None = None,
        priority: int | None = None,
        note: str | None = None,
        resource_type: str | None = None,
        keep_alive: int = KEEP_ALIVE,
        overtake: bool = False,
        grace: float | None = None,
        on_waiting: Callable[[Waiting], Any] | None = None,
        on_lost: Callable[[AsyncLease], Any] | None = None,
        cancel_on_lost: bool = True,
    ) -> AsyncHold:
        """Holds names for the time of a block.

            async with client.hold("db-migration", ttl=30, wait=300) as lease:
                migrate(fence=lease.fence)

        Waits in the service's queue, renews in the background, reports the loss before anybody else can have the names, and gives back at
        the end of the block, whatever the end.

        Args:
            resources: The names; several are taken in one atomic step.
            ttl: Time to live in seconds: so long after its last renewal the name is free, should this program die.
            wait: Seconds to wait for what others hold; None or 0: not at all; `math.inf`: until it is served.
            mode: Of several names ``"all"`` or none, the ``"first"`` that is free, or ``"any"``: as many as are free, one at least.
            requester: Who holds it, as others see it. It must be unique per holder, so a new one is made for each hold without it.
            quantity: Slots to take of a pool, all or none.
            priority: Of a wait: -1,000 to 1,000, greater is served first.
            note: Shown wherever the holder is shown.
            resource_type: A tag, shown in events.
            keep_alive: Of a wait: seconds for which the place in line is kept should this program die, 5 to 3,600.
            overtake: Of several names: while it waits, keep nothing of what is free; others may pass.
            grace: How long before anybody else can have the name its loss is reported, seconds. A sixth of `ttl`, at most 10, without it.
            on_waiting: Called each time that the place in line is known.
            on_lost: Called once when the lease is lost.
            cancel_on_lost: Whether the loss cancels the block; `LeaseLostError` comes out of it then.

        Raises, when the block begins:
            NotAcquiredError: others hold it; after a wait in vain `WaitTimeoutError`; `DeadlockError` where waiting would never end.
        Raises, when the block ends without an exception of its own:
            LeaseLostError: the lease was lost meanwhile.
        """
        return AsyncHold(
            self._driver,
            wish(
                resources,
                ttl=ttl,
                wait=wait,
                mode=mode,
                requester=requester,
                quantity=quantity,
                priority=priority,
                note=note,
                resource_type=resource_type,
                keep_alive=keep_alive,
                overtake=overtake,
                grace=grace,
                on_waiting=on_waiting,
            ),
            on_lost,
            cancel_on_lost,
        )

    async def acquire(
        self,
        *resources: str,
        ttl: int = 30,
        wait: float | None = None,
        mode: Mode = "all",
        requester: str | None = None,
        quantity: int | None = None,
        priority: int | None = None,
        note: str | None = None,
        resource_type: str | None = None,
        keep_alive: int = KEEP_ALIVE,
        overtake: bool = False,
        grace: float | None = None,
        on_waiting: Callable[[Waiting], Any] | None = None,
        on_lost: Callable[[AsyncLease], Any] | None = None,
        cancel_on_lost: bool = True,
    ) -> AsyncLease:
        """As `hold`, without a block: the lease is renewed until its `release` is called."""
        wished = wish(
            resources,
            ttl=ttl,
            wait=wait,
            mode=mode,
            requester=requester,
            quantity=quantity,
            priority=priority,
            note=note,
            resource_type=resource_type,
            keep_alive=keep_alive,
            overtake=overtake,
            grace=grace,
            on_waiting=on_waiting,
        )
        return await acquire(self._driver, wished, on_lost, cancel_on_lost)

    # --- reservations, call by call

    async def reserve(self, items: Iterable[ReserveItem], *, hold: float = 0) -> list[ReserveResult]:
        """Reserves resources, each on its own; a result per item, in order. Safe to repeat.

        The answer is held back for up to `hold` seconds, 60 at most, while an item waits.
        """
        return await self._driver.run(_api.reserve(items, hold))

    async def renew(self, items: Iterable[Releasable], *, ttl: int) -> list[RenewResult]:
        """Moves the end of reservations to `ttl` seconds from now."""
        return await self._driver.run(_api.renew(items, ttl))

    async def release(self, items: Iterable[Releasable]) -> list[ReleaseResult]:
        """Gives reservations back: what `reserve` answered, or `ReleaseItem`. What nobody holds is a success.

        Raises:
            InvalidReleaseTokenError: a token of something that this requester does hold is wrong; nothing was freed.
        """
        return await self._driver.run(_api.release(items))

    async def transact(self, transactions: Iterable[Transaction], *, hold: float = 0) -> list[TransactionResult]:
        """Carries transactions out in order, each atomic. Safe to repeat where they reserve.

        The answer is held back for up to `hold` seconds, 60 at most, while one waits.
        """
        return await self._driver.run(_api.transact(transactions, hold))

    async def check(self, *resources: str) -> list[CheckResult]:
        """Who holds resources: a result per name, in order."""
        return await self._driver.run(_api.check(resources))

    async def list_reservations(
        self, *, prefix: str | None = None, requester: str | None = None
    ) -> Listing[ActiveReservation]:
        """All active reservations, read page by page. `events(since=listing.as_of)` goes on without a hole."""
        return await self._driver.run(_api.list_reservations(prefix, requester))

    async def reservations_page(
        self, *, prefix: str | None = None, requester: str | None = None, limit: int = 1_000, cursor: str | None = None
    ) -> Page[ActiveReservation]:
        """One page of the active reservations. A page may be short: only ``next_cursor`` None is the end. A name may recur on a later
        page, where the greater fence is the later grant."""
        return await self._driver.run(_api.reservations_page(prefix, requester, limit, cursor))

    async def force_release(self, resource: str, *, reason: str | None = None) -> tuple[str, ...]:
        """Ends a reservation whoever holds it, and returns what was freed. Needs the scope admin."""
        return await self._driver.run(_api.force_release(resource, reason))

    async def reset(self) -> int:
        """Ends all reservations and cancels all tickets of the tenant; how many reservations. Needs the scope admin."""
        return await self._driver.run(_api.reset())

    async def verify_fence(self, resource: str, fencing_token: int) -> FenceResult:
        """Whether a fencing token is that of the current grant."""
        return await self._driver.run(_api.verify_fence(resource, fencing_token))

    # --- waiting

    async def list_waiting(
        self, *, resource: str | None = None, requester: str | None = None
    ) -> Listing[WaitingTicket]:
        """Who waits for what, read page by page."""
        return await self._driver.run(_api.list_waiting(resource, requester))

    async def ticket(self, ticket: str, *, hold: float = 0) -> Ticket:
        """A ticket and what became of it; the answer is held back for up to `hold` seconds, 60 at most, while it waits.

        What it shows as acquired is claimed by it.

        Raises:
            NotFoundError: it ended more than 10 minutes ago.
        """
        return await self._driver.run(_api.ticket(ticket, hold))

    async def cancel(self, ticket: str) -> Ticket:
        """Ends the wait of a ticket; what was granted and not yet claimed is given back.

        Raises:
            ConflictError: it was granted and claimed: release it with its token.
        """
        return await self._driver.run(_api.cancel(ticket))

    # --- registered resources

    async def register(self, definitions: Iterable[Definition]) -> list[Resource]:
        """Registers resources, all or none: pools, blockers, places in a tree. Safe to repeat."""
        return await self._driver.run(_api.register(definitions))

    async def plan(self, definitions: Sequence[Definition], *, prune: bool = False) -> Plan:
        """The difference between definitions and what is registered; `prune` deletes what is not among them. Changes nothing."""
        return await self._driver.run(_api.plan(definitions, prune))

    async def apply(self, plan: Plan) -> None:
        """Carries a plan out. Deleting needs the scope admin."""
        await self._driver.run(_api.apply(plan))

    async def resource(self, name: str) -> Resource:
        """A registered resource.

        Raises:
            NotFoundError: it is not registered.
        """
        return await self._driver.run(_api.resource(name))

    async def list_resources(self) -> Listing[Resource]:
        """All registered resources."""
        return await self._driver.run(_api.list_resources())

    async def delete_resource(self, name: str) -> bool:
        """Deletes a registered resource; whether it was there. Needs the scope admin.

        Raises:
            ConflictError: it is held, has children, or is named in another's blocks.
        """
        return await self._driver.run(_api.delete_resource(name))

    # --- events

    def events(
        self,
        *,
        since: int | str | None = None,
        types: Iterable[str] | None = None,
        resources: Iterable[str] | None = None,
        companies: Iterable[str] | None = None,
    ) -> AsyncEventStream:
        """The tenant's events, in order, each once, also across lost connections.

            async with client.events(resources=["build/*"]) as events:
                async for event in events:
                    print(event.type, event.resource)

        Args:
            since: The position after which it begins: of an event, of a listing (``as_of``), or of an earlier stream. None: what happens
                from now on. One that is too old or unknown is answered with an event of which `Event.is_reset` is true.
            types: Types to pass, all without it.
            resources: Names to pass; a trailing ``*`` is a prefix.
            companies: Of platform events: slugs or ids to pass.
        """
        return AsyncEventStream(self._driver, Cursor(since, types, resources, companies))

    async def publish(
        self,
        type: str,
        data: Any,
        *,
        company_id: str | None = None,
        company: str | None = None,
        timestamp: datetime | None = None,
        dedupe_id: str | None = None,
    ) -> str:
        """Publishes an event of the tenant's own into the same stream; its position. `dedupe_id` publishes it once within an hour, however
        often it is sent; one is made without it."""
        return await self._driver.run(_api.publish(type, data, company_id, company, timestamp, dedupe_id))
