//! Readers of event streams: raw sockets on one epoll, each with just enough state to prove that it got every event once.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::fd::{AsRawFd, FromRawFd},
    time::{Duration, Instant},
};

use memchr::memmem::Finder;

use crate::{hist::Histogram, system::now_ns};

/// As many bytes of what was read are kept as the longest mark has.
const TAIL: usize = 64;
/// Readers that connect concurrently.
const AT_ONCE: usize = 100;
/// Timeout of connecting without any answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A text that is followed by a number of so many digits.
pub struct Mark {
    finder: Finder<'static>,
    digits: usize,
}

impl Mark {
    pub fn new(text: &'static [u8], digits: usize) -> Self {
        Self { finder: Finder::new(text), digits }
    }

    /// Hands over the number at each mark that ends after the first `old` bytes.
    pub fn each(&mut self, bytes: &[u8], old: usize, mut found: impl FnMut(u64)) {
        for at in self.finder.find_iter(bytes) {
            let begin = at + self.finder.needle().len();
            let Some(digits) = bytes.get(begin..begin + self.digits) else { break };
            if begin + self.digits > old && digits.iter().all(u8::is_ascii_digit) {
                found(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
            }
        }
    }
}

/// A set of numbers, as far as comparing needs it: two with the same count and the same sum of hashes are equal.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub count: u64,
    sum: u64,
}

impl Found {
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash(number));
    }
}

/// The finisher of splitmix64.
fn hash(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[derive(Default)]
struct Reader {
    stream: Option<TcpStream>,
    tail: Vec<u8>,
    begun: bool,
    /// The highest event id.
    last_id: u64,
    /// The latest stamp of an event.
    last_stamp: u64,
    seen: Found,
    doubled: u64,
    /// The last `retry` of the server.
    retry_ms: u64,
}

pub struct Readers {
    epoll: i32,
    address: String,
    /// The heads of the requests, one per key.
    heads: Vec<String>,
    /// Whether events are told apart by their ids, or else by their stamps.
    by_ids: bool,
    all: Vec<Reader>,
    buffer: Vec<u8>,
    stamps: Mark,
    ids: Mark,
    retries: Mark,
    /// Who has been cut off, and when each comes back, in nanoseconds of the clock.
    away: Vec<(u64, usize)>,
    resets: Finder<'static>,
    pub count: Counts,
}

/// Of all readers together, since they were last cleared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub begun: u64,
    pub closed: u64,
    pub refused: u64,
    pub reads: u64,
    pub deliveries: u64,
    /// Deliveries of events that their reader had already.
    pub doubled: u64,
    /// How often a reader got `RESET_CURSOR`.
    pub resets: u64,
}

impl Readers {
    pub fn new(address: &str, heads: Vec<String>, by_ids: bool, count: usize) -> Self {
        Self {
            epoll: unsafe { libc::epoll_create1(0) },
            address: address.into(),
            heads,
            by_ids,
            all: (0..count).map(|_| Reader::default()).collect(),
            buffer: vec![0; 1 << 18],
            stamps: Mark::new(b"\"ts\":\"", 19),
            ids: Mark::new(b"data: {\"id\":\"", 16),
            retries: Mark::new(b"retry: ", 4),
            away: Vec::new(),
            resets: Finder::new(b"event: RESET_CURSOR"),
            count: Counts::default(),
        }
    }

    /// Opens all, with bounded concurrency. A server that answers only with its first event is not waited for.
    pub fn open(&mut self) {
        let (mut begun, mut since) = (0, Instant::now());
        for at in 0..self.all.len() {
            self.open_one(at, false);
            let enough = if at + 1 == self.all.len() { at + 1 } else { (at + 1).saturating_sub(AT_ONCE) };
            while (self.count.begun as usize) < enough && since.elapsed() < PATIENCE {
                self.round(10, u64::MAX, &mut Histogram::new());
                if self.count.begun > begun {
                    (begun, since) = (self.count.begun, Instant::now());
                }
            }
        }
        if (self.count.begun as usize) < self.all.len() {
            eprintln!("sse-load: {} of {} streams have begun", self.count.begun, self.all.len());
        }
    }

    /// Cuts all connections without a shutdown, and opens them again at once, each from its last id.
    pub fn storm(&mut self) {
        for reader in &mut self.all {
            if let Some(stream) = reader.stream.take() {
                let abort = libc::linger { l_onoff: 1, l_linger: 0 };
                let (fd, size) = (stream.as_raw_fd(), size_of::<libc::linger>() as u32);
                unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const abort).cast(), size) };
            }
        }
        self.count.begun = 0;
        for at in 0..self.all.len() {
            self.open_one(at, true);
        }
    }

    /// Opens one without waiting for anything: its request is sent when the connection is there.
    fn open_one(&mut self, at: usize, patiently: bool) {
        let reader = &mut self.all[at];
        reader.tail.clear();
        reader.begun = false;
        let (stream, events) = if patiently {
            (connect_later(&self.address), libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET)
        } else {
            let mut stream = TcpStream::connect(&self.address).expect("a reader connects");
            stream.write_all(request(&self.heads, at, reader.last_id).as_bytes()).expect("a request fits into the socket");
            stream.set_nonblocking(true).expect("nonblocking");
            (stream, libc::EPOLLIN)
        };
        let mut event = libc::epoll_event { events: events as u32, u64: at as u64 };
        unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event) };
        reader.stream = Some(stream);
    }

    /// Reads what there is, waiting at most `timeout_ms` for something; the latencies of events stamped at `since` or later.
    pub fn round(&mut self, timeout_ms: i32, since: u64, latencies: &mut Histogram) -> u64 {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1024];
        let ready = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), 1024, timeout_ms) };
        let before = self.count.deliveries;
        let now = now_ns();
        while let Some(due) = self.away.iter().position(|(due, _)| *due <= now) {
            let (_, at) = self.away.swap_remove(due);
            self.open_one(at, true);
        }
        for event in &events[..ready.max(0) as usize] {
            let at = event.u64 as usize;
            if event.events & libc::EPOLLOUT as u32 != 0 {
                self.connected(at);
            }
            if event.events & !(libc::EPOLLOUT as u32) != 0 {
                self.read(at, since, latencies);
            }
        }
        self.count.deliveries - before
    }

    fn connected(&mut self, at: usize) {
        let reader = &mut self.all[at];
        let Some(stream) = &mut reader.stream else { return };
        if stream.write_all(request(&self.heads, at, reader.last_id).as_bytes()).is_err() {
            self.closed(at);
            return;
        }
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: at as u64 };
        unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_MOD, stream.as_raw_fd(), &mut event) };
    }

    /// As a browser does, it comes back after as long as the server wished.
    fn closed(&mut self, at: usize) {
        self.all[at].stream = None;
        self.count.closed += 1;
        self.away.push((now_ns() + self.all[at].retry_ms.max(1_000) * 1_000_000, at));
    }

    fn read(&mut self, at: usize, since: u64, latencies: &mut Histogram) {
        let reader = &mut self.all[at];
        let Some(stream) = &mut reader.stream else { return };
        let old = reader.tail.len();
        self.buffer[..old].copy_from_slice(&reader.tail);
        let read = match stream.read(&mut self.buffer[old..]) {
            Ok(0) => return self.closed(at),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => return self.closed(at),
        };
        let (bytes, now) = (&self.buffer[..old + read], now_ns());
        self.count.reads += 1;
        if !reader.begun {
            reader.begun = true;
            if bytes.starts_with(b"HTTP/1.1 200") {
                self.count.begun += 1;
            } else {
                self.count.refused += 1;
            }
        }
        let (by_ids, count) = (self.by_ids, &mut self.count);
        self.stamps.each(bytes, old, |stamp| {
            if stamp < since {
                return;
            }
            latencies.add(now.saturating_sub(stamp) / 1000);
            if !by_ids {
                note(&mut reader.seen, &mut reader.last_stamp, &mut reader.doubled, stamp, count);
            }
            reader.last_stamp = reader.last_stamp.max(stamp);
        });
        if by_ids {
            self.retries.each(bytes, old, |ms| reader.retry_ms = ms);
            self.ids.each(bytes, old, |id| note(&mut reader.seen, &mut reader.last_id, &mut reader.doubled, id, count));
            // A reset names where the stream goes on.
            count.resets += self.resets.find_iter(&bytes[old..]).count() as u64;
        }
        reader.tail.clear();
        reader.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many have got an event that was due at `since` or later.
    pub fn live(&self, since: u64) -> usize {
        self.all.iter().filter(|reader| reader.last_stamp >= since).count()
    }

    /// Forgets what was counted, not where each reader is.
    pub fn clear(&mut self) {
        self.count = Counts { begun: self.count.begun, ..Counts::default() };
        for reader in &mut self.all {
            (reader.seen, reader.doubled) = (Found::default(), 0);
        }
    }

    /// How many deliveries are missing if each reader should have got `each`, and how many readers did not get exactly `exactly`.
    pub fn missing(&self, each: u64, exactly: Option<&Found>) -> (u64, u64) {
        let lost = self.all.iter().map(|reader| each.saturating_sub(reader.seen.count)).sum();
        let other = exactly.map_or(0, |set| self.all.iter().filter(|reader| reader.seen != *set).count() as u64);
        (lost, other)
    }
}

fn note(seen: &mut Found, last: &mut u64, doubled: &mut u64, number: u64, count: &mut Counts) {
    if number > *last {
        *last = number;
        seen.add(number);
        count.deliveries += 1;
    } else {
        *doubled += 1;
        count.doubled += 1;
    }
}

fn request(heads: &[String], at: usize, last_id: u64) -> String {
    let head = &heads[at % heads.len()];
    if last_id == 0 { format!("{head}\r\n") } else { format!("{head}Last-Event-ID: {last_id}\r\n\r\n") }
}

/// A connection that is under way when this returns.
fn connect_later(address: &str) -> TcpStream {
    let std::net::SocketAddr::V4(to) = address.parse().expect("an address of IPv4") else { panic!("an address of IPv4") };
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
        let mut name: libc::sockaddr_in = std::mem::zeroed();
        name.sin_family = libc::AF_INET as u16;
        name.sin_port = to.port().to_be();
        name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        libc::connect(fd, (&raw const name).cast(), size_of::<libc::sockaddr_in>() as u32);
        TcpStream::from_raw_fd(fd)
    }
}

/// Readers that never read. They keep their connections until they are dropped.
pub struct Deaf(#[allow(dead_code, reason = "held open")] Vec<TcpStream>);

impl Deaf {
    pub fn open(address: &str, head: &str, count: usize) -> Self {
        let open = |_| {
            let small = 4096;
            let mut stream = connect_later(address);
            unsafe {
                libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const small).cast(), size_of::<libc::c_int>() as u32);
            }
            stream.set_nonblocking(false).expect("blocking");
            // A blocking write waits until the connection is there.
            stream.write_all(format!("{head}\r\n").as_bytes()).expect("a request fits into the socket");
            stream
        };
        Self((0..count).map(open).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_once_however_it_is_cut() {
        let text = b"data: {\"id\":\"1234567890123456\",\"x\":1}\n\ndata: {\"id\":\"1234567890123457\"}";
        for size in 1..text.len() {
            let (mut mark, mut found, mut tail) = (Mark::new(b"data: {\"id\":\"", 16), Vec::new(), Vec::new());
            for piece in text.chunks(size) {
                let old = tail.len();
                tail.extend_from_slice(piece);
                mark.each(&tail, old, |id| found.push(id));
                let keep = tail.len().saturating_sub(TAIL);
                tail.drain(..keep);
            }
            assert_eq!(found, [1_234_567_890_123_456, 1_234_567_890_123_457], "in pieces of {size}");
        }
    }

    #[test]
    fn equal_sets_compare_equal_and_others_do_not() {
        let set = |numbers: &[u64]| {
            let mut set = Found::default();
            numbers.iter().for_each(|number| set.add(*number));
            set
        };
        assert_eq!(set(&[1, 2, 3]), set(&[3, 1, 2]));
        assert_ne!(set(&[1, 2, 3]), set(&[1, 2, 4]));
    }
}
