"""Holding and waiting, for threads."""

from __future__ import annotations

import gc
import math
import signal
import threading
import time

import pytest

import holdfast
from support import Program, Tenant, World, eventually, running

HOLD_UNTIL_KILLED = """
import holdfast, time
client = holdfast.Client()
with client.hold("db", ttl=60, wait=300, requester={requester!r}, on_waiting=lambda waiting: print("waiting", waiting.place)) as lease:
    print("held", lease.fence)
    time.sleep(600)
"""


def held(client: holdfast.Client) -> list[str]:
    return sorted(row.resource for row in client.list_reservations())


def test_a_block_holds_the_name_and_gives_it_back(client: holdfast.Client) -> None:
    with client.hold("db", ttl=30, note="migration 7") as lease:
        (row,) = client.list_reservations()
        assert (row.resource, row.requester, row.fencing_token) == ("db", lease.requester, lease.fence)
        assert (row.expires_at, row.note) == (lease.expires_at, "migration 7")
        assert client.verify_fence("db", lease.fence).valid
        assert not lease.lost and lease.lost_reason is None and 20 < lease.remaining < 30
        lease.raise_if_lost()
        assert repr(lease) == f"<Lease of db, fence {lease.fence}, held>"
    assert held(client) == []


def test_what_others_hold_is_refused_with_who_holds_it(client: holdfast.Client, other: holdfast.Client) -> None:
    with other.hold("db", requester="worker-1"):
        with pytest.raises(holdfast.NotAcquiredError, match='"db" is held by "worker-1"') as refused, client.hold("db"):
            pass
        assert refused.value.results[0].holder == "worker-1"
        assert not isinstance(refused.value, holdfast.WaitTimeoutError)
    assert held(client) == []


def test_a_hold_waits_in_line_and_says_where(client: holdfast.Client, other: holdfast.Client) -> None:
    places: list[holdfast.Waiting] = []
    with other.hold("db", ttl=60, requester="worker-1") as first:
        with running(lambda: client.acquire("db", ttl=60, wait=60, on_waiting=places.append)) as outcome:
            eventually("it waits", lambda: len(client.list_waiting(resource="db")) == 1)
            eventually("its place was reported", lambda: places)
            assert (places[-1].place, places[-1].holder, places[-1].resources) == (1, "worker-1", ("db",))
            first.release()
        lease = outcome[0]
    assert lease.fence > first.fence
    assert 40 < lease.remaining < 50, "the time to live begins at the hand-over"
    lease.release()


def test_a_wait_in_vain_ends_in_time_and_leaves_the_line(client: holdfast.Client, other: holdfast.Client) -> None:
    with other.hold("db"):
        begun = time.monotonic()
        with pytest.raises(holdfast.WaitTimeoutError) as vain:
            client.acquire("db", wait=1.2)
        assert 1.2 <= time.monotonic() - begun < 5
        assert isinstance(vain.value, TimeoutError) and "db" in str(vain.value)
        assert len(client.list_waiting()) == 0


def test_a_deadlock_is_refused_at_once(client: holdfast.Client) -> None:
    def hold_both() -> None:
        with client.hold("b", requester="two"), client.hold("a", requester="two", wait=60):
            pass

    with client.hold("a", requester="one") as lease, running(hold_both) as outcome:
        eventually("it waits for a", lambda: len(client.list_waiting(resource="a")) == 1)
        with pytest.raises(holdfast.DeadlockError, match="one"):
            client.acquire("b", requester="one", wait=60)
        lease.release()
    assert outcome == [None]


def test_under_contention_holds_never_overlap(world: World, tenant: Tenant) -> None:
    inside, most, fences = 0, 0, []
    counting = threading.Lock()

    def work(client: holdfast.Client) -> None:
        nonlocal inside, most
        for _ in range(5):
            with client.hold("db", ttl=10, wait=60) as lease:
                with counting:
                    inside += 1
                    most = max(most, inside)
                    fences.append(lease.fence)
                time.sleep(0.002)
                with counting:
                    inside -= 1

    clients = [world.client(tenant, 0), world.client(tenant, 1)]
    threads = [threading.Thread(target=work, args=(clients[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, len(fences)) == (1, 40)
    assert fences == sorted(set(fences)), "each holder has a greater fence than the one before"
    for client in clients:
        client.close()


def test_a_lease_is_renewed_for_as_long_as_it_is_needed(client: holdfast.Client, other: holdfast.Client) -> None:
    with client.hold("db", ttl=6) as lease:
        first = lease.expires_at
        assert first is not None
        eventually(
            "it is renewed twice",
            lambda: lease.expires_at and (lease.expires_at - first).total_seconds() > 3.5,
        )
        with pytest.raises(holdfast.NotAcquiredError):
            other.acquire("db")
        assert not lease.lost and lease.waiting == 0
        lease.renew()


def test_a_lease_that_somebody_ends_is_reported_at_the_next_renewal(
    client: holdfast.Client, other: holdfast.Client
) -> None:
    lost: list[holdfast.Lease] = []
    with pytest.raises(holdfast.LeaseLostError, match="ended by somebody else"):
        with client.hold("db", ttl=6, on_lost=lost.append) as lease:
            other.force_release("db", reason="test")
            assert lease.wait_lost(20)
            assert lease.lost and "ended by somebody else" in str(lease.lost_reason) and lease.remaining == 0
            with pytest.raises(holdfast.LeaseLostError):
                lease.raise_if_lost()
            with pytest.raises(holdfast.LeaseLostError):
                lease.renew()
            eventually("the callback was called", lambda: lost == [lease])


def test_a_loss_that_nobody_noticed_is_reported_at_the_end(client: holdfast.Client, other: holdfast.Client) -> None:
    with pytest.raises(holdfast.LeaseLostError, match="before it was given back"):
        with client.hold("db", ttl=600) as lease:
            other.force_release("db")
            assert not lease.lost, "the next renewal is far"
    with pytest.raises(ZeroDivisionError):
        with client.hold("db", ttl=600):
            other.force_release("db")
            raise ZeroDivisionError


def test_an_exception_gives_back(client: holdfast.Client) -> None:
    with pytest.raises(ZeroDivisionError), client.hold("db"):
        raise ZeroDivisionError
    assert held(client) == []


def test_an_interrupt_while_holding_gives_back(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    with Program(HOLD_UNTIL_KILLED.format(requester=None), world.urls, tenant.key) as program:
        assert program.line().startswith("held")
        program.signal(signal.SIGINT)
        assert program.ended() == -signal.SIGINT
    assert held(client) == []


def test_an_interrupt_while_waiting_leaves_the_line(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    with client.hold("db"):
        with Program(HOLD_UNTIL_KILLED.format(requester=None), world.urls, tenant.key) as program:
            assert program.line() == "waiting 1"
            program.signal(signal.SIGINT)
            assert program.ended() == -signal.SIGINT
        assert len(client.list_waiting()) == 0


def test_a_program_that_ends_without_release_gives_back(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    code = "import holdfast; lease = holdfast.Client().acquire('db', ttl=600); print(lease.fence)"
    with Program(code, world.urls, tenant.key) as program:
        program.line()
        assert program.ended() == 0
    assert held(client) == []


def test_a_forked_child_neither_keeps_nor_ends_the_lease(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    code = """
import holdfast, os
with holdfast.Client().hold("db", ttl=600) as lease:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("held" if len(holdfast.Client().list_reservations()) == 1 else "ended by the child")
"""
    with Program(code, world.urls, tenant.key) as program:
        assert program.line() == "held"
        assert program.ended() == 0
    assert held(client) == []


def test_a_lease_that_is_forgotten_is_given_back(client: holdfast.Client) -> None:
    lease = client.acquire("db", ttl=600)
    assert held(client) == ["db"]
    del lease
    gc.collect()
    eventually("it is given back", lambda: held(client) == [])


def test_a_failing_callback_gives_the_place_up(client: holdfast.Client, other: holdfast.Client) -> None:
    def fail(waiting: holdfast.Waiting) -> None:
        raise ZeroDivisionError

    with other.hold("db"):
        with pytest.raises(ZeroDivisionError):
            client.acquire("db", wait=60, on_waiting=fail)
        assert len(client.list_waiting()) == 0


def test_groups_are_taken_all_first_or_any(client: holdfast.Client, other: holdfast.Client) -> None:
    with other.hold("b"):
        with pytest.raises(holdfast.NotAcquiredError, match="b: "):
            client.acquire("a", "b", "c")
        assert held(client) == ["b"]
        with client.hold("b", "c", "a", mode="first") as first:
            assert first.resources == ("c",) and held(client) == ["b", "c"]
        with client.hold("a", "b", "c", mode="any", ttl=6) as some:
            assert some.resources == ("a", "c") and set(some.fences) == {"a", "c"}
            begun = some.expires_at
            eventually("both are renewed", lambda: some.expires_at != begun)
    with client.hold("a", "b", "c") as all_of_them:
        assert held(client) == ["a", "b", "c"] and all_of_them.fence == max(all_of_them.fences.values())
    assert held(client) == []


def test_a_group_waits_as_one(client: holdfast.Client, other: holdfast.Client) -> None:
    first = other.acquire("a", ttl=60)
    with running(lambda: client.acquire("a", "b", ttl=60, wait=math.inf)) as outcome:
        eventually("it waits", lambda: len(client.list_waiting()) == 1)
        assert client.list_waiting()[0].resources == ("a", "b")
        first.release()
    assert outcome[0].resources == ("a", "b") and not outcome[0].lost
    outcome[0].release()
    assert held(client) == []


def test_pools_give_slots(client: holdfast.Client, other: holdfast.Client) -> None:
    client.register([holdfast.Definition(name="GPU", capacity=3)])
    with client.hold("GPU", quantity=2) as two, other.hold("GPU") as one:
        assert two.slots == ("GPU_0", "GPU_1") and (one.slot, one.resource) == ("GPU_2", "GPU")
        with pytest.raises(holdfast.NotAcquiredError):
            other.acquire("GPU")
    assert held(client) == []


def test_a_requester_that_holds_already_is_no_second_holder(client: holdfast.Client) -> None:
    with client.hold("db", requester="worker-1"):
        with pytest.raises(holdfast.NotAcquiredError, match="held by worker-1 already"):
            client.acquire("db", requester="worker-1", wait=60)
        assert held(client) == ["db"], "the first holder's reservation is not given back"


def test_priority_and_notes_reach_the_line(client: holdfast.Client, other: holdfast.Client) -> None:
    with other.hold("db", ttl=60) as first:
        with running(lambda: client.acquire("db", wait=60)) as low:
            eventually("one waits", lambda: len(client.list_waiting()) == 1)
            with running(lambda: client.acquire("db", wait=60, priority=5, note="urgent")) as high:
                eventually("two wait", lambda: len(client.list_waiting()) == 2)
                assert {(row.priority, row.note, row.place) for row in client.list_waiting()} == {
                    (5, "urgent", 1),
                    (0, None, 2),
                }
                first.release()
            assert not low
            high[0].release()
        low[0].release()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ttl": 0}, "ttl"),
        ({"ttl": 1.5}, "ttl"),
        ({"wait": -1}, "wait"),
        ({"wait": math.nan}, "wait"),
        ({"mode": "some"}, "mode"),
        ({"grace": 20}, "grace"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    client: holdfast.Client, wrong: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        client.hold("db", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        client.hold()
    with pytest.raises(ValueError, match="quantity"):
        client.hold("a", "b", quantity=2)
