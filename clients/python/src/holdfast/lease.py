"""A lease for threads: it is renewed in the background and reports its loss before anybody else can hold the names."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from holdfast._acquire import Granted, granted
from holdfast._backoff import Backoff
from holdfast._clock import SLEEP_STEP, now
from holdfast._drive import Driver
from holdfast._lease_state import LeaseState, LeaseView, giving_back
from holdfast._renew import FIRST_PAUSE, LONGEST_PAUSE, Failed, Lost, renewal
from holdfast._wish import Times, Wish
from holdfast.errors import HoldfastError, LeaseLostError
from holdfast.models import ReleaseResult

__all__ = ["Hold", "Lease"]

log = logging.getLogger("holdfast")


class Lease(LeaseView):
    """What is held, from the grant to the release. It is a context manager that gives back at the end of its block.

    Two threads of its own keep it: one renews at a third of the time to live, the other reports the loss in time whatever the first one is
    waiting for. A lease that is neither released nor referenced any more is given back, and so is one that is left at the end of the
    program; where that fails it ends by itself.
    """

    def __init__(self, driver: Driver, held: Granted, times: Times, on_lost: Callable[[Lease], Any] | None) -> None:
        self._state = LeaseState(held, times)
        self._driver = driver
        self._keeper = _Keeper(driver, self._state, weakref.ref(self), on_lost)
        # Nothing is sent from there: the garbage collector may run while this very thread holds a lock of the connection pool.
        weakref.finalize(self, self._keeper.forget).atexit = False
        _LEFT.add(self)
        self._keeper.start()

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Waits until it is lost or released; whether it is lost."""
        self._keeper.ended.wait(timeout)
        return self.lost

    def renew(self) -> None:
        """Renews now, for the whole time to live.

        Raises:
            LeaseLostError: it is lost.
            HoldfastError: the service did not answer; the lease goes on until its deadline, and is renewed in the background.
        """
        self.raise_if_lost()
        outcome = self._driver.run(renewal(self._state.results, self._state.times))
        self._state.take(outcome)
        self.raise_if_lost()
        if isinstance(outcome, Failed):
            raise outcome.error

    def release(self) -> list[ReleaseResult]:
        """Gives back. A second time does nothing.

        Raises:
            LeaseLostError: somebody else may have held it before this call.
            HoldfastError: the service did not answer in time: it ends by itself.
        """
        if self._state.owner != os.getpid():
            return []
        was_lost = self._state.loss()
        if not self._state.release():
            return []
        self._keeper.stop()
        return self._driver.run(giving_back(self._state, was_lost))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.release()
        except LeaseLostError:
            # An error of the block says more than the loss that it may have come from.
            if error is None:
                raise
        except HoldfastError as failure:
            log.warning("%s could not be given back and ends by itself: %s", ", ".join(self.resources), failure)


class Hold:
    """What `Client.hold` returns: waits and reserves when its block begins, gives back when it ends."""

    def __init__(self, driver: Driver, wish: Wish, on_lost: Callable[[Lease], Any] | None) -> None:
        self._driver, self._wish, self._on_lost = driver, wish, on_lost
        self._lease: Lease | None = None

    def __enter__(self) -> Lease:
        if self._lease is not None:
            raise RuntimeError("a hold is entered once; call hold() again")
        self._lease = acquire(self._driver, self._wish, self._on_lost)
        return self._lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lease is not None:
            self._lease.__exit__(kind, error, traceback)


def acquire(driver: Driver, wish: Wish, on_lost: Callable[[Lease], Any] | None) -> Lease:
    """Waits, reserves, and starts to renew."""
    return Lease(driver, driver.run(granted(wish)), wish.times, on_lost)


class _Keeper:
    """Renews a lease and reports its loss, without keeping the lease itself alive."""

    def __init__(
        self,
        driver: Driver,
        state: LeaseState,
        lease: weakref.ref[Lease],
        on_lost: Callable[[Lease], Any] | None,
    ) -> None:
        self._driver, self._state, self._lease, self._on_lost = driver, state, lease, on_lost
        self._changed = threading.Condition()
        self._stopped = self._forgotten = False
        self.ended = threading.Event()
        """Set once the lease is lost or released."""

    def start(self) -> None:
        for work in (self._renew, self._watch):
            threading.Thread(target=work, name=f"holdfast-{work.__name__.strip('_')}", daemon=True).start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def forget(self) -> None:
        """Nobody has the lease any more: has it given back by one of the threads."""
        with self._changed:
            self._forgotten = not self._stopped
            self._stopped = True
            self._changed.notify_all()

    def _wait_until(self, instant: Callable[[], float]) -> bool:
        """Waits until an instant, which may move; whether the lease is still to be kept then."""
        with self._changed:
            while not self._stopped:
                left = instant() - now()
                if left <= 0:
                    return True
                self._changed.wait(min(left, SLEEP_STEP))
            return False

    def _renew(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        due = self._state.renewal_at
        while self._wait_until(lambda: max(due, self._state.renewal_at)):
            outcome = self._driver.run(renewal(self._state.results, self._state.times))
            self._state.take(outcome)
            if isinstance(outcome, Lost) or self._state.loss() is not None:
                with self._changed:
                    self._changed.notify_all()
                return
            if isinstance(outcome, Failed):
                log.info("%s cannot be renewed, still trying: %s", self._state.results[0].resource, outcome.error)
                due = now() + backoff.pause()
            else:
                backoff.reset()
                due = self._state.renewal_at

    def _watch(self) -> None:
        lost = self._wait_until(lambda: 0.0 if self._state.loss() is not None else self._state.loss_at)
        if lost and self._state.loss() is not None:
            log.warning("the lease on %s is lost: %s", self._state.results[0].resource, self._state.loss())
            self.ended.set()
            lease = self._lease()
            if lease is not None and self._on_lost is not None:
                try:
                    self._on_lost(lease)
                except Exception:
                    log.exception("the on_lost callback failed")
        self.ended.set()
        with self._changed:
            self._changed.wait_for(lambda: self._stopped)
        if self._forgotten and self._state.release():
            try:
                self._driver.run(giving_back(self._state, None))
            except HoldfastError as error:
                log.info("a forgotten lease could not be given back and ends by itself: %s", error)


# Leases that nobody has released yet.
_LEFT: weakref.WeakSet[Lease] = weakref.WeakSet()


@atexit.register
def _give_back_left() -> None:
    for lease in list(_LEFT):
        try:
            lease.release()
        except HoldfastError as error:
            log.info("%s could not be given back at the end of the program: %s", ", ".join(lease.resources), error)
