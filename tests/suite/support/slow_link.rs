//! A slow or lossy link to a server on this machine.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that are carried at once.
const CHUNK: usize = 16 << 10;

/// A link through which clients reach a server. What clients send goes through at once, what they get as its kind says.
pub struct Link {
    pub port: u16,
    lost: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Kind {
    /// All connections together get so many bytes per second; the moment says when the next may come.
    Throttled { bytes_per_s: f64, free_at: Arc<Mutex<Instant>> },
    /// A connection whose answer is longer than this gets no byte beyond it, nor anything afterwards.
    Lossy { most_bytes: u64 },
}

impl Link {
    pub fn throttled(server: u16, bytes_per_s: u32) -> Self {
        let free_at = Arc::new(Mutex::new(Instant::now()));
        Self::start(server, Kind::Throttled { bytes_per_s: bytes_per_s.into(), free_at })
    }

    pub fn lossy(server: u16, most_bytes: u64) -> Self {
        Self::start(server, Kind::Lossy { most_bytes })
    }

    /// Host and port, as in the setting BROKER_HOSTS.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections lost an answer.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn start(server: u16, kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let lost = Arc::new(AtomicU64::new(0));
        let count = lost.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let sent = Arc::new(AtomicU64::new(0));
                let (from, to, asked) = (client.try_clone().unwrap(), server.try_clone().unwrap(), sent.clone());
                // A question begins a new answer.
                thread::spawn(move || carry(from, to, |_| asked.store(0, Ordering::Relaxed)));
                let (kind, count) = (kind.clone(), count.clone());
                thread::spawn(move || carry(server, client, |bytes| kind.hold_back(bytes, &sent, &count)));
            }
        });
        Self { port, lost }
    }
}

impl Kind {
    /// Waits until so many bytes may be carried; for ever where they are lost.
    fn hold_back(&self, bytes: usize, sent: &AtomicU64, lost: &AtomicU64) {
        match self {
            Self::Throttled { bytes_per_s, free_at } => {
                let until = {
                    let mut free_at = free_at.lock().unwrap();
                    *free_at = (*free_at).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / bytes_per_s);
                    *free_at
                };
                thread::sleep(until.saturating_duration_since(Instant::now()));
            }
            Self::Lossy { most_bytes } => {
                if sent.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64 > *most_bytes {
                    lost.fetch_add(1, Ordering::Relaxed);
                    loop {
                        thread::park();
                    }
                }
            }
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, hold_back: impl Fn(usize)) {
    let mut bytes = [0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        hold_back(read);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}
