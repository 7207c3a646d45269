//! Waiting in the service's queue.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cli::Cli,
    support::world::{Client, Replica, World, eventually, until},
};

/// How many wait for a name.
async fn waiting_for(at: &Client<'_>, name: &str) -> i64 {
    at.get(&format!("/Reservation/check/{name}")).await.body["waiting"].as_i64().unwrap()
}

#[tokio::test]
async fn runs_on_two_replicas_are_served_by_priority() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("somebody", "x", None).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("order");
    let append = |word: &str| format!("echo {word} >> {}", file.display());
    let (late, early) = (append("late"), append("early"));
    let start = |replica: usize, who: &str, priority: &str, script: &str| {
        Cli::new(&world.replicas[replica], &tenant).start(&[
            "run",
            "x",
            "--as",
            who,
            "--wait",
            "1m",
            "--priority",
            priority,
            "--",
            "sh",
            "-c",
            script,
        ])
    };
    let first = start(0, "first", "0", &late);
    until("one waits", || async { waiting_for(&at, "x").await == 1 }).await;
    let second = start(1, "second", "7", &early);
    until("both wait", || async { waiting_for(&at, "x").await == 2 }).await;
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    second.ended().succeeds();
    let first = first.ended();
    first.succeeds();
    assert!(first.err.contains("waiting for x, held by somebody, place 1"), "{first:?}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "early\nlate\n");
}

#[tokio::test]
async fn a_killed_client_leaves_the_queue_and_an_interrupted_one_at_once() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (cli, at) = (Cli::new(&world.replicas[0], &tenant), world.at(&tenant));
    at.acquire("somebody", "x", None).await;
    let mut events = at.events("?types=WAIT_ENDED").await;
    events.head().await;

    let interrupted = cli.start(&["run", "x", "y", "--as", "me", "--wait", "5m", "--", "true"]);
    until("it waits", || async { waiting_for(&at, "x").await == 1 }).await;
    interrupted.signal("-INT");
    let ended = interrupted.ended();
    assert_eq!(ended.code, 130, "{ended:?}");
    assert_eq!(events.expect("WAIT_ENDED").await["explanation"], "CANCELLED");
    assert_eq!(waiting_for(&at, "x").await, 0);

    let killed = cli.start(&["reserve", "x", "--as", "me", "--wait", "5m"]);
    until("it waits", || async { waiting_for(&at, "x").await == 1 }).await;
    killed.signal("-KILL");
    assert_eq!(events.expect("WAIT_ENDED").await["explanation"], "LAPSED");
    assert_eq!(waiting_for(&at, "x").await, 0);
}

#[tokio::test]
async fn a_wait_in_vain_says_who_has_it() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (cli, at) = (Cli::new(&world.replicas[0], &tenant), world.at(&tenant));
    at.acquire("somebody", "x", None).await;
    for names in [&["x"][..], &["x", "y"]] {
        let ran = cli.run(&[&["run"], names, &["--wait", "1s", "--", "true"]].concat());
        ran.fails(75, "x: not free within 1s; held by \"somebody\"");
        assert_eq!(waiting_for(&at, "x").await, 0, "it stands in nobody's way");
    }
}

#[tokio::test]
async fn fifty_runs_of_one_name_never_overlap_and_are_served_in_order() {
    const RUNS: usize = 50;
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let held = at.acquire("somebody", "x", None).await;
    let dir = tempfile::tempdir().unwrap();
    let script =
        r#"mkdir "$1/inside" || { echo overlap >> "$1/order"; exit 1; }; echo "$2" >> "$1/order"; rmdir "$1/inside""#;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let (who, path) = (number.to_string(), dir.path().to_str().unwrap());
        let cli = Cli::new(&world.replicas[number % 2], &tenant);
        runs.push(cli.start(&["run", "x", "--as", &who, "--wait", "5m", "--", "sh", "-c", script, "sh", path, &who]));
        until("it is the last in line", || async { waiting_for(&at, "x").await == number as i64 + 1 }).await;
    }
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    let order = dir.path().join("order");
    let lines = || std::fs::read_to_string(&order).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let begun = Instant::now();
    while lines().len() < RUNS && begun.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    runs.into_iter().for_each(|run| run.ended().succeeds());
    assert_eq!(lines(), (0..RUNS).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_wait_as_json_is_one_document_and_lines_of_what_happens() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (cli, at) = (Cli::new(&world.replicas[0], &tenant), world.at(&tenant));
    let held = at.acquire("somebody", "x", None).await;
    let waits = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m", "--json"]);
    eventually("it waits", || cli.json(&["check", "x"])[0]["waiting"] == 1);
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    let ended = waits.ended();
    ended.succeeds();
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(["ACQUIRED", "ALREADY_HAD"].contains(&answer[0]["status"].as_str().unwrap()), "{answer}");
    let line: Value = serde_json::from_str(ended.err.lines().next().unwrap()).unwrap();
    let shown = (&line["event"], &line["holder"], &line["place"]);
    assert_eq!(shown, (&json!("waiting"), &json!("somebody"), &json!(1)));
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
    until("it is in line", || async { waiting_for(&at, "x").await == 1 }).await;
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    waiting.ended().succeeds();
}

#[tokio::test]
async fn a_service_that_is_away_for_a_while_does_not_end_the_wait() {
    let mut world = World::<1>::with(&["--appendonly", "yes", "--appendfsync", "always"], &[]).await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let at = world.at(&tenant);
    at.acquire("somebody", "x", Some(6)).await;
    let waiting = cli.start(&["reserve", "x", "--as", "me", "--wait", "1m"]);
    until("it is in line", || async { waiting_for(&at, "x").await == 1 }).await;
    world.redis.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.redis.restart();
    waiting.ended().succeeds();
}

/// A TCP proxy to a replica that lets each renewal wait for a while; it ends with the test's process.
fn slow_renewals(replica: &Replica, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let to = replica.address().to_owned();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(&to).unwrap());
            let (mut answers, mut to_client) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || forward(near, far, pause));
        }
    });
    url
}

/// Forwards what a client sends; a chunk that begins a renewal waits first.
fn forward(mut near: TcpStream, mut far: TcpStream, pause: Duration) {
    let mut chunk = [0; 16 << 10];
    while let Ok(read @ 1..) = near.read(&mut chunk) {
        if chunk[..read].starts_with(b"POST /api/v1/Reservation/renew") {
            std::thread::sleep(pause);
        }
        if far.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = far.shutdown(Shutdown::Both);
}

#[tokio::test]
async fn the_first_renewal_after_a_wait_may_be_slow() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("somebody", "x", None).await;
    // Later renewals have a tenth of the time to live; for the first one there is no deadline yet to keep.
    let ttl = Duration::from_secs(20);
    let cli = Cli { url: slow_renewals(&world.replicas[0], ttl / 8), ..Cli::new(&world.replicas[0], &tenant) };
    let run = cli.start(&["run", "x", "--ttl", "20s", "--", "true"]);
    until("it waits", || async { waiting_for(&at, "x").await == 1 }).await;
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    run.ended().succeeds();
}
