"""Drives the flows over HTTP: with threads, and with asyncio."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from holdfast._call import Answered, Attempt, Call, Flow, Pause, Send, Step, Unanswered
from holdfast._clock import now
from holdfast._version import VERSION

T = TypeVar("T")

# Most bytes of an answer: a page of a thousand rows is far below.
ANSWER_BYTES = 64 << 20
# The most time for a connection, TLS included, seconds.
CONNECT_TIMEOUT = 5.0
# Without a bound: calls that wait must not keep a renewal from its connection.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
USER_AGENT = f"holdfast-python/{VERSION}"
DEFAULT_URL = "http://127.0.0.1:8080"
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Addresses:
    """Where the service is: one address, or those of several replicas, of which the next is asked where one does not answer."""

    def __init__(self, url: str | Sequence[str] | None, key: str | None) -> None:
        if url is None:
            url = os.environ.get("HOLDFAST_URL") or DEFAULT_URL
        given = [url] if isinstance(url, str) else list(url)
        if not given:
            raise ValueError("url is empty; it is an address such as http://127.0.0.1:8080, or several")
        self._urls = [_checked(one) for one in given]
        self._current = 0
        key = os.environ.get("HOLDFAST_KEY") if key is None else key
        self.headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if key:
            key = key.strip()
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise ValueError("the key has characters that no key has; it is one word, hf_live_...")
            self.headers["X-Api-Key"] = key

    def trust(self) -> ssl.SSLContext | bool:
        """Whom TLS trusts: whom httpx trusts, or, where there is no TLS, nobody, which spares reading all certificates."""
        has_tls = any(url.startswith("https:") for url in (*self._urls, *urllib.request.getproxies().values()))
        return True if has_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    @property
    def url(self) -> str:
        """The address that is asked next."""
        return self._urls[self._current % len(self._urls)]

    def failed(self, url: str) -> None:
        """Has the next address asked, unless another call saw to that already."""
        if self.url == url:
            self._current = (self._current + 1) % len(self._urls)

    def outcome(self, attempt: Attempt) -> Attempt:
        """Notes what came of an attempt."""
        if isinstance(attempt, Unanswered) or attempt.status in (502, 503, 504):
            self.failed(attempt.url)
        return attempt


def _checked(url: str) -> str:
    url = url.strip().rstrip("/")
    parts = urlsplit(url)
    fault = None
    if parts.scheme not in ("http", "https"):
        fault = "has no scheme" if not parts.scheme else "has a scheme other than http and https"
    elif not parts.hostname:
        fault = "has no host"
    elif "@" in parts.netloc:
        fault = "has a user or a password in it; the key is an argument of its own"
    elif parts.query or parts.fragment:
        fault = "has a query"
    if fault:
        shown = url if "@" not in url else "..."
        raise ValueError(f"the URL of the service, {shown!r}, {fault}; it is written like http://127.0.0.1:8080")
    return url


def _headers(addresses: Addresses, call: Call) -> dict[str, str]:
    content = {} if call.body is None else {"Content-Type": "application/json"}
    return {**addresses.headers, **content, **call.headers}


def _timeouts(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))


def failed(url: str, error: Exception) -> Unanswered:
    """An attempt without a whole answer."""
    return Unanswered(url, str(error) or type(error).__name__, sent=not isinstance(error, _UNSENT), cause=error)


class Driver:
    """Drives flows in the calling thread. Threads may share it."""

    def __init__(self, addresses: Addresses, http: httpx.Client | None) -> None:
        self.addresses = addresses
        self._owned = http is None
        self.http = httpx.Client(limits=LIMITS, verify=addresses.trust()) if http is None else http

    def close(self) -> None:
        if self._owned:
            self.http.close()

    def run(self, flow: Flow[T]) -> T:
        """The flow's result. What interrupts it (KeyboardInterrupt) is thrown into it first, so that it can give back."""
        step: Step
        try:
            step = next(flow)
            while True:
                try:
                    outcome = self._perform(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _perform(self, step: Step) -> Attempt | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return self.addresses.outcome(self._attempt(step))

    def _attempt(self, step: Send) -> Attempt:
        call, base = step.call, self.addresses.url
        if self.http.is_closed:
            return Unanswered(base, "this client is closed", sent=False)
        end, body = now() + step.timeout, bytearray()
        try:
            with self.http.stream(
                call.method,
                base + call.path,
                content=call.content(),
                headers=_headers(self.addresses, call),
                timeout=_timeouts(step.timeout),
            ) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        return Unanswered(base, f"the answer is longer than {ANSWER_BYTES} bytes", sent=True)
                    if now() > end:
                        return Unanswered(base, f"no whole answer within {step.timeout:.1f} s", sent=True)
        except (httpx.HTTPError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self.http.is_closed:
                raise
            return failed(base, error)
        return Answered(base, response.status_code, response.headers, bytes(body))


class AsyncDriver:
    """Drives flows in the calling task of asyncio."""

    def __init__(self, addresses: Addresses, http: httpx.AsyncClient | None) -> None:
        self.addresses = addresses
        self._owned = http is None
        self.http = httpx.AsyncClient(limits=LIMITS, verify=addresses.trust()) if http is None else http
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        if self._unfinished:
            # What gives back, within its timeout.
            await asyncio.wait(self._unfinished)
        if self._owned:
            await self.http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """The flow's result. Where the task is cancelled the flow is told first, so that it can give back; that goes on in a task of its
        own, which another cancellation does not end."""
        try:
            return await self._drive(flow, flow.__next__, shielded=False)
        except _Interrupted as caught:
            interrupted = caught
        return await self.finish(self._go_on(flow, interrupted))

    async def _go_on(self, flow: Flow[T], interrupted: _Interrupted) -> T:
        """The rest of a flow whose task was cancelled."""
        if interrupted.under_way is not None:
            await asyncio.wait({interrupted.under_way}, timeout=interrupted.grace)
            interrupted.under_way.cancel()
        return await self._drive(flow, lambda: flow.throw(interrupted.cancelled), shielded=True)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for work that a cancellation does not end."""
        task = asyncio.ensure_future(work)
        # The loop keeps no strong reference to a task.
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

    async def _drive(self, flow: Flow[T], begin: Callable[[], Step], *, shielded: bool) -> T:
        step: Step
        try:
            step = begin()
            while True:
                grace = step.call.grace if isinstance(step, Send) and not shielded else 0.0
                performing = asyncio.ensure_future(self._perform(step)) if grace > 0 else None
                try:
                    outcome = await (self._perform(step) if performing is None else asyncio.shield(performing))
                except BaseException as error:
                    if isinstance(error, asyncio.CancelledError) and not shielded:
                        raise _Interrupted(error, performing, grace) from None
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _perform(self, step: Step) -> Attempt | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        return self.addresses.outcome(await self._attempt(step))

    async def _attempt(self, step: Send) -> Attempt:
        call, base = step.call, self.addresses.url
        if self.http.is_closed:
            return Unanswered(base, "this client is closed", sent=False)
        body = bytearray()
        try:
            async with (
                asyncio.timeout(step.timeout),
                self.http.stream(
                    call.method,
                    base + call.path,
                    content=call.content(),
                    headers=_headers(self.addresses, call),
                    timeout=_timeouts(step.timeout),
                ) as response,
            ):
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        return Unanswered(base, f"the answer is longer than {ANSWER_BYTES} bytes", sent=True)
        except (httpx.HTTPError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self.http.is_closed:
                raise
            return failed(base, error)
        except TimeoutError as error:
            return Unanswered(base, f"no answer within {step.timeout:.1f} s", sent=True, cause=error)
        return Answered(base, response.status_code, response.headers, bytes(body))


class _Interrupted(BaseException):
    """The task was cancelled in a step, of which something may go on for so many seconds."""

    def __init__(
        self, cancelled: asyncio.CancelledError, under_way: asyncio.Future[Attempt | None] | None, grace: float
    ) -> None:
        super().__init__()
        self.cancelled, self.under_way, self.grace = cancelled, under_way, grace
