//! The history over HTTP: what happened, for whoever did not watch.

use serde_json::Value;

use crate::support::world::{Client, World};

/// All pages from a position on, with so many entries each.
async fn pages(at: &Client<'_>, after: i64, limit: usize, filter: &str) -> Vec<Value> {
    let (mut events, mut next) = (Vec::new(), Some(after));
    while let Some(after) = next {
        let answer = at.get(&format!("/events/history?after={after}&limit={limit}{filter}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        events.extend(answer.body["events"].as_array().unwrap().iter().cloned());
        next = answer.body["nextAfter"].as_i64();
        assert!(next.is_none_or(|next| next > after), "a page moves on");
    }
    events
}

#[tokio::test]
async fn the_history_has_what_the_stream_sent_page_by_page() {
    // Given a stream that heard everything, refusals too.
    let world = World::<2>::start().await;
    let (tenant, stranger) = (world.tenant().await, world.tenant().await);
    let at = world.at(&tenant);
    let mut stream = at.events("").await;
    stream.head().await;
    for n in 0..20 {
        let granted = at.acquire("w", &format!("job-{n}"), Some(600)).await;
        if n % 2 == 0 {
            at.unreserve("w", &format!("job-{n}"), &granted["releaseToken"]).await;
        }
    }
    at.reserve("late", "job-1", None).await;
    let mut sent = Vec::new();
    while sent.len() < 31 {
        sent.push(stream.event().await.1);
    }
    assert_eq!(sent.pop().unwrap()["type"], "RESERVE_FAILED");

    // When the history is read on the other replica, in pages of any size.
    let other = world.at_replica(1, &tenant);
    for limit in [1, 7, 1_000] {
        // Then it says the same in the same order, but for refusals, which are not kept.
        assert_eq!(pages(&other, 0, limit, "").await, sent, "pages of {limit}");
    }
    // And from a position on, what came after it.
    let position = sent[9]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(pages(&other, position, 3, "").await, sent[10..]);
    // And filtered, as the stream filters.
    let released = pages(&other, 0, 4, "&types=UNRESERVED&resources=job-1*").await;
    let names: Vec<_> = released.iter().map(|event| event["resource"].as_str().unwrap()).collect();
    assert_eq!(names, ["job-10", "job-12", "job-14", "job-16", "job-18"]);
    // And nothing to anybody else, nor of the time to come.
    assert!(pages(&world.at(&stranger), 0, 100, "").await.is_empty());
    assert!(pages(&other, i64::from(u32::MAX) << 20, 100, "").await.is_empty());
}

#[tokio::test]
async fn a_wrong_question_to_the_history_is_answered_with_what_is_wrong() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let answer = world.at(&tenant).get("/events/history?after=-1&limit=0").await;
    answer.fails(400, "VALIDATION_ERROR");
    assert_eq!(answer.paths(), ["limit", "after"]);
    let many = vec!["x"; 201].iter().enumerate().map(|(n, x)| format!("{x}{n}")).collect::<Vec<_>>().join(",");
    let answer = world.at(&tenant).get(&format!("/events/history?types={many}")).await;
    answer.fails(400, "VALIDATION_ERROR");
    assert_eq!(answer.paths(), ["types"]);
}
