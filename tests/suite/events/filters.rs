//! Filters of streams, live and in the history; the cursor moves past events that do not match.

use serde_json::json;

use crate::support::{sse::Seen, world::World};

#[tokio::test]
async fn a_stream_has_only_events_that_match_every_filter() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut types = at.events("?types=UNRESERVED,RESERVE_FAILED").await;
    let mut resources = at.events("?resources=printer,job-*&resources=a%5C%2Cb").await;
    let mut both = at.events("?types=RESERVED&resources=job-*").await;
    let mut nothing = at.events("?types=NONSENSE").await;
    let mut empty = at.events("?types=&resources=,").await;
    for stream in [&mut types, &mut resources, &mut both, &mut nothing, &mut empty] {
        stream.head().await;
    }

    let printer = at.acquire("w", "printer", None).await;
    at.acquire("w", "job-1", None).await;
    at.acquire("w", "a,b", None).await;
    at.acquire("w", "other", None).await;
    at.reserve("x", "printer", None).await;
    at.unreserve("w", "printer", &printer["releaseToken"]).await;
    at.post("/Reservation/reset", json!(null)).await;

    assert_eq!(types.expect("RESERVE_FAILED").await["resource"], "printer");
    assert_eq!(types.expect("UNRESERVED").await["resource"], "printer");
    for (kind, name) in [
        ("RESERVED", "printer"),
        ("RESERVED", "job-1"),
        ("RESERVED", "a,b"),
        ("RESERVE_FAILED", "printer"),
        ("UNRESERVED", "printer"),
    ] {
        assert_eq!(resources.expect(kind).await["resource"], name);
    }
    resources.expect("RESET").await;
    assert_eq!(both.expect("RESERVED").await["resource"], "job-1");
    for name in ["printer", "job-1", "a,b", "other"] {
        assert_eq!(empty.expect("RESERVED").await["resource"], name);
    }
    let unexpected = nothing.next_within(std::time::Duration::from_millis(300)).await;
    assert!(unexpected.is_err(), "{unexpected:?}");
}

#[tokio::test]
async fn a_keepalive_moves_the_cursor_of_a_filtered_stream() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut stream = at.events("?types=RESET").await;
    let begun = stream.head().await;
    let fence = at.acquire("w", "a", None).await["fencingToken"].as_i64().unwrap();

    assert_eq!(stream.next().await, Some(Seen::Comment("keepalive".into())));
    assert_eq!(stream.next().await, Some(Seen::Id(fence.to_string())));
    assert!(fence > begun);
    drop(stream);
    // A stream resumes there, without the event that did not match.
    let mut again = at.events(&format!("?lastEventId={fence}")).await;
    assert_eq!(again.head().await, fence);
}

#[tokio::test]
async fn the_history_is_filtered_like_live_events() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let from = at.get("/Reservation/activeReservations").await.body["asOf"].as_i64().unwrap();
    for number in 0..20 {
        at.acquire("w", &format!("job-{number}"), None).await;
        at.acquire("w", &format!("other-{number}"), None).await;
    }
    let mut stream = world.at_replica(1, &tenant).events(&format!("?resources=job-1*&lastEventId={from}")).await;
    assert_eq!(stream.head().await, from);
    for number in [1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19] {
        assert_eq!(stream.expect("RESERVED").await["resource"], format!("job-{number}"));
    }
}
