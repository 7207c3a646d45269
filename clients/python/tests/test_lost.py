"""What a lease does when replicas, Redis, the key or the program itself fail: its loss is reported before anybody else is served."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import httpx
import pytest

import holdfast
from support import Program, Tenant, World, eventually, running

TTL = 2


def now() -> float:
    """The clock of both sides of a comparison: they run on one machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def loses_in_time(
    world: World, tenant: Tenant, holder: int, break_it: Callable[[], None], mend: Callable[[], None]
) -> float:
    """Holds a name at one replica while another client waits for it; how long before that one's grant the loss was reported, seconds."""
    reported: list[float] = []
    granted: list[float] = []
    client, other = world.client(tenant, holder), world.client(tenant, 1 - holder)

    def take_over() -> None:
        lease = other.acquire("db", wait=60, ttl=60)
        granted.append(now())
        lease.release()

    lease = client.acquire("db", ttl=TTL, grace=0.5, on_lost=lambda _: reported.append(now()))
    with running(take_over) as outcome:
        eventually("the other one waits", lambda: len(other.list_waiting(resource="db")) == 1)
        break_it()
        assert lease.wait_lost(20)
        eventually("the loss is reported", lambda: reported)
        assert not granted, "before anybody else has it"
        mend()
        eventually("the other one gets it", lambda: granted)
    assert outcome == [None]
    assert lease.lost and lease.lost_reason == "it could not be renewed in time"
    with pytest.raises(holdfast.LeaseLostError):
        lease.release()
    return granted[0] - reported[0]


def test_a_stopped_replica_loses_the_lease_in_time(fragile: World) -> None:
    first = fragile.replicas[0]
    assert loses_in_time(fragile, fragile.tenant(), 0, first.stop, lambda: None) > 0.25


def test_a_killed_replica_loses_the_lease_in_time(fragile: World) -> None:
    first = fragile.replicas[0]
    assert loses_in_time(fragile, fragile.tenant(), 0, first.kill, lambda: None) > 0.25


def test_a_stopped_redis_loses_the_lease_in_time(fragile: World) -> None:
    assert loses_in_time(fragile, fragile.tenant(), 0, fragile.redis.stop, fragile.redis.go_on) > 0


def test_a_revoked_key_loses_the_lease_in_time(world: World) -> None:
    tenant = world.tenant()
    key = httpx.post(f"{world.urls[0]}/api/v1/keys", headers={"X-Api-Key": tenant.key}, json={"label": "worker"}).json()
    worker = Tenant(tenant.id, key["apiKey"])
    reported: list[float] = []
    lease = world.client(worker).acquire("db", ttl=TTL, grace=0.5, on_lost=lambda _: reported.append(now()))
    httpx.delete(f"{world.urls[0]}/api/v1/keys/{key['id']}", headers={"X-Api-Key": tenant.key}).raise_for_status()
    with world.client(tenant).hold("db", wait=60):
        granted = now()
    assert lease.lost and granted - reported[0] > 0.25
    with pytest.raises(holdfast.UnauthorizedError):
        world.client(worker).acquire("db", wait=60)


def test_a_program_that_was_paused_knows_at_once(world: World, tenant: Tenant, other: holdfast.Client) -> None:
    code = f"""
import holdfast, sys, os, signal
lease = holdfast.Client().acquire("db", ttl={TTL})
print("held")
os.kill(os.getpid(), signal.SIGSTOP)
print("lost" if lease.lost else "held")
"""
    with Program(code, world.urls, tenant.key) as program:
        assert program.line() == "held"
        taken = other.acquire("db", wait=60)
        program.signal(signal.SIGCONT)
        assert program.line() == "lost"
    taken.release()


def test_a_replica_killed_while_holding_is_survived(fragile: World) -> None:
    tenant = fragile.tenant()
    client = fragile.client(tenant, 0, 1)
    with client.hold("db", ttl=9) as lease:
        fragile.replicas[0].kill()
        began = lease.expires_at
        assert began is not None
        eventually(
            "it is renewed at the other one",
            lambda: lease.expires_at and (lease.expires_at - began).total_seconds() > 2,
        )
        assert not lease.lost
    assert len(client.list_reservations()) == 0


@pytest.mark.parametrize("names", [("db",), ("db", "schema")])
def test_a_replica_killed_while_waiting_is_survived(fragile: World, names: tuple[str, ...]) -> None:
    tenant = fragile.tenant()
    first, behind = fragile.client(tenant, 1), fragile.client(tenant, 1)
    served: list[str] = []

    def wait(client: holdfast.Client, name: str) -> None:
        with client.hold(*names, wait=60):
            served.append(name)

    lease = first.acquire("db", ttl=60)
    client = fragile.client(tenant, 0, 1)
    with running(lambda: wait(client, "first in line")) as outcome:
        eventually("it waits", lambda: len(first.list_waiting()) == 1)
        (ticket,) = first.list_waiting()
        with running(lambda: wait(behind, "second in line")) as other_outcome:
            eventually("two wait", lambda: len(first.list_waiting()) == 2)
            fragile.replicas[0].kill()
            addresses = client._driver.addresses
            eventually("it asks the other replica", lambda: addresses.url == fragile.urls[1])
            kept = {row.ticket: row.place for row in first.list_waiting()}
            assert kept.get(ticket.ticket) == 1, "it keeps its place"
            lease.release()
    assert (served, outcome, other_outcome) == (["first in line", "second in line"], [None], [None])


def test_what_is_not_there_at_all_is_reported_soon() -> None:
    begun = time.monotonic()
    with holdfast.Client("http://127.0.0.1:1", "hf_live_x") as client:
        with pytest.raises(holdfast.UnreachableError, match=r"127\.0\.0\.1:1"):
            client.acquire("db", wait=60)
    assert time.monotonic() - begun < 5


def test_giving_back_to_nobody_does_not_hide_what_the_block_did(
    fragile: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = fragile.client(fragile.tenant(), 0)
    with client.hold("db", ttl=60):
        fragile.replicas[0].kill()
    assert "could not be given back and ends by itself" in caplog.text
