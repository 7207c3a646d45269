//! A world of its own for each test: one real Redis, some real replicas over it, tenants in it. All of it ends with the test.

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

use crate::support::{redis_server::Redis, sse::EventStream};

pub const ADMIN_KEY: &str = "admin-key-of-the-tests";
/// How long a state may take to come. Generous: the machine is shared, and a test that waits in vain fails anyway.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A real replica: the binary as users run it.
pub struct Replica {
    child: Child,
    pub url: String,
    log: Arc<Mutex<String>>,
    said: Arc<Mutex<String>>,
}

impl Replica {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::try_start(settings).expect("the replica starts")
    }

    /// Starts one; when it ends before it listens, what it said.
    pub fn try_start(settings: &[(&str, &str)]) -> Result<Self, String> {
        Self::launch(with_us(env!("CARGO_BIN_EXE_holdfast")), &["serve"], settings)
    }

    /// Starts one that prints a demo for people; see [`Replica::said`].
    pub fn start_demo(settings: &[(&str, &str)]) -> Self {
        Self::launch(with_us(env!("CARGO_BIN_EXE_holdfast")), &["serve", "--demo"], settings)
            .expect("the replica starts")
    }

    /// Starts one by way of another program, which is given the binary's path and arguments.
    pub fn launch(mut command: Command, args: &[&str], settings: &[(&str, &str)]) -> Result<Self, String> {
        without_settings(&mut command);
        command
            .args(args)
            .env("HOLDFAST_LISTEN", "127.0.0.1:0")
            .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
            .env("HOLDFAST_LOG", "debug");
        // Whatever the machine: on one worker nothing would be seen of what goes on between several.
        command.env("HOLDFAST_LOG_FORMAT", "json").env("HOLDFAST_DRAIN_SECONDS", "5").env("HOLDFAST_WORKERS", "2");
        command.envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = collect(child.stdout.take().unwrap());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut replica = Self { child, url: String::new(), log: Arc::default(), said };
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                return Err(replica.log());
            }
            replica.log.lock().unwrap().push_str(&line);
            let heard: Value = serde_json::from_str(&line).unwrap_or_default();
            if heard["message"] == "listening" {
                replica.url = heard["address"].as_str().unwrap().to_owned();
                collect_into(lines, replica.log.clone());
                return Ok(replica);
            }
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, without the scheme.
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

    /// Waits for it to end by itself; its exit code.
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

    /// Waits until Redis is reached.
    pub async fn ready(&self) {
        until("the replica is ready", || async { self.get("/readyz").await.0 == 200 }).await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let worth: Vec<_> = log
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR") || line.contains("panicked"))
                .collect();
            eprintln!("--- log of {}:\n{}", self.url, worth.join("\n"));
        }
    }
}

/// One Redis and `N` replicas over it.
pub struct World<const N: usize = 1> {
    pub replicas: [Replica; N],
    pub redis: Redis,
    // Last, so that the directory outlives what runs in it.
    _dir: TempDir,
}

impl<const N: usize> World<N> {
    pub async fn start() -> Self {
        Self::with(&[], &[]).await
    }

    /// A world with options of redis-server and settings of the replicas.
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

    /// What a tenant can do at the first replica.
    pub fn at<'a>(&'a self, tenant: &'a Tenant) -> Client<'a> {
        self.at_replica(0, tenant)
    }

    pub fn at_replica<'a>(&'a self, number: usize, tenant: &'a Tenant) -> Client<'a> {
        Client { replica: &self.replicas[number], key: &tenant.key }
    }
}

/// A tenant and its default key, which may do everything.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub id: String,
    pub key: String,
}

/// A key at a replica.
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

    /// Reserves one thing; its result.
    pub async fn reserve(&self, requester: &str, resource: &str, ttl: Option<i64>) -> Value {
        let answer = self
            .post("/Reservation/reserve", json!([{"requester": requester, "resource": resource, "ttlSeconds": ttl}]))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body[0].clone()
    }

    /// Reserves one thing that is free; its result.
    pub async fn acquire(&self, requester: &str, resource: &str, ttl: Option<i64>) -> Value {
        let granted = self.reserve(requester, resource, ttl).await;
        assert_eq!(granted["status"], "ACQUIRED", "{granted}");
        granted
    }

    /// Gives one thing back; the call's answer.
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

    /// Waits until every worker of the replica serves again: each finds its own way back to Redis, and a new connection lands on any.
    pub async fn serves(&self) {
        let begun = Instant::now();
        let mut in_a_row = 0;
        while in_a_row < 10 {
            in_a_row = if self.get("/Reservation/check/anything").await.status == 200 { in_a_row + 1 } else { 0 };
            assert!(begun.elapsed() < TIMEOUT, "in vain: it serves again");
        }
    }

    /// The names in the listing, in order.
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

    /// Opens the event stream with this key in the header, and waits for its head.
    pub async fn events(&self, query: &str) -> EventStream {
        EventStream::open(&format!("{}/api/v1/events{query}", self.replica.url), &[("x-api-key", self.key)]).await
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON, or as a JSON string where it is none.
    pub body: Value,
}

impl Answer {
    pub fn split(self) -> (StatusCode, Value) {
        (self.status, self.body)
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }

    /// A header that is a number.
    pub fn number(&self, header: &str) -> i64 {
        self.headers.get(header).unwrap_or_else(|| panic!("{header} in {self:?}")).to_str().unwrap().parse().unwrap()
    }
}

impl Answer {
    /// Asserts that this is the one error body, with this status and code; the error itself.
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

    /// The places that a refused request's details name.
    pub fn paths(&self) -> Vec<&str> {
        self.fails(400, "VALIDATION_ERROR")["details"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["path"].as_str().unwrap())
            .collect()
    }

    /// The status word of each result.
    pub fn statuses(&self) -> Vec<&str> {
        assert_eq!(self.status, 200, "{self:?}");
        self.body.as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect()
    }
}

/// One connection pool for all tests would hang on dead replicas; a client per call is cheap enough.
pub async fn call(method: Method, url: &str, key: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = reqwest::Client::new().request(method, url).timeout(TIMEOUT);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer(request.send().await.expect("an answer")).await
}

pub async fn answer(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a whole body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}

/// A call of the admin API: `path` is what follows `/api/v1/admin/tenants`.
pub async fn admin(replica: &Replica, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = reqwest::Client::new()
        .request(method, format!("{}/api/v1/admin/tenants{path}", replica.url))
        .header("x-admin-key", ADMIN_KEY);
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer(request.send().await.expect("an answer")).await
}

/// Sends bytes as they are, over a connection of their own; everything that comes back until the other side closes.
pub fn raw(replica: &Replica, bytes: &[u8]) -> String {
    let mut stream = std::net::TcpStream::connect(replica.address()).unwrap();
    stream.set_read_timeout(Some(3 * TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    String::from_utf8_lossy(&back).into_owned()
}

/// Runs the binary with a command other than `serve`, and settings; what it printed, or what it complained of.
pub fn run(args: &[&str], settings: &[(&str, &str)]) -> Result<String, String> {
    let mut command = with_us(env!("CARGO_BIN_EXE_holdfast"));
    without_settings(&mut command);
    command.args(args).envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The settings of whoever runs the tests are not ours.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
}

/// Collects what a program writes, in a thread.
pub fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let to = Arc::new(Mutex::new(String::new()));
    collect_into(from, to.clone());
    to
}

fn collect_into(mut from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read) = from.read(&mut piece)
            && read > 0
        {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    });
}

/// A port on loopback that nobody has, below those that the system gives away by itself.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id().wrapping_mul(61).wrapping_add(u32::from(step)) % 20_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether outages and searches take as long as `make test-long` wants them to.
pub fn long() -> bool {
    std::env::var_os("HOLDFAST_LONG").is_some_and(|value| value == "1")
}

/// A program that the kernel ends when this test's thread does, however that ends.
pub fn with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

pub fn signal_to(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Waits for a state, in a thread.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < TIMEOUT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a state, in a task.
pub async fn until<F: Future<Output = bool>>(what: &str, is: impl FnMut() -> F) {
    until_within(TIMEOUT, what, is).await;
}

/// The same with another limit: programs of others take their time where many tests run beside them.
pub async fn until_within<F: Future<Output = bool>>(patience: Duration, what: &str, mut is: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < patience, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
