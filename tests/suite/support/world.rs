//! The environment of one test: a real Redis, real replicas over it, tenants. All of it ends with the test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{document, redis_server::Redis, sse::EventStream};

pub const ADMIN_KEY: &str = "admin-key-of-the-tests";
/// Timeout of every wait for a state, 20 s. Generous, because tests share the machine; only a failing test waits for it.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A replica process: the binary as users run it, with JSON logs.
pub struct Replica {
    child: Child,
    pub url: String,
    log: Arc<Mutex<String>>,
    stdout: Arc<Mutex<String>>,
}

impl Replica {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::try_start(settings).expect("the replica starts")
    }

    /// Starts one.
    ///
    /// # Errors
    /// Its log, when it ends before it listens.
    pub fn try_start(settings: &[(&str, &str)]) -> Result<Self, String> {
        Self::launch(bound_to_test(&binary()), &["serve"], settings)
    }

    /// Starts one with `--demo`, which prints lines to paste; see [`Replica::stdout`].
    pub fn start_demo(settings: &[(&str, &str)]) -> Self {
        Self::launch(bound_to_test(&binary()), &["serve", "--demo"], settings).expect("the replica starts")
    }

    /// Starts one through `command`: the binary itself, or a program that runs the binary.
    pub fn launch(mut command: Command, args: &[&str], settings: &[(&str, &str)]) -> Result<Self, String> {
        without_settings(&mut command);
        command
            .args(args)
            .env("HOLDFAST_LISTEN", "127.0.0.1:0")
            .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
            .env("HOLDFAST_LOG", "debug");
        // Two workers on every machine: with one, no test would see what happens between several.
        command.env("HOLDFAST_LOG_FORMAT", "json").env("HOLDFAST_DRAIN_SECONDS", "5").env("HOLDFAST_WORKERS", "2");
        command.envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = collect(child.stdout.take().unwrap());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut replica = Self { child, url: String::new(), log: Arc::default(), stdout };
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                return Err(replica.log());
            }
            replica.log.lock().unwrap().push_str(&line);
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "listening" {
                replica.url = entry["address"].as_str().unwrap().to_owned();
                collect_into(lines, replica.log.clone());
                return Ok(replica);
            }
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its address and port, without the scheme.
    pub fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    pub fn signal(&self, signal: &str) {
        signal_to(self.child.id(), signal);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself; returns its exit code, -1 after a signal.
    pub fn ended(&mut self) -> i32 {
        let mut code = None;
        eventually("the replica ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap_or(-1)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        call(Method::GET, &format!("{}{path}", self.url), None, None).await.split()
    }

    /// Waits until it reaches Redis. One that runs under an instrument, on a busy machine, may leave a request without an answer before.
    pub async fn ready(&self) {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap();
        let is_ready = || async {
            let answer = client.get(format!("{}/readyz", self.url)).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        until_within(3 * TIMEOUT, "the replica is ready", is_ready).await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let problems: Vec<_> = log
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR") || line.contains("panicked"))
                .collect();
            eprintln!("--- log of {}:\n{}", self.url, problems.join("\n"));
        }
    }
}

/// One Redis and `N` replicas over it.
pub struct World<const N: usize = 1> {
    pub replicas: [Replica; N],
    pub redis: Redis,
    // Declared last, so that it is removed after the processes that run in it have ended.
    _dir: TempDir,
}

impl<const N: usize> World<N> {
    pub async fn start() -> Self {
        Self::with(&[], &[]).await
    }

    /// Starts with options of redis-server and settings (without `HOLDFAST_`) of the replicas.
    pub async fn with(options: &[&str], settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(dir.path(), options);
        let url = redis.url();
        let mut all = vec![("REDIS_URL", url.as_str())];
        all.extend(settings);
        let replicas = std::array::from_fn(|_| Replica::start(&all));
        for replica in &replicas {
            replica.ready().await;
        }
        Self { replicas, redis, _dir: dir }
    }

    /// A tenant of the tier Pro.
    pub async fn tenant(&self) -> Tenant {
        self.tenant_of("Pro").await
    }

    pub async fn tenant_of(&self, tier: &str) -> Tenant {
        let made = admin(&self.replicas[0], Method::POST, "", Some(json!({"name": "test", "tier": tier}))).await;
        assert_eq!(made.status, 201, "{made:?}");
        Tenant { id: made.body["tenantId"].as_str().unwrap().into(), key: made.body["apiKey"].as_str().unwrap().into() }
    }

    /// The tenant's client at the first replica.
    pub fn at<'a>(&'a self, tenant: &'a Tenant) -> Client<'a> {
        self.at_replica(0, tenant)
    }

    pub fn at_replica<'a>(&'a self, number: usize, tenant: &'a Tenant) -> Client<'a> {
        Client { replica: &self.replicas[number], key: &tenant.key }
    }
}

/// A tenant and its default key, which has every scope.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub id: String,
    pub key: String,
}

/// A client: a key and the replica that it calls.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub replica: &'a Replica,
    pub key: &'a str,
}

impl Client<'_> {
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        call(Method::POST, &format!("{}/api/v1{path}", self.replica.url), Some(self.key), Some(body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        call(Method::GET, &format!("{}/api/v1{path}", self.replica.url), Some(self.key), None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        call(Method::DELETE, &format!("{}/api/v1{path}", self.replica.url), Some(self.key), None).await
    }

    /// Reserves one resource; returns the item's result.
    pub async fn reserve(&self, requester: &str, resource: &str, ttl: Option<i64>) -> Value {
        let answer = self
            .post("/Reservation/reserve", json!([{"requester": requester, "resource": resource, "ttlSeconds": ttl}]))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body[0].clone()
    }

    /// Reserves one resource that must be free; returns the item's result.
    pub async fn acquire(&self, requester: &str, resource: &str, ttl: Option<i64>) -> Value {
        let granted = self.reserve(requester, resource, ttl).await;
        assert_eq!(granted["status"], "ACQUIRED", "{granted}");
        granted
    }

    /// Releases one resource; returns the answer.
    pub async fn unreserve(&self, requester: &str, resource: &str, token: &Value) -> Answer {
        self.post(
            "/Reservation/unreserve",
            json!([{"requester": requester, "resource": resource, "releaseToken": token}]),
        )
        .await
    }

    pub async fn renew(&self, requester: &str, resource: &str, token: &Value, ttl: i64) -> Answer {
        self.post(
            "/Reservation/renew",
            json!([{"requester": requester, "resource": resource, "releaseToken": token, "ttlSeconds": ttl}]),
        )
        .await
    }

    /// Waits until every worker of the replica serves again, by ten successes in a row: each worker reconnects to Redis by itself,
    /// and a new HTTP connection lands on any of them.
    pub async fn serves(&self) {
        let begun = Instant::now();
        let mut in_a_row = 0;
        while in_a_row < 10 {
            in_a_row = if self.get("/Reservation/check/anything").await.status == 200 { in_a_row + 1 } else { 0 };
            assert!(begun.elapsed() < TIMEOUT, "timeout: it serves again");
        }
    }

    /// The names of the active reservations, sorted.
    pub async fn listed(&self) -> Vec<String> {
        let answer = self.get("/Reservation/activeReservations").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut names: Vec<_> = answer.body["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["resource"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Opens the event stream with this key in the header, and waits for the head of the answer.
    pub async fn events(&self, query: &str) -> EventStream {
        EventStream::open(&format!("{}/api/v1/events{query}", self.replica.url), &[("x-api-key", self.key)]).await
    }
}

/// An HTTP answer, decoded.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON; a JSON string where it is not JSON.
    pub body: Value,
}

impl Answer {
    pub fn split(self) -> (StatusCode, Value) {
        (self.status, self.body)
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }

    /// A header whose value is a number.
    pub fn number(&self, header: &str) -> i64 {
        self.headers.get(header).unwrap_or_else(|| panic!("{header} in {self:?}")).to_str().unwrap().parse().unwrap()
    }
}

impl Answer {
    /// Asserts status, code and the one form of error bodies; returns the `error` object.
    pub fn fails(&self, status: u16, code: &str) -> &Value {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{self:?}");
        let error = &self.body["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert_eq!(error["docsUrl"], "/docs#errors");
        assert!(error["details"].is_array(), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        if matches!(status, 429 | 503) {
            assert!(self.number("retry-after") >= 1);
            assert_eq!(self.body["retryAfter"], self.number("retry-after"));
        }
        error
    }

    /// The paths in the details of a `VALIDATION_ERROR`.
    pub fn paths(&self) -> Vec<&str> {
        self.fails(400, "VALIDATION_ERROR")["details"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["path"].as_str().unwrap())
            .collect()
    }

    /// The `status` of each item's result.
    pub fn statuses(&self) -> Vec<&str> {
        assert_eq!(self.status, 200, "{self:?}");
        self.body.as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect()
    }
}

/// Sends one request, with a client of its own: a shared connection pool would hang on killed replicas.
pub async fn call(method: Method, url: &str, key: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = reqwest::Client::new().request(method.clone(), url).timeout(TIMEOUT);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer_to(Some(&method), request.send().await.expect("an answer")).await
}

/// Reads an answer, which must be one that the OpenAPI document has.
pub async fn answer(response: reqwest::Response) -> Answer {
    answer_to(None, response).await
}

/// The same, where the method is known.
pub async fn answer_to(method: Option<&Method>, response: reqwest::Response) -> Answer {
    let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
    let text = response.text().await.expect("a whole body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    document::check(method, &url, status.as_u16(), &headers, &body);
    Answer { status, headers, body }
}

/// A call of the admin API: `path` is what follows `/api/v1/admin/tenants`.
pub async fn admin(replica: &Replica, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = reqwest::Client::new()
        .request(method.clone(), format!("{}/api/v1/admin/tenants{path}", replica.url))
        .header("x-admin-key", ADMIN_KEY);
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer_to(Some(&method), request.send().await.expect("an answer")).await
}

/// Sends bytes over a new TCP connection; returns everything until the other side closes.
pub fn raw(replica: &Replica, bytes: &[u8]) -> String {
    let mut stream = std::net::TcpStream::connect(replica.address()).unwrap();
    stream.set_read_timeout(Some(3 * TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    String::from_utf8_lossy(&back).into_owned()
}

/// Runs the binary with a command other than `serve`; returns its standard output, or its standard error as the error.
pub fn run(args: &[&str], settings: &[(&str, &str)]) -> Result<String, String> {
    let mut command = bound_to_test(&binary());
    without_settings(&mut command);
    command.args(args).envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The binary that replicas run: the one that is built with the tests, or another one that `HOLDFAST_BINARY` names.
pub fn binary() -> String {
    std::env::var("HOLDFAST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_holdfast").to_owned())
}

/// Whether replicas run another binary than the one that is built with the tests: an optimized one (`make neighbours`).
pub fn is_optimized() -> bool {
    std::env::var_os("HOLDFAST_BINARY").is_some()
}

/// Removes `HOLDFAST_*` variables of whoever runs the tests.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
}

/// Collects the output of a program, in a thread.
pub fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let to = Arc::new(Mutex::new(String::new()));
    collect_into(from, to.clone());
    to
}

fn collect_into(mut from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(read) = from.read(&mut chunk)
            && read > 0
        {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
    });
}

/// A host that has no address. Its label is longer than the 63 bytes of the standard, so no name server is asked, which may take its time.
pub fn nameless_host() -> String {
    format!("{}.invalid", "nameless".repeat(8))
}

/// A free port on loopback, below the range of ephemeral ports. Each call of a process gives another one.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id().wrapping_mul(61).wrapping_add(u32::from(step)) % 20_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether the long forms of tests run (`make test-long`).
pub fn long() -> bool {
    std::env::var_os("HOLDFAST_LONG").is_some_and(|value| value == "1")
}

/// A command that the kernel kills when this test's thread ends, also when the test is killed.
pub fn bound_to_test(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

pub fn signal_to(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Waits for a state by polling, blocking the thread.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < TIMEOUT, "timeout: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a state by polling, in a task.
pub async fn until<F: Future<Output = bool>>(what: &str, is: impl FnMut() -> F) {
    until_within(TIMEOUT, what, is).await;
}

/// The same with another timeout, for other people's programs, which are slow where many tests run beside them.
pub async fn until_within<F: Future<Output = bool>>(timeout: Duration, what: &str, mut is: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < timeout, "timeout: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
