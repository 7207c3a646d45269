//! Real Celery and BullMQ over real brokers, and the queue monitor's view of them. `make test` installs their packages.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    redis_server::Redis,
    sse::{EventStream, Seen},
    world::{Client, bound_to_test, call, collect, free_port, signal_to, until, until_within},
};

fn clients() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A Redis on a port of its own, as Celery and BullMQ use it.
pub struct Broker {
    pub redis: Redis,
    pub port: u16,
    _dir: TempDir,
}

impl Broker {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(options: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let port_text = port.to_string();
        let redis = Redis::start(dir.path(), &[&["--port", &port_text, "--bind", "127.0.0.1"], options].concat());
        Self { redis, port, _dir: dir }
    }

    /// Host and port, as in the setting BROKER_HOSTS.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, database: u32) -> String {
        format!("redis://{}/{database}", self.host())
    }
}

/// Timeout for Celery and BullMQ to start and to finish, 90 s.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(90);

/// A running program, killed at the end of the test.
pub struct Program {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Program {
    fn start(program: &str, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = bound_to_test(program);
        command
            .args(args)
            .envs(settings.iter().copied())
            .env("PYTHONPATH", clients().join("celery"))
            .current_dir(clients());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is there");
        let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits until it has ended by itself.
    pub async fn terminate(&mut self) {
        signal_to(self.child.id(), "-TERM");
        until_within(PROGRAM_TIMEOUT, "it ends", || {
            let ended = self.child.try_wait().unwrap().is_some();
            async move { ended }
        })
        .await;
    }

    /// Waits until it ends; returns its output as JSON.
    async fn printed(mut self, what: &str) -> Value {
        let mut ended = false;
        until_within(PROGRAM_TIMEOUT, what, || {
            ended = ended || self.child.try_wait().unwrap().is_some();
            let ended = ended;
            async move { ended }
        })
        .await;
        let mut printed = Value::Null;
        until("its output is complete", || {
            printed = serde_json::from_str(&self.stdout.lock().unwrap()).unwrap_or_default();
            let there = !printed.is_null();
            async move { there }
        })
        .await;
        printed
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of a program:\n{}", self.stderr.lock().unwrap());
        }
    }
}

/// Celery's settings for a broker: URL, transport options, and configuration of its own.
pub struct Celery {
    url: String,
    options: String,
    configuration: String,
}

/// A job's end, by its framework's own account.
pub struct Fate {
    pub id: String,
    pub state: String,
}

impl Celery {
    pub fn over(broker: &Broker, database: u32, options: Value) -> Self {
        Self { url: broker.url(database), options: options.to_string(), configuration: "{}".into() }
    }

    /// The same with settings of Celery's own.
    pub fn configured(self, configuration: &Value) -> Self {
        Self { configuration: configuration.to_string(), ..self }
    }

    fn settings(&self) -> [(&str, &str); 3] {
        [("BROKER", &self.url), ("OPTIONS", &self.options), ("CONFIGURATION", &self.configuration)]
    }

    /// Starts a worker: its pool and its queues.
    pub fn worker(&self, name: &str, pool: &str, queues: &str) -> Program {
        self.worker_with(name, pool, queues, &[])
    }

    /// Starts a worker with further options.
    pub fn worker_with(&self, name: &str, pool: &str, queues: &str, further: &[&str]) -> Program {
        let celery = clients().join(".venv/bin/celery");
        let name = format!("{name}@test");
        let args = [
            "-A",
            "shop",
            "worker",
            "-P",
            pool,
            "-c",
            "2",
            "-E",
            "-n",
            &name,
            "-Q",
            queues,
            "--heartbeat-interval",
            "2",
            "-l",
            "error",
        ];
        Program::start(celery.to_str().unwrap(), &[&args[..], further].concat(), &self.settings())
    }

    /// Sends tasks that end in these ways, and waits until Celery has finished them.
    pub async fn drive(&self, queue: &str, fates: &str) -> BTreeMap<String, Fate> {
        let python = clients().join(".venv/bin/python");
        let drive = clients().join("celery/drive.py");
        read_fates(
            Program::start(python.to_str().unwrap(), &[drive.to_str().unwrap(), queue, fates], &self.settings())
                .printed("Celery is done")
                .await,
        )
    }
}

/// BullMQ over a broker.
pub struct BullMq {
    port: String,
}

impl BullMq {
    pub fn over(broker: &Broker) -> Self {
        Self { port: broker.port.to_string() }
    }

    pub fn worker(&self, queue: &str, name: &str) -> Program {
        Program::start("node", &["bullmq/work.mjs", queue, name], &[("PORT", &self.port)])
    }

    /// Adds jobs that end in these ways, and waits until BullMQ has finished them.
    pub async fn drive(&self, queue: &str, fates: &str) -> BTreeMap<String, Fate> {
        read_fates(
            Program::start("node", &["bullmq/drive.mjs", queue, fates], &[("PORT", &self.port)])
                .printed("BullMQ is done")
                .await,
        )
    }
}

fn read_fates(printed: Value) -> BTreeMap<String, Fate> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    printed
        .as_object()
        .unwrap()
        .iter()
        .map(|(fate, said)| (fate.clone(), Fate { id: text(&said["id"]), state: text(&said["state"]) }))
        .collect()
}

/// The queue monitor's view of one connection.
pub struct Monitor<'a> {
    pub at: Client<'a>,
    pub connection: String,
}

impl<'a> Monitor<'a> {
    /// Creates a connection, and waits until its broker is watched.
    pub async fn watching(at: Client<'a>, connection: Value) -> Monitor<'a> {
        let made = at.post("/connections", connection).await;
        assert_eq!(made.status, 201, "{made:?}");
        let monitor = Monitor { at, connection: made.body["id"].as_str().unwrap().to_owned() };
        until("the broker is watched", || async { monitor.health().await["connectedSince"].is_string() }).await;
        monitor
    }

    pub async fn health(&self) -> Value {
        let listed = self.at.get("/connections").await;
        let connections = listed.body["connections"].as_array().unwrap().clone();
        connections.into_iter().find(|connection| connection["id"] == *self.connection).expect("it is listed")["health"]
            .clone()
    }

    async fn list(&self, kind: &str, query: &str) -> Vec<Value> {
        let url = format!("{}/api/{kind}?connectionId={}&limit=100{query}", self.at.replica.url, self.connection);
        let answer = call(reqwest::Method::GET, &url, Some(self.at.key), None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["data"].as_array().unwrap().clone()
    }

    /// The jobs, by the framework's own ids.
    pub async fn jobs(&self) -> BTreeMap<String, Value> {
        let jobs = self.list("jobs", "").await;
        jobs.into_iter().map(|job| (job["externalId"].as_str().unwrap().to_owned(), job)).collect()
    }

    /// One job with all that is known of it.
    pub async fn job(&self, external_id: &str) -> Value {
        let id = self.jobs().await[external_id]["id"].as_str().unwrap().to_owned();
        call(reqwest::Method::GET, &format!("{}/api/jobs/{id}", self.at.replica.url), Some(self.at.key), None)
            .await
            .body
    }

    /// The states that a job went through, in order.
    pub async fn history(&self, external_id: &str) -> Vec<String> {
        let job = self.job(external_id).await;
        job["stateHistory"]
            .as_array()
            .unwrap()
            .iter()
            .map(|transition| transition["state"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until so many workers are heard.
    pub async fn until_workers(&self, count: usize) {
        until_within(PROGRAM_TIMEOUT, "the workers are online", || async { self.workers().await.len() == count }).await;
    }

    /// Waits until a job is in a state.
    pub async fn until_job(&self, external_id: &str, state: &str) {
        until(&format!("{external_id} is {state}"), || async {
            self.jobs().await.get(external_id).is_some_and(|job| job["state"] == state)
        })
        .await;
    }

    pub async fn workers(&self) -> BTreeMap<String, Value> {
        self.list("workers", "")
            .await
            .into_iter()
            .map(|worker| (worker["hostname"].as_str().unwrap().to_owned(), worker))
            .collect()
    }

    pub async fn queues(&self) -> BTreeMap<String, Value> {
        self.list("queues", "")
            .await
            .into_iter()
            .map(|queue| (queue["name"].as_str().unwrap().to_owned(), queue))
            .collect()
    }

    /// The monitor's stream of this connection.
    pub async fn stream(&self, types: &str) -> EventStream {
        let url = format!("{}/api/events/stream?connectionId={}&types={types}", self.at.replica.url, self.connection);
        let stream = EventStream::open(&url, &[("x-api-key", self.at.key)]).await;
        assert_eq!(stream.status, 200);
        stream
    }
}

/// Reads a stream until `enough`; returns types and data of its events.
pub async fn read_until(
    stream: &mut EventStream,
    what: &str,
    mut enough: impl FnMut(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    let begun = std::time::Instant::now();
    while !enough(&seen) {
        // Heartbeats alone must not keep it waiting.
        assert!(begun.elapsed() < 2 * crate::support::world::TIMEOUT, "timeout: {what}; {seen:?}");
        if let Some(Seen::Event { kind, data, .. }) = stream.next().await {
            seen.push((kind, serde_json::from_str(&data).unwrap()));
        }
    }
    seen
}

/// A connection to a Celery broker.
pub fn celery_connection(url: &str) -> Value {
    json!({"name": "celery", "framework": "celery", "brokerUrl": url})
}

/// A connection to a BullMQ broker.
pub fn bullmq_connection(url: &str) -> Value {
    json!({"name": "bullmq", "framework": "bullmq", "brokerUrl": url})
}
