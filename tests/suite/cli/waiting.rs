//! Waiting on a service without a queue: polling, woken by events.

use std::time::{Duration, Instant};

use crate::{cli::Cli, support::world::World};

#[tokio::test]
async fn without_a_queue_it_polls_and_says_so_once() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let at = world.at(&tenant);
    let held = at.acquire("somebody", "x", None).await;
    let waiting = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m", "--json"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    let ended = waiting.ended();
    ended.succeeds();
    let answer: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer[0]["status"], "ACQUIRED");
    assert_eq!(ended.err.matches("polling").count(), 1, "{ended:?}");
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
async fn who_may_have_no_stream_polls_all_the_same() {
    let world = World::<1>::start().await;
    // The one stream of the tier is taken.
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let _stream = at.events("").await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let held = at.acquire("somebody", "x", None).await;
    let waiting = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
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
