//! The load loop: sends due requests, reads answers, counts.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use serde_json::json;

use crate::cpu::{self, CpuTime};

/// Timeout of a run without any answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Upper bound of recorded latencies; a run times out before.
const LATENCY_MOST_US: u64 = 60_000_000;

/// One client: encodes requests and decodes answers.
pub trait Client {
    /// Appends the next request.
    fn ask(&mut self, out: &mut Vec<u8>);

    /// Reads an answer from its beginning: `Ok(true)` if it is complete and successful, `Ok(false)` if it is incomplete.
    ///
    /// # Errors
    /// A refusal, or an answer that cannot be read. The run fails then: a figure with refusals in it means nothing.
    fn hear(&mut self, answer: &[u8]) -> Result<bool, String>;

    /// Whether it holds no reservation, so that it may stop.
    fn at_rest(&self) -> bool {
        true
    }
}

/// When requests are sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Closed loop: each when the one before was answered.
    Answers,
    /// Closed loop, this many requests in all.
    Calls(u64),
    /// Open loop: one per interval, answered or not; the wait for a free client counts as latency.
    Every(Duration),
}

pub struct Plan<'a> {
    pub address: SocketAddr,
    pub pace: Pace,
    pub warm: Duration,
    pub window: Duration,
    pub pids: &'a [u32],
}

/// The figures of the window.
pub struct Measured {
    requests: u64,
    /// With those before and after it.
    answered: u64,
    seconds: f64,
    latency_us: Histogram<u64>,
    /// Per process, for the whole window.
    servers: Vec<CpuTime>,
    own: CpuTime,
}

impl fmt::Display for Measured {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_request = |spent: &CpuTime| spent.as_secs_f64() * 1e6 / self.requests.max(1) as f64;
        let figures = json!({
            "requests": self.requests,
            "answered": self.answered,
            "seconds": self.seconds,
            "requests_per_s": self.requests as f64 / self.seconds,
            "p50_us": self.latency_us.value_at_quantile(0.5),
            "p99_us": self.latency_us.value_at_quantile(0.99),
            "max_us": self.latency_us.max(),
            "cpu_us_per_request": self.servers.iter().map(per_request).collect::<Vec<_>>(),
            "generator_cpu_percent": 100.0 * self.own.as_secs_f64() / self.seconds,
        });
        figures.fmt(to)
    }
}

struct Connection {
    socket: TcpStream,
    client: Box<dyn Client>,
    inbox: Vec<u8>,
    /// When the request in flight was due.
    due: Option<Instant>,
}

/// Runs the clients, one connection each.
///
/// # Errors
/// A connection that fails, a server that stops answering, or an answer that is no success.
pub fn run(plan: &Plan<'_>, clients: Vec<Box<dyn Client>>) -> io::Result<Measured> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(clients.len());
    for (number, client) in clients.into_iter().enumerate() {
        // Blocking sockets: written to when the server has nothing else of us to read, read from when there is something.
        let socket = TcpStream::connect(plan.address)?;
        socket.set_nodelay(true)?;
        epoll::add(&epoll, &socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        connections.push(Connection { socket, client, inbox: Vec::new(), due: None });
    }

    let began = Instant::now();
    let (from, until) = match plan.pace {
        Pace::Calls(_) => (began, None),
        Pace::Answers | Pace::Every(_) => (began + plan.warm, Some(began + plan.warm + plan.window)),
    };
    let mut left = if let Pace::Calls(calls) = plan.pace { calls } else { u64::MAX };
    let mut next_due = began;
    let mut idle: VecDeque<usize> = (0..connections.len()).collect();
    let mut latency_us = Histogram::new_with_bounds(1, LATENCY_MOST_US, 3).expect("bounds and digits are allowed");
    let (mut requests, mut answered, mut last) = (0, 0, began);
    let mut before = None;
    let mut after = None;
    let (mut events, mut out, mut piece) = (Vec::with_capacity(256), Vec::new(), vec![0; 1 << 16]);

    loop {
        let now = Instant::now();
        let over = left == 0 || until.is_some_and(|until| now >= until);
        if before.is_none() && now >= from {
            before = Some(spent(plan.pids));
        }
        if over && after.is_none() && until.is_some() {
            after = Some(spent(plan.pids));
        }
        if over {
            // Clients that hold something release it; the answer no longer counts.
            let (at_rest, holding) = idle.into_iter().partition::<VecDeque<_>, _>(|&number| connections[number].client.at_rest());
            idle = at_rest;
            for number in holding {
                connections[number].send(now, &mut out)?;
            }
            if idle.len() == connections.len() {
                break;
            }
        }
        while !over && left > 0 {
            let due = if let Pace::Every(gap) = plan.pace {
                if next_due > now {
                    break;
                }
                let due = next_due;
                if !idle.is_empty() {
                    next_due += gap;
                }
                due
            } else {
                now
            };
            let Some(number) = idle.pop_front() else { break };
            left -= 1;
            connections[number].send(due, &mut out)?;
        }

        let wait = match plan.pace {
            Pace::Every(_) if !over && !idle.is_empty() => next_due.saturating_duration_since(Instant::now()),
            _ => PATIENCE,
        };
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&timespec(wait)))?;
        if events.is_empty() && wait == PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        }
        for event in &events {
            let number = event.data.u64() as usize;
            let connection = &mut connections[number];
            let Some(due) = connection.read(&mut piece)? else { continue };
            idle.push_back(number);
            answered += 1;
            last = Instant::now();
            if last >= from && until.is_none_or(|until| last < until) {
                requests += 1;
                latency_us.saturating_record((last - due).as_micros() as u64);
            }
        }
    }

    let (before, after) = (before.unwrap_or_else(|| spent(plan.pids)), after.unwrap_or_else(|| spent(plan.pids)));
    let mut used = after.into_iter().zip(before).map(|(after, before)| after.saturating_sub(before));
    let own = used.next().unwrap_or_default();
    let seconds = until.map_or_else(|| last - from, |until| until - from).as_secs_f64();
    Ok(Measured { requests, answered, seconds, latency_us, servers: used.collect(), own })
}

/// Our own CPU time, then that of each of these processes.
fn spent(pids: &[u32]) -> Vec<CpuTime> {
    std::iter::once(std::process::id()).chain(pids.iter().copied()).map(cpu::of).collect()
}

fn timespec(wait: Duration) -> Timespec {
    Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
}

impl Connection {
    fn send(&mut self, due: Instant, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        self.client.ask(out);
        self.due = Some(due);
        self.socket.write_all(out)
    }

    /// When the request was due whose answer is now complete.
    fn read(&mut self, piece: &mut [u8]) -> io::Result<Option<Instant>> {
        let read = self.socket.read(piece)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection"));
        }
        self.inbox.extend_from_slice(&piece[..read]);
        if !self.client.hear(&self.inbox).map_err(io::Error::other)? {
            return Ok(None);
        }
        self.inbox.clear();
        Ok(self.due.take())
    }
}
