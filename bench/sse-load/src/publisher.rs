//! Publishes at a fixed rate that does not wait for answers: a server that is held up does not slow its own load down.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    readers::{Found, Mark},
    system::{now_ns, precise_timers},
};

/// Timeout of the last answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is published, and where.
#[derive(Clone)]
pub struct Plan {
    pub address: String,
    pub path: String,
    /// Keys that take turns; empty for a server without keys, whose events are bare payloads.
    pub keys: Vec<String>,
    /// Connections that take turns.
    pub connections: usize,
    pub size: usize,
    /// Every so manieth event is of the type `score`, all others of `trade`.
    pub rare: u64,
}

/// A running publisher.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    /// Events sent so far.
    pub sent: Arc<AtomicU64>,
    answered: Arc<Mutex<Answered>>,
    writing: JoinHandle<()>,
}

/// The server's answers to publications.
#[derive(Debug, Default, Clone)]
pub struct Answered {
    pub accepted: u64,
    pub refused: u64,
    /// The ids that the events got.
    pub ids: Found,
}

impl Publisher {
    pub fn start(plan: &Plan, rate: f64) -> Self {
        let (stop, sent, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<Mutex<Answered>>::default());
        let connections: Vec<_> = (0..plan.connections)
            .map(|_| {
                let stream = TcpStream::connect(&plan.address).expect("the publisher connects");
                stream.set_nodelay(true).expect("nodelay");
                stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
                let (reading, answered) = (stream.try_clone().expect("a second handle"), answered.clone());
                std::thread::spawn(move || read_answers(reading, &answered));
                stream
            })
            .collect();
        let writing = {
            let (plan, stop, sent, answered) = (plan.clone(), stop.clone(), sent.clone(), answered.clone());
            std::thread::spawn(move || {
                let connections = write_events(&plan, rate, connections, &stop, &sent);
                let begun = Instant::now();
                let all_answered = || {
                    let answered = answered.lock().expect("no thread has panicked");
                    answered.accepted + answered.refused >= sent.load(Relaxed)
                };
                while !all_answered() && begun.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(20));
                }
                for connection in connections {
                    let _ = connection.shutdown(std::net::Shutdown::Both);
                }
            })
        };
        Self { stop, sent, answered, writing }
    }

    /// Ends it, waits for the last answers, and returns how many events were sent and what was answered.
    pub fn finish(self) -> (u64, Answered) {
        self.stop.store(true, Relaxed);
        let _ = self.writing.join();
        let answered = self.answered.lock().expect("no thread has panicked").clone();
        (self.sent.load(Relaxed), answered)
    }
}

fn write_events(plan: &Plan, rate: f64, mut connections: Vec<TcpStream>, stop: &AtomicBool, sent: &AtomicU64) -> Vec<TcpStream> {
    precise_timers();
    let padding = "x".repeat(plan.size.saturating_sub(40));
    let (begun, gap_ns) = (now_ns(), 1e9 / rate);
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let due = begun + (number as f64 * gap_ns) as u64;
        if let Some(wait) = due.checked_sub(now_ns()) {
            std::thread::sleep(Duration::from_nanos(wait));
        }
        let payload = format!("{{\"ts\":\"{due:019}\",\"p\":\"{padding}\"}}");
        let (credential, body) = if plan.keys.is_empty() {
            (String::new(), payload)
        } else {
            let kind = if (number + 1) % plan.rare == 0 { "score" } else { "trade" };
            let key = &plan.keys[number as usize % plan.keys.len()];
            (format!("X-Api-Key: {key}\r\n"), format!("{{\"type\":\"{kind}\",\"companyId\":null,\"data\":{payload}}}"))
        };
        let head =
            format!("POST {} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{credential}Content-Length: {}\r\n\r\n", plan.path, body.len());
        let turn = number as usize % connections.len();
        if connections[turn].write_all((head + &body).as_bytes()).is_err() {
            break;
        }
        sent.store(number + 1, Relaxed);
    }
    connections
}

fn read_answers(mut from: TcpStream, to: &Mutex<Answered>) {
    let (mut ids, mut good, mut all) = (Mark::new(b"{\"ids\":[\"", 16), Mark::new(b"HTTP/1.1 2", 2), Mark::new(b"HTTP/1.1 ", 3));
    let mut piece = vec![0; 1 << 16];
    let mut tail = Vec::new();
    while let Ok(read) = from.read(&mut piece)
        && read > 0
    {
        let old = tail.len();
        tail.extend_from_slice(&piece[..read]);
        let mut answered = to.lock().expect("no thread has panicked");
        ids.each(&tail, old, |id| answered.ids.add(id));
        let (mut accepted, mut answers) = (0, 0);
        good.each(&tail, old, |_| accepted += 1);
        all.each(&tail, old, |_| answers += 1);
        answered.accepted += accepted;
        answered.refused += answers - accepted;
        let keep = tail.len().saturating_sub(64);
        tail.drain(..keep);
    }
}
