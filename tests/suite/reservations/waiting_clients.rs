//! Waiting clients that stop, Redis that fails over under them, and whose clock counts.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    redis::topologies::{SentinelSetup, tenant},
    support::world::{Client, Replica, World, bound_to_test, call, until},
};

/// A client of its own process: curl, whose output goes to a file.
struct Curl {
    child: Child,
    out: tempfile::NamedTempFile,
}

impl Curl {
    /// Asks once, or again and again.
    fn start(at: &Client<'_>, path: &str, body: Option<&Value>, repeats: bool) -> Self {
        let out = tempfile::NamedTempFile::new().unwrap();
        let line = r#"curl -s "$1" -H "x-api-key: $2" -H 'content-type: application/json' ${3:+-d "$3"} >> "$4"; echo >> "$4""#;
        let script = if repeats { format!("while :; do {line}; sleep 0.2; done") } else { line.to_owned() };
        let child = bound_to_test("sh")
            .args(["-c", &script, "sh", &format!("{}/api/v1{path}", at.replica.url), at.key])
            .args([body.map(Value::to_string).unwrap_or_default(), out.path().to_str().unwrap().to_owned()])
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, out }
    }

    /// Sends a signal to it and what it started.
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        assert!(Command::new("kill").args([signal, "--", &group]).status().unwrap().success());
    }

    /// Its answers so far.
    fn answers(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.out.path()).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        self.signal("-KILL");
        let _ = self.child.wait();
    }
}

async fn waits(at: &Client<'_>, requester: &str, keep_alive_s: i64) -> Value {
    let item = json!([{"requester": requester, "resource": "r", "waitSeconds": 120, "keepAliveSeconds": keep_alive_s}]);
    let answer = at.post("/Reservation/reserve", item).await;
    assert_eq!(answer.statuses(), ["WAITING"]);
    answer.body[0].clone()
}

async fn status(at: &Client<'_>, waiting: &Value) -> Value {
    at.get(&format!("/Reservation/tickets/{}", waiting["ticket"].as_str().unwrap())).await.body["status"].clone()
}

#[tokio::test]
async fn a_client_that_is_stopped_loses_its_place_and_is_told_when_it_goes_on() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w0", "r", None).await;
    let stopped = waits(&at, "stopped", 5).await;
    let next = waits(&at, "next", 600).await;
    let path = format!("/Reservation/tickets/{}", stopped["ticket"].as_str().unwrap());
    let polling = Curl::start(&world.at_replica(1, &tenant), &path, None, true);
    until("it asks for its ticket", || async { polling.answers().len() > 2 }).await;

    polling.signal("-STOP");
    until("its ticket has lapsed", || async {
        at.get("/Reservation/waiting").await.body["waiting"].as_array().unwrap().len() == 1
    })
    .await;
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    assert_eq!(status(&at, &next).await, "ACQUIRED");
    let told = |word: &str| polling.answers().iter().any(|answer| answer["status"] == word);
    assert!(!told("LAPSED"), "{:?}", polling.answers());

    polling.signal("-CONT");
    until("it is told", || async { told("LAPSED") }).await;
    assert!(!told("ACQUIRED"), "{:?}", polling.answers());
}

#[tokio::test]
async fn what_a_stopped_client_got_ends_with_its_time_to_live() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w0", "r", None).await;
    let item = json!([{"requester": "stopped", "resource": "r", "ttlSeconds": 2, "waitSeconds": 60}]);
    let stopped = Curl::start(&at, "/Reservation/reserve?hold=60", Some(&item), false);
    until("it waits", || async { at.get("/Reservation/check/r").await.body["waiting"] == 1 }).await;
    stopped.signal("-STOP");
    let next = waits(&at, "next", 600).await;

    // Its call is held, so its turn comes; it keeps nobody out for longer than it may hold.
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    until("the next is served", || async { status(&at, &next).await == "ACQUIRED" }).await;

    stopped.signal("-CONT");
    until("it has its answer", || async { !stopped.answers().is_empty() }).await;
    let got = stopped.answers()[0][0].clone();
    assert_eq!(got["status"], "ACQUIRED", "{got}");
    let fence = json!({"resource": "r", "fencingToken": got["fencingToken"]});
    assert_eq!(at.post("/Reservation/verifyFence", fence).await.body["valid"], false);
    let renewal =
        json!([{"requester": "stopped", "resource": "r", "releaseToken": got["releaseToken"], "ttlSeconds": 60}]);
    assert_eq!(at.post("/Reservation/renew", renewal).await.statuses(), ["DOESNT_OWN_RESERVATION"]);
}

#[tokio::test]
async fn held_calls_share_one_connection_of_http_2_over_tls_with_others() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = crate::redis::replicas::certificate(dir.path());
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let redis = world.redis.url();
    let secure = Replica::start(&[("REDIS_URL", &redis), ("TLS_CERT", &certificate), ("TLS_KEY", &key)]);
    secure_ready(&secure, &certificate).await;
    let at = world.at(&tenant);
    let held = at.acquire("w0", "r", None).await;
    at.acquire("w0", "long", None).await;
    let path = secure.url.replace("127.0.0.1", "localhost") + "/api/v1/Reservation/reserve?hold=";
    let mut curl = tokio::process::Command::new("curl");
    // Both at once; the second one waits until it can share the first one's connection.
    curl.args(["-sS", "--parallel"]);
    for (number, (resource, hold)) in [("r", 60), ("long", 3)].into_iter().enumerate() {
        let body = json!([{"requester": "w1", "resource": resource, "waitSeconds": 120}]).to_string();
        curl.args(if number > 0 { &["--next"][..] } else { &[] })
            .args(["--http2", "--max-time", "70", "--cacert", &certificate])
            .args(["-w", "\n%{http_code} %{http_version} %{num_connects}\n", "-d", &body])
            .args(["-H", &format!("x-api-key: {}", tenant.key), "-H", "content-type: application/json"])
            .arg(format!("{path}{hold}"));
    }
    let (output, ()) = tokio::join!(curl.output(), async {
        until("both wait", || async {
            at.get("/Reservation/waiting").await.body["waiting"].as_array().unwrap().len() == 2
        })
        .await;
        at.unreserve("w0", "r", &held["releaseToken"]).await;
    });
    let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    let lines: Vec<_> = said.lines().collect();
    let [served, served_by, kept, kept_by] = lines[..] else { panic!("{said}") };
    let status = |line: &str| serde_json::from_str::<Value>(line).unwrap()[0]["status"].clone();
    assert_eq!((status(served), status(kept)), (json!("ACQUIRED"), json!("WAITING")), "{said}");
    assert_eq!((served_by, kept_by), ("200 2 1", "200 2 0"), "one connection for both: {said}");
}

/// Waits until a replica that serves https alone reaches Redis.
async fn secure_ready(replica: &Replica, certificate: &str) {
    let url = replica.url.replace("127.0.0.1", "localhost") + "/readyz";
    until("it is ready", || async {
        let curl = tokio::process::Command::new("curl").args(["-sf", "--cacert", certificate, &url]).output().await;
        curl.unwrap().status.success()
    })
    .await;
}

#[tokio::test]
async fn tickets_go_by_redis_clock_whatever_replicas_do() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (at, other) = (world.at(&tenant), world.at_replica(1, &tenant));
    at.acquire("w0", "r", None).await;
    let mut events = other.events("?types=WAITING,WAIT_ENDED").await;
    events.head().await;
    let ms = |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().timestamp_millis();
    let answer = at.post("/Reservation/reserve", json!([{"requester": "w1", "resource": "r", "waitSeconds": 2}])).await;
    let began_ms = answer.number("holdfast-time") / 1_000;
    let ends_ms = ms(&answer.body[0]["waitExpiresAt"]);
    assert_eq!(ends_ms, began_ms + 2_000);
    assert_eq!(ms(&events.expect("WAITING").await["waitExpiresAt"]), ends_ms);

    // The replica that put it in line stands still; the other one ends it, when Redis says so.
    at.replica.signal("-STOP");
    let ended = events.expect("WAIT_ENDED").await;
    at.replica.signal("-CONT");
    assert_eq!(ended["explanation"], "TIMED_OUT", "{ended}");
    let ended_ms = ms(&ended["timestamp"]);
    assert!((ends_ms..ends_ms + 5_000).contains(&ended_ms), "{ended_ms} of {ends_ms}");
    assert_eq!(ended["waitedMs"].as_i64(), Some(ended_ms - began_ms));
}

/// Waits for `r` through one replica until it has it, whatever fails meanwhile; notes when it has it, and gives it back.
async fn take_turn(
    url: String,
    key: String,
    requester: String,
    inside: Arc<AtomicUsize>,
    order: Arc<Mutex<Vec<String>>>,
) {
    let wish = json!([{"requester": requester, "resource": "r", "waitSeconds": 120, "keepAliveSeconds": 60}]);
    let token = loop {
        let answer =
            call(Method::POST, &format!("{url}/api/v1/Reservation/reserve?hold=20"), Some(&key), Some(wish.clone()))
                .await;
        if answer.status == 200 && ["ACQUIRED", "ALREADY_HAD"].contains(&answer.statuses()[0]) {
            break answer.body[0]["releaseToken"].clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "{requester} is not alone");
    order.lock().unwrap().push(requester.clone());
    inside.fetch_sub(1, Ordering::SeqCst);
    let claim = json!([{"requester": requester, "resource": "r", "releaseToken": token}]);
    until("it is given back", || async {
        let answer =
            call(Method::POST, &format!("{url}/api/v1/Reservation/unreserve"), Some(&key), Some(claim.clone())).await;
        answer.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_fail_over_keeps_who_waits_in_order_and_gives_nothing_twice() {
    const WAITING: usize = 8;
    let mut setup = SentinelSetup::start().await;
    let tenant = tenant(&setup.replicas[0]).await;
    let at = Client { replica: &setup.replicas[0], key: &tenant.key };
    let held = at.acquire("w0", "r", None).await;
    let (inside, order) = (Arc::new(AtomicUsize::new(1)), Arc::new(Mutex::new(Vec::new())));
    let mut turns = Vec::new();
    for number in 0..WAITING {
        let url = setup.replicas[number % 2].url.clone();
        let turn = take_turn(url, tenant.key.clone(), number.to_string(), inside.clone(), order.clone());
        turns.push(tokio::spawn(turn));
        until("it stands in line", || async { at.get("/Reservation/check/r").await.body["waiting"] == number + 1 })
            .await;
    }
    setup.catch_up();

    setup = tokio::task::spawn_blocking(move || {
        setup.fail_over();
        setup
    })
    .await
    .unwrap();

    let at = Client { replica: &setup.replicas[0], key: &tenant.key };
    at.serves().await;
    assert_eq!(at.get("/Reservation/check/r").await.body["holder"], "w0");
    assert!(order.lock().unwrap().is_empty(), "nobody is served while it is held");
    inside.store(0, Ordering::SeqCst);
    assert_eq!(at.unreserve("w0", "r", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
    for turn in turns {
        turn.await.unwrap();
    }
    let expected: Vec<_> = (0..WAITING).map(|number| number.to_string()).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}
