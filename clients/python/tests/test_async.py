"""The same for asyncio: what differs is cancellation."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import holdfast
from support import Program, Tenant, World

TIMEOUT = 20.0


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def until(what: str, state: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Waits until `state` gives something true, and returns it."""
    end = time.monotonic() + TIMEOUT
    while True:
        found = await state()
        if found:
            return found
        assert time.monotonic() < end, f"timeout: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def two_clients(world: World, tenant: Tenant) -> AsyncIterator[tuple[holdfast.AsyncClient, holdfast.AsyncClient]]:
    async with world.async_client(tenant, 0, 1) as first, world.async_client(tenant, 1) as second:
        yield first, second


async def held(client: holdfast.AsyncClient) -> list[str]:
    return sorted(row.resource for row in await client.list_reservations())


async def waiting(client: holdfast.AsyncClient) -> int:
    return len(await client.list_waiting())


def test_a_block_holds_the_name_and_gives_it_back(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with two_clients(world, tenant) as (client, other):
            async with client.hold("db", ttl=60) as lease:
                assert await held(other) == ["db"] and not lease.lost
                assert (await other.verify_fence("db", lease.fence)).valid
                with pytest.raises(holdfast.NotAcquiredError):
                    await other.acquire("db")
                await lease.renew()
            assert await held(other) == []
            lease = await client.acquire("a", "b", ttl=60)
            assert await held(other) == ["a", "b"]
            assert [result.status for result in await lease.release()] == ["RELINQUISHED", "RELINQUISHED"]
            assert await lease.release() == []

    asyncio.run(story())


def test_under_contention_holds_never_overlap(world: World, tenant: Tenant) -> None:
    inside, most, fences = 0, 0, []

    async def work(client: holdfast.AsyncClient) -> None:
        nonlocal inside, most
        for _ in range(5):
            async with client.hold("db", ttl=10, wait=60) as lease:
                inside += 1
                most = max(most, inside)
                fences.append(lease.fence)
                await asyncio.sleep(0.002)
                inside -= 1

    async def story() -> None:
        async with two_clients(world, tenant) as clients:
            await asyncio.gather(*(work(clients[number % 2]) for number in range(8)))

    asyncio.run(story())
    assert (most, len(fences)) == (1, 40)
    assert fences == sorted(set(fences))


def test_a_cancelled_wait_leaves_the_line(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with two_clients(world, tenant) as (client, other), other.hold("db", ttl=60):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5), client.hold("db", wait=60):
                    pass
            task = asyncio.create_task(client.acquire("db", wait=60))
            await until("it waits", lambda: waiting(other))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await waiting(other) == 0

    asyncio.run(story())


@asynccontextmanager
async def slow_beginning(url: str) -> AsyncIterator[str]:
    """A way to a replica on which what the first connection sends arrives late, also where it is closed meanwhile."""
    host, port = url.removeprefix("http://").split(":")
    writers: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: float) -> None:
        while data := await reader.read(65_536):
            await asyncio.sleep(late)
            writer.write(data)
        await asyncio.sleep(late)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late = 0.0 if writers else 0.4
        there, back = await asyncio.open_connection(host, int(port))
        writers.extend((writer, back))
        await asyncio.gather(carry(reader, back, late), carry(there, writer, 0.0))

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def test_what_a_cancelled_call_gets_late_is_given_back(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with (
            slow_beginning(world.replicas[0].url) as url,
            holdfast.AsyncClient(url, tenant.key) as client,
            world.async_client(tenant, 1) as other,
        ):
            task = asyncio.create_task(client.acquire("db", ttl=600))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # Long enough for what was sent before to arrive after all.
            await asyncio.sleep(0.6)
            assert await held(other) == []

    asyncio.run(story())


def test_a_call_that_is_cancelled_as_it_is_served_gives_back(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with two_clients(world, tenant) as (client, other):
            # At every instant of the call, from before it is sent until after it is answered.
            for step in range(30):
                task = asyncio.create_task(client.acquire("db", ttl=600))
                await asyncio.sleep(step * 0.0007)
                task.cancel()
                try:
                    await (await task).release()
                except asyncio.CancelledError:
                    pass
                assert await held(other) == [], f"cancelled in step {step}"

    asyncio.run(story())


def test_a_cancelled_block_gives_back(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with two_clients(world, tenant) as (client, other):

            async def work() -> None:
                async with client.hold("db", ttl=60):
                    await asyncio.sleep(600)

            task = asyncio.create_task(work())
            await until("it holds", lambda: held(other))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await held(other) == []
            with pytest.raises(ZeroDivisionError):
                async with client.hold("db", ttl=60):
                    raise ZeroDivisionError
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), client.hold("db", ttl=60):
                    await asyncio.sleep(600)
            assert await held(other) == []

    asyncio.run(story())


def test_an_interrupted_program_gives_back(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    code = """
import asyncio, holdfast
async def main():
    async with holdfast.AsyncClient() as client, client.hold("db", ttl=600):
        print("held")
        await asyncio.sleep(600)
asyncio.run(main())
"""
    with Program(code, world.urls, tenant.key) as program:
        assert program.line() == "held"
        program.signal(signal.SIGINT)
        assert program.ended() == -signal.SIGINT
    assert len(client.list_reservations()) == 0


def test_a_lost_lease_cancels_its_block(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with two_clients(world, tenant) as (client, other):
            lost: list[holdfast.AsyncLease] = []
            with pytest.raises(holdfast.LeaseLostError, match="ended by somebody else") as loss:
                async with client.hold("db", ttl=6, on_lost=lost.append) as lease:
                    await other.force_release("db")
                    await asyncio.sleep(600)
            assert isinstance(loss.value.__cause__, asyncio.CancelledError) and lost == [lease] and lease.lost
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0
            await asyncio.sleep(0)
            # A block that ends just then, and one that takes no notice.
            with pytest.raises(holdfast.LeaseLostError):
                async with client.hold("db", ttl=600) as lease:
                    await other.force_release("db")
            with pytest.raises(holdfast.LeaseLostError):
                async with client.hold("db", ttl=6, cancel_on_lost=False) as lease:
                    await other.force_release("db")
                    assert await lease.wait_lost()
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)

    asyncio.run(story())


def test_a_stopped_replica_cancels_the_block_before_the_next_one_is_served(fragile: World) -> None:
    async def story() -> None:
        tenant = fragile.tenant()
        async with fragile.async_client(tenant, 0) as client, fragile.async_client(tenant, 1) as other:
            granted: list[float] = []

            async def take_over() -> None:
                async with other.hold("db", wait=60, ttl=60):
                    granted.append(now())

            with pytest.raises(holdfast.LeaseLostError, match="renewed in time"):
                async with client.hold("db", ttl=2, grace=0.5):
                    task = asyncio.create_task(take_over())
                    await until("the other one waits", lambda: waiting(other))
                    fragile.replicas[0].stop()
                    try:
                        await asyncio.sleep(600)
                    finally:
                        cancelled = now()
                        assert not granted
            await task
            assert granted[0] - cancelled > 0.25

    asyncio.run(story())


def test_a_replica_killed_while_waiting_and_while_holding_is_survived(fragile: World) -> None:
    async def story() -> None:
        tenant = fragile.tenant()
        async with two_clients(fragile, tenant) as (client, other):
            first = await other.acquire("db", ttl=60)
            task = asyncio.create_task(client.acquire("db", ttl=9, wait=60))
            await until("it waits", lambda: waiting(other))
            fragile.replicas[0].kill()
            await first.release()
            lease = await task
            begun = lease.expires_at
            assert begun is not None

            async def renewed() -> bool:
                return lease.expires_at is not None and (lease.expires_at - begun).total_seconds() > 2

            await until("it is renewed at the other one", renewed)
            await lease.release()

    asyncio.run(story())


def test_a_stream_outlives_its_replica_without_a_hole_or_a_double(fragile: World) -> None:
    async def story() -> None:
        tenant = fragile.tenant()
        async with fragile.async_client(tenant, 0, 1) as follower, fragile.async_client(tenant, 1) as worker:
            seen: list[str] = []

            async def work() -> None:
                for number in range(60):
                    async with worker.hold(f"job-{number}"):
                        pass

            async with follower.events(types=["RESERVED"]) as events:
                task = asyncio.create_task(work())
                async for event in events:
                    assert not event.is_reset
                    seen.append(str(event.resource))
                    if len(seen) == 5:
                        fragile.replicas[0].kill()
                    if len(seen) == 60:
                        break
                await task
            assert seen == [f"job-{number}" for number in range(60)]

    asyncio.run(story())


def test_a_reader_that_is_cancelled_misses_nothing(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with two_clients(world, tenant) as (client, other), client.events(types=["RESERVED"]) as events:
            seen: list[str | None] = []
            for number in itertools.count():
                try:
                    async with asyncio.timeout(0.02):
                        seen.append((await anext(events)).resource)
                except TimeoutError:
                    pass
                if number < 10:
                    async with other.hold(f"job-{number}"):
                        pass
                if len(seen) == 10:
                    break
            assert seen == [f"job-{number}" for number in range(10)]
            await events.aclose()
            assert [event async for event in events] == []

    asyncio.run(story())


def test_every_call_is_there_in_both_forms() -> None:
    public = {name for name in vars(holdfast.Client) if not name.startswith("_")} - {"close"}
    assert public == {name for name in vars(holdfast.AsyncClient) if not name.startswith("_")} - {"aclose"}


def test_the_calls_answer_as_those_of_threads_do(world: World, tenant: Tenant) -> None:
    async def story() -> None:
        async with world.async_client(tenant) as client:
            await client.register([holdfast.Definition(name="gpu", capacity=2)])
            assert (await client.plan([holdfast.Definition(name="gpu", capacity=2)])).is_empty
            (granted,) = await client.reserve([holdfast.ReserveItem(resource="gpu", requester="w", ttl=60)])
            (checked,) = await client.check("gpu")
            assert (granted.slots, checked.available) == (("gpu_0",), 1)
            await client.renew([granted], ttl=60)
            await client.release([granted])
            position = await client.publish("trade", {"side": "buy"})
            async with client.events(since=int(position) - 1) as events:
                assert (await anext(events)).is_reset
        with pytest.raises(holdfast.UnauthorizedError):
            async with holdfast.AsyncClient(world.urls, "hf_live_nobody") as stranger:
                await stranger.check("a")

    asyncio.run(story())
