//! The event stream clients that people use, unchanged: two major versions of Node's `eventsource`, Python's `sseclient-py`, and a
//! browser. `make test` installs them.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

use crate::support::world::World;

/// A TCP proxy to a replica, whose connections a test can cut.
struct Proxy {
    url: String,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Proxy {
    async fn to(replica: &str) -> Self {
        let replica = replica.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(Mutex::new(Vec::new()));
        let to = open.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let replica = replica.clone();
                to.lock().unwrap().push(tokio::spawn(async move {
                    let mut far = TcpStream::connect(replica).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }));
            }
        });
        Self { url, open }
    }

    fn cut(&self) {
        self.open.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

/// A running client.
struct Program {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Timeout for a client to start and to print a line, 60 s: a browser starts slowly beside other tests.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Program {
    fn start(program: &str, script: &str, url: &str, key: &str) -> Self {
        Self::start_with(program, script, &[("HOLDFAST_URL", url), ("HOLDFAST_KEY", key)])
    }

    fn start_with(program: &str, script: &str, settings: &[(&str, &str)]) -> Self {
        let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
        // Ended by the kernel with this test's thread.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .arg(if program.contains('/') { tests.join(program) } else { program.into() })
            .arg(tests.join(script));
        command.envs(settings.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("setpriv is there");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// Reads lines until `wanted` finds something in one.
    async fn sees<T>(&mut self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let looking = async {
            loop {
                let line = self
                    .lines
                    .next_line()
                    .await
                    .unwrap()
                    .unwrap_or_else(|| panic!("the client ended before {what}; `make test` installs it"));
                let seen: Value = serde_json::from_str(&line).unwrap();
                assert_ne!(seen["type"], "RESET_CURSOR", "{seen}");
                if let Some(found) = wanted(&seen) {
                    return found;
                }
            }
        };
        tokio::time::timeout(START_TIMEOUT, looking).await.unwrap_or_else(|_| panic!("timeout: {what}"))
    }

    async fn sees_event(&mut self, kind: &str) -> Value {
        self.sees(kind, |seen| (seen["type"] == kind).then(|| seen.clone())).await
    }
}

/// What every client must see; those that reconnect by themselves also across a cut.
async fn reads_the_stream(program: &str, script: &str, reconnects: bool) {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let proxy = Proxy::to(&world.replicas[0].url).await;
    let mut reader = Program::start(program, script, &proxy.url, &tenant.key);
    reader.sees("the open stream", |seen| (seen["open"] == true).then_some(())).await;
    reader.sees("connected", |seen| (seen["message"]["type"] == "connected").then_some(())).await;

    let name = "job \u{2028} \"42\"\r\nevent: RESET_CURSOR";
    let granted = at.acquire("worker-1", name, None).await;
    let reserved = reader.sees_event("RESERVED").await;
    assert_eq!(
        (reserved["event"]["resource"].as_str(), reserved["event"]["requester"].as_str()),
        (Some(name), Some("worker-1"))
    );
    assert_eq!(reserved["id"], granted["fencingToken"].to_string());
    at.unreserve("worker-1", name, &granted["releaseToken"]).await;
    assert_eq!(reader.sees_event("UNRESERVED").await["event"]["explanation"], "RELINQUISHED");
    let ids =
        at.post("/events", json!({"type": "trade", "companyId": "clx9", "data": {"side": "buy"}})).await.body["ids"]
            .clone();
    let trade = reader.sees_event("trade").await;
    assert_eq!((&trade["id"], &trade["event"]["data"]["side"]), (&ids[0], &json!("buy")));

    if reconnects {
        proxy.cut();
        at.acquire("worker-1", "missed", None).await;
        assert_eq!(reader.sees_event("RESERVED").await["event"]["resource"], "missed");
        at.acquire("worker-1", "live", None).await;
        assert_eq!(reader.sees_event("RESERVED").await["event"]["resource"], "live");
    }
}

#[tokio::test]
async fn nodes_eventsource_2_reads_the_stream() {
    reads_the_stream("node", "clients/node-2.mjs", true).await;
}

#[tokio::test]
async fn nodes_current_eventsource_reads_the_stream() {
    reads_the_stream("node", "clients/node-current.mjs", true).await;
}

#[tokio::test]
async fn pythons_sseclient_reads_the_stream() {
    reads_the_stream("clients/.venv/bin/python", "clients/read.py", false).await;
}

#[tokio::test]
async fn a_browsers_eventsource_reads_the_stream() {
    reads_the_stream("node", "browser/events.mjs", true).await;
}

#[tokio::test]
async fn the_queue_monitors_client_works_unchanged() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/connections", json!({"name": "shop", "framework": "celery"})).await.body;
    let connection = made["id"].as_str().unwrap();
    let push = async |event: Value| {
        let request = reqwest::Client::new()
            .post(format!("{}/api/ingest", at.replica.url))
            .bearer_auth(made["ingestKey"].as_str().unwrap());
        assert_eq!(request.json(&json!({"events": [event]})).send().await.unwrap().status(), 202);
    };
    // A worker with heartbeats: a browser may start more slowly than a silent worker counts as offline.
    let (url, key) = (format!("{}/api/ingest", at.replica.url), made["ingestKey"].as_str().unwrap().to_owned());
    let beating = tokio::spawn(async move {
        for second in 0..3600 {
            let timestamp = format!("2026-02-27T11:{:02}:{:02}.000Z", second / 60, second % 60);
            let beat = json!({"type": "worker.state_change", "timestamp": timestamp, "framework": "celery",
                "worker": {"externalId": "celery@worker-1", "state": "online", "activeJobs": 3}});
            let _ = reqwest::Client::new().post(&url).bearer_auth(&key).json(&json!({"events": [beat]})).send().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let proxy = Proxy::to(&at.replica.url).await;
    let settings =
        [("HOLDFAST_URL", proxy.url.as_str()), ("HOLDFAST_KEY", &tenant.key), ("HOLDFAST_CONNECTION", connection)];
    let mut client = Program::start_with("node", "browser/queue.mjs", &settings);
    let logs =
        async |client: &mut Program, line: &str| client.sees(line, |seen| (seen["logged"] == line).then_some(())).await;

    logs(&mut client, "Worker celery@worker-1: 3 active jobs").await;
    let job = |state: &str, second: u32| {
        json!({"type": "job:state_change", "timestamp": format!("2026-02-27T10:30:{second:02}.000Z"), "framework": "celery",
            "job": {"externalId": "a1b2c3d4", "name": "app.tasks.send_email", "state": state}})
    };
    push(job("active", 1)).await;
    logs(&mut client, "Job app.tasks.send_email: active").await;

    // The client reconnects by itself.
    proxy.cut();
    logs(&mut client, "SSE connection lost, reconnecting...").await;
    logs(&mut client, "Worker celery@worker-1: 3 active jobs").await;
    push(job("completed", 2)).await;
    logs(&mut client, "Job app.tasks.send_email: completed").await;
    beating.abort();
}
