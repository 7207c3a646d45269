//! Limits of streams over all replicas, and what ends a stream: revocation, a drain, a client that is gone or stuck.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    sse::{EventStream, Seen},
    world::{Client, Replica, Tenant, World, admin, collect, eventually, long, until},
};

async fn can_open(at: &Client<'_>) -> bool {
    at.events("").await.status == 200
}

#[tokio::test]
async fn the_tiers_streams_are_counted_over_all_replicas() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Starter").await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut open = Vec::new();
    for number in 0..5 {
        let mut stream = if number % 2 == 0 { &north } else { &south }.events("").await;
        stream.head().await;
        open.push(stream);
    }

    let refused = south.get("/events").await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "RATE_LIMITED"));
    assert_eq!(refused.body["upgradeRequired"], true);
    assert_eq!((refused.body["limitType"].as_str(), refused.body["limit"].as_i64()), (Some("SseConnections"), Some(5)));
    assert!(refused.headers.contains_key("retry-after"));

    // A reconnecting client gets a reconnection time: a browser would never reconnect after a 429.
    let headers = [("x-api-key", tenant.key.as_str()), ("last-event-id", "1")];
    let mut back = EventStream::open(&format!("{}/api/v1/events", world.replicas[0].url), &headers).await;
    assert_eq!(back.status, 200);
    assert!(matches!(back.rest().await.as_slice(), [Seen::Retry(_)]));

    // The slot of a closed stream is free again, on the other replica too.
    open.remove(0);
    until("a slot is free", || can_open(&south)).await;
}

#[tokio::test]
async fn the_slots_of_a_killed_replica_become_free() {
    let mut world = World::<2>::start().await;
    let tenant = world.tenant_of("Free").await;
    let mut stream = world.at_replica(0, &tenant).events("").await;
    stream.head().await;
    assert!(!can_open(&world.at_replica(1, &tenant)).await);

    world.replicas[0].kill();
    let begun = Instant::now();
    let south = world.at_replica(1, &tenant);
    until("the slot is free", || can_open(&south)).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn enterprise_has_no_limit_of_streams() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let mut open = Vec::new();
    for _ in 0..30 {
        let mut stream = at.events("").await;
        stream.head().await;
        open.push(stream);
    }
    at.acquire("w", "a", None).await;
    for stream in &mut open {
        stream.expect("RESERVED").await;
    }
}

#[tokio::test]
async fn rotated_and_revoked_keys_and_deleted_tenants_end_their_streams() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut streams = Vec::new();
    for label in ["rotated", "revoked"] {
        let made = at.post("/keys", json!({"label": label})).await.body;
        let bearer = Tenant { id: tenant.id.clone(), key: made["apiKey"].as_str().unwrap().into() };
        let mut stream = world.at_replica(1, &bearer).events("").await;
        stream.head().await;
        streams.push((made["id"].as_str().unwrap().to_owned(), bearer, stream));
    }
    let mut stays = world.at_replica(1, &tenant).events("").await;
    stays.head().await;

    assert_eq!(at.post(&format!("/keys/{}/rotate", streams[0].0), json!({})).await.status, 200);
    assert_eq!(at.delete(&format!("/keys/{}", streams[1].0)).await.status, 204);
    for (_, bearer, stream) in &mut streams {
        stream.rest().await;
        until("the key is refused", || async { world.at_replica(1, bearer).events("").await.status == 401 }).await;
    }
    at.acquire("w", "a", None).await;
    stays.expect("RESERVED").await;

    assert_eq!(admin(&world.replicas[0], Method::DELETE, &format!("/{}", tenant.id), None).await.status, 204);
    stays.rest().await;
}

#[tokio::test]
async fn a_draining_replica_ends_its_streams_with_a_reconnection_time() {
    let mut world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = world.at_replica(0, &tenant).events("").await;
        stream.head().await;
        streams.push(stream);
    }
    // Redis is slow: a replica that did not wait would exit before its slots are released.
    world.redis.ask::<()>("CLIENT PAUSE 20000 WRITE");
    world.replicas[0].signal("-TERM");
    for stream in &mut streams {
        assert!(matches!(stream.rest().await.as_slice(), [Seen::Retry(1000..=5000)]));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.redis.ask::<()>("CLIENT UNPAUSE");
    assert_eq!(world.replicas[0].ended(), 0);
    // Their slots were released.
    let south = world.at_replica(1, &tenant);
    let mut open = Vec::new();
    for _ in 0..20 {
        let stream = south.events("").await;
        assert_eq!(stream.status, 200);
        open.push(stream);
    }
}

/// Takes over half a minute, so only with HOLDFAST_LONG=1.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_its_slot_is_free() {
    if !long() {
        return;
    }
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let mut stuck = TcpStream::connect(at.replica.url.trim_start_matches("http://")).await.unwrap();
    stuck
        .write_all(format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\n\r\n", tenant.key).as_bytes())
        .await
        .unwrap();
    until("its slot is taken", || async { !can_open(&at).await }).await;
    let event = json!({"type": "blob", "data": "x".repeat(15_000)});
    let soonest = Instant::now();
    for _ in 0..10 {
        assert_eq!(at.post("/events", json!(vec![event.clone(); 50])).await.status, 202);
    }
    let begun = Instant::now();
    while !can_open(&at).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it still has its slot");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(soonest.elapsed() > Duration::from_secs(19), "{:?}: too soon", soonest.elapsed());
    drop(stuck);
}

/// A replica in a network namespace of its own, and a shell in it. It needs a kernel that lets users without privileges make one.
struct Island(Replica);

impl Island {
    fn start(redis: &str) -> Self {
        let mut command = Command::new("unshare");
        // Entering a namespace clears the parent-death signal, so it is set afterwards.
        command.args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec setpriv --pdeathsig KILL \"$0\" \"$@\"",
        ]);
        command.arg(env!("CARGO_BIN_EXE_holdfast"));
        Self(
            Replica::launch(command, &["serve"], &[("REDIS_URL", redis)])
                .expect("unshare (util-linux) and ip (iproute2) make a network"),
        )
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.pid().to_string(), "--user", "--net", "--preserve-credentials"]);
        command.args(["setpriv", "--pdeathsig", "KILL", "bash", "-c", script]);
        command
    }
}

/// Takes almost half a minute, so only with HOLDFAST_LONG=1.
#[tokio::test]
async fn the_slot_of_a_client_that_vanished_is_free_within_half_a_minute() {
    if !long() {
        return;
    }
    // Given a client on the island, with the tenant's only slot.
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let north = Island::start(&world.redis.url());
    let (host, port) = north.0.address().split_once(':').unwrap();
    let read = format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf 'GET /api/v1/events HTTP/1.1\\r\\nHost: x\\r\\nX-Api-Key: {}\\r\\n\\r\\n' >&3; exec cat <&3",
        tenant.key
    );
    let mut reader = north.shell(&read).stdout(Stdio::piped()).spawn().unwrap();
    let received = collect(reader.stdout.take().unwrap());
    eventually("the stream is open", || received.lock().unwrap().contains("connected"));
    let south = world.at(&tenant);
    assert!(!can_open(&south).await);

    // When nothing that it sends arrives any more, neither an acknowledgement nor the end of the connection.
    let cut = format!(
        "ip rule add pref 20 lookup local && ip rule del pref 0 && ip rule add pref 10 ipproto tcp dport {port} blackhole"
    );
    assert!(north.shell(&cut).status().unwrap().success());
    let begun = Instant::now();

    while !can_open(&south).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it still has its slot");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "{:?}: it kept its slot until then", begun.elapsed());
    reader.kill().unwrap();
    reader.wait().unwrap();
}
