//! The frame of each attack: a victim that calls again and again on its own connection, and what it and the replica must bear.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    redis_server::Redis,
    world::{Replica, TIMEOUT, Tenant, World},
};

/// Interval of the victim's calls of the replica, and of those of Redis.
const INTERVAL: Duration = Duration::from_millis(20);
const REDIS_INTERVAL: Duration = Duration::from_millis(5);
/// Bound of the victim's p99.
const MAX_P99: Duration = Duration::from_millis(100);
/// Attacks of which one must stay below the bound: other tests may take the machine away from some.
const ATTEMPTS: usize = 5;
/// The victim's p99 without an attack from which on the machine is busy with something else: other tests run beside.
const BUSY_P99: Duration = Duration::from_millis(50);
/// Bound of the replica's memory, in KiB.
const MAX_MEMORY_KIB: u64 = 512 << 10;
/// Loopback addresses of clients that are not the victim.
pub const NEIGHBOUR: [u8; 4] = [127, 0, 0, 2];
pub const OTHER_NEIGHBOUR: [u8; 4] = [127, 0, 0, 3];

/// A replica with a victim on it.
pub struct Neighbourhood {
    pub world: World<1>,
    victim: Tenant,
}

impl Neighbourhood {
    pub async fn start() -> Self {
        let world = World::<1>::start().await;
        let victim = world.tenant().await;
        Self { world, victim }
    }

    pub fn replica(&self) -> &Replica {
        &self.world.replicas[0]
    }

    /// Runs an attack, on a thread of its own for a blocking one, and asserts that a victim hardly notices that reserves on the same
    /// replica.
    ///
    /// A measurement above the bound is made twice more, since something else may have happened at that moment. On a machine that is busy
    /// then, too, the bound counts beyond what a call takes there without an attack.
    pub async fn bears<T: Send>(&self, attack: impl AsyncFn() -> T) -> T {
        self.is_borne_by(|| Victim::of_replica(self.replica(), &self.victim), Scheduled::default, attack).await
    }

    /// The same with a victim that shares Redis alone: for an attack with which an unoptimized replica has so much to do that other calls of
    /// its own wait. Of the victim's time counts the share for which Redis had a core, since that replica and other tests take cores, too.
    pub async fn redis_bears<T: Send>(&self, attack: impl AsyncFn() -> T) -> T {
        self.is_borne_by(|| Victim::of_redis(&self.world.redis), || Scheduled::of(&self.world.redis), attack).await
    }

    async fn is_borne_by<T: Send>(
        &self,
        victim: impl Fn() -> Victim,
        scheduled: impl Fn() -> Scheduled,
        attack: impl AsyncFn() -> T,
    ) -> T {
        let quiet = async || p99_during(victim(), tokio::time::sleep(Duration::from_secs(1))).await.1;
        let mut seen = Vec::new();
        for _ in 0..ATTEMPTS {
            let before = quiet().await;
            let then = scheduled();
            let (result, p99) = p99_during(victim(), attack()).await;
            let share = scheduled().share_since(then);
            let beside = before.max(quiet().await);
            let memory = peak_memory_kib(self.replica());
            assert!(memory < MAX_MEMORY_KIB, "the replica took {memory} KiB");
            seen.push((p99, beside, share));
            if p99.mul_f64(share) < MAX_P99 {
                return result;
            }
            if seen.len() > 1 && beside > BUSY_P99 && p99 < beside + MAX_P99 {
                return result;
            }
        }
        panic!(
            "p99 of the victim, p99 when nothing else happens, for which share of the time the server had a core: {seen:?}"
        );
    }
}

/// For how long a thread has run, and waited for a core, by the kernel's scheduler.
#[derive(Debug, Clone, Copy, Default)]
struct Scheduled {
    run_ns: f64,
    wait_ns: f64,
}

impl Scheduled {
    /// Those of the thread of Redis that runs commands.
    fn of(redis: &Redis) -> Self {
        let pid = redis.info("server", "process_id").unwrap();
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
        let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        Self { run_ns: numbers.next().unwrap(), wait_ns: numbers.next().unwrap() }
    }

    /// Of the time since then in which it could have run, the share in which it did; 1 where nothing was measured.
    fn share_since(self, then: Self) -> f64 {
        let (run_ns, wait_ns) = (self.run_ns - then.run_ns, self.wait_ns - then.wait_ns);
        if run_ns + wait_ns > 0.0 { run_ns / (run_ns + wait_ns) } else { 1.0 }
    }
}

async fn p99_during<T>(victim: Victim, work: impl Future<Output = T>) -> (T, Duration) {
    let result = work.await;
    let mut times = victim.stop();
    times.sort_unstable();
    assert!(times.len() >= 10, "{} calls tell nothing", times.len());
    (result, times[(times.len() * 99).div_ceil(100) - 1])
}

/// A thread that calls again and again, each call answered as it should be.
struct Victim {
    is_over: Arc<AtomicBool>,
    calls: JoinHandle<Vec<Duration>>,
}

impl Victim {
    /// One that reserves at the replica.
    fn of_replica(replica: &Replica, tenant: &Tenant) -> Self {
        let mut connection = RawConnection::open(replica, [127, 0, 0, 1]);
        let body = r#"[{"requester":"victim","resource":"mine","ttlSeconds":60}]"#;
        let call = request("POST", "/api/v1/Reservation/reserve", &[("x-api-key", &tenant.key)], body);
        Self::start(INTERVAL, move || {
            connection.send(call.as_bytes());
            let (status, body) = connection.answer();
            assert_eq!(status, 200, "{body}");
        })
    }

    /// One that asks Redis for nothing.
    fn of_redis(redis: &Redis) -> Self {
        let mut connection = redis.connection();
        Self::start(REDIS_INTERVAL, move || redis::cmd("PING").exec(&mut connection).expect("Redis answers"))
    }

    fn start(interval: Duration, mut call: impl FnMut() + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let calls = std::thread::spawn({
            let is_over = is_over.clone();
            move || {
                let mut times = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    call();
                    times.push(begun.elapsed());
                    std::thread::sleep(interval.saturating_sub(begun.elapsed()));
                }
                times
            }
        });
        Self { is_over, calls }
    }

    fn stop(self) -> Vec<Duration> {
        self.is_over.store(true, Ordering::Relaxed);
        self.calls.join().expect("every call of the victim is answered")
    }
}

/// The most memory that a replica's process has had, in KiB.
pub fn peak_memory_kib(replica: &Replica) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A request with a body in JSON, as bytes on the wire.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// A connection of a client that does as it likes.
pub struct RawConnection(TcpStream);

impl RawConnection {
    /// Connects from one of the loopback addresses.
    pub fn open(replica: &Replica, from: [u8; 4]) -> Self {
        Self::open_at(replica.address(), from)
    }

    pub fn open_at(address: &str, from: [u8; 4]) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(3 * TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection takes bytes");
    }

    /// Sends until the other side has enough; whether it took everything.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Reads some bytes; empty at the end of the connection.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        let read = self.0.read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// Reads an answer with a length: its status and body.
    pub fn answer(&mut self) -> (u16, String) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                if body.len() >= length.parse::<usize>().unwrap() {
                    return (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned());
                }
            }
            let more = self.read();
            assert!(!more.is_empty(), "the connection ended within an answer: {text:?}");
            bytes.extend(more);
        }
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        loop {
            let more = self.read();
            if more.is_empty() {
                return String::from_utf8_lossy(&rest).into_owned();
            }
            rest.extend(more);
        }
    }

    /// Whether there is nothing to read, neither bytes nor the end.
    pub fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let silent = matches!(self.0.peek(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        self.0.set_nonblocking(false).unwrap();
        silent
    }

    /// Whether the other side has closed.
    pub fn is_closed(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut byte = [0; 1];
        match self.0.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Runs blocking work beside the test's own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work ends")
}

/// Asserts the one form of an error: its status and code, at most 20 faults, at most 16 KiB.
pub fn assert_small_error(answer: &(u16, String), status: u16, code: &str) -> Value {
    let (found, text) = answer;
    assert!(text.len() <= 16 << 10, "{} bytes", text.len());
    let body: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!((*found, body["error"]["code"].as_str()), (status, Some(code)), "{text}");
    assert!(body["error"]["details"].as_array().unwrap().len() <= 20, "{text}");
    body
}
