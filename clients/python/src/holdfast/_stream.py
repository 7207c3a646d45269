"""The event stream for threads and for asyncio: a connection that is made anew where it was lost, from where it was."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import httpx

from holdfast._acquire import is_temporary
from holdfast._call import Answered, refusal
from holdfast._drive import ANSWER_BYTES, CONNECT_TIMEOUT, AsyncDriver, Driver, failed
from holdfast._sse import SILENCE, Cursor
from holdfast.errors import ApiError, HoldfastError, UnreachableError
from holdfast.events import Event

__all__ = ["AsyncEventStream", "EventStream"]

_TIMEOUT = httpx.Timeout(SILENCE, connect=CONNECT_TIMEOUT)
_BROKEN = (httpx.HTTPError, httpx.StreamError, ValueError)


class EventStream:
    """A tenant's events in order, each once, across lost connections and replaced replicas: an iterator that ends with `close`.

    As a context manager it connects when its block begins, so that nothing is missed that happens from then on, and closes when it ends;
    else it connects at the first event that is asked for, and is open until it is closed.
    """

    def __init__(self, driver: Driver, cursor: Cursor) -> None:
        self._driver, self._cursor = driver, cursor
        self._closed = threading.Event()
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._url = driver.addresses.url
        self._due = 0.0
        self._lock = threading.Lock()

    @property
    def position(self) -> int | None:
        """The position up to which events were seen: give it to `events(since=...)` to go on here."""
        return self._cursor.seen

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event.

        Raises:
            HoldfastError: connecting anew would fail again: the credential, the filter, the limit of streams.
        """
        while not self._closed.is_set():
            event = self._cursor.next()
            if event is not None:
                return event
            if self._response is None:
                self._connect()
            else:
                self._read()
        raise StopIteration

    def close(self) -> None:
        """Ends the stream; another thread that waits for an event stops."""
        self._closed.set()
        with self._lock:
            response = self._response
        if response is not None:
            # A thread that waits for bytes is woken by the end of the connection; it may not be closed under its hands.
            stream = response.extensions.get("network_stream")
            connection = None if stream is None else stream.get_extra_info("socket")
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        while not self._closed.is_set() and not self._cursor.begun:
            if self._response is None:
                self._connect()
            else:
                self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._drop()

    def _connect(self) -> None:
        if self._due and self._closed.wait(self._due):
            return
        failure: HoldfastError | None = None
        call, driver = self._cursor.call(), self._driver
        self._url = url = driver.addresses.url
        try:
            request = driver.http.build_request(
                call.method, url + call.path, headers={**driver.addresses.headers, **call.headers}, timeout=_TIMEOUT
            )
            response = driver.http.send(request, stream=True)
            if response.status_code == 200:
                self._pieces = response.iter_raw()
                with self._lock:
                    self._response = response
                self._due = self._cursor.pause()
                return
            try:
                body = response.read()[:ANSWER_BYTES]
            finally:
                response.close()
            failure = refusal(Answered(url, response.status_code, response.headers, body))
        except httpx.HTTPError as error:
            failure = _unreached(url, error)
        self._lost(url, failure)

    def _lost(self, url: str, failure: HoldfastError) -> None:
        if not is_temporary(failure):
            raise failure
        self._driver.addresses.failed(url)
        self._due = self._cursor.pause((failure.retry_after or 0.0) if isinstance(failure, ApiError) else 0.0)

    def _read(self) -> None:
        try:
            piece = next(self._pieces, None)
            if piece is not None:
                self._cursor.feed(piece)
                return
        except _BROKEN:
            self._driver.addresses.failed(self._url)
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            response, self._response = self._response, None
        self._pieces = iter(())
        if response is not None:
            response.close()


class AsyncEventStream:
    """A tenant's events in order, each once, across lost connections and replaced replicas: an asynchronous iterator.

    As a context manager it connects when its block begins, so that nothing is missed that happens from then on; else at the first event
    that is asked for.
    """

    def __init__(self, driver: AsyncDriver, cursor: Cursor) -> None:
        self._driver, self._cursor = driver, cursor
        self._closed = False
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._work: asyncio.Future[None] | None = None
        self._url = driver.addresses.url
        self._due = 0.0

    @property
    def position(self) -> int | None:
        """The position up to which events were seen: give it to `events(since=...)` to go on here."""
        return self._cursor.seen

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event. A cancellation loses none.

        Raises:
            HoldfastError: connecting anew would fail again: the credential, the filter, the limit of streams.
        """
        while not self._closed:
            event = self._cursor.next()
            if event is not None:
                return event
            await self._step()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the stream; another task that waits for an event stops."""
        self._closed = True
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._drop()

    async def __aenter__(self) -> Self:
        while not self._closed and not self._cursor.begun:
            await self._step()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _step(self) -> None:
        """Connects or reads, in a task of its own: a reader that is cancelled leaves it to the next one."""
        if self._work is None:
            self._work = asyncio.ensure_future(self._connect() if self._pieces is None else self._read(self._pieces))
        work = self._work
        await asyncio.wait({work})
        if self._work is work:
            self._work = None
        if not (work.cancelled() and self._closed):
            work.result()

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            piece = await anext(pieces, None)
            if piece is not None:
                self._cursor.feed(piece)
                return
        except _BROKEN:
            self._driver.addresses.failed(self._url)
        await self._drop()

    async def _connect(self) -> None:
        await asyncio.sleep(self._due)
        failure: HoldfastError
        call, driver = self._cursor.call(), self._driver
        self._url = url = driver.addresses.url
        try:
            request = driver.http.build_request(
                call.method, url + call.path, headers={**driver.addresses.headers, **call.headers}, timeout=_TIMEOUT
            )
            response = await driver.http.send(request, stream=True)
            if response.status_code == 200:
                self._response, self._pieces = response, response.aiter_raw()
                self._due = self._cursor.pause()
                return
            try:
                body = (await response.aread())[:ANSWER_BYTES]
            finally:
                await response.aclose()
            failure = refusal(Answered(url, response.status_code, response.headers, body))
        except httpx.HTTPError as error:
            failure = _unreached(url, error)
        if not is_temporary(failure):
            raise failure
        driver.addresses.failed(url)
        self._due = self._cursor.pause((failure.retry_after or 0.0) if isinstance(failure, ApiError) else 0.0)

    async def _drop(self) -> None:
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            await response.aclose()


def _unreached(url: str, error: Exception) -> UnreachableError:
    reason = failed(url, error).reason
    unreached = UnreachableError(f"{url} is not reached: {reason}")
    unreached.__cause__ = error
    return unreached
