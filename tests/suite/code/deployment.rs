//! The committed nginx configuration, in front of three real replicas.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    sse::{EventStream, Seen},
    world::{World, answer, bound_to_test, call, collect, eventually, free_port},
};

/// The committed configuration, with addresses and paths replaced as its head says.
fn configuration(replicas: &[&str; 3], listen: &str, dir: &Path) -> String {
    let mut text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf")).unwrap();
    for (number, address) in replicas.iter().enumerate() {
        let name = format!("holdfast-{}:8080", number + 1);
        assert!(text.contains(&format!("server {name}")), "{name}");
        text = text.replace(&name, address);
    }
    for (from, to) in
        [("listen 8080;", format!("listen {listen};")), ("/tmp/holdfast-nginx", format!("{}/nginx", dir.display()))]
    {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    // Two workers, however many cores: the configuration is tested, not nginx.
    text.replace("worker_processes auto;", "worker_processes 2;")
        .replace("/dev/stdout", &dir.join("access.log").display().to_string())
}

/// nginx in front of a world's replicas; it ends with the test.
struct Nginx {
    child: Child,
    url: String,
    stderr: Arc<Mutex<String>>,
    dir: TempDir,
}

impl Nginx {
    fn before(world: &World<3>) -> Self {
        Self::with(world, "")
    }

    /// `more`: what follows the address that it listens on.
    fn with(world: &World<3>, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let replicas = world.replicas.each_ref().map(|replica| replica.address());
        let file = dir.path().join("changed.conf");
        std::fs::write(&file, configuration(&replicas, &format!("{listen}{more}"), dir.path())).unwrap();
        let mut child = bound_to_test("nginx")
            .args(["-e", "stderr", "-g", "daemon off; master_process on;", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx starts");
        let stderr = collect(child.stderr.take().unwrap());
        eventually("nginx listens", || std::net::TcpStream::connect(&listen).is_ok());
        Self { child, url: format!("http://{listen}"), stderr, dir }
    }

    /// The access log and the error log.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default() + &self.stderr.lock().unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Only SIGTERM ends its workers with it.
        crate::support::world::signal_to(self.child.id(), "-TERM");
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_takes_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("changed.conf");
    let replicas = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
    std::fs::write(&file, configuration(&replicas, &format!("127.0.0.1:{}", free_port()), dir.path())).unwrap();
    let output = Command::new("nginx").args(["-t", "-e", "stderr", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("test is successful"), "{said}");
}

#[tokio::test]
async fn three_replicas_behind_nginx_serve_as_one() {
    let world = World::<3>::start().await;
    let tenant = world.tenant().await;
    let nginx = Nginx::before(&world);
    let post = |path: &str, body| {
        let url = format!("{}/api/v1{path}", nginx.url);
        let key = tenant.key.as_str();
        async move { call(Method::POST, &url, Some(key), Some(body)).await }
    };

    // Given a stream through nginx, with the key in its query.
    let mut events = EventStream::open(&format!("{}/api/v1/events?api_key={}", nginx.url, tenant.key), &[]).await;
    events.head().await;
    assert_eq!(events.headers["content-type"], "text/event-stream");

    // When resources are reserved and released through it, by any replica, each event arrives at once.
    for round in 0..6 {
        let resource = format!("a/b c/{round}");
        let granted = post("/Reservation/reserve", json!([{"requester": "w", "resource": resource}])).await;
        assert_eq!(granted.statuses(), ["ACQUIRED"]);
        assert_eq!(events.expect("RESERVED").await["resource"], json!(resource));
        let seen = call(
            Method::GET,
            &format!("{}/api/v1/Reservation/check/a/b%20c%2F{round}?x=hidden-query", nginx.url),
            Some(&tenant.key),
            None,
        )
        .await;
        assert_eq!((&seen.body["resource"], &seen.body["isReserved"]), (&json!(resource), &json!(true)));
        let token = &granted.body[0]["releaseToken"];
        let released =
            post("/Reservation/unreserve", json!([{"requester": "w", "resource": resource, "releaseToken": token}]))
                .await;
        assert_eq!(released.statuses(), ["RELINQUISHED"]);
        assert_eq!(events.expect("UNRESERVED").await["resource"], json!(resource));
    }

    // Then Holdfast's own refusals come through unchanged, also of bodies that are too large.
    let large = json!([{"requester": "w", "resource": "r", "padding": "x".repeat(1_500_000)}]);
    let refused = post("/Reservation/reserve", large).await;
    assert!(
        refused.fails(413, "PAYLOAD_TOO_LARGE")["message"].as_str().unwrap().contains("1048576"),
        "Holdfast's own words"
    );
    call(Method::GET, &format!("{}/nothing?secret=hidden-query", nginx.url), Some("bad key"), None)
        .await
        .fails(404, "NOT_FOUND");
    call(Method::GET, &format!("{}/api/v1/Reservation", nginx.url), Some("bad key"), None)
        .await
        .fails(401, "UNAUTHORIZED");
    call(Method::GET, &format!("{}/metrics", nginx.url), None, None).await.fails(404, "NOT_FOUND");

    eventually("the access log is written", || nginx.log().matches("/api/v1/Reservation/reserve").count() >= 7);
    let log = nginx.log();
    for secret in [tenant.key.as_str(), "hidden-query", "api_key", "bad key"] {
        assert!(!log.contains(secret), "{secret} is in nginx's log:\n{log}");
    }
    drop(events);
}

#[tokio::test]
async fn when_replicas_die_the_others_answer_and_with_none_left_nginx_says_so() {
    let mut world = World::<3>::start().await;
    let tenant = world.tenant().await;
    let nginx = Nginx::before(&world);
    let listing = format!("{}/api/v1/Reservation", nginx.url);
    let reserving = format!("{listing}/reserve");
    let item = |name: String| Some(json!([{"requester": "w", "resource": name}]));
    assert_eq!(call(Method::POST, &reserving, Some(&tenant.key), item("first".into())).await.status, 200);

    for dead in 0..2 {
        world.replicas[dead].kill();
        for round in 0..6 {
            assert_eq!(call(Method::GET, &listing, Some(&tenant.key), None).await.status, 200, "{dead} {round}");
            let granted = call(Method::POST, &reserving, Some(&tenant.key), item(format!("{dead}/{round}"))).await;
            assert_eq!(granted.status, 200, "a POST goes to the next replica where nothing was sent yet: {granted:?}");
        }
    }
    world.replicas[2].kill();
    let refused = call(Method::POST, &reserving, Some(&tenant.key), item("none".into())).await;
    assert!(
        [(503, "UNAVAILABLE"), (504, "OUTCOME_UNKNOWN")].contains(&(refused.status.as_u16(), refused.code())),
        "{refused:?}"
    );
    call(Method::POST, &reserving, Some(&tenant.key), item("none".into())).await.fails(503, "UNAVAILABLE");

    // A browser that reconnects gets a stream with a retry; a first request gets the failure.
    let url = format!("{}/api/v1/events?api_key={}", nginx.url, tenant.key);
    let mut again = EventStream::open(&url, &[("last-event-id", "1")]).await;
    assert_eq!((again.status, again.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    assert!(matches!(again.rest().await[..], [Seen::Retry(1000..=5000)]));
    answer(reqwest::get(&url).await.unwrap()).await.fails(503, "UNAVAILABLE");
    assert!(!nginx.log().contains(&tenant.key));
}

#[tokio::test]
async fn held_calls_pass_nginx_over_http_2_and_tls() {
    let world = World::<3>::start().await;
    let tenant = world.tenant().await;
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = crate::redis::replicas::certificate(dir.path());
    let nginx = Nginx::with(&world, &format!(" ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}"));
    let port = nginx.url.rsplit_once(':').unwrap().1;
    let hold = |requester: &str, resource: &str, seconds: u32| {
        let body = json!([{"requester": requester, "resource": resource, "waitSeconds": 300}]).to_string();
        let output = tokio::process::Command::new("curl")
            .args([
                "-sS",
                "--http2",
                "--max-time",
                "70",
                "--cacert",
                &certificate,
                "-w",
                " %{http_code} %{http_version}",
            ])
            .args(["-H", &format!("x-api-key: {}", tenant.key), "-H", "content-type: application/json", "-d", &body])
            .arg(format!("https://localhost:{port}/api/v1/Reservation/reserve?hold={seconds}"))
            .output();
        async move { String::from_utf8_lossy(&output.await.unwrap().stdout).into_owned() }
    };
    let at = world.at(&tenant);
    let held = at.acquire("w0", "r", None).await;
    at.acquire("w0", "long", None).await;
    let (served, kept, ()) = tokio::join!(
        hold("w1", "r", 60),
        // Longer than nginx lets other calls take.
        hold("w1", "long", 33),
        async {
            crate::support::world::until("it waits", || async {
                at.get("/Reservation/check/r").await.body["waiting"] == json!(1)
            })
            .await;
            at.unreserve("w0", "r", &held["releaseToken"]).await;
        }
    );
    assert!(served.contains("\"status\":\"ACQUIRED\"") && served.ends_with(" 200 2"), "{served}");
    assert!(kept.contains("\"status\":\"WAITING\"") && kept.ends_with(" 200 2"), "{kept}");
}
