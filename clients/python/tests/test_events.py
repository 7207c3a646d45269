"""The event stream, for threads."""

from __future__ import annotations

import itertools
import threading

import pytest

import holdfast
from holdfast._sse import Parser
from support import Tenant, World, eventually, running


def test_a_stream_carries_what_happens_from_its_beginning_on(client: holdfast.Client, other: holdfast.Client) -> None:
    with client.events() as events:
        begun = events.position
        with other.hold("db", note="migration 7") as lease:
            pass
        reserved, unreserved = itertools.islice(events, 2)
    assert (reserved.type, reserved.resource, reserved.requester) == ("RESERVED", "db", lease.requester)
    assert (reserved.position, reserved.fencing_token, reserved.note) == (lease.fence, lease.fence, "migration 7")
    assert (unreserved.type, unreserved.explanation, unreserved.data["resource"]) == (
        "UNRESERVED",
        "RELINQUISHED",
        "db",
    )
    assert begun is not None and reserved.position is not None and begun < reserved.position
    assert events.position == unreserved.position


def test_a_listing_and_a_stream_fit_without_a_hole(client: holdfast.Client) -> None:
    with client.hold("before"):
        listing = client.list_reservations()
        with client.hold("after"):
            with client.events(since=listing.as_of, types=["RESERVED"]) as events:
                assert next(events).resource == "after"
    assert [row.resource for row in listing] == ["before"] and len(listing) == 1 and listing[0] is listing.rows[0]


def test_filters_pass_names_with_any_character(client: holdfast.Client) -> None:
    name = 'a,b "ü" \u2028'
    with client.events(resources=[name, "build/*"], types=["RESERVED"]) as events:
        for resource in ("other", name, "build/7"):
            with client.hold(resource):
                pass
        assert [event.resource for event in itertools.islice(events, 2)] == [name, "build/7"]


def test_a_transaction_is_one_event_with_its_changes(client: holdfast.Client) -> None:
    with client.events(types=["TRANSACTION_APPLIED"]) as events, client.hold("a", "b") as lease:
        event = next(events)
    assert event.changes is not None
    assert {change.resource: change.fencing_token for change in event.changes} == lease.fences


def test_ones_own_events_share_the_stream(client: holdfast.Client) -> None:
    with client.events() as events:
        published = client.publish("trade", {"side": "buy", "resource": 7})
        event = next(events)
    assert (event.type, str(event.position), event.data["data"]) == ("trade", published, {"side": "buy", "resource": 7})
    assert event.resource is None, "the fields are those of reservations"
    assert client.publish("trade", 1, dedupe_id="x") == client.publish("trade", 2, dedupe_id="x")


@pytest.mark.parametrize(("since", "reason"), [(5, "too_old"), ("what", "unknown")])
def test_a_position_that_cannot_be_resumed_is_told(client: holdfast.Client, since: int | str, reason: str) -> None:
    with client.hold("db"):
        pass
    with client.events(since=since) as events:
        event = next(events)
        assert event.is_reset and event.reason == reason and event.as_of is not None
        with client.hold("db"):
            following = next(events)
    assert following.type == "RESERVED" and not following.is_reset
    assert following.position is not None and following.position > event.as_of


def test_a_stream_outlives_its_replica_without_a_hole_or_a_double(fragile: World) -> None:
    tenant = fragile.tenant()
    follower, worker = fragile.client(tenant, 0, 1), fragile.client(tenant, 1)
    stop = threading.Event()
    done: list[int] = []

    def work() -> None:
        for number in itertools.count():
            with worker.hold(f"job-{number}", requester="worker"):
                pass
            done.append(number)
            if stop.is_set():
                return

    seen: list[str] = []
    with follower.events(types=["RESERVED"]) as events, running(work) as outcome:
        while not outcome or len(seen) < len(done):
            event = next(events)
            assert not event.is_reset
            seen.append(str(event.resource))
            if len(seen) == 5:
                fragile.replicas[0].kill()
            if len(seen) == 60:
                stop.set()
                eventually("the worker has ended", lambda: outcome)
    assert seen == [f"job-{number}" for number in done]


def test_a_stream_waits_for_a_service_that_is_away(fragile: World) -> None:
    tenant = fragile.tenant()
    with fragile.client(tenant, 0).events(types=["RESERVED"]) as events:
        fragile.replicas[0].stop()
        with fragile.client(tenant, 1).hold("db"):
            pass
        fragile.replicas[0].go_on()
        assert next(events).resource == "db"


def test_another_thread_ends_a_stream(client: holdfast.Client) -> None:
    with client.events() as events:
        with running(lambda: list(events)) as outcome:
            with client.hold("db"):
                eventually(
                    "it is read",
                    lambda: events.position and events.position >= client.list_reservations()[0].fencing_token,
                )
            eventually("it is read on", lambda: not outcome)
            events.close()
    assert [event.type for event in outcome[0]][:1] == ["RESERVED"]


def test_a_refused_credential_ends_a_stream(world: World, tenant: Tenant) -> None:
    stranger = world.client(Tenant("", "hf_live_nobody"))
    with pytest.raises(holdfast.UnauthorizedError), stranger.events():
        pass
    with pytest.raises(holdfast.UnauthorizedError):
        next(stranger.events())


def test_one_stream_too_many_is_refused_with_its_limit(world: World) -> None:
    client = world.client(world.tenant("Free"))
    with client.events():
        with pytest.raises(holdfast.RateLimitedError) as refused, client.events():
            pass
    assert (refused.value.limit_type, refused.value.upgrade_required) == ("SseConnections", True)


def test_a_text_is_no_list_of_texts(client: holdfast.Client) -> None:
    with pytest.raises(TypeError, match="types"):
        client.events(types="RESERVED")


def test_frames_are_parsed_however_they_are_cut() -> None:
    text = (
        'retry: 1500\n\ndata: {"type":"connected"}\n\nid: 7\n\nid: 8\nevent: RESERVED\ndata: "ü"\n\n'
        ": keepalive\nid: 9\n\nevent: X\ndata: 1\ndata: 2\r\n\n"
    ).encode()
    for cut in range(1, len(text)):
        parser = Parser()
        assert parser.feed(text[:cut]) + parser.feed(text[cut:]) == [
            (None, None, '{"type":"connected"}'),
            (None, "7", None),
            ("RESERVED", "8", '"ü"'),
            (None, "9", None),
            ("X", None, "1\n2"),
        ]
        assert parser.retry == 1.5


def test_a_line_without_an_end_is_refused_at_its_bound() -> None:
    parser = Parser()
    parser.feed(b"x" * (8 << 20))
    with pytest.raises(ValueError, match="too long"):
        parser.feed(b"x")
