//! Waiting from the command line.

use std::time::{Duration, Instant};

use crate::{
    cli::Cli,
    support::world::{Client, World, until},
};

/// How many wait for a resource.
async fn waiting_for(at: &Client<'_>, resource: &str) -> i64 {
    at.get(&format!("/Reservation/check/{resource}")).await.body["waiting"].as_i64().unwrap()
}

#[tokio::test]
async fn who_waits_stands_in_line_and_is_served_in_order() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (Cli::new(&world.replicas[0], &tenant), Cli::new(&world.replicas[1], &tenant));
    let at = world.at_replica(0, &tenant);
    let held = at.acquire("somebody", "x", None).await;
    let late = north.start(&["reserve", "x", "--as", "late", "--wait", "1m", "--json"]);
    until("the first waits", || async { waiting_for(&at, "x").await == 1 }).await;
    let early = south.start(&["reserve", "x", "--as", "early", "--wait", "1m", "--priority", "5", "--json"]);
    until("both wait", || async { waiting_for(&at, "x").await == 2 }).await;
    let listed = north.run(&["waiting"]);
    listed.succeeds();
    assert!(listed.out.contains("early") && listed.out.contains("late"), "{listed:?}");

    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    let ended = early.ended();
    ended.succeeds();
    let answer: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&answer[0]["status"], &answer[0]["requester"]), (&"ACQUIRED".into(), &"early".into()));
    at.unreserve("early", "x", &answer[0]["releaseToken"]).await;
    late.ended().succeeds();
    assert_eq!(waiting_for(&at, "x").await, 0);
}

#[tokio::test]
async fn a_ticket_is_cancelled_by_hand() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let at = world.at(&tenant);
    at.acquire("somebody", "x", None).await;
    let waiting = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m"]);
    until("it waits", || async { waiting_for(&at, "x").await == 1 }).await;
    let listed = at.get("/Reservation/waiting").await.body;
    cli.run(&["cancel", listed["waiting"][0]["ticket"].as_str().unwrap()]).succeeds();
    assert_eq!(waiting.ended().code, 75);
    assert_eq!(waiting_for(&at, "x").await, 0);
}

#[tokio::test]
async fn an_expiry_ends_the_wait() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    world.at(&tenant).acquire("somebody", "x", Some(2)).await;
    let begun = Instant::now();
    cli.run(&["reserve", "x", "--wait", "1m"]).succeeds();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_may_have_no_stream_waits_all_the_same() {
    let world = World::<1>::start().await;
    // The one stream of the tier is taken.
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let _stream = at.events("").await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let held = at.acquire("somebody", "x", None).await;
    let waiting = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m"]);
    until("it waits", || async { waiting_for(&at, "x").await == 1 }).await;
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    waiting.ended().succeeds();
}

#[tokio::test]
async fn a_service_that_is_away_for_a_while_does_not_end_the_wait() {
    let mut world = World::<1>::with(&["--appendonly", "yes", "--appendfsync", "always"], &[]).await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    world.at(&tenant).acquire("somebody", "x", Some(6)).await;
    let waiting = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.redis.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.redis.restart();
    waiting.ended().succeeds();
}
