"""The calls one by one, errors by code, and when a call is repeated."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import holdfast
from holdfast._decode import camel
from holdfast.models import ReleaseItem, ReserveItem, Transaction
from peer import Peer, refusal
from support import Tenant, World

PUBLISHED = (202, {"ids": ["7"]})


def item(resource: str, requester: str = "w", **more: Any) -> ReserveItem:
    return ReserveItem(resource=resource, requester=requester, ttl=60, **more)


def test_reserve_renew_and_release(client: holdfast.Client) -> None:
    granted, refused = client.reserve([item("a", note="n"), item("a", "other")])
    assert (granted.status, refused.status, refused.holder) == ("ACQUIRED", "ALREADY_HELD", "w")
    assert granted.is_held and not refused.is_held and granted.expires_at is not None
    (renewed,) = client.renew([granted], ttl=600)
    assert renewed.status == "RENEWED" and renewed.expires_at is not None and renewed.waiting == 0
    assert 500 < (renewed.expires_at - datetime.now(UTC)).total_seconds() < 700
    (checked,) = client.check("a")
    assert (checked.holder, checked.note, checked.is_available) == ("w", "n", False)
    with pytest.raises(holdfast.InvalidReleaseTokenError):
        client.release([dataclasses.replace(granted, release_token="wrong")])
    (released,) = client.release([ReleaseItem(resource="a", requester="w", release_token=granted.release_token)])
    assert (released.status, released.released) == ("RELINQUISHED", ("a",))


def test_tickets_are_shown_and_cancelled(client: holdfast.Client) -> None:
    client.reserve([item("a")])
    (waiting,) = client.reserve([item("a", "x", wait=60)])
    assert waiting.status == "WAITING" and waiting.place == 1 and waiting.ticket is not None
    shown = client.ticket(waiting.ticket)
    assert (shown.status, shown.resources, shown.requester) == ("WAITING", ("a",), "x")
    assert client.list_waiting(requester="x")[0].ticket == waiting.ticket
    assert client.cancel(waiting.ticket).status == "CANCELLED"
    with pytest.raises(holdfast.NotFoundError):
        client.ticket("00000000-0000-4000-8000-000000000000")


def test_transactions_reserve_and_release(client: holdfast.Client) -> None:
    reserve = Transaction(reserve=[item("a"), item("b")])
    (applied,) = client.transact([reserve])
    assert applied.status == "APPLIED" and [result.resource for result in applied.reserved] == ["a", "b"]
    (waiting,) = client.transact([Transaction(reserve=[item("b", "x"), item("c", "x")], wait=60, overtake=True)])
    assert waiting.status == "WAITING" and waiting.ticket is not None
    assert [(result.status, result.holder) for result in waiting.reserved] == [("ALREADY_HELD", "w"), ("ROLLED_BACK", None)]
    (released,) = client.transact([Transaction(release=applied.reserved)])
    assert released.request_type == "UNRESERVE" and [result.released for result in released.released] == [
        ("a",),
        ("b",),
    ]
    served = client.ticket(waiting.ticket, hold=5)
    assert served.status == "ACQUIRED" and served.transaction is not None
    assert [result.status for result in served.transaction.reserved] == ["ACQUIRED", "ACQUIRED"]
    with pytest.raises(ValueError, match="one of the two"):
        client.transact([Transaction()])


def test_listings_are_read_to_their_end(client: holdfast.Client) -> None:
    names = [f"job/{number}" for number in range(25)]
    client.reserve([item(name) for name in names])
    client.reserve([item("other", "x")])
    assert sorted(row.resource for row in client.list_reservations(prefix="job/")) == sorted(names)
    assert [row.resource for row in client.list_reservations(requester="x")] == ["other"]
    seen, cursor = [], None
    while True:
        page = client.reservations_page(prefix="job/", limit=10, cursor=cursor)
        seen += [row.resource for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(names)


def test_resources_are_planned_and_applied(client: holdfast.Client) -> None:
    gpu = holdfast.Definition(name="gpu", capacity=2)
    press = holdfast.Definition(name="press", blocks=("light",), tree_path="plant>hall")
    client.register([gpu, holdfast.Definition(name="old"), holdfast.Definition(name="part", tree_path="old")])
    wanted = [dataclasses.replace(gpu, capacity=4), press]
    plan = client.plan(wanted, prune=True)
    assert (plan.created, plan.changed, plan.deleted) == ((press,), ((gpu, wanted[0]),), ("part", "old"))
    client.apply(plan)
    again = client.plan(wanted, prune=True)
    assert again.is_empty and again.unchanged == 2
    assert client.resource("gpu").slots == ("gpu_0", "gpu_1", "gpu_2", "gpu_3")
    assert {resource.name for resource in client.list_resources()} >= {"gpu", "press", "plant", "hall"}
    assert client.delete_resource("gpu") and not client.delete_resource("gpu")
    with pytest.raises(ValueError, match="more than once: gpu"):
        client.plan([gpu, gpu])


def test_an_administrator_ends_what_others_hold(client: holdfast.Client) -> None:
    client.reserve([item("a"), item("b")])
    assert client.force_release("a", reason="stuck") == ("a",)
    fence = client.list_reservations()[0].fencing_token
    assert client.verify_fence("b", fence).valid and not client.verify_fence("b", fence - 1).valid
    assert client.verify_fence("a", fence).current_fencing_token is None
    assert client.reset() == 1


def test_names_go_into_paths_whole(client: holdfast.Client) -> None:
    name = "a b/ü?#%>".replace(">", "")
    client.register([holdfast.Definition(name=name)])
    assert client.resource(name).name == name and client.delete_resource(name)


def test_errors_are_told_apart_by_code(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    with pytest.raises(holdfast.InvalidRequestError) as wrong:
        client.reserve([item("a"), item("", "w")])
    assert (wrong.value.status, wrong.value.code) == (400, "VALIDATION_ERROR")
    assert wrong.value.details[0].path == "[1].resource" and "[1].resource" in str(wrong.value)
    client.register([holdfast.Definition(name="gpu", capacity=2)])
    client.reserve([item("gpu")])
    with pytest.raises(holdfast.ConflictError):
        client.delete_resource("gpu")
    with pytest.raises(holdfast.UnauthorizedError):
        world.client(Tenant("", "hf_live_nobody")).check("a")
    key = httpx.post(
        f"{world.urls[0]}/api/v1/keys", headers={"X-Api-Key": tenant.key}, json={"label": "r", "scopes": ["read"]}
    )
    with pytest.raises(holdfast.ForbiddenError):
        world.client(Tenant("", key.json()["apiKey"])).reserve([item("a")])
    free = world.client(world.tenant("Free"))
    with pytest.raises(holdfast.RateLimitedError) as limited:
        free.reserve([item(f"r{number}") for number in range(51)])
    assert (limited.value.limit_type, limited.value.limit, limited.value.tier) == ("ConcurrentReservations", 50, "Free")
    assert limited.value.upgrade_required and limited.value.retry_after and not limited.value.is_temporary


def test_every_field_that_the_service_answers_is_known(world: World, tenant: Tenant, client: holdfast.Client) -> None:
    def keys(method: str, path: str, body: Any = None) -> Any:
        return httpx.request(
            method, f"{world.urls[0]}/api/v1{path}", headers={"X-Api-Key": tenant.key}, json=body
        ).json()

    def known(kind: type[Any], *also: str) -> set[str]:
        return {field.metadata.get("wire", camel(field.name)) for field in dataclasses.fields(kind)} | set(also)

    client.register([holdfast.Definition(name="gpu", capacity=2)])
    wanted = {"requester": "w", "resource": "gpu", "ttlSeconds": 60}
    (granted,) = keys("POST", "/Reservation/reserve", [wanted])
    assert set(granted) == known(holdfast.ReserveResult)
    proof = {"requester": "w", "resource": "gpu", "releaseToken": granted["releaseToken"]}
    assert set(keys("POST", "/Reservation/renew", [{**proof, "ttlSeconds": 60}])[0]) == known(holdfast.RenewResult)
    assert set(keys("POST", "/Reservation/check", {"resources": ["gpu"]})[0]) == known(holdfast.CheckResult)
    assert set(keys("GET", "/Reservation/activeReservations")["reservations"][0]) == known(holdfast.ActiveReservation)
    assert set(keys("GET", "/Resource/gpu")) == known(holdfast.Resource)
    transaction = {"method": "FIRST", "requestType": "RESERVE", "requests": [{**wanted, "requester": "x"}]}
    (one,) = keys("POST", "/Reservation/transactions", [transaction])
    assert set(one) == known(holdfast.TransactionResult, "results") - {"reserved", "released"}
    (waiting,) = keys("POST", "/Reservation/reserve", [{**wanted, "requester": "y", "waitSeconds": 60}])
    assert set(keys("GET", "/Reservation/waiting")["waiting"][0]) == known(holdfast.WaitingTicket)
    assert set(keys("GET", f"/Reservation/tickets/{waiting['ticket']}")) == known(holdfast.Ticket)
    assert set(keys("POST", "/Reservation/unreserve", [proof])[0]) == known(holdfast.ReleaseResult)


# --- repeating


def test_a_pause_is_never_shorter_than_the_service_asks_for() -> None:
    limited = (429, refusal("RATE_LIMITED", limitType="RequestRate", retryAfter=1), {"Retry-After": "1"})
    away = (503, refusal("UNAVAILABLE", retryAfter=1), {"Retry-After": "1"})
    with Peer(limited, away, PUBLISHED) as peer, peer.client() as client:
        assert client.publish("x", 1) == "7"
    first, second, third = peer.times
    assert second - first >= 1 and third - second >= 1


def test_a_call_is_repeated_only_where_that_is_safe() -> None:
    unknown = (504, refusal("OUTCOME_UNKNOWN"))
    released = (200, {"released": ["a"]})
    # By the time of a second attempt somebody else may hold it.
    for failure in (unknown, None):
        with Peer(failure, released) as peer, peer.client() as client, pytest.raises(holdfast.OutcomeUnknownError):
            client.force_release("a")
        assert len(peer.requests) == 1
    # Nothing changed by a 503, so anything may be asked again; what has an id of its own is published once.
    with Peer((503, refusal("UNAVAILABLE")), released) as peer, peer.client() as client:
        assert client.force_release("a") == ("a",)
    with Peer(unknown, None, (502, "<html>"), PUBLISHED) as peer, peer.client() as client:
        client.publish("x", 1)
    assert len({body["dedupeId"] for _, body in peer.requests}) == 1
    # A bug's 500 is not mended by asking again, and other limits than the rate do not pass by themselves.
    capped = (429, refusal("RATE_LIMITED", limitType="WaitingTickets"))
    for failure, kind in (((500, refusal("INTERNAL")), holdfast.ApiError), (capped, holdfast.RateLimitedError)):
        with Peer(failure, PUBLISHED) as peer, peer.client() as client, pytest.raises(kind):
            client.publish("x", 1)
        assert len(peer.requests) == 1


def test_what_an_earlier_attempt_took_is_the_holders_own() -> None:
    result = {"resource": "db", "requester": "w", "explanation": "", "releaseToken": "t", "fencingToken": 7}
    renewed = {"resource": "db", "requester": "w", "status": "RENEWED", "explanation": "", "fencingToken": 7}
    released = {"resource": "db", "requester": "w", "status": "RELINQUISHED", "explanation": "", "released": ["db"]}
    with Peer(None, (200, [{**result, "status": "ALREADY_HAD"}]), (200, [renewed]), (200, [released])) as peer:
        with peer.client() as client, client.hold("db", requester="w", ttl=600) as lease:
            assert lease.fence == 7
    assert [line.rsplit("/", 1)[1] for line, _ in peer.requests] == ["reserve", "reserve", "renew", "unreserve"]


def test_what_is_none_of_holdfasts_is_said_so() -> None:
    for answer in ((200, "<html>"), (200, [{"resource": "a"}]), (200, {"x": 1}), (302, "", {"Location": "/"})):
        with Peer(answer) as peer, peer.client() as client, pytest.raises(holdfast.UnexpectedAnswerError):
            client.check("a")


def test_one_that_never_answers_is_given_up_in_time(fragile: World) -> None:
    client = fragile.client(fragile.tenant(), 0)
    lease = client.acquire("a", ttl=4)
    fragile.replicas[0].stop()
    begun = time.monotonic()
    with pytest.raises(holdfast.OutcomeUnknownError):
        lease.renew()
    assert time.monotonic() - begun < 4


def test_the_address_and_the_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer((200, [])) as peer:
        monkeypatch.setenv("HOLDFAST_URL", peer.url + "/")
        with holdfast.Client() as client:
            assert client.check("a") == []
    for url, says in (
        ("127.0.0.1:8080", "scheme"),
        ("ftp://x", "scheme"),
        ("http://", "no host"),
        ("http://u:p@h", "password"),
        ("http://h/?a=b", "query"),
    ):
        with pytest.raises(ValueError, match=says) as wrong:
            holdfast.Client(url)
        assert "u:p" not in str(wrong.value)
    with pytest.raises(ValueError, match="one word"):
        holdfast.Client("http://h", "hf_live x")
    with pytest.raises(ValueError, match="empty"):
        holdfast.Client([])


def test_a_closed_client_says_so(world: World, tenant: Tenant) -> None:
    client = world.client(Tenant("", tenant.key))
    client.close()
    with pytest.raises(holdfast.UnreachableError, match="closed"):
        client.check("a")
