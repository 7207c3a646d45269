//! sse-load: opens N raw-socket SSE subscribers on one epoll thread, publishes messages by HTTP POST at a
//! fixed (open-loop) rate from a second thread, counts `data:` lines and measures publish-to-receive latency
//! from the monotonic nanosecond stamp at the start of each payload: {"ts":"<19 digits>",...}.
//! The stamp is the *scheduled* send time, so a stalled publisher counts as latency.
//! One JSON line per rate step. Both ends must run on one machine (CLOCK_MONOTONIC).
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
    time::{Duration, Instant},
};

struct Hist {
    b: Vec<u64>,
    n: u64,
    max: u64,
}
impl Hist {
    fn new() -> Self {
        Hist { b: vec![0; 64 * 64], n: 0, max: 0 }
    }
    fn add(&mut self, v: u64) {
        let i = if v < 64 {
            v as usize
        } else {
            let e = 63 - v.leading_zeros() as u64;
            (((e - 5) << 6) + (v >> (e - 5))) as usize
        };
        self.b[i] += 1;
        self.n += 1;
        if v > self.max {
            self.max = v
        }
    }
    fn q(&self, q: f64) -> u64 {
        let want = ((self.n as f64 * q).ceil() as u64).max(1);
        let mut c = 0;
        for (i, x) in self.b.iter().enumerate() {
            c += x;
            if c >= want {
                return if i < 64 {
                    i as u64
                } else {
                    let s = (i >> 6) as u64;
                    (i as u64 - (s << 6)) << s
                };
            }
        }
        self.max
    }
}
fn now_ns() -> u64 {
    let mut t: libc::timespec = unsafe { std::mem::zeroed() };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
fn cpu_self() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        (r.ru_utime.tv_sec + r.ru_stime.tv_sec) as f64 + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) as f64 / 1e6
    }
}
fn cpu_pid(pids: &[u32]) -> f64 {
    pids.iter()
        .map(|p| {
            let s = std::fs::read_to_string(format!("/proc/{p}/stat")).unwrap_or_default();
            let t: Vec<&str> = s.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            if t.len() > 13 { (t[11].parse::<f64>().unwrap() + t[12].parse::<f64>().unwrap()) / 100.0 } else { 0.0 }
        })
        .sum()
}
fn rss_kb(pids: &[u32]) -> u64 {
    pids.iter()
        .map(|p| {
            std::fs::read_to_string(format!("/proc/{p}/status"))
                .unwrap_or_default()
                .lines()
                .find(|l| l.starts_with("VmRSS:"))
                .and_then(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().ok())
                .unwrap_or(0)
        })
        .sum()
}

fn main() {
    let mut m: HashMap<String, String> = HashMap::new();
    let a: Vec<String> = std::env::args().skip(1).collect();
    let mut i = 0;
    while i + 1 < a.len() {
        m.insert(a[i].trim_start_matches("--").to_string(), a[i + 1].clone());
        i += 2
    }
    let g = |k: &str, d: &str| m.get(k).cloned().unwrap_or(d.into());
    let addr = g("addr", "127.0.0.1:8080");
    let (sub, publ) = (g("sub", "/sub"), g("pub", "/pub"));
    let paddr = g("pub-addr", &addr);
    let n: usize = g("n", "100").parse().unwrap();
    let secs: f64 = g("secs", "10").parse().unwrap();
    let size: usize = g("size", "350").parse().unwrap();
    let rates: Vec<f64> = g("rates", "200").split(',').map(|x| x.parse().unwrap()).collect();
    let pids: Vec<u32> = g("pids", "").split(',').filter(|s| !s.is_empty()).map(|x| x.parse().unwrap()).collect();
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1usize);
        let l = libc::rlimit { rlim_cur: 20000, rlim_max: 20000 };
        libc::setrlimit(libc::RLIMIT_NOFILE, &l);
    }
    let rss0 = rss_kb(&pids);
    let ep = unsafe { libc::epoll_create1(0) };
    // --key sends X-Api-Key and wraps each message as a platform event of Holdfast.
    let key = g("key", "");
    let auth = if key.is_empty() { String::new() } else { format!("X-Api-Key: {key}\r\n") };
    let req = format!("GET {sub} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\n{auth}\r\n");
    let mut conns: Vec<TcpStream> = Vec::with_capacity(n);
    for i in 0..n {
        let mut s = TcpStream::connect(&addr).expect("connect");
        s.write_all(req.as_bytes()).unwrap();
        s.set_nonblocking(true).unwrap();
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: i as u64 };
        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, s.as_raw_fd(), &mut ev) };
        conns.push(s);
        if i % 200 == 199 {
            std::thread::sleep(Duration::from_millis(20))
        }
    }
    // Each connection keeps up to TAIL bytes of its last read so that a stamp split across reads is still found.
    const TAIL: usize = 31; // "ts":" + 19 digits + slack
    let mut tails: Vec<([u8; TAIL], u8)> = vec![([0; TAIL], 0); n];
    let mut buf = vec![0u8; 1 << 18];
    let mut evs = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    let finder = memchr::memmem::Finder::new(b"\"ts\":\"");
    let dfinder = memchr::memmem::Finder::new(b"data:");
    let (mut closed, mut heads, mut reads) = (0u64, 0u64, 0u64);
    let mut datas = 0u64;
    let mut per: Vec<u32> = vec![0; n];
    // one poll round; returns messages seen
    let mut round = |timeout: i32, h: &mut Hist, since: u64, closed: &mut u64, heads: &mut u64, datas: &mut u64, per: &mut Vec<u32>, reads: &mut u64| -> u64 {
        let k = unsafe { libc::epoll_wait(ep, evs.as_mut_ptr(), 1024, timeout) };
        let mut got = 0u64;
        for e in &evs[..k.max(0) as usize] {
            let i = e.u64 as usize;
            let (t, tl) = tails[i];
            let tl = tl as usize;
            buf[..tl].copy_from_slice(&t[..tl]);
            *reads += 1;
            let r = match conns[i].read(&mut buf[tl..]) {
                Ok(0) => {
                    unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_DEL, conns[i].as_raw_fd(), std::ptr::null_mut()) };
                    *closed += 1;
                    continue;
                }
                Ok(r) => r,
                Err(_) => continue,
            };
            let b = &buf[..tl + r];
            let now = now_ns();
            let mut from = 0;
            if b.starts_with(b"HTTP/1.1 200") {
                *heads += 1
            }
            let mut keep = b.len().saturating_sub(TAIL - 6);
            for p in finder.find_iter(b) {
                if p + 25 > b.len() {
                    keep = keep.min(p);
                    break;
                }
                let mut ts = 0u64;
                for d in &b[p + 6..p + 25] {
                    ts = ts * 10 + (*d - b'0') as u64
                }
                from = p + 25;
                if ts >= since {
                    got += 1;
                    per[i] += 1;
                    h.add(now.saturating_sub(ts) / 1000)
                }
            }
            *datas += dfinder.find_iter(&b[tl..]).count() as u64; // cross-check only (may miss a split line)
            let ks = keep.max(from);
            let l = b.len() - ks;
            let l = l.min(TAIL);
            let mut nt = [0u8; TAIL];
            nt[..l].copy_from_slice(&b[b.len() - l..]);
            tails[i] = (nt, l as u8);
        }
        got
    };
    let mut hh = Hist::new();
    let t = Instant::now();
    while heads < n as u64 && t.elapsed() < Duration::from_secs(10) {
        round(20, &mut hh, u64::MAX, &mut closed, &mut heads, &mut datas, &mut per, &mut reads);
    }
    let idle0 = (cpu_pid(&pids), Instant::now());
    std::thread::sleep(Duration::from_millis(1500));
    let idle_cpu = (cpu_pid(&pids) - idle0.0) / idle0.1.elapsed().as_secs_f64() * 100.0;
    let rss1 = rss_kb(&pids);
    eprintln!(
        "subscribed {heads}/{n} closed {closed}; server rss {rss0}->{rss1} kB = {:.2} kB/conn idle; idle cpu {idle_cpu:.1}%",
        (rss1 as f64 - rss0 as f64) / n as f64
    );
    for rate in rates {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let acked = Arc::new(AtomicU64::new(0));
        let since = now_ns();
        let (s2, st2, a2, pa, pp, auth) = (sent.clone(), stop.clone(), acked.clone(), paddr.clone(), publ.clone(), auth.clone());
        let th = std::thread::spawn(move || {
            unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize) };
            let mut s = TcpStream::connect(&pa).unwrap();
            s.set_nodelay(true).unwrap();
            let mut rd = s.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut b = vec![0u8; 1 << 16];
                while let Ok(k) = rd.read(&mut b) {
                    if k == 0 {
                        break;
                    }
                    a2.fetch_add(memchr::memmem::find_iter(&b[..k], b"HTTP/1.1 2").count() as u64, Relaxed);
                }
            });
            let pad = "x".repeat(size.saturating_sub(40));
            let start = now_ns();
            let mut i = 0u64;
            let gap = 1e9 / rate;
            s.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
            while !st2.load(Relaxed) {
                let due = start + (i as f64 * gap) as u64;
                let now = now_ns();
                if due > now {
                    std::thread::sleep(Duration::from_nanos(due - now))
                }
                let mut body = format!("{{\"ts\":\"{due:019}\",\"p\":\"{pad}\"}}");
                if !auth.is_empty() {
                    body = format!("{{\"type\":\"trade\",\"companyId\":null,\"data\":{body}}}");
                }
                if s.write_all(
                    format!("POST {pp} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{auth}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
                )
                .is_err()
                {
                    break;
                }
                i += 1;
                s2.store(i, Relaxed);
            }
            std::thread::sleep(Duration::from_millis(300));
            let _ = s.shutdown(std::net::Shutdown::Both);
        });
        let (t0, c0, g0, mut h, mut got) = (Instant::now(), cpu_pid(&pids), cpu_self(), Hist::new(), 0u64);
        per.iter_mut().for_each(|x| *x = 0);
        datas = 0;
        reads = 0;
        while t0.elapsed().as_secs_f64() < secs {
            got += round(50, &mut h, since, &mut closed, &mut heads, &mut datas, &mut per, &mut reads)
        }
        let el = t0.elapsed().as_secs_f64();
        let (sc, gc) = ((cpu_pid(&pids) - c0) / el * 100.0, (cpu_self() - g0) / el * 100.0);
        let in_window = got;
        let (snd, rds) = (sent.load(Relaxed), reads);
        stop.store(true, Relaxed);
        let td = Instant::now();
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(400) && td.elapsed() < Duration::from_secs(8) {
            let x = round(50, &mut h, since, &mut closed, &mut heads, &mut datas, &mut per, &mut reads);
            if x > 0 {
                quiet = Instant::now()
            }
            got += x
        }
        let _ = th.join();
        let total = sent.load(Relaxed);
        println!(
            "{{\"n\":{n},\"rate\":{rate},\"sent_per_s\":{:.0},\"deliv_per_s\":{:.0},\"want_per_s\":{:.0},\"lost_pct\":{:.3},\"p50_us\":{},\"p99_us\":{},\"max_us\":{},\"srv_cpu\":{sc:.1},\"gen_cpu\":{gc:.1},\"msgs_per_read\":{:.2},\"rss_kb\":{},\"kb_per_conn_idle\":{:.2},\"closed\":{closed},\"acked\":{},\"datas\":{datas},\"got\":{got}}}",
            snd as f64 / el,
            in_window as f64 / el,
            rate * n as f64,
            100.0 * (1.0 - got as f64 / (total as f64 * n as f64)),
            h.q(0.5),
            h.q(0.99),
            h.max,
            in_window as f64 / rds.max(1) as f64,
            rss_kb(&pids),
            (rss1 as f64 - rss0 as f64) / n as f64,
            acked.load(Relaxed)
        );
    }
}
