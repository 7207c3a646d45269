"""A lease for asyncio: its loss cancels the block that needs it, before anybody else can hold the names."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from holdfast._acquire import Granted, granted
from holdfast._backoff import Backoff
from holdfast._clock import SLEEP_STEP, now
from holdfast._drive import AsyncDriver
from holdfast._lease_state import LeaseState, LeaseView, giving_back
from holdfast._renew import FIRST_PAUSE, LONGEST_PAUSE, Failed, Lost, renewal
from holdfast._wish import Times, Wish
from holdfast.errors import HoldfastError, LeaseLostError
from holdfast.models import ReleaseResult

__all__ = ["AsyncHold", "AsyncLease"]

log = logging.getLogger("holdfast")


class AsyncLease(LeaseView):
    """What is held, from the grant to the release. Two tasks of its own renew it and watch over it.

    As a context manager it gives back at the end of its block. Where it is lost before, the block is cancelled, and `LeaseLostError` comes
    out of it, as `TimeoutError` comes out of `asyncio.timeout`.
    """

    def __init__(
        self,
        driver: AsyncDriver,
        held: Granted,
        times: Times,
        on_lost: Callable[[AsyncLease], Any] | None,
        cancel_on_lost: bool,
    ) -> None:
        self._state = LeaseState(held, times)
        self._driver = driver
        self._on_lost = on_lost
        self._ended = asyncio.Event()
        self._block: asyncio.Task[Any] | None = None
        self._cancelled_block = False
        self._cancelling = 0
        """Cancellations of the block's task that were under way when it began."""
        self._cancels = cancel_on_lost
        watch = self._watch(driver, self._state, weakref.ref(self), self._ended)
        self._tasks = (
            asyncio.create_task(_renew(driver, self._state, self._ended), name="holdfast-renew"),
            asyncio.create_task(watch, name="holdfast-watch"),
        )
        loop = asyncio.get_running_loop()
        weakref.finalize(self, _wake, loop, self._ended).atexit = False

    async def wait_lost(self) -> bool:
        """Waits until it is lost or released; whether it is lost."""
        await self._ended.wait()
        return self.lost

    async def renew(self) -> None:
        """Renews now, for the whole time to live.

        Raises:
            LeaseLostError: it is lost.
            HoldfastError: the service did not answer; the lease goes on until its deadline, and is renewed in the background.
        """
        self.raise_if_lost()
        outcome = await self._driver.run(renewal(self._state.results, self._state.times))
        self._state.take(outcome)
        self.raise_if_lost()
        if isinstance(outcome, Failed):
            raise outcome.error

    async def release(self) -> list[ReleaseResult]:
        """Gives back; a cancellation does not keep it from that. A second time does nothing.

        Raises:
            LeaseLostError: somebody else may have held it before this call.
            HoldfastError: the service did not answer in time: it ends by itself.
        """
        if self._state.owner != os.getpid():
            return []
        was_lost = self._state.loss()
        if not self._state.release():
            return []
        self._ended.set()
        for task in self._tasks:
            task.cancel()
        return await self._driver.finish(self._driver.run(giving_back(self._state, was_lost)))

    async def __aenter__(self) -> Self:
        self._block = asyncio.current_task()
        self._cancelling = self._block.cancelling() if self._block else 0
        self._loss_cancels_block()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        block, self._block = self._block, None
        loss: LeaseLostError | None = None
        try:
            await self.release()
        except LeaseLostError as lost:
            loss = lost
        except HoldfastError as failure:
            log.warning("%s could not be given back and ends by itself: %s", ", ".join(self.resources), failure)
        except asyncio.CancelledError as cancelled:
            # The loss may have cancelled the task just as the block ended. Giving back goes on.
            reason = self.lost_reason
            if error is not None or reason is None or not self._cancelled_block:
                raise
            error, loss = cancelled, LeaseLostError(self.resources, reason)
        ours = self._cancelled_block and block is not None and block.uncancel() <= self._cancelling
        # Whoever else has cancelled the task meanwhile has the precedence, and another error of the block says more than the loss that it
        # may have come from.
        if loss is not None and (error is None or (ours and isinstance(error, asyncio.CancelledError))):
            raise loss from error

    def _loss_cancels_block(self) -> None:
        if self._cancels and self._block is not None and not self._cancelled_block and self.lost:
            self._cancelled_block = True
            self._block.cancel("the lease is lost")

    def _report_loss(self) -> None:
        if self._on_lost is not None:
            try:
                self._on_lost(self)
            except Exception:
                log.exception("the on_lost callback failed")
        self._loss_cancels_block()

    @staticmethod
    async def _watch(
        driver: AsyncDriver, state: LeaseState, lease: weakref.ref[AsyncLease], ended: asyncio.Event
    ) -> None:
        await _wait_until(lambda: 0.0 if state.loss() is not None else state.loss_at, ended)
        holder = lease()
        if holder is None:
            # Nobody has the lease any more.
            if state.release():
                try:
                    await driver.run(giving_back(state, None))
                except HoldfastError as error:
                    log.info("a forgotten lease could not be given back and ends by itself: %s", error)
        elif state.loss() is not None:
            log.warning("the lease on %s is lost: %s", state.results[0].resource, state.loss())
            ended.set()
            holder._report_loss()


class AsyncHold:
    """What `AsyncClient.hold` returns: waits and reserves when its block begins, gives back when it ends."""

    def __init__(
        self, driver: AsyncDriver, wish: Wish, on_lost: Callable[[AsyncLease], Any] | None, cancel_on_lost: bool
    ) -> None:
        self._driver, self._wish, self._on_lost, self._cancel_on_lost = driver, wish, on_lost, cancel_on_lost
        self._lease: AsyncLease | None = None

    async def __aenter__(self) -> AsyncLease:
        if self._lease is not None:
            raise RuntimeError("a hold is entered once; call hold() again")
        self._lease = await acquire(self._driver, self._wish, self._on_lost, self._cancel_on_lost)
        return await self._lease.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lease is not None:
            await self._lease.__aexit__(kind, error, traceback)


async def acquire(
    driver: AsyncDriver, wish: Wish, on_lost: Callable[[AsyncLease], Any] | None, cancel_on_lost: bool
) -> AsyncLease:
    """Waits, reserves, and starts to renew."""
    return AsyncLease(driver, await driver.run(granted(wish)), wish.times, on_lost, cancel_on_lost)


async def _renew(driver: AsyncDriver, state: LeaseState, ended: asyncio.Event) -> None:
    backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    due = state.renewal_at
    while await _wait_until(lambda: max(due, state.renewal_at), ended):
        outcome = await driver.run(renewal(state.results, state.times))
        state.take(outcome)
        if isinstance(outcome, Lost) or state.loss() is not None:
            ended.set()
            return
        if isinstance(outcome, Failed):
            log.info("%s cannot be renewed, still trying: %s", state.results[0].resource, outcome.error)
            due = now() + backoff.pause()
        else:
            backoff.reset()
            due = state.renewal_at


async def _wait_until(instant: Callable[[], float], ended: asyncio.Event) -> bool:
    """Waits until an instant, which may move; whether the lease is still to be kept then."""
    while not ended.is_set():
        left = instant() - now()
        if left <= 0:
            return True
        try:
            async with asyncio.timeout(min(left, SLEEP_STEP)):
                await ended.wait()
        except TimeoutError:
            pass
    return False


def _wake(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(ended.set)
    except RuntimeError:
        # The loop is closed: there is nobody left to give it back.
        pass
